-- Who may join a zone's line: the work that a join must show, whether it needs a token of the operator's site, and whether passes name the key of
-- who joined.
ALTER TABLE zones ADD COLUMN challenge_bits BIGINT NOT NULL DEFAULT 0;
ALTER TABLE zones ADD COLUMN enqueue TEXT NOT NULL DEFAULT 'open';
ALTER TABLE zones ADD COLUMN pass_bound BIGINT NOT NULL DEFAULT 0;
