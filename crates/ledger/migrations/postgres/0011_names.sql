-- Whose name stands in a row's text: '' is nobody's, null is not yet known (rows of before this column, which are named when somebody is looked
-- for). So whoever looks for a person finds their rows, and no others, without reading what everybody else's say.
ALTER TABLE audit_log ADD COLUMN user_id TEXT COLLATE "C";
CREATE INDEX audit_log_user ON audit_log (user_id);
ALTER TABLE parked_events ADD COLUMN user_id TEXT COLLATE "C";
CREATE INDEX parked_events_user ON parked_events (user_id);
ALTER TABLE webhook_deliveries ADD COLUMN user_id TEXT COLLATE "C";
CREATE INDEX webhook_deliveries_user ON webhook_deliveries (user_id);
CREATE INDEX standby_user ON standby (user_id);
