-- The ledger in MySQL and MariaDB: the tables of migrations/sqlite with the same columns and meanings. Texts are compared by
-- their bytes, trailing spaces too; MySQL calls this collation utf8mb4_0900_bin, and is given that name instead.

CREATE TABLE apps (
    id         VARCHAR(64) NOT NULL PRIMARY KEY,
    name       VARCHAR(200) NOT NULL,
    created_at CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- `number` is given once and never again; the same id may come back under a new number after a deletion.
CREATE TABLE zones (
    number                 BIGINT NOT NULL PRIMARY KEY,
    id                     VARCHAR(64) NOT NULL,
    app                    VARCHAR(64) NOT NULL,
    name                   VARCHAR(200) NOT NULL,
    entry_limit_per_minute BIGINT,
    window_seconds         BIGINT NOT NULL,
    slot_seconds           BIGINT NOT NULL,
    abandon_after_seconds  BIGINT NOT NULL,
    resume_grace_seconds   BIGINT NOT NULL,
    poll_interval_ms       BIGINT NOT NULL,
    poll_interval_max_ms   BIGINT NOT NULL,
    opens_at               CHAR(24) CHARACTER SET ascii COLLATE ascii_bin,
    closes_at              CHAR(24) CHARACTER SET ascii COLLATE ascii_bin,
    paused                 BIGINT NOT NULL,
    active_limit           BIGINT,
    session_seconds        BIGINT NOT NULL,
    pass_ttl_seconds       BIGINT NOT NULL,
    offer                  VARCHAR(64),
    message                VARCHAR(200),
    revision               BIGINT NOT NULL,
    epoch                  BIGINT NOT NULL,
    -- Sequence numbers below `reserved_upto` of epoch `reserved_epoch` may have been given out.
    reserved_epoch         BIGINT NOT NULL DEFAULT 0,
    reserved_upto          BIGINT NOT NULL DEFAULT 0,
    -- Tickets below `front_seq` of epoch `front_epoch` have ended, also those whose rows are no longer kept.
    front_epoch            BIGINT NOT NULL DEFAULT 0,
    front_seq              BIGINT NOT NULL DEFAULT 0,
    created_at             CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    updated_at             CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    deleted_at             VARCHAR(24) CHARACTER SET ascii COLLATE ascii_bin,
    -- MySQL has no index over some of the rows; nulls are in no index that is unique. MariaDB takes no CHAR in what it computes, as a
    -- session may have its own idea of how such a one ends.
    live_id VARCHAR(64) AS (CASE WHEN deleted_at IS NULL THEN id END) VIRTUAL
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
CREATE UNIQUE INDEX zones_live_id ON zones (live_id);

CREATE TABLE offers (
    number               BIGINT NOT NULL PRIMARY KEY,
    id                   VARCHAR(64) NOT NULL,
    app                  VARCHAR(64) NOT NULL,
    kind                 VARCHAR(16) NOT NULL,
    name                 VARCHAR(200) NOT NULL,
    quantity             BIGINT NOT NULL,
    per_user_limit       BIGINT,
    min_per_claim        BIGINT NOT NULL,
    max_per_claim        BIGINT NOT NULL,
    hold_seconds         BIGINT NOT NULL,
    unit_price           BIGINT NOT NULL,
    opens_at             CHAR(24) CHARACTER SET ascii COLLATE ascii_bin,
    closes_at            CHAR(24) CHARACTER SET ascii COLLATE ascii_bin,
    zone                 VARCHAR(64),
    grants               VARCHAR(64),
    grant_only           BIGINT NOT NULL,
    standby              BIGINT NOT NULL,
    standby_hold_seconds BIGINT NOT NULL,
    confirm_by           VARCHAR(16) NOT NULL,
    revision             BIGINT NOT NULL,
    version              BIGINT NOT NULL,
    created_at           CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    updated_at           CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    deleted_at           VARCHAR(24) CHARACTER SET ascii COLLATE ascii_bin,
    -- MySQL has no index over some of the rows; nulls are in no index that is unique.
    live_id VARCHAR(64) AS (CASE WHEN deleted_at IS NULL THEN id END) VIRTUAL
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
CREATE UNIQUE INDEX offers_live_id ON offers (live_id);
-- From an id to the ranges of its claims.
CREATE INDEX offers_id ON offers (id);

-- Claims as they are written; people read the view `claims`. `place` is the number of the claim's offer in the upper half and
-- its place there in the lower.
CREATE TABLE claim_rows (
    place           BIGINT NOT NULL PRIMARY KEY,
    -- A text although it says again what `place` does: who joins tables by it would wait for ever if it were computed.
    id              VARCHAR(64) NOT NULL,
    user_id         VARCHAR(128) NOT NULL,
    quantity        BIGINT NOT NULL,
    status          VARCHAR(16) NOT NULL,
    version         BIGINT NOT NULL,
    idempotency_key VARCHAR(128),
    attributes      TEXT,
    created_ms      BIGINT NOT NULL,
    hold_expires_ms BIGINT,
    updated_ms      BIGINT NOT NULL,
    ordinal         BIGINT,
    granted         VARCHAR(36),
    -- What the newest event said, apart from the columns above, so that an edit by hand is found out: (version << 35) |
    -- (quantity << 3) | status (1 held, 2 confirmed, 3 released, 4 expired, 5 returned).
    event           BIGINT NOT NULL,
    -- The journal record of that event.
    journal_offset  BIGINT NOT NULL,
    -- What the index below is over; MySQL and MariaDB have no common way to say it in the index itself.
    offer_key       BIGINT UNSIGNED AS (place >> 32) VIRTUAL,
    guard           VARCHAR(128) AS (CASE WHEN ordinal IS NOT NULL AND status IN ('held', 'confirmed')
                                     THEN CONCAT(CHAR(1 USING utf8mb4), ordinal) ELSE idempotency_key END) VIRTUAL
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
-- The last guard against "twice", as in SQLite. An ordinal stands here after a character that no key can have.
CREATE UNIQUE INDEX claims_user ON claim_rows (user_id, offer_key, guard);

-- States of claims before the newest, which is in `claim_rows`. The projector moves them here, a batch at a time.
CREATE TABLE claim_history (
    place          BIGINT NOT NULL,
    event          BIGINT NOT NULL,
    at_ms          BIGINT NOT NULL,
    journal_offset BIGINT NOT NULL,
    PRIMARY KEY (place, event)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- Both directions of the join can be sought. Shifts are without sign here, hence the casts. A person can UPDATE quantity, status,
-- version and the like through this view; what is to be deleted is deleted from `claim_rows`.
CREATE SQL SECURITY INVOKER VIEW claims (id, offer_id, user_id, quantity, status, version, idempotency_key, attributes, created_at,
                    hold_expires_at, updated_at, offer_number, ordinal, granted, place) AS
    SELECT c.id, o.id, c.user_id, c.quantity, c.status, c.version, c.idempotency_key, c.attributes,
        CONCAT(LEFT(DATE_FORMAT(TIMESTAMPADD(MICROSECOND, c.created_ms * 1000, '1970-01-01'), '%Y-%m-%dT%H:%i:%s.%f'), 23), 'Z'),
        CONCAT(LEFT(DATE_FORMAT(TIMESTAMPADD(MICROSECOND, c.hold_expires_ms * 1000, '1970-01-01'), '%Y-%m-%dT%H:%i:%s.%f'), 23), 'Z'),
        CONCAT(LEFT(DATE_FORMAT(TIMESTAMPADD(MICROSECOND, c.updated_ms * 1000, '1970-01-01'), '%Y-%m-%dT%H:%i:%s.%f'), 23), 'Z'),
        o.number, c.ordinal, c.granted, c.place
    FROM claim_rows c JOIN offers o
    ON o.number = ((c.place >> 32) & 4294967295)
        AND c.place >= CAST(o.number << 32 AS SIGNED) AND c.place <= CAST((o.number << 32) | 4294967295 AS SIGNED);

CREATE SQL SECURITY INVOKER VIEW claim_events (claim_id, version, offer_id, status, quantity, at, journal_offset) AS
    SELECT c.id, e.event >> 35, c.offer_id,
        CASE e.event & 7 WHEN 1 THEN 'held' WHEN 2 THEN 'confirmed' WHEN 3 THEN 'released' WHEN 4 THEN 'expired' WHEN 5 THEN 'returned' END,
        (e.event >> 3) & 4294967295,
        CONCAT(LEFT(DATE_FORMAT(TIMESTAMPADD(MICROSECOND, e.at_ms * 1000, '1970-01-01'), '%Y-%m-%dT%H:%i:%s.%f'), 23), 'Z'), e.journal_offset
    FROM claims c JOIN (
        SELECT place, event, updated_ms AS at_ms, journal_offset FROM claim_rows
        UNION ALL SELECT place, event, at_ms, journal_offset FROM claim_history) e ON e.place = c.place;

CREATE TABLE standby (
    id           VARCHAR(64) NOT NULL PRIMARY KEY,
    offer_number BIGINT NOT NULL,
    offer_id     VARCHAR(64) NOT NULL,
    user_id      VARCHAR(128) NOT NULL,
    quantity     BIGINT NOT NULL,
    status       VARCHAR(16) NOT NULL,
    version      BIGINT NOT NULL,
    created_at   CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    updated_at   CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    claim_id     VARCHAR(36)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- Admissions and explicit leaves that a restart still needs; older ones are pruned.
CREATE TABLE tickets (
    zone_number BIGINT NOT NULL,
    epoch       BIGINT NOT NULL,
    seq         BIGINT NOT NULL,
    admitted_at CHAR(24) CHARACTER SET ascii COLLATE ascii_bin,
    left_at     CHAR(24) CHARACTER SET ascii COLLATE ascii_bin,
    PRIMARY KEY (zone_number, epoch, seq)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE zone_minutes (
    zone_id     VARCHAR(64) NOT NULL,
    minute      CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    entered     BIGINT NOT NULL,
    waiting     BIGINT NOT NULL,
    dropped     BIGINT NOT NULL,
    entry_limit BIGINT,
    PRIMARY KEY (zone_id, minute)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE admins (
    id         VARCHAR(64) NOT NULL PRIMARY KEY,
    role       VARCHAR(32) NOT NULL,
    name       VARCHAR(200) NOT NULL,
    key_hash   VARCHAR(255) NOT NULL,
    created_at CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    revoked_at CHAR(24) CHARACTER SET ascii COLLATE ascii_bin
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE audit_log (
    id             BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    at             CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    actor          TEXT NOT NULL,
    action         TEXT NOT NULL,
    target         TEXT NOT NULL,
    detail         LONGTEXT,
    request_id     TEXT,
    -- The journal record that carried it; none for actions that are not journaled.
    journal_offset BIGINT UNIQUE,
    -- The id of the message that carried it, which may be in a topic twice; none: it came another way.
    event          VARCHAR(200) CHARACTER SET ascii COLLATE ascii_bin UNIQUE
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE projector_offsets (
    name     VARCHAR(200) NOT NULL PRIMARY KEY,
    "offset" BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- Events that a guard refused, with what is needed to mend them.
CREATE TABLE parked_events (
    journal_offset BIGINT NOT NULL,
    event_index    BIGINT NOT NULL,
    claim_id       VARCHAR(36),
    offer_id       VARCHAR(64),
    reason         VARCHAR(32) NOT NULL,
    payload        LONGTEXT NOT NULL,
    parked_at      CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    resolved_at    CHAR(24) CHARACTER SET ascii COLLATE ascii_bin,
    PRIMARY KEY (journal_offset, event_index)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
CREATE INDEX parked_events_claim ON parked_events (claim_id);

-- Whose database this is: two installations may not write to one. `repairs` counts what others than a projector wrote to claims, so that
-- every projector, of whichever node, knows that it has to count afresh.
CREATE TABLE installation (
    only_row BIGINT NOT NULL PRIMARY KEY,
    id       VARCHAR(64) NOT NULL,
    repairs  BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
INSERT INTO installation (only_row, id, repairs) VALUES (1, '', 0);
-- There from the start, so that projectors can take turns by its lock.
INSERT INTO projector_offsets (name, "offset") VALUES ('ledger', 0);

-- Which offers and zones live in the engine that several nodes share: where their keys are (`tag`), under which epoch they decide, and
-- whether they may (`standing`: making, live, recovering, deleted).
CREATE TABLE directory (
    kind       VARCHAR(16) NOT NULL,
    number     BIGINT NOT NULL,
    id         VARCHAR(64) NOT NULL,
    tag        BIGINT NOT NULL,
    epoch      BIGINT NOT NULL,
    standing   VARCHAR(16) NOT NULL,
    changed_ms BIGINT NOT NULL,
    -- MySQL has no index over some of the rows; nulls are in no index that is unique.
    living_id VARCHAR(64) AS (CASE WHEN standing <> 'deleted' THEN id END) VIRTUAL,
    PRIMARY KEY (kind, number)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
CREATE UNIQUE INDEX directory_living_id ON directory (kind, living_id);
-- `version` rises with every change; `offer` and `zone` are the highest numbers ever given; who edits holds the lock of `turn`.
CREATE TABLE directory_counters (
    name  VARCHAR(16) NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
INSERT INTO directory_counters (name, value) VALUES ('version', 0), ('offer', 0), ('zone', 0), ('turn', 0);

-- What all nodes of an installation must say alike, as whoever said it first did.
CREATE TABLE agreements (
    name  VARCHAR(64) NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- What stands in the topic after its fence under a lower epoch was never answered, and does not count.
CREATE TABLE fences (
    kind   VARCHAR(16) NOT NULL,
    number BIGINT NOT NULL,
    epoch  BIGINT NOT NULL,
    PRIMARY KEY (kind, number)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- Administrators' sessions that were ended before their time; every node knows the others by their signature.
CREATE TABLE ended_sessions (
    id       VARCHAR(64) NOT NULL PRIMARY KEY,
    ended_ms BIGINT NOT NULL,
    ends_ms  BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
