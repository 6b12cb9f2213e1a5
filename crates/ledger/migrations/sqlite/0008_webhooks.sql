-- Who is told by HTTP of what happens, and what waits to be told: docs/webhooks.md.

-- `events` are names with commas between (`claim.confirmed,claim.released`), or `*`. A secret that was replaced signs too until its time is over.
-- One that is deleted stays, marked, until its deliveries are gone.
CREATE TABLE webhooks (
    id                TEXT    NOT NULL PRIMARY KEY,
    name              TEXT    NOT NULL,
    url               TEXT    NOT NULL,
    events            TEXT    NOT NULL,
    offer             TEXT,
    app               TEXT,
    secret            TEXT    NOT NULL,
    previous_secret   TEXT,
    previous_until_ms INTEGER,
    enabled           INTEGER NOT NULL,
    -- Why it was turned off by itself; null: somebody did, or it is on.
    disabled_reason   TEXT,
    revision          INTEGER NOT NULL,
    deleted           INTEGER NOT NULL,
    created_ms        INTEGER NOT NULL,
    updated_ms        INTEGER NOT NULL
) WITHOUT ROWID;

-- How each does. `holder` is whoever delivers to it at the moment, `beat` rises while it does so.
CREATE TABLE webhook_states (
    webhook         TEXT    NOT NULL PRIMARY KEY,
    holder          TEXT    NOT NULL,
    beat            INTEGER NOT NULL,
    last_attempt_ms INTEGER,
    last_status     INTEGER,
    last_error      TEXT,
    last_success_ms INTEGER,
    delivered       INTEGER NOT NULL,
    failures        INTEGER NOT NULL
) WITHOUT ROWID;

-- What waits to be delivered, and what was given up. Written in the transaction of the rows that it tells of; gone when it is delivered.
-- A number is never given twice, so that whoever wakes up late with the outcome of an old one changes nothing else.
CREATE TABLE webhook_deliveries (
    seq         INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    webhook     TEXT    NOT NULL,
    event       TEXT    NOT NULL,
    event_type  TEXT    NOT NULL,
    body        TEXT    NOT NULL,
    at_ms       INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,
    -- 0: at once.
    next_ms     INTEGER NOT NULL,
    dead        INTEGER NOT NULL,
    last_ms     INTEGER,
    last_status INTEGER,
    last_error  TEXT
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook, dead, next_ms);
