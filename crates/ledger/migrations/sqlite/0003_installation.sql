-- Whose database this is: two installations may not write to one file. `repairs` is used where several nodes share a database.
CREATE TABLE installation (
    only_row INTEGER NOT NULL PRIMARY KEY,
    id       TEXT    NOT NULL,
    repairs  INTEGER NOT NULL
);
INSERT INTO installation (only_row, id, repairs) VALUES (1, '', 0);

-- Which offers and zones live in the engine that several nodes share: where their keys are (`tag`), under which epoch they decide, and
-- whether they may (`standing`: making, live, recovering, deleted).
CREATE TABLE directory (
    kind       TEXT NOT NULL,
    number     INTEGER NOT NULL,
    id         TEXT NOT NULL,
    tag        INTEGER NOT NULL,
    epoch      INTEGER NOT NULL,
    standing   TEXT NOT NULL,
    changed_ms INTEGER NOT NULL,
    PRIMARY KEY (kind, number)
) WITHOUT ROWID;
CREATE UNIQUE INDEX directory_living_id ON directory (kind, id) WHERE standing <> 'deleted';
-- `version` rises with every change; `offer` and `zone` are the highest numbers ever given; who edits holds the lock of `turn`.
CREATE TABLE directory_counters (
    name  TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO directory_counters (name, value) VALUES ('version', 0), ('offer', 0), ('zone', 0), ('turn', 0);

-- What all nodes of an installation must say alike, as whoever said it first did.
CREATE TABLE agreements (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- What stands in the topic after its fence under a lower epoch was never answered, and does not count.
CREATE TABLE fences (
    kind   TEXT NOT NULL,
    number INTEGER NOT NULL,
    epoch  INTEGER NOT NULL,
    PRIMARY KEY (kind, number)
) WITHOUT ROWID;

-- Administrators' sessions that were ended before their time; every node knows the others by their signature.
CREATE TABLE ended_sessions (
    id       TEXT NOT NULL PRIMARY KEY,
    ended_ms INTEGER NOT NULL,
    ends_ms  INTEGER NOT NULL
) WITHOUT ROWID;
