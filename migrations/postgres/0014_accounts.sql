-- Registered accounts, in which apps live beside the service's own.

CREATE TABLE accounts (
    name        TEXT COLLATE "C" PRIMARY KEY,
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
);

ALTER TABLE audit DROP CONSTRAINT audit_action_check;
ALTER TABLE audit ADD CONSTRAINT audit_action_check CHECK (action IN ('job_requested', 'cancel_requested', 'retry_requested',
    'change_applied', 'step_failed', 'job_ended', 'secret_claimed', 'token_created', 'token_revoked', 'account_registered',
    'account_updated', 'account_verified', 'account_deleted'));
ALTER TABLE audit DROP CONSTRAINT audit_check1;
ALTER TABLE audit ADD CONSTRAINT audit_account_check CHECK (app_id IS NULL OR account IS NOT NULL);

CREATE INDEX apps_account ON apps (account);
