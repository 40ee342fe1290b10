-- Jobs of more kinds, and what belongs to each; apps that are being removed.

ALTER TABLE apps DROP CONSTRAINT apps_state_check;
ALTER TABLE apps ADD CHECK (state IN ('pending', 'ready', 'failed', 'needs_attention', 'canceled', 'quarantined', 'removed'));
-- What the spec does not name any more and is in AWS still.
ALTER TABLE apps ADD COLUMN retained TEXT COLLATE "C" NOT NULL DEFAULT '{}';
ALTER TABLE apps ALTER COLUMN retained DROP DEFAULT;
-- The app's removal, once it is asked for, and when it is taken apart.
ALTER TABLE apps ADD COLUMN removal TEXT COLLATE "C";
ALTER TABLE apps ADD COLUMN remove_at BIGINT;
ALTER TABLE apps ADD CHECK ((removal IS NULL) = (remove_at IS NULL));
CREATE INDEX apps_remove_at ON apps (remove_at) WHERE remove_at IS NOT NULL;

ALTER TABLE jobs DROP CONSTRAINT jobs_kind_check;
ALTER TABLE jobs ADD CHECK (kind IN ('onboard', 'update', 'repair', 'rotate', 'switch_key', 'offboard', 'restore', 'remove'));
-- What it was asked to do, with what belongs to it.
ALTER TABLE jobs ADD COLUMN task TEXT COLLATE "C";
UPDATE jobs SET task = '{"kind":"' || kind || '"}';
ALTER TABLE jobs ALTER COLUMN task SET NOT NULL;
