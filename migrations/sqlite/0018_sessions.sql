-- People who are signed in by an identity provider.

CREATE TABLE sessions (
    id               TEXT PRIMARY KEY,
    -- The hash of what the browser's cookie holds.
    hash             TEXT NOT NULL UNIQUE,
    issuer           TEXT NOT NULL,
    subject          TEXT NOT NULL,
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
) WITHOUT ROWID;
CREATE INDEX sessions_expires ON sessions (expires_at);
CREATE INDEX sessions_person ON sessions (issuer, subject);

-- What is new in the audit: the beginning and the end of sessions. SQLite alters no CHECK; one that allows more than before
-- leaves what is stored valid, so its text is replaced
-- (https://sqlite.org/lang_altertable.html, "Making Other Kinds Of Table Schema Changes", the simpler procedure).
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, '''trust_rule_deleted''', '''trust_rule_deleted'', ''session_started'', ''session_ended''')
WHERE type = 'table' AND name = 'audit';
PRAGMA writable_schema = RESET;
