-- People who are signed in by an identity provider.

CREATE TABLE sessions (
    id               TEXT COLLATE "C" PRIMARY KEY,
    -- The hash of what the browser's cookie holds.
    hash             TEXT COLLATE "C" NOT NULL UNIQUE,
    issuer           TEXT COLLATE "C" NOT NULL,
    subject          TEXT COLLATE "C" NOT NULL,
    -- The name of the caller, and what the identity provider calls the person.
    name             TEXT NOT NULL,
    display_name     TEXT,
    role             TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'approver', 'admin')),
    -- NULL for everything.
    scope            TEXT,
    created_at       BIGINT NOT NULL,
    -- When the person last proved to the identity provider who they are; NULL if it does not tell.
    authenticated_at BIGINT,
    used_at          BIGINT NOT NULL,
    expires_at       BIGINT NOT NULL
);
CREATE INDEX sessions_expires ON sessions (expires_at);
CREATE INDEX sessions_person ON sessions (issuer, subject);

-- What is new in the audit: the beginning and the end of sessions, whatever else is in it.
DO $$
DECLARE allowed TEXT;
BEGIN
    SELECT pg_get_constraintdef(oid) INTO STRICT allowed FROM pg_constraint
        WHERE conrelid = 'audit'::regclass AND conname = 'audit_action_check';
    ALTER TABLE audit DROP CONSTRAINT audit_action_check;
    EXECUTE 'ALTER TABLE audit ADD CONSTRAINT audit_action_check '
        || replace(allowed, '''trust_rule_deleted''', '''trust_rule_deleted'', ''session_started'', ''session_ended''');
END $$;
