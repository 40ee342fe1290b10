-- Registered accounts, in which apps live beside the service's own.

CREATE TABLE accounts (
    name        TEXT PRIMARY KEY,
    account_id  TEXT NOT NULL UNIQUE,
    role_arn    TEXT NOT NULL,
    region      TEXT NOT NULL,
    -- What the request gave, over the defaults of the settings.
    defaults    TEXT NOT NULL,
    external_id TEXT NOT NULL UNIQUE,
    state       TEXT NOT NULL CHECK (state IN ('pending', 'ready', 'blocked', 'unreachable')),
    reason      TEXT,
    alias       TEXT,
    checked_at  BIGINT,
    created_by  TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    -- Rises with every change, so that a check that began before a change does not overwrite it.
    version     BIGINT NOT NULL,
    CHECK ((state IN ('blocked', 'unreachable')) = (reason IS NOT NULL))
) WITHOUT ROWID;

-- SQLite alters no CHECK, so the table is made anew; its numbers go on.
CREATE TABLE new_audit (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    at        BIGINT NOT NULL,
    actor     TEXT NOT NULL,
    action    TEXT NOT NULL CHECK (action IN ('job_requested', 'cancel_requested', 'retry_requested', 'change_applied', 'step_failed',
        'job_ended', 'secret_claimed', 'token_created', 'token_revoked', 'account_registered', 'account_updated', 'account_verified',
        'account_deleted')),
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

CREATE INDEX apps_account ON apps (account);
