-- How the waiting page of a zone looks and what it says, as JSON. By the zone's number, which is never given again: a zone that is made anew under an
-- old id begins without.
CREATE TABLE zone_pages (
    zone_number INTEGER NOT NULL PRIMARY KEY,
    zone_id     TEXT    NOT NULL,
    revision    INTEGER NOT NULL,
    page        TEXT    NOT NULL,
    updated_at  TEXT    NOT NULL
);
