-- Who is told by HTTP of what happens, and what waits to be told: docs/webhooks.md.

-- `events` are names with commas between (`claim.confirmed,claim.released`), or `*`. A secret that was replaced signs too until its time is over.
-- One that is deleted stays, marked, until its deliveries are gone.
CREATE TABLE webhooks (
    id                TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name              TEXT NOT NULL,
    url               TEXT COLLATE "C" NOT NULL,
    events            TEXT COLLATE "C" NOT NULL,
    offer             TEXT COLLATE "C",
    app               TEXT COLLATE "C",
    secret            TEXT COLLATE "C" NOT NULL,
    previous_secret   TEXT COLLATE "C",
    previous_until_ms BIGINT,
    enabled           BIGINT NOT NULL,
    -- Why it was turned off by itself; null: somebody did, or it is on.
    disabled_reason   TEXT COLLATE "C",
    revision          BIGINT NOT NULL,
    deleted           BIGINT NOT NULL,
    created_ms        BIGINT NOT NULL,
    updated_ms        BIGINT NOT NULL
);

-- How each does. `holder` is whoever delivers to it at the moment, `beat` rises while it does so.
CREATE TABLE webhook_states (
    webhook         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    holder          TEXT COLLATE "C" NOT NULL,
    beat            BIGINT NOT NULL,
    last_attempt_ms BIGINT,
    last_status     BIGINT,
    last_error      TEXT,
    last_success_ms BIGINT,
    delivered       BIGINT NOT NULL,
    failures        BIGINT NOT NULL
);

-- What waits to be delivered, and what was given up. Written in the transaction of the rows that it tells of; gone when it is delivered.
-- A number is never given twice, so that whoever wakes up late with the outcome of an old one changes nothing else.
CREATE TABLE webhook_deliveries (
    seq         BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    webhook     TEXT COLLATE "C" NOT NULL,
    event       TEXT COLLATE "C" NOT NULL,
    event_type  TEXT COLLATE "C" NOT NULL,
    body        TEXT NOT NULL,
    at_ms       BIGINT NOT NULL,
    attempts    BIGINT NOT NULL,
    -- 0: at once.
    next_ms     BIGINT NOT NULL,
    dead        BIGINT NOT NULL,
    last_ms     BIGINT,
    last_status BIGINT,
    last_error  TEXT
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook, dead, next_ms);
