-- Until when a key counts; none: until it is revoked. And which client certificate must come with it, as `sha256:…` or a name of it.
ALTER TABLE admins ADD COLUMN expires_at TEXT;
ALTER TABLE admins ADD COLUMN certificate TEXT;
