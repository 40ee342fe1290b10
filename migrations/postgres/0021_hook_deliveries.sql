-- Deliveries of incoming webhooks: each is remembered in the commit of what follows from it, so a repeated one does nothing.

CREATE TABLE hook_deliveries (
    seq           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source        TEXT COLLATE "C" NOT NULL,
    delivery_id   TEXT COLLATE "C" NOT NULL,
    -- The signatures of forges are over the body, and not over the id.
    body_digest   TEXT NOT NULL,
    received_at   BIGINT NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('ignored', 'pending', 'done', 'failed')),
    -- What happened to which repository. An ignored delivery has none.
    repository_id TEXT,
    event         TEXT,
    -- The commit whose file was applied.
    applied_commit TEXT,
    -- What became of it, or why it is tried again.
    outcome       TEXT,
    attempts      BIGINT NOT NULL DEFAULT 0,
    retry_at      BIGINT,
    -- Rises with every claim, so who lost the lease records nothing.
    lease_token   BIGINT NOT NULL DEFAULT 0,
    lease_until   BIGINT,
    UNIQUE (source, delivery_id),
    UNIQUE (source, body_digest),
    CHECK (state = 'ignored' OR (repository_id IS NOT NULL AND event IS NOT NULL))
);
CREATE INDEX hook_deliveries_pending ON hook_deliveries (source, repository_id, seq) WHERE state = 'pending';
CREATE INDEX hook_deliveries_applied ON hook_deliveries (source, repository_id, seq) WHERE applied_commit IS NOT NULL;
CREATE INDEX hook_deliveries_received ON hook_deliveries (received_at);
