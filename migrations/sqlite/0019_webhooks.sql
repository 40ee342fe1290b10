-- Webhooks: who is told of what, what there is to tell, and what was told.

CREATE TABLE webhooks (
    id                      TEXT PRIMARY KEY,
    url                     TEXT NOT NULL,
    description             TEXT,
    -- The types of events; NULL for all.
    events                  TEXT,
    -- NULL for everything.
    scope                   TEXT,
    state                   TEXT NOT NULL CHECK (state IN ('active', 'disabled')),
    disabled_reason         TEXT,
    -- The sealed signing secret, and while a rotation lasts the one before.
    sealed                  BLOB NOT NULL,
    encryption_key          TEXT NOT NULL,
    previous_sealed         BLOB,
    previous_encryption_key TEXT,
    previous_until          BIGINT,
    created_by              TEXT NOT NULL,
    created_at              BIGINT NOT NULL,
    -- Since when no delivery has succeeded, and when the next one is tried.
    failing_since           BIGINT,
    retry_at                BIGINT,
    -- Rises with every claim; a sender's writes name it, so one that lost its lease writes nothing.
    lease_token             BIGINT NOT NULL,
    lease_until             BIGINT,
    CHECK ((state = 'disabled') = (disabled_reason IS NOT NULL)),
    CHECK ((previous_sealed IS NULL) = (previous_until IS NULL)),
    CHECK ((previous_sealed IS NULL) = (previous_encryption_key IS NULL))
) WITHOUT ROWID;

-- The outbox: each row is committed together with what it tells.
CREATE TABLE webhook_events (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT NOT NULL UNIQUE,
    type          TEXT NOT NULL,
    at            BIGINT NOT NULL,
    app           TEXT,
    account       TEXT,
    job_id        TEXT,
    access_key_id TEXT,
    -- The only webhook that it is for.
    webhook_id    TEXT,
    -- Whether the webhooks that it is for are still to be found.
    is_new        BIGINT NOT NULL DEFAULT 1 CHECK (is_new IN (0, 1))
);
CREATE INDEX webhook_events_new ON webhook_events (seq) WHERE is_new = 1;
CREATE INDEX webhook_events_at ON webhook_events (at);

CREATE TABLE webhook_deliveries (
    webhook_id      TEXT NOT NULL REFERENCES webhooks (id),
    event_seq       BIGINT NOT NULL REFERENCES webhook_events (seq),
    state           TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts        BIGINT NOT NULL,
    last_attempt_at BIGINT,
    response_status BIGINT,
    error           TEXT,
    duration_ms     BIGINT,
    PRIMARY KEY (webhook_id, event_seq)
) WITHOUT ROWID;
CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (webhook_id, event_seq) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_event ON webhook_deliveries (event_seq);

-- Which keys were told of: as close to their rotation, and as unused.
ALTER TABLE credentials ADD COLUMN is_told_expiring BIGINT NOT NULL DEFAULT 0 CHECK (is_told_expiring IN (0, 1));
ALTER TABLE credentials ADD COLUMN is_told_unused BIGINT NOT NULL DEFAULT 0 CHECK (is_told_unused IN (0, 1));
ALTER TABLE credentials ADD COLUMN use_checked_at BIGINT;

-- What is new in the audit. SQLite alters no CHECK; one that allows more than before leaves what is stored valid, so its
-- text is replaced (https://sqlite.org/lang_altertable.html, "Making Other Kinds Of Table Schema Changes").
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, '''token_revoked''', '''token_revoked'', ''webhook_created'', ''webhook_updated'', ''webhook_deleted'', ''webhook_secret_rotated'', ''webhook_replayed'', ''webhook_disabled''')
WHERE type = 'table' AND name = 'audit';
PRAGMA writable_schema = RESET;
