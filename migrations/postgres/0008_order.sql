-- The order in which rows came, given by the database: ids are made by the clocks of replicas, which may be apart, or
-- be set back. Of one app the numbers rise as its rows are committed, for the app, or its job, is locked by then.

ALTER TABLE apps ADD COLUMN seq BIGINT;
ALTER TABLE jobs ADD COLUMN seq BIGINT;
ALTER TABLE credentials ADD COLUMN seq BIGINT;
ALTER TABLE rotations ADD COLUMN seq BIGINT;

UPDATE apps SET seq = old.seq FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY id) AS seq FROM apps) AS old WHERE old.id = apps.id;
UPDATE jobs SET seq = old.seq FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY id) AS seq FROM jobs) AS old WHERE old.id = jobs.id;
UPDATE credentials SET seq = old.seq FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY id) AS seq FROM credentials) AS old WHERE old.id = credentials.id;
UPDATE rotations SET seq = old.seq FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY id) AS seq FROM rotations) AS old WHERE old.id = rotations.id;

ALTER TABLE apps ALTER COLUMN seq SET NOT NULL, ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY;
ALTER TABLE jobs ALTER COLUMN seq SET NOT NULL, ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY;
ALTER TABLE credentials ALTER COLUMN seq SET NOT NULL, ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY;
ALTER TABLE rotations ALTER COLUMN seq SET NOT NULL, ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY;

SELECT setval(pg_get_serial_sequence('apps', 'seq'), (SELECT COALESCE(MAX(seq), 0) + 1 FROM apps), false);
SELECT setval(pg_get_serial_sequence('jobs', 'seq'), (SELECT COALESCE(MAX(seq), 0) + 1 FROM jobs), false);
SELECT setval(pg_get_serial_sequence('credentials', 'seq'), (SELECT COALESCE(MAX(seq), 0) + 1 FROM credentials), false);
SELECT setval(pg_get_serial_sequence('rotations', 'seq'), (SELECT COALESCE(MAX(seq), 0) + 1 FROM rotations), false);

CREATE UNIQUE INDEX apps_seq ON apps (seq);
CREATE UNIQUE INDEX jobs_seq ON jobs (seq);
CREATE UNIQUE INDEX credentials_seq ON credentials (seq);
CREATE UNIQUE INDEX rotations_seq ON rotations (seq);

-- Lists and looks for what is latest go by it.
DROP INDEX jobs_active;
DROP INDEX jobs_app;
DROP INDEX jobs_state;
DROP INDEX jobs_kind;
DROP INDEX credentials_app;
DROP INDEX rotations_app;
CREATE INDEX jobs_active ON jobs (seq) WHERE finished_at IS NULL;
CREATE INDEX jobs_app ON jobs (app_id, seq);
CREATE INDEX jobs_state ON jobs (state, seq);
CREATE INDEX jobs_kind ON jobs (kind, seq);
CREATE INDEX credentials_app ON credentials (app_id, seq);
CREATE INDEX rotations_app ON rotations (app_id, seq);
