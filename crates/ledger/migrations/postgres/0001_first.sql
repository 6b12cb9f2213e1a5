-- The ledger in PostgreSQL: the tables of migrations/sqlite with the same columns and meanings. Texts are compared by their
-- bytes (COLLATE "C"), as SQLite does: ids and times sort alike everywhere, and no locale of the server can change it.

CREATE TABLE apps (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name       TEXT COLLATE "C" NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL
);

-- `number` is given once and never again; the same id may come back under a new number after a deletion.
CREATE TABLE zones (
    number                 BIGINT NOT NULL PRIMARY KEY,
    id                     TEXT COLLATE "C"    NOT NULL,
    app                    TEXT COLLATE "C"    NOT NULL,
    name                   TEXT COLLATE "C"    NOT NULL,
    entry_limit_per_minute BIGINT ,
    window_seconds         BIGINT NOT NULL,
    slot_seconds           BIGINT NOT NULL,
    abandon_after_seconds  BIGINT NOT NULL,
    resume_grace_seconds   BIGINT NOT NULL,
    poll_interval_ms       BIGINT NOT NULL,
    poll_interval_max_ms   BIGINT NOT NULL,
    opens_at               TEXT COLLATE "C",
    closes_at              TEXT COLLATE "C",
    paused                 BIGINT NOT NULL,
    active_limit           BIGINT ,
    session_seconds        BIGINT NOT NULL,
    pass_ttl_seconds       BIGINT NOT NULL,
    offer                  TEXT COLLATE "C",
    message                TEXT COLLATE "C",
    revision               BIGINT NOT NULL,
    epoch                  BIGINT NOT NULL,
    -- Sequence numbers below `reserved_upto` of epoch `reserved_epoch` may have been given out.
    reserved_epoch         BIGINT NOT NULL DEFAULT 0,
    reserved_upto          BIGINT NOT NULL DEFAULT 0,
    -- Tickets below `front_seq` of epoch `front_epoch` have ended, also those whose rows are no longer kept.
    front_epoch            BIGINT NOT NULL DEFAULT 0,
    front_seq              BIGINT NOT NULL DEFAULT 0,
    created_at             TEXT COLLATE "C"    NOT NULL,
    updated_at             TEXT COLLATE "C"    NOT NULL,
    deleted_at             TEXT COLLATE "C"
);
CREATE UNIQUE INDEX zones_live_id ON zones (id) WHERE deleted_at IS NULL;

CREATE TABLE offers (
    number               BIGINT NOT NULL PRIMARY KEY,
    id                   TEXT COLLATE "C"    NOT NULL,
    app                  TEXT COLLATE "C"    NOT NULL,
    kind                 TEXT COLLATE "C"    NOT NULL,
    name                 TEXT COLLATE "C"    NOT NULL,
    quantity             BIGINT NOT NULL,
    per_user_limit       BIGINT ,
    min_per_claim        BIGINT NOT NULL,
    max_per_claim        BIGINT NOT NULL,
    hold_seconds         BIGINT NOT NULL,
    unit_price           BIGINT NOT NULL,
    opens_at             TEXT COLLATE "C",
    closes_at            TEXT COLLATE "C",
    zone                 TEXT COLLATE "C",
    grants               TEXT COLLATE "C",
    grant_only           BIGINT NOT NULL,
    standby              BIGINT NOT NULL,
    standby_hold_seconds BIGINT NOT NULL,
    confirm_by           TEXT COLLATE "C"    NOT NULL,
    revision             BIGINT NOT NULL,
    version              BIGINT NOT NULL,
    created_at           TEXT COLLATE "C"    NOT NULL,
    updated_at           TEXT COLLATE "C"    NOT NULL,
    deleted_at           TEXT COLLATE "C"
);
CREATE UNIQUE INDEX offers_live_id ON offers (id) WHERE deleted_at IS NULL;
-- From an id to the ranges of its claims.
CREATE INDEX offers_id ON offers (id);

-- Claims as they are written; people read the view `claims`. `place` is the number of the claim's offer in the upper half and
-- its place there in the lower.
CREATE TABLE claim_rows (
    place           BIGINT NOT NULL PRIMARY KEY,
    -- A text although it says again what `place` does: who joins tables by it would wait for ever if it were computed.
    id              TEXT COLLATE "C"    NOT NULL,
    user_id         TEXT COLLATE "C"    NOT NULL,
    quantity        BIGINT NOT NULL,
    status          TEXT COLLATE "C"    NOT NULL,
    version         BIGINT NOT NULL,
    idempotency_key TEXT COLLATE "C",
    attributes      TEXT COLLATE "C",
    created_ms      BIGINT NOT NULL,
    hold_expires_ms BIGINT ,
    updated_ms      BIGINT NOT NULL,
    ordinal         BIGINT ,
    granted         TEXT COLLATE "C",
    -- What the newest event said, apart from the columns above, so that an edit by hand is found out: (version << 35) |
    -- (quantity << 3) | status (1 held, 2 confirmed, 3 released, 4 expired, 5 returned).
    event           BIGINT NOT NULL,
    -- The journal record of that event.
    journal_offset  BIGINT NOT NULL
);
-- The last guard against "twice", as in SQLite. An ordinal stands here after a character that no key can have.
CREATE UNIQUE INDEX claims_user ON claim_rows (user_id, (place >> 32),
    (CASE WHEN ordinal IS NOT NULL AND status IN ('held', 'confirmed') THEN chr(1) || ordinal ELSE idempotency_key END COLLATE "C"));

-- States of claims before the newest, which is in `claim_rows`. The projector moves them here, a batch at a time.
CREATE TABLE claim_history (
    place          BIGINT NOT NULL,
    event          BIGINT NOT NULL,
    at_ms          BIGINT NOT NULL,
    journal_offset BIGINT NOT NULL,
    PRIMARY KEY (place, event)
);

-- In whole microseconds, so that no millisecond is lost on the way.
CREATE FUNCTION bunho_time(ms BIGINT) RETURNS TEXT LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    to_char(timestamp '1970-01-01' + ms * interval '1 millisecond', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');

-- Both directions of the join can be sought: from an offer to its range, and from a claim to its offer.
CREATE VIEW claims (id, offer_id, user_id, quantity, status, version, idempotency_key, attributes, created_at, hold_expires_at,
                    updated_at, offer_number, ordinal, granted, place) AS
    SELECT c.id, o.id, c.user_id, c.quantity, c.status, c.version, c.idempotency_key, c.attributes,
        bunho_time(c.created_ms), bunho_time(c.hold_expires_ms), bunho_time(c.updated_ms), o.number, c.ordinal, c.granted, c.place
    FROM claim_rows c JOIN offers o
    ON o.number = ((c.place >> 32) & 4294967295) AND c.place >= o.number << 32 AND c.place <= ((o.number << 32) | 4294967295);
-- What a person mends by hand; `bunho reconcile` then says that it was done by hand.
CREATE FUNCTION bunho_claims_edit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM claim_rows WHERE place = OLD.place;
        RETURN OLD;
    END IF;
    UPDATE claim_rows SET user_id = NEW.user_id, quantity = NEW.quantity, status = NEW.status, version = NEW.version,
        attributes = NEW.attributes, ordinal = NEW.ordinal
    WHERE place = OLD.place;
    RETURN NEW;
END $$;
CREATE TRIGGER claims_edit INSTEAD OF UPDATE OR DELETE ON claims FOR EACH ROW EXECUTE FUNCTION bunho_claims_edit();

CREATE VIEW claim_events (claim_id, version, offer_id, status, quantity, at, journal_offset) AS
    SELECT c.id, e.event >> 35, c.offer_id,
        CASE e.event & 7 WHEN 1 THEN 'held' WHEN 2 THEN 'confirmed' WHEN 3 THEN 'released' WHEN 4 THEN 'expired' WHEN 5 THEN 'returned' END,
        (e.event >> 3) & 4294967295, bunho_time(e.at_ms), e.journal_offset
    FROM claims c JOIN (
        SELECT place, event, updated_ms AS at_ms, journal_offset FROM claim_rows
        UNION ALL SELECT place, event, at_ms, journal_offset FROM claim_history) e ON e.place = c.place;

CREATE TABLE standby (
    id           TEXT COLLATE "C"    NOT NULL PRIMARY KEY,
    offer_number BIGINT NOT NULL,
    offer_id     TEXT COLLATE "C"    NOT NULL,
    user_id      TEXT COLLATE "C"    NOT NULL,
    quantity     BIGINT NOT NULL,
    status       TEXT COLLATE "C"    NOT NULL,
    version      BIGINT NOT NULL,
    created_at   TEXT COLLATE "C"    NOT NULL,
    updated_at   TEXT COLLATE "C"    NOT NULL,
    claim_id     TEXT COLLATE "C"
);

-- Admissions and explicit leaves that a restart still needs; older ones are pruned.
CREATE TABLE tickets (
    zone_number BIGINT NOT NULL,
    epoch       BIGINT NOT NULL,
    seq         BIGINT NOT NULL,
    admitted_at TEXT COLLATE "C",
    left_at     TEXT COLLATE "C",
    PRIMARY KEY (zone_number, epoch, seq)
);

CREATE TABLE zone_minutes (
    zone_id     TEXT COLLATE "C"    NOT NULL,
    minute      TEXT COLLATE "C"    NOT NULL,
    entered     BIGINT NOT NULL,
    waiting     BIGINT NOT NULL,
    dropped     BIGINT NOT NULL,
    entry_limit BIGINT ,
    PRIMARY KEY (zone_id, minute)
);

CREATE TABLE admins (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    role       TEXT COLLATE "C" NOT NULL,
    name       TEXT COLLATE "C" NOT NULL,
    key_hash   TEXT COLLATE "C" NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    revoked_at TEXT COLLATE "C"
);

CREATE TABLE audit_log (
    id             BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    at             TEXT COLLATE "C" NOT NULL,
    actor          TEXT COLLATE "C" NOT NULL,
    action         TEXT COLLATE "C" NOT NULL,
    target         TEXT COLLATE "C" NOT NULL,
    detail         TEXT COLLATE "C",
    request_id     TEXT COLLATE "C",
    -- The journal record that carried it; none for actions that are not journaled.
    journal_offset BIGINT  UNIQUE,
    -- The id of the message that carried it, which may be in a topic twice; none: it came another way.
    event          TEXT COLLATE "C" UNIQUE
);

CREATE TABLE projector_offsets (
    name     TEXT COLLATE "C"    NOT NULL PRIMARY KEY,
    "offset" BIGINT NOT NULL
);

-- Events that a guard refused, with what is needed to mend them.
CREATE TABLE parked_events (
    journal_offset BIGINT NOT NULL,
    event_index    BIGINT NOT NULL,
    claim_id       TEXT COLLATE "C",
    offer_id       TEXT COLLATE "C",
    reason         TEXT COLLATE "C"    NOT NULL,
    payload        TEXT COLLATE "C"    NOT NULL,
    parked_at      TEXT COLLATE "C"    NOT NULL,
    resolved_at    TEXT COLLATE "C",
    PRIMARY KEY (journal_offset, event_index)
);
CREATE INDEX parked_events_claim ON parked_events (claim_id) WHERE resolved_at IS NULL;

-- Whose database this is: two installations may not write to one. `repairs` counts what others than a projector wrote to claims, so that
-- every projector, of whichever node, knows that it has to count afresh.
CREATE TABLE installation (
    only_row BIGINT NOT NULL PRIMARY KEY,
    id       TEXT COLLATE "C" NOT NULL,
    repairs  BIGINT NOT NULL
);
INSERT INTO installation (only_row, id, repairs) VALUES (1, '', 0);
-- There from the start, so that projectors can take turns by its lock.
INSERT INTO projector_offsets (name, "offset") VALUES ('ledger', 0);

-- Which offers and zones live in the engine that several nodes share: where their keys are (`tag`), under which epoch they decide, and
-- whether they may (`standing`: making, live, recovering, deleted).
CREATE TABLE directory (
    kind       TEXT COLLATE "C" NOT NULL,
    number     BIGINT NOT NULL,
    id         TEXT COLLATE "C" NOT NULL,
    tag        BIGINT NOT NULL,
    epoch      BIGINT NOT NULL,
    standing   TEXT COLLATE "C" NOT NULL,
    changed_ms BIGINT NOT NULL,
    PRIMARY KEY (kind, number)
);
CREATE UNIQUE INDEX directory_living_id ON directory (kind, id) WHERE standing <> 'deleted';
-- `version` rises with every change; `offer` and `zone` are the highest numbers ever given; who edits holds the lock of `turn`.
CREATE TABLE directory_counters (
    name  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO directory_counters (name, value) VALUES ('version', 0), ('offer', 0), ('zone', 0), ('turn', 0);

-- What all nodes of an installation must say alike, as whoever said it first did.
CREATE TABLE agreements (
    name  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value TEXT COLLATE "C" NOT NULL
);

-- What stands in the topic after its fence under a lower epoch was never answered, and does not count.
CREATE TABLE fences (
    kind   TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    epoch  BIGINT NOT NULL,
    PRIMARY KEY (kind, number)
);

-- Administrators' sessions that were ended before their time; every node knows the others by their signature.
CREATE TABLE ended_sessions (
    id       TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    ended_ms BIGINT NOT NULL,
    ends_ms  BIGINT NOT NULL
);
