-- Jobs that wait until another person has approved their plan.
-- SQLite alters no CHECK, so two tables are made anew (https://sqlite.org/lang_altertable.html); foreign keys are off meanwhile.

CREATE TABLE new_jobs (
    id               TEXT PRIMARY KEY,
    app_id           TEXT NOT NULL REFERENCES apps (id),
    kind             TEXT NOT NULL CHECK (kind IN ('onboard', 'update', 'repair', 'rotate', 'set_key_status', 'offboard', 'restore', 'remove')),
    -- What it was asked to do, with what belongs to it.
    task             TEXT NOT NULL,
    state            TEXT NOT NULL CHECK (state IN ('awaiting_approval', 'queued', 'running', 'waiting', 'succeeded', 'failed', 'needs_attention', 'canceled')),
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
    -- Whether another person has to approve its plan.
    needs_approval   BIGINT NOT NULL DEFAULT 0 CHECK (needs_approval IN (0, 1)),
    CHECK ((state = 'running') = (lease_owner IS NOT NULL)),
    CHECK ((state = 'running') = (lease_until IS NOT NULL)),
    CHECK ((state = 'waiting') = (next_attempt_at IS NOT NULL)),
    CHECK ((state IN ('succeeded', 'failed', 'needs_attention', 'canceled')) = (finished_at IS NOT NULL)),
    CHECK ((state = 'succeeded') = (result IS NOT NULL)),
    CHECK ((state IN ('failed', 'needs_attention')) = (error IS NOT NULL))
) WITHOUT ROWID;

INSERT INTO new_jobs (id, app_id, kind, task, state, attempt, reason, next_attempt_at, result, error, requested_by, cancel_requested,
    created_at, started_at, finished_at, deadline_at, lease_owner, lease_token, lease_until, seq)
SELECT id, app_id, kind, task, state, attempt, reason, next_attempt_at, result, error, requested_by, cancel_requested,
    created_at, started_at, finished_at, deadline_at, lease_owner, lease_token, lease_until, seq FROM jobs;
DROP TABLE jobs;
ALTER TABLE new_jobs RENAME TO jobs;
CREATE UNIQUE INDEX jobs_active_app ON jobs (app_id) WHERE state IN ('awaiting_approval', 'queued', 'running', 'waiting');
CREATE UNIQUE INDEX jobs_seq ON jobs (seq);
CREATE INDEX jobs_active ON jobs (seq) WHERE finished_at IS NULL;
CREATE INDEX jobs_app ON jobs (app_id, seq);
CREATE INDEX jobs_state ON jobs (state, seq);
CREATE INDEX jobs_kind ON jobs (kind, seq);
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE TRIGGER jobs_seq AFTER INSERT ON jobs BEGIN UPDATE jobs SET seq = (SELECT MAX(seq) + 1 FROM jobs) WHERE id = NEW.id; END;

CREATE TABLE approvals (
    job_id        TEXT PRIMARY KEY REFERENCES jobs (id),
    state         TEXT NOT NULL CHECK (state IN ('pending', 'approved', 'rejected', 'expired', 'canceled')),
    reasons       TEXT NOT NULL,
    -- The plan, and its digest.
    changes       TEXT NOT NULL,
    warnings      TEXT NOT NULL,
    plan_digest   TEXT NOT NULL,
    -- How it differs from the plan that was approved before.
    difference    TEXT,
    -- The change of the app's record that comes with the approval.
    record_change TEXT,
    -- The person or program behind the request.
    requester     TEXT NOT NULL,
    expires_at    BIGINT NOT NULL,
    decided_by    TEXT,
    decided_at    BIGINT,
    comment       TEXT,
    break_glass   BIGINT NOT NULL CHECK (break_glass IN (0, 1)),
    CHECK ((state = 'pending') = (decided_at IS NULL)),
    CHECK (state = 'pending' OR record_change IS NULL)
) WITHOUT ROWID;
CREATE INDEX approvals_pending ON approvals (expires_at) WHERE state = 'pending';

-- What is new in the audit: decisions on plans, exchanged tokens and trust rules.
CREATE TABLE new_audit (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    at        BIGINT NOT NULL,
    actor     TEXT NOT NULL,
    action    TEXT NOT NULL CHECK (action IN ('job_requested', 'cancel_requested', 'retry_requested', 'job_approved',
        'job_rejected', 'change_applied', 'step_failed', 'job_ended', 'secret_claimed', 'token_created', 'token_revoked',
        'account_registered', 'account_updated', 'account_verified', 'account_deleted', 'token_exchanged', 'trust_rule_created',
        'trust_rule_deleted')),
    app_id    TEXT,
    app       TEXT,
    account   TEXT,
    job_id    TEXT,
    resource  TEXT,
    -- The AWS operation that changed something or was refused.
    service   TEXT,
    operation TEXT,
    detail    TEXT NOT NULL,
    CHECK ((app_id IS NULL) = (app IS NULL)),
    CHECK (app_id IS NULL OR account IS NOT NULL),
    CHECK ((service IS NULL) = (operation IS NULL))
);
INSERT INTO sqlite_sequence (name, seq) SELECT 'new_audit', seq FROM sqlite_sequence WHERE name = 'audit';
INSERT INTO new_audit (seq, at, actor, action, app_id, app, account, job_id, resource, service, operation, detail)
SELECT seq, at, actor, action, app_id, app, account, job_id, resource, service, operation, detail FROM audit;
DROP TABLE audit;
ALTER TABLE new_audit RENAME TO audit;
CREATE INDEX audit_at ON audit (at, seq);
CREATE INDEX audit_app ON audit (app_id, at, seq) WHERE app_id IS NOT NULL;
CREATE INDEX audit_job ON audit (job_id, at, seq) WHERE job_id IS NOT NULL;
CREATE INDEX audit_resource ON audit (resource, at, seq) WHERE resource IS NOT NULL;
CREATE INDEX audit_operation ON audit (operation, at, seq) WHERE operation IS NOT NULL;
CREATE INDEX audit_actor ON audit (actor, at, seq);
CREATE INDEX audit_action ON audit (action, at, seq);
