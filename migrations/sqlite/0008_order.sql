-- The order in which rows came, given by the database: ids are made by the clocks of replicas, which may be apart, or
-- be set back. SQLite has one writer, so the next number is one more than the highest.

ALTER TABLE apps ADD COLUMN seq BIGINT NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN seq BIGINT NOT NULL DEFAULT 0;
ALTER TABLE credentials ADD COLUMN seq BIGINT NOT NULL DEFAULT 0;
ALTER TABLE rotations ADD COLUMN seq BIGINT NOT NULL DEFAULT 0;

UPDATE apps SET seq = old.seq FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY id) AS seq FROM apps) AS old WHERE old.id = apps.id;
UPDATE jobs SET seq = old.seq FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY id) AS seq FROM jobs) AS old WHERE old.id = jobs.id;
UPDATE credentials SET seq = old.seq FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY id) AS seq FROM credentials) AS old WHERE old.id = credentials.id;
UPDATE rotations SET seq = old.seq FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY id) AS seq FROM rotations) AS old WHERE old.id = rotations.id;

CREATE UNIQUE INDEX apps_seq ON apps (seq);
CREATE UNIQUE INDEX jobs_seq ON jobs (seq);
CREATE UNIQUE INDEX credentials_seq ON credentials (seq);
CREATE UNIQUE INDEX rotations_seq ON rotations (seq);

CREATE TRIGGER apps_seq AFTER INSERT ON apps BEGIN UPDATE apps SET seq = (SELECT MAX(seq) + 1 FROM apps) WHERE id = NEW.id; END;
CREATE TRIGGER jobs_seq AFTER INSERT ON jobs BEGIN UPDATE jobs SET seq = (SELECT MAX(seq) + 1 FROM jobs) WHERE id = NEW.id; END;
CREATE TRIGGER credentials_seq AFTER INSERT ON credentials
BEGIN UPDATE credentials SET seq = (SELECT MAX(seq) + 1 FROM credentials) WHERE id = NEW.id; END;
CREATE TRIGGER rotations_seq AFTER INSERT ON rotations
BEGIN UPDATE rotations SET seq = (SELECT MAX(seq) + 1 FROM rotations) WHERE id = NEW.id; END;

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
