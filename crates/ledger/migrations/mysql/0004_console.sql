-- What the console needs beside keys: accounts of people, their sessions, and which nodes run.

-- People who sign in with a name. Of a password only its Argon2id hash is kept, in PHC form. `totp_secret` (base32) counts once a first
-- code was given; `totp_step` is the last half minute whose code was taken, so that no code counts twice.
CREATE TABLE accounts (
    name              VARCHAR(64)    NOT NULL PRIMARY KEY,
    role              VARCHAR(32)    NOT NULL,
    password_hash     VARCHAR(255)    NOT NULL,
    totp_secret       VARCHAR(64),
    totp_pending      VARCHAR(64),
    totp_step         BIGINT NOT NULL,
    disabled          BIGINT NOT NULL,
    created_at        CHAR(24) CHARACTER SET ascii COLLATE ascii_bin    NOT NULL,
    last_signed_in_at CHAR(24) CHARACTER SET ascii COLLATE ascii_bin
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- Sessions that live, of accounts and of keys; one that is ended has no row. Its token is its id under a MAC, and stands nowhere.
DROP TABLE ended_sessions;
CREATE TABLE sessions (
    id         VARCHAR(64)    NOT NULL PRIMARY KEY,
    kind       VARCHAR(16)    NOT NULL,
    subject    VARCHAR(64)    NOT NULL,
    opened_ms  BIGINT NOT NULL,
    ends_ms    BIGINT NOT NULL,
    address    VARCHAR(64)    NOT NULL,
    user_agent VARCHAR(200)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- Nodes of a cluster; each says every few seconds that it runs.
CREATE TABLE nodes (
    node       VARCHAR(128)    NOT NULL PRIMARY KEY,
    version    VARCHAR(64)    NOT NULL,
    started_ms BIGINT NOT NULL,
    seen_ms    BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- Whoever takes an administrator away holds this row's lock: of two at once, one sees what the other did.
INSERT INTO directory_counters (name, value) VALUES ('admins', 0);

-- From a time to all zones' minutes.
CREATE INDEX zone_minutes_minute ON zone_minutes (minute, zone_id);
