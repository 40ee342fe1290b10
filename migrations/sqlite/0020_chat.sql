-- Chat: which chat user is which person, and what chat users have asked for.

CREATE TABLE chat_links (
    id           TEXT PRIMARY KEY,
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
) WITHOUT ROWID;
CREATE INDEX chat_links_person ON chat_links (issuer, subject);

-- One-time codes by which a person who is signed in ties a chat user.
CREATE TABLE chat_codes (
    hash       TEXT PRIMARY KEY,
    platform   TEXT NOT NULL CHECK (platform IN ('slack', 'mattermost')),
    team       TEXT NOT NULL,
    chat_user  TEXT NOT NULL,
    -- What the platform calls the user. It is only shown.
    user_name  TEXT NOT NULL,
    expires_at BIGINT NOT NULL
) WITHOUT ROWID;

-- Requests, the replies to them, and the messages that follow their jobs.
CREATE TABLE chat_requests (
    id            TEXT PRIMARY KEY,
    -- The same for every delivery of one request.
    request_key   TEXT NOT NULL UNIQUE,
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
) WITHOUT ROWID;
CREATE INDEX chat_requests_due ON chat_requests (due_at) WHERE state <> 'ended';
CREATE INDEX chat_requests_job ON chat_requests (job_id) WHERE state = 'following';
CREATE INDEX chat_requests_ended ON chat_requests (created_at) WHERE state = 'ended';

-- What is new in the audit. SQLite alters no CHECK; one that allows more than before leaves what is stored valid, so its
-- text is replaced (https://sqlite.org/lang_altertable.html, "Making Other Kinds Of Table Schema Changes").
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, '''webhook_disabled''', '''webhook_disabled'', ''chat_user_linked'', ''chat_user_unlinked''')
WHERE type = 'table' AND name = 'audit';
PRAGMA writable_schema = RESET;
