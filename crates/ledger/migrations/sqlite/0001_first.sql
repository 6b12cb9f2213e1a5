-- The ledger: every result, where SQL can read it. Times are RFC 3339 UTC text with milliseconds (fixed width, so they
-- sort); ids of claims and standby are UUID text, which sorts in the order of taking.

CREATE TABLE apps (
    id         TEXT NOT NULL PRIMARY KEY,
    name       TEXT NOT NULL,
    created_at TEXT NOT NULL
) WITHOUT ROWID;

-- `number` is given once and never again; the same id may come back under a new number after a deletion.
CREATE TABLE zones (
    number                 INTEGER NOT NULL PRIMARY KEY,
    id                     TEXT    NOT NULL,
    app                    TEXT    NOT NULL,
    name                   TEXT    NOT NULL,
    entry_limit_per_minute INTEGER,
    window_seconds         INTEGER NOT NULL,
    slot_seconds           INTEGER NOT NULL,
    abandon_after_seconds  INTEGER NOT NULL,
    resume_grace_seconds   INTEGER NOT NULL,
    poll_interval_ms       INTEGER NOT NULL,
    poll_interval_max_ms   INTEGER NOT NULL,
    opens_at               TEXT,
    closes_at              TEXT,
    paused                 INTEGER NOT NULL,
    active_limit           INTEGER,
    session_seconds        INTEGER NOT NULL,
    pass_ttl_seconds       INTEGER NOT NULL,
    offer                  TEXT,
    message                TEXT,
    revision               INTEGER NOT NULL,
    epoch                  INTEGER NOT NULL,
    -- Sequence numbers below `reserved_upto` of epoch `reserved_epoch` may have been given out.
    reserved_epoch         INTEGER NOT NULL DEFAULT 0,
    reserved_upto          INTEGER NOT NULL DEFAULT 0,
    -- Tickets below `front_seq` of epoch `front_epoch` have ended, also those whose rows are no longer kept.
    front_epoch            INTEGER NOT NULL DEFAULT 0,
    front_seq              INTEGER NOT NULL DEFAULT 0,
    created_at             TEXT    NOT NULL,
    updated_at             TEXT    NOT NULL,
    deleted_at             TEXT
);
CREATE UNIQUE INDEX zones_live_id ON zones (id) WHERE deleted_at IS NULL;

CREATE TABLE offers (
    number               INTEGER NOT NULL PRIMARY KEY,
    id                   TEXT    NOT NULL,
    app                  TEXT    NOT NULL,
    kind                 TEXT    NOT NULL,
    name                 TEXT    NOT NULL,
    quantity             INTEGER NOT NULL,
    per_user_limit       INTEGER,
    min_per_claim        INTEGER NOT NULL,
    max_per_claim        INTEGER NOT NULL,
    hold_seconds         INTEGER NOT NULL,
    unit_price           INTEGER NOT NULL,
    opens_at             TEXT,
    closes_at            TEXT,
    zone                 TEXT,
    grants               TEXT,
    grant_only           INTEGER NOT NULL,
    standby              INTEGER NOT NULL,
    standby_hold_seconds INTEGER NOT NULL,
    confirm_by           TEXT    NOT NULL,
    revision             INTEGER NOT NULL,
    version              INTEGER NOT NULL,
    created_at           TEXT    NOT NULL,
    updated_at           TEXT    NOT NULL,
    deleted_at           TEXT
);
CREATE UNIQUE INDEX offers_live_id ON offers (id) WHERE deleted_at IS NULL;

CREATE TABLE claims (
    id              TEXT    NOT NULL PRIMARY KEY,
    offer_id        TEXT    NOT NULL,
    user_id         TEXT    NOT NULL,
    quantity        INTEGER NOT NULL,
    status          TEXT    NOT NULL,
    version         INTEGER NOT NULL,
    idempotency_key TEXT,
    attributes      TEXT,
    created_at      TEXT    NOT NULL,
    hold_expires_at TEXT,
    updated_at      TEXT    NOT NULL,
    offer_number    INTEGER NOT NULL,
    ordinal         INTEGER,
    granted         TEXT
);
-- The last guard against "twice": a user's n-th place in an offer is taken by one claim at a time.
CREATE UNIQUE INDEX claims_ordinal ON claims (offer_number, user_id, ordinal)
    WHERE ordinal IS NOT NULL AND status IN ('held', 'confirmed');
-- An Idempotency-Key names one claim of a user and an offer (rows without a key never collide). It also finds the claims of a
-- user: a second index that begins with the user would cost a third of the projector's pace, because users arrive in random
-- order and each row then dirties one more page.
CREATE UNIQUE INDEX claims_key ON claims (user_id, offer_number, idempotency_key);
CREATE INDEX claims_offer ON claims (offer_id, status);

CREATE TABLE claim_events (
    claim_id       TEXT    NOT NULL,
    version        INTEGER NOT NULL,
    offer_id       TEXT    NOT NULL,
    status         TEXT    NOT NULL,
    quantity       INTEGER NOT NULL,
    at             TEXT    NOT NULL,
    journal_offset INTEGER NOT NULL,
    PRIMARY KEY (claim_id, version)
) WITHOUT ROWID;

CREATE TABLE standby (
    id           TEXT    NOT NULL PRIMARY KEY,
    offer_number INTEGER NOT NULL,
    offer_id     TEXT    NOT NULL,
    user_id      TEXT    NOT NULL,
    quantity     INTEGER NOT NULL,
    status       TEXT    NOT NULL,
    version      INTEGER NOT NULL,
    created_at   TEXT    NOT NULL,
    updated_at   TEXT    NOT NULL,
    claim_id     TEXT
) WITHOUT ROWID;

-- Admissions and explicit leaves that a restart still needs; older ones are pruned.
CREATE TABLE tickets (
    zone_number INTEGER NOT NULL,
    epoch       INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    admitted_at TEXT,
    left_at     TEXT,
    PRIMARY KEY (zone_number, epoch, seq)
) WITHOUT ROWID;

CREATE TABLE zone_minutes (
    zone_id     TEXT    NOT NULL,
    minute      TEXT    NOT NULL,
    entered     INTEGER NOT NULL,
    waiting     INTEGER NOT NULL,
    dropped     INTEGER NOT NULL,
    entry_limit INTEGER,
    PRIMARY KEY (zone_id, minute)
) WITHOUT ROWID;

CREATE TABLE admins (
    id         TEXT NOT NULL PRIMARY KEY,
    role       TEXT NOT NULL,
    name       TEXT NOT NULL,
    key_hash   TEXT NOT NULL,
    created_at TEXT NOT NULL,
    revoked_at TEXT
) WITHOUT ROWID;

CREATE TABLE audit_log (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    at             TEXT NOT NULL,
    actor          TEXT NOT NULL,
    action         TEXT NOT NULL,
    target         TEXT NOT NULL,
    detail         TEXT,
    request_id     TEXT,
    -- The journal record that carried it; none for actions that are not journaled.
    journal_offset INTEGER UNIQUE
);

CREATE TABLE projector_offsets (
    name     TEXT    NOT NULL PRIMARY KEY,
    "offset" INTEGER NOT NULL
) WITHOUT ROWID;

-- Events that a guard refused, with what is needed to mend them.
CREATE TABLE parked_events (
    journal_offset INTEGER NOT NULL,
    event_index    INTEGER NOT NULL,
    claim_id       TEXT,
    offer_id       TEXT,
    reason         TEXT    NOT NULL,
    payload        TEXT    NOT NULL,
    parked_at      TEXT    NOT NULL,
    resolved_at    TEXT,
    PRIMARY KEY (journal_offset, event_index)
) WITHOUT ROWID;
CREATE INDEX parked_events_claim ON parked_events (claim_id) WHERE resolved_at IS NULL;
