-- How the waiting page of a zone looks and what it says, as JSON. By the zone's number, which is never given again: a zone that is made anew under an
-- old id begins without.
CREATE TABLE zone_pages (
    zone_number BIGINT NOT NULL PRIMARY KEY,
    zone_id     VARCHAR(64) NOT NULL,
    revision    BIGINT NOT NULL,
    page        MEDIUMTEXT NOT NULL,
    updated_at  CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
