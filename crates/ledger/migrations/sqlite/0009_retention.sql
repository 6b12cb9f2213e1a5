-- People who are forgotten by themselves (`retention.forget_after_days`): which node does it, until when by the database's clock, and whether what
-- was overwritten is still to be wiped out of files.
CREATE TABLE retention (
    only_row INTEGER NOT NULL PRIMARY KEY,
    holder   TEXT    NOT NULL,
    until_ms INTEGER NOT NULL,
    wipe_due INTEGER NOT NULL
);
INSERT INTO retention (only_row, holder, until_ms, wipe_due) VALUES (1, '', 0, 0);
