-- How the waiting page of a zone looks and what it says, as JSON. By the zone's number, which is never given again: a zone that is made anew under an
-- old id begins without.
CREATE TABLE zone_pages (
    zone_number BIGINT NOT NULL PRIMARY KEY,
    zone_id     TEXT COLLATE "C" NOT NULL,
    revision    BIGINT NOT NULL,
    page        TEXT NOT NULL,
    updated_at  TEXT COLLATE "C" NOT NULL
);
