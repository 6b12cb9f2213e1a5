-- Until when a key counts; none: until it is revoked. And which client certificate must come with it, as `sha256:…` or a name of it.
ALTER TABLE admins
    ADD COLUMN expires_at  CHAR(24) CHARACTER SET ascii COLLATE ascii_bin,
    ADD COLUMN certificate VARCHAR(512);
