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
-- From an id to the ranges of its claims.
CREATE INDEX offers_id ON offers (id);

-- Claims as they are written: whole numbers, and only the texts that are somebody's own. People read the view `claims`, which
-- computes the rest (a column that is generated in the table would be computed with every row that is written). `place` is the
-- number of the claim's offer in the upper half and its place there in the lower: claims are appended, and an offer is a range
-- of the primary key.
CREATE TABLE claim_rows (
    place           INTEGER NOT NULL PRIMARY KEY,
    -- A text although it says again what `place` does: who joins tables by it would wait for ever if it were computed.
    id              TEXT    NOT NULL,
    user_id         TEXT    NOT NULL,
    quantity        INTEGER NOT NULL,
    status          TEXT    NOT NULL,
    version         INTEGER NOT NULL,
    idempotency_key TEXT,
    attributes      TEXT,
    created_ms      INTEGER NOT NULL,
    hold_expires_ms INTEGER,
    updated_ms      INTEGER NOT NULL,
    ordinal         INTEGER,
    granted         TEXT,
    -- What the newest event said, apart from the columns above, so that an edit by hand is found out: (version << 35) |
    -- (quantity << 3) | status (1 held, 2 confirmed, 3 released, 4 expired, 5 returned).
    event           INTEGER NOT NULL,
    -- The journal record of that event.
    journal_offset  INTEGER NOT NULL
);
-- The last guard against "twice": a user's n-th place in an offer is taken by one claim at a time, and a key names one claim. Of
-- the two a taken claim with an ordinal has its ordinal here, any other its Idempotency-Key (rows with neither never collide).
-- The one pair that it lets by, one key on a taken claim with an ordinal and on another one, the projector looks for in this
-- same index. It also finds the claims of a user. There is no second index that begins with the user, because users arrive in
-- random order and each row dirties a page of each such index.
CREATE UNIQUE INDEX claims_user ON claim_rows (user_id, place >> 32,
    CASE WHEN ordinal IS NOT NULL AND status IN ('held', 'confirmed') THEN ordinal ELSE idempotency_key END);

-- States of claims before the newest, which is in `claim_rows`: most claims of a rush never have another.
CREATE TABLE claim_history (
    place          INTEGER NOT NULL,
    event          INTEGER NOT NULL,
    at_ms          INTEGER NOT NULL,
    journal_offset INTEGER NOT NULL,
    PRIMARY KEY (place, event)
) WITHOUT ROWID;
CREATE TRIGGER claims_supersede AFTER UPDATE OF event ON claim_rows WHEN OLD.event >> 35 < NEW.event >> 35 BEGIN
    INSERT OR IGNORE INTO claim_history VALUES (OLD.place, OLD.event, OLD.updated_ms, OLD.journal_offset);
END;

-- Both directions of the join can be sought: from an offer to its range, and from a claim to its offer.
CREATE VIEW claims (id, offer_id, user_id, quantity, status, version, idempotency_key, attributes, created_at, hold_expires_at,
                    updated_at, offer_number, ordinal, granted, place) AS
    SELECT c.id, o.id, c.user_id, c.quantity, c.status, c.version, c.idempotency_key, c.attributes,
        strftime('%Y-%m-%dT%H:%M:%fZ', c.created_ms / 1000.0, 'unixepoch'),
        strftime('%Y-%m-%dT%H:%M:%fZ', c.hold_expires_ms / 1000.0, 'unixepoch'),
        strftime('%Y-%m-%dT%H:%M:%fZ', c.updated_ms / 1000.0, 'unixepoch'),
        o.number, c.ordinal, c.granted, c.place
    FROM claim_rows c JOIN offers o
    ON o.number = ((c.place >> 32) & 0xffffffff) AND c.place >= o.number << 32 AND c.place <= ((o.number << 32) | 0xffffffff);
-- What a person mends by hand; `bunho reconcile` then says that it was done by hand.
CREATE TRIGGER claims_edit INSTEAD OF UPDATE OF user_id, quantity, status, version, attributes, ordinal ON claims BEGIN
    UPDATE claim_rows SET user_id = NEW.user_id, quantity = NEW.quantity, status = NEW.status, version = NEW.version,
        attributes = NEW.attributes, ordinal = NEW.ordinal
    WHERE place = OLD.place;
END;
CREATE TRIGGER claims_delete INSTEAD OF DELETE ON claims BEGIN
    DELETE FROM claim_rows WHERE place = OLD.place;
END;

CREATE VIEW claim_events (claim_id, version, offer_id, status, quantity, at, journal_offset) AS
    SELECT c.id, e.event >> 35, c.offer_id,
        CASE e.event & 7 WHEN 1 THEN 'held' WHEN 2 THEN 'confirmed' WHEN 3 THEN 'released' WHEN 4 THEN 'expired' WHEN 5 THEN 'returned' END,
        (e.event >> 3) & 0xffffffff, strftime('%Y-%m-%dT%H:%M:%fZ', e.at_ms / 1000.0, 'unixepoch'), e.journal_offset
    FROM claims c JOIN (
        SELECT place, event, updated_ms AS at_ms, journal_offset FROM claim_rows
        UNION ALL SELECT place, event, at_ms, journal_offset FROM claim_history) e ON e.place = c.place;

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
    journal_offset INTEGER UNIQUE,
    -- The id of the message that carried it, which may be in a topic twice; none: it came another way.
    event          TEXT UNIQUE
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
