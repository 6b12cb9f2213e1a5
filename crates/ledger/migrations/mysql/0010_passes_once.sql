-- Whether a pass takes one claim of the offer, ever.
ALTER TABLE offers ADD COLUMN pass_once BIGINT NOT NULL DEFAULT 0;
