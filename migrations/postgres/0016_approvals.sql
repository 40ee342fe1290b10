-- Jobs that wait until another person has approved their plan.

ALTER TABLE jobs DROP CONSTRAINT jobs_state_check;
ALTER TABLE jobs ADD CONSTRAINT jobs_state_check
    CHECK (state IN ('awaiting_approval', 'queued', 'running', 'waiting', 'succeeded', 'failed', 'needs_attention', 'canceled'));
ALTER TABLE jobs ADD COLUMN needs_approval BIGINT NOT NULL DEFAULT 0 CHECK (needs_approval IN (0, 1));
DROP INDEX jobs_active_app;
CREATE UNIQUE INDEX jobs_active_app ON jobs (app_id) WHERE state IN ('awaiting_approval', 'queued', 'running', 'waiting');

CREATE TABLE approvals (
    job_id        TEXT COLLATE "C" PRIMARY KEY REFERENCES jobs (id),
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
);
CREATE INDEX approvals_pending ON approvals (expires_at) WHERE state = 'pending';

-- What is new in the audit: decisions on plans, exchanged tokens and trust rules.
ALTER TABLE audit DROP CONSTRAINT audit_action_check;
ALTER TABLE audit ADD CONSTRAINT audit_action_check CHECK (action IN ('job_requested', 'cancel_requested', 'retry_requested', 'job_approved',
    'job_rejected', 'change_applied', 'step_failed', 'job_ended', 'secret_claimed', 'token_created', 'token_revoked',
    'account_registered', 'account_updated', 'account_verified', 'account_deleted', 'token_exchanged', 'trust_rule_created',
    'trust_rule_deleted'));
