-- People who are forgotten by themselves (`retention.forget_after_days`): which node does it, until when by the database's clock, and whether what
-- was overwritten is still to be wiped out of files.
CREATE TABLE retention (
    only_row BIGINT NOT NULL PRIMARY KEY,
    holder   VARCHAR(64) NOT NULL,
    until_ms BIGINT NOT NULL,
    wipe_due BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
INSERT INTO retention (only_row, holder, until_ms, wipe_due) VALUES (1, '', 0, 0);
