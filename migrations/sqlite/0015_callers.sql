-- Who calls: tokens with a scope and an end, and pipelines by their ID tokens.

CREATE TABLE new_tokens (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    role       TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'approver', 'admin')),
    hash       TEXT NOT NULL UNIQUE,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    -- NULL for everything.
    scope      TEXT,
    expires_at BIGINT,
    -- Who is behind it, and the person it counts as; NULL where that is the token itself.
    identity   TEXT,
    person     TEXT
);
INSERT INTO new_tokens (id, name, role, hash, created_by, created_at) SELECT id, name, role, hash, created_by, created_at FROM tokens;
DROP TABLE tokens;
ALTER TABLE new_tokens RENAME TO tokens;

CREATE INDEX tokens_expires ON tokens (expires_at) WHERE expires_at IS NOT NULL;

-- Who is behind the names of callers that an identity provider vouches for.
CREATE TABLE actors (
    name     TEXT PRIMARY KEY,
    identity TEXT NOT NULL,
    seen_at  BIGINT NOT NULL
) WITHOUT ROWID;

-- Which ID tokens of which issuers are exchanged for what.
CREATE TABLE trust_rules (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    issuer     TEXT NOT NULL,
    rule       TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX trust_rules_issuer ON trust_rules (issuer);

-- ID tokens that were exchanged, until they expire: each is accepted once.
CREATE TABLE used_tokens (
    id         TEXT PRIMARY KEY,
    expires_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX used_tokens_expires ON used_tokens (expires_at);

-- SQLite alters no CHECK, so the table is made anew; its numbers go on.
CREATE TABLE new_audit (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    at        BIGINT NOT NULL,
    actor     TEXT NOT NULL,
    action    TEXT NOT NULL CHECK (action IN ('job_requested', 'cancel_requested', 'retry_requested', 'change_applied', 'step_failed',
        'job_ended', 'secret_claimed', 'token_created', 'token_revoked', 'account_registered', 'account_updated', 'account_verified',
        'account_deleted', 'token_exchanged', 'trust_rule_created', 'trust_rule_deleted')),
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
