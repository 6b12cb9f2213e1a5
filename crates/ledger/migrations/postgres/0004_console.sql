-- What the console needs beside keys: accounts of people, their sessions, and which nodes run.

-- People who sign in with a name. Of a password only its Argon2id hash is kept, in PHC form. `totp_secret` (base32) counts once a first
-- code was given; `totp_step` is the last half minute whose code was taken, so that no code counts twice.
CREATE TABLE accounts (
    name              TEXT COLLATE "C"    NOT NULL PRIMARY KEY,
    role              TEXT COLLATE "C"    NOT NULL,
    password_hash     TEXT COLLATE "C"    NOT NULL,
    totp_secret       TEXT COLLATE "C",
    totp_pending      TEXT COLLATE "C",
    totp_step         BIGINT NOT NULL,
    disabled          BIGINT NOT NULL,
    created_at        TEXT COLLATE "C"    NOT NULL,
    last_signed_in_at TEXT COLLATE "C"
);

-- Sessions that live, of accounts and of keys; one that is ended has no row. Its token is its id under a MAC, and stands nowhere.
DROP TABLE ended_sessions;
CREATE TABLE sessions (
    id         TEXT COLLATE "C"    NOT NULL PRIMARY KEY,
    kind       TEXT COLLATE "C"    NOT NULL,
    subject    TEXT COLLATE "C"    NOT NULL,
    opened_ms  BIGINT NOT NULL,
    ends_ms    BIGINT NOT NULL,
    address    TEXT COLLATE "C"    NOT NULL,
    user_agent TEXT COLLATE "C"
);

-- Nodes of a cluster; each says every few seconds that it runs.
CREATE TABLE nodes (
    node       TEXT COLLATE "C"    NOT NULL PRIMARY KEY,
    version    TEXT COLLATE "C"    NOT NULL,
    started_ms BIGINT NOT NULL,
    seen_ms    BIGINT NOT NULL
);

-- Whoever takes an administrator away holds this row's lock: of two at once, one sees what the other did.
INSERT INTO directory_counters (name, value) VALUES ('admins', 0);

-- From a time to all zones' minutes.
CREATE INDEX zone_minutes_minute ON zone_minutes (minute, zone_id);
