-- Tables are kept by their key (WITHOUT ROWID) where the key is a text: one tree to write instead of two.
-- Times are milliseconds since the Unix epoch; ids are ULIDs; documents are JSON as text.

CREATE TABLE apps (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    -- The name without regard to case: IAM takes names that differ only by case for the same.
    name_key   TEXT NOT NULL UNIQUE,
    account    TEXT NOT NULL,
    spec       TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('pending', 'ready', 'failed', 'needs_attention', 'canceled')),
    version    BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE jobs (
    id               TEXT PRIMARY KEY,
    app_id           TEXT NOT NULL REFERENCES apps (id),
    kind             TEXT NOT NULL CHECK (kind IN ('onboard', 'repair')),
    state            TEXT NOT NULL CHECK (state IN ('queued', 'running', 'waiting', 'succeeded', 'failed', 'needs_attention', 'canceled')),
    attempt          BIGINT NOT NULL,
    reason           TEXT,
    next_attempt_at  BIGINT,
    result           TEXT,
    error            TEXT,
    requested_by     TEXT NOT NULL,
    cancel_requested BIGINT NOT NULL CHECK (cancel_requested IN (0, 1)),
    created_at       BIGINT NOT NULL,
    started_at       BIGINT,
    finished_at      BIGINT,
    deadline_at      BIGINT,
    lease_owner      TEXT,
    -- Rises with every claim; a worker's writes name it, so one that lost its lease writes nothing.
    lease_token      BIGINT NOT NULL,
    lease_until      BIGINT,
    CHECK ((state = 'running') = (lease_owner IS NOT NULL)),
    CHECK ((state = 'running') = (lease_until IS NOT NULL)),
    CHECK ((state = 'waiting') = (next_attempt_at IS NOT NULL)),
    CHECK ((state IN ('succeeded', 'failed', 'needs_attention', 'canceled')) = (finished_at IS NOT NULL)),
    CHECK ((state = 'succeeded') = (result IS NOT NULL)),
    CHECK ((state IN ('failed', 'needs_attention')) = (error IS NOT NULL))
) WITHOUT ROWID;

-- At most one active job per app.
CREATE UNIQUE INDEX jobs_active_app ON jobs (app_id) WHERE state IN ('queued', 'running', 'waiting');
CREATE INDEX jobs_active ON jobs (id) WHERE state IN ('queued', 'running', 'waiting');
CREATE INDEX jobs_app ON jobs (app_id, id);

CREATE TABLE steps (
    job_id      TEXT NOT NULL REFERENCES jobs (id),
    position    BIGINT NOT NULL,
    resource    TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('pending', 'running', 'waiting', 'done', 'failed', 'skipped')),
    changes     TEXT NOT NULL,
    attempts    BIGINT NOT NULL,
    error       TEXT,
    duration_ms BIGINT,
    PRIMARY KEY (job_id, position)
) WITHOUT ROWID;

CREATE TABLE events (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT NOT NULL REFERENCES jobs (id),
    at     BIGINT NOT NULL,
    data   TEXT NOT NULL
);

CREATE INDEX events_job ON events (job_id, seq);

-- What jobs made or looked at, by app. Not what is in AWS: that is only in AWS.
CREATE TABLE resources (
    app_id     TEXT NOT NULL REFERENCES apps (id),
    resource   TEXT NOT NULL,
    arn        TEXT,
    -- Whether a job of this app created it.
    made       BIGINT NOT NULL CHECK (made IN (0, 1)),
    state      TEXT NOT NULL CHECK (state IN ('pending', 'running', 'waiting', 'done', 'failed', 'skipped')),
    error      TEXT,
    job_id     TEXT NOT NULL REFERENCES jobs (id),
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (app_id, resource)
) WITHOUT ROWID;

-- Written before CreateAccessKey is called; open until its outcome is known.
CREATE TABLE key_intents (
    id         TEXT PRIMARY KEY,
    app_id     TEXT NOT NULL REFERENCES apps (id),
    job_id     TEXT NOT NULL REFERENCES jobs (id),
    known_keys TEXT NOT NULL,
    at         BIGINT NOT NULL,
    closed_at  BIGINT
);

CREATE UNIQUE INDEX key_intents_open ON key_intents (app_id) WHERE closed_at IS NULL;

CREATE TABLE credentials (
    id            TEXT PRIMARY KEY,
    app_id        TEXT NOT NULL REFERENCES apps (id),
    job_id        TEXT NOT NULL REFERENCES jobs (id),
    access_key_id TEXT NOT NULL UNIQUE,
    -- The sealed secret, while it is to be shown; NULL once it is destroyed.
    sealed        BLOB,
    seal_key      TEXT NOT NULL,
    secret        TEXT NOT NULL CHECK (secret IN ('unclaimed', 'claimed', 'expired')),
    readiness     TEXT NOT NULL CHECK (readiness IN ('ready', 'unverified')),
    created_at    BIGINT NOT NULL,
    claimed_at    BIGINT,
    claimed_by    TEXT,
    -- A hash of the claim's Idempotency-Key, with which the same caller can repeat it for a while.
    claim_key     TEXT,
    -- When the key was found to be gone from AWS.
    gone_at       BIGINT,
    CHECK (secret <> 'unclaimed' OR sealed IS NOT NULL),
    CHECK (secret <> 'expired' OR sealed IS NULL),
    CHECK ((secret = 'claimed') = (claimed_at IS NOT NULL))
);

CREATE INDEX credentials_app ON credentials (app_id);
CREATE INDEX credentials_sealed ON credentials (secret) WHERE sealed IS NOT NULL;

CREATE TABLE idempotency (
    caller      TEXT NOT NULL,
    route       TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    status      BIGINT NOT NULL,
    location    TEXT,
    body        TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (caller, route, key)
) WITHOUT ROWID;

CREATE INDEX idempotency_age ON idempotency (created_at);

CREATE TABLE tokens (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    role       TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    hash       TEXT NOT NULL UNIQUE,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
