-- Chat: which chat user is which person, and what chat users have asked for.

CREATE TABLE chat_links (
    id           TEXT COLLATE "C" PRIMARY KEY,
    platform     TEXT NOT NULL CHECK (platform IN ('slack', 'mattermost')),
    team         TEXT NOT NULL,
    chat_user    TEXT NOT NULL,
    issuer       TEXT NOT NULL,
    subject      TEXT NOT NULL,
    -- The name of the caller, and what the identity provider calls the person.
    name         TEXT NOT NULL,
    display_name TEXT,
    -- Those of the last sign-in. NULL for everything.
    role         TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'approver', 'admin')),
    scope        TEXT,
    created_at   BIGINT NOT NULL,
    signed_in_at BIGINT NOT NULL,
    UNIQUE (platform, team, chat_user)
);
CREATE INDEX chat_links_person ON chat_links (issuer, subject);

-- One-time codes by which a person who is signed in ties a chat user.
CREATE TABLE chat_codes (
    hash       TEXT COLLATE "C" PRIMARY KEY,
    platform   TEXT NOT NULL CHECK (platform IN ('slack', 'mattermost')),
    team       TEXT NOT NULL,
    chat_user  TEXT NOT NULL,
    -- What the platform calls the user. It is only shown.
    user_name  TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);

-- Requests, the replies to them, and the messages that follow their jobs.
CREATE TABLE chat_requests (
    id            TEXT COLLATE "C" PRIMARY KEY,
    -- The same for every delivery of one request.
    request_key   TEXT COLLATE "C" NOT NULL UNIQUE,
    platform      TEXT NOT NULL CHECK (platform IN ('slack', 'mattermost')),
    team          TEXT NOT NULL,
    chat_user     TEXT NOT NULL,
    channel       TEXT NOT NULL,
    command       TEXT NOT NULL,
    -- Where the platform takes replies for 30 minutes.
    response_url  TEXT,
    state         TEXT NOT NULL CHECK (state IN ('received', 'replying', 'following', 'ended')),
    reply         TEXT,
    job_id        TEXT,
    -- The message of the job as the platform names it, and the hash of what it shows.
    message       TEXT,
    shown         TEXT,
    failures      BIGINT NOT NULL,
    failing_since BIGINT,
    due_at        BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    -- Rises with every claim; a worker's writes name it, so one that lost its lease writes nothing.
    lease_token   BIGINT NOT NULL,
    lease_until   BIGINT
);
CREATE INDEX chat_requests_due ON chat_requests (due_at) WHERE state <> 'ended';
CREATE INDEX chat_requests_job ON chat_requests (job_id) WHERE state = 'following';
CREATE INDEX chat_requests_ended ON chat_requests (created_at) WHERE state = 'ended';

-- What is new in the audit, whatever else is in it.
DO $$
DECLARE allowed TEXT;
BEGIN
    SELECT pg_get_constraintdef(oid) INTO STRICT allowed FROM pg_constraint
        WHERE conrelid = 'audit'::regclass AND conname = 'audit_action_check';
    ALTER TABLE audit DROP CONSTRAINT audit_action_check;
    EXECUTE 'ALTER TABLE audit ADD CONSTRAINT audit_action_check '
        || replace(allowed, '''webhook_disabled''', '''webhook_disabled'', ''chat_user_linked'', ''chat_user_unlinked''');
END $$;
