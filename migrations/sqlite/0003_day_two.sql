-- Jobs of more kinds, and what belongs to each; apps that are being removed.
-- SQLite alters no CHECK, so both tables are made anew (https://sqlite.org/lang_altertable.html, "Making Other
-- Kinds Of Table Schema Changes"); foreign keys are off meanwhile.

CREATE TABLE new_apps (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    -- The name without regard to case: IAM takes names that differ only by case for the same.
    name_key   TEXT NOT NULL UNIQUE,
    account    TEXT NOT NULL,
    spec       TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('pending', 'ready', 'failed', 'needs_attention', 'canceled', 'quarantined', 'removed')),
    version    BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    -- What the spec does not name any more and is in AWS still.
    retained   TEXT NOT NULL,
    -- The app's removal, once it is asked for, and when it is taken apart.
    removal    TEXT,
    remove_at  BIGINT,
    CHECK ((removal IS NULL) = (remove_at IS NULL))
) WITHOUT ROWID;

INSERT INTO new_apps (id, name, name_key, account, spec, state, version, created_by, created_at, updated_at, retained)
SELECT id, name, name_key, account, spec, state, version, created_by, created_at, updated_at, '{}' FROM apps;
DROP TABLE apps;
ALTER TABLE new_apps RENAME TO apps;
CREATE INDEX apps_remove_at ON apps (remove_at) WHERE remove_at IS NOT NULL;

CREATE TABLE new_jobs (
    id               TEXT PRIMARY KEY,
    app_id           TEXT NOT NULL REFERENCES apps (id),
    kind             TEXT NOT NULL CHECK (kind IN ('onboard', 'update', 'repair', 'rotate', 'switch_key', 'offboard', 'restore', 'remove')),
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
    CHECK ((state = 'running') = (lease_owner IS NOT NULL)),
    CHECK ((state = 'running') = (lease_until IS NOT NULL)),
    CHECK ((state = 'waiting') = (next_attempt_at IS NOT NULL)),
    CHECK ((state IN ('succeeded', 'failed', 'needs_attention', 'canceled')) = (finished_at IS NOT NULL)),
    CHECK ((state = 'succeeded') = (result IS NOT NULL)),
    CHECK ((state IN ('failed', 'needs_attention')) = (error IS NOT NULL))
) WITHOUT ROWID;

INSERT INTO new_jobs (id, app_id, kind, task, state, attempt, reason, next_attempt_at, result, error, requested_by, cancel_requested,
    created_at, started_at, finished_at, deadline_at, lease_owner, lease_token, lease_until)
SELECT id, app_id, kind, '{"kind":"' || kind || '"}', state, attempt, reason, next_attempt_at, result, error, requested_by, cancel_requested,
    created_at, started_at, finished_at, deadline_at, lease_owner, lease_token, lease_until FROM jobs;
DROP TABLE jobs;
ALTER TABLE new_jobs RENAME TO jobs;
CREATE UNIQUE INDEX jobs_active_app ON jobs (app_id) WHERE state IN ('queued', 'running', 'waiting');
CREATE INDEX jobs_active ON jobs (id) WHERE finished_at IS NULL;
CREATE INDEX jobs_app ON jobs (app_id, id);
CREATE INDEX jobs_state ON jobs (state, id);
CREATE INDEX jobs_kind ON jobs (kind, id);
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;
