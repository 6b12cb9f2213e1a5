-- Who is told by HTTP of what happens, and what waits to be told: docs/webhooks.md.

-- `events` are names with commas between (`claim.confirmed,claim.released`), or `*`. A secret that was replaced signs too until its time is over.
-- One that is deleted stays, marked, until its deliveries are gone.
CREATE TABLE webhooks (
    id                VARCHAR(64)    NOT NULL PRIMARY KEY,
    name              VARCHAR(200)    NOT NULL,
    url               TEXT    NOT NULL,
    events            TEXT    NOT NULL,
    offer             VARCHAR(64),
    app               VARCHAR(64),
    secret            VARCHAR(128)    NOT NULL,
    previous_secret   VARCHAR(128),
    previous_until_ms BIGINT,
    enabled           BIGINT NOT NULL,
    -- Why it was turned off by itself; null: somebody did, or it is on.
    disabled_reason   VARCHAR(64),
    revision          BIGINT NOT NULL,
    deleted           BIGINT NOT NULL,
    created_ms        BIGINT NOT NULL,
    updated_ms        BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- How each does. `holder` is whoever delivers to it at the moment, `beat` rises while it does so.
CREATE TABLE webhook_states (
    webhook         VARCHAR(64)    NOT NULL PRIMARY KEY,
    holder          VARCHAR(64)    NOT NULL,
    beat            BIGINT NOT NULL,
    last_attempt_ms BIGINT,
    last_status     BIGINT,
    last_error      VARCHAR(200),
    last_success_ms BIGINT,
    delivered       BIGINT NOT NULL,
    failures        BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- What waits to be delivered, and what was given up. Written in the transaction of the rows that it tells of; gone when it is delivered.
-- A number is never given twice, so that whoever wakes up late with the outcome of an old one changes nothing else.
CREATE TABLE webhook_deliveries (
    seq         BIGINT  NOT NULL AUTO_INCREMENT PRIMARY KEY,
    webhook     VARCHAR(64)    NOT NULL,
    event       VARCHAR(128)    NOT NULL,
    event_type  VARCHAR(64)    NOT NULL,
    body        MEDIUMTEXT    NOT NULL,
    at_ms       BIGINT NOT NULL,
    attempts    BIGINT NOT NULL,
    -- 0: at once.
    next_ms     BIGINT NOT NULL,
    dead        BIGINT NOT NULL,
    last_ms     BIGINT,
    last_status BIGINT,
    last_error  VARCHAR(200)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook, dead, next_ms);
