-- The names that the field uses: of a kind of job, of the stages of a rotation, of columns and of fields in documents.
-- SQLite alters no CHECK, so two tables are made anew (https://sqlite.org/lang_altertable.html); foreign keys are off meanwhile.

CREATE TABLE new_jobs (
    id               TEXT PRIMARY KEY,
    app_id           TEXT NOT NULL REFERENCES apps (id),
    kind             TEXT NOT NULL CHECK (kind IN ('onboard', 'update', 'repair', 'rotate', 'set_key_status', 'offboard', 'restore', 'remove')),
    -- What it was asked to do, with what belongs to it.
    task             TEXT NOT NULL,
    state            TEXT NOT NULL CHECK (state IN ('queued', 'running', 'waiting', 'succeeded', 'failed', 'needs_attention', 'canceled')),
    attempt          BIGINT NOT NULL,
    reason           TEXT,
    next_attempt_at  BIGINT,
    result           TEXT,
    error            TEXT,
    requested_by     TEXT NOT NULL,
    cancel_requested BIGINT NOT NULL CHECK (cancel_requested IN (0, 1)),
    created_at       BIGINT NOT NULL,
    started_at       BIGINT,
    finished_at      BIGINT,
    deadline_at      BIGINT,
    lease_owner      TEXT,
    -- Rises with every claim; a worker's writes name it, so one that lost its lease writes nothing.
    lease_token      BIGINT NOT NULL,
    lease_until      BIGINT,
    -- The order in which jobs came, given by the database.
    seq              BIGINT NOT NULL DEFAULT 0,
    CHECK ((state = 'running') = (lease_owner IS NOT NULL)),
    CHECK ((state = 'running') = (lease_until IS NOT NULL)),
    CHECK ((state = 'waiting') = (next_attempt_at IS NOT NULL)),
    CHECK ((state IN ('succeeded', 'failed', 'needs_attention', 'canceled')) = (finished_at IS NOT NULL)),
    CHECK ((state = 'succeeded') = (result IS NOT NULL)),
    CHECK ((state IN ('failed', 'needs_attention')) = (error IS NOT NULL))
) WITHOUT ROWID;

INSERT INTO new_jobs (id, app_id, kind, task, state, attempt, reason, next_attempt_at, result, error, requested_by, cancel_requested,
    created_at, started_at, finished_at, deadline_at, lease_owner, lease_token, lease_until, seq)
SELECT id, app_id, CASE kind WHEN 'switch_key' THEN 'set_key_status' ELSE kind END, replace(task, '"kind":"switch_key"', '"kind":"set_key_status"'), state, attempt, reason, next_attempt_at, result, error, requested_by, cancel_requested,
    created_at, started_at, finished_at, deadline_at, lease_owner, lease_token, lease_until, seq FROM jobs;
DROP TABLE jobs;
ALTER TABLE new_jobs RENAME TO jobs;
CREATE UNIQUE INDEX jobs_active_app ON jobs (app_id) WHERE state IN ('queued', 'running', 'waiting');
CREATE UNIQUE INDEX jobs_seq ON jobs (seq);
CREATE INDEX jobs_active ON jobs (seq) WHERE finished_at IS NULL;
CREATE INDEX jobs_app ON jobs (app_id, seq);
CREATE INDEX jobs_state ON jobs (state, seq);
CREATE INDEX jobs_kind ON jobs (kind, seq);
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE TRIGGER jobs_seq AFTER INSERT ON jobs BEGIN UPDATE jobs SET seq = (SELECT MAX(seq) + 1 FROM jobs) WHERE id = NEW.id; END;

CREATE TABLE new_rotations (
    id           TEXT PRIMARY KEY,
    app_id       TEXT NOT NULL REFERENCES apps (id),
    stage        TEXT NOT NULL CHECK (stage IN ('creating', 'awaiting_claim', 'draining', 'deactivating', 'pending_deletion', 'deleting',
                 'rolling_back', 'done', 'rolled_back', 'stopped')),
    -- What its first job is asked to do, also when it is asked again.
    task         TEXT NOT NULL,
    new_key      TEXT,
    old_key      TEXT,
    forced       BIGINT NOT NULL CHECK (forced IN (0, 1)),
    -- How long the old key is off before it is deleted, in milliseconds.
    hold         BIGINT NOT NULL,
    requested_by TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    -- When its stage began, and when it goes on or looks again; NULL while a job is at work.
    since        BIGINT NOT NULL,
    due_at       BIGINT,
    reason       TEXT,
    error        TEXT,
    -- How often in a row the job of its stage has not succeeded.
    failures     BIGINT NOT NULL,
    -- The last job that was asked for; it may have been removed with old history since.
    job_id       TEXT,
    ended_at     BIGINT,
    -- The order in which rotations came, given by the database.
    seq          BIGINT NOT NULL DEFAULT 0,
    CHECK ((stage IN ('done', 'rolled_back', 'stopped')) = (ended_at IS NOT NULL)),
    CHECK (ended_at IS NULL OR due_at IS NULL)
) WITHOUT ROWID;

INSERT INTO new_rotations (id, app_id, stage, task, new_key, old_key, forced, hold, requested_by, created_at, since, due_at, reason, error, failures, job_id, ended_at, seq)
SELECT id, app_id, CASE stage WHEN 'making' THEN 'creating' WHEN 'claiming' THEN 'awaiting_claim' WHEN 'watching' THEN 'draining'
    WHEN 'switching_off' THEN 'deactivating' WHEN 'holding' THEN 'pending_deletion' ELSE stage END, replace(task, '"kind":"switch_key"', '"kind":"set_key_status"'), new_key, old_key, forced, hold, requested_by, created_at, since, due_at, reason, error, failures, job_id, ended_at, seq FROM rotations;
DROP TABLE rotations;
ALTER TABLE new_rotations RENAME TO rotations;
CREATE UNIQUE INDEX rotations_active ON rotations (app_id) WHERE ended_at IS NULL;
CREATE UNIQUE INDEX rotations_seq ON rotations (seq);
CREATE INDEX rotations_app ON rotations (app_id, seq);
CREATE INDEX rotations_due ON rotations (due_at) WHERE due_at IS NOT NULL;
CREATE TRIGGER rotations_seq AFTER INSERT ON rotations
BEGIN UPDATE rotations SET seq = (SELECT MAX(seq) + 1 FROM rotations) WHERE id = NEW.id; END;

UPDATE events SET data = replace(data, '"kind":"switch_key"', '"kind":"set_key_status"') WHERE data LIKE '%"kind":"switch_key"%';
UPDATE audit SET detail = replace(detail, '"kind":"switch_key"', '"kind":"set_key_status"') WHERE detail LIKE '%"kind":"switch_key"%';
ALTER TABLE drift_reports RENAME COLUMN looked_at TO checked_at;
UPDATE drift_reports SET report = replace(replace(report, '"looked_at":', '"checked_at":'), '"remove_with":', '"removal_request":');
ALTER TABLE credentials RENAME COLUMN seal_key TO encryption_key;
