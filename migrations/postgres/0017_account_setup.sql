-- The set-up of an account is a subject of jobs, as an app is: a row of `apps` that is no app.

ALTER TABLE apps ADD COLUMN subject TEXT NOT NULL DEFAULT 'app' CHECK (subject IN ('app', 'account'));

-- The person whose first console password this is. An access key has none.
ALTER TABLE credentials ADD COLUMN person TEXT;
CREATE INDEX credentials_person ON credentials (app_id, person, seq) WHERE person IS NOT NULL;

ALTER TABLE jobs DROP CONSTRAINT jobs_kind_check;
ALTER TABLE jobs ADD CONSTRAINT jobs_kind_check CHECK (kind IN ('onboard', 'update', 'repair', 'rotate', 'set_key_status', 'offboard',
    'restore', 'remove', 'setup_account'));

-- One more action, whatever the others are.
DO $$
DECLARE allowed TEXT;
BEGIN
    SELECT pg_get_constraintdef(oid) INTO STRICT allowed FROM pg_constraint
        WHERE conrelid = 'audit'::regclass AND conname = 'audit_action_check';
    ALTER TABLE audit DROP CONSTRAINT audit_action_check;
    EXECUTE 'ALTER TABLE audit ADD CONSTRAINT audit_action_check '
        || replace(allowed, '''secret_claimed''', '''secret_claimed'', ''password_claimed''');
END $$;
