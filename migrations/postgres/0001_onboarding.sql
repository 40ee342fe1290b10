-- Times are milliseconds since the Unix epoch; ids are ULIDs; documents are JSON as text.

CREATE TABLE apps (
    id         TEXT COLLATE "C" PRIMARY KEY,
    name       TEXT COLLATE "C" NOT NULL,
    -- The name without regard to case: IAM takes names that differ only by case for the same.
    name_key   TEXT COLLATE "C" NOT NULL UNIQUE,
    account    TEXT COLLATE "C" NOT NULL,
    spec       TEXT COLLATE "C" NOT NULL,
    state      TEXT COLLATE "C" NOT NULL CHECK (state IN ('pending', 'ready', 'failed', 'needs_attention', 'canceled')),
    version    BIGINT NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE jobs (
    id               TEXT COLLATE "C" PRIMARY KEY,
    app_id           TEXT COLLATE "C" NOT NULL REFERENCES apps (id),
    kind             TEXT COLLATE "C" NOT NULL CHECK (kind IN ('onboard', 'repair')),
    state            TEXT COLLATE "C" NOT NULL CHECK (state IN ('queued', 'running', 'waiting', 'succeeded', 'failed', 'needs_attention', 'canceled')),
    attempt          BIGINT NOT NULL,
    reason           TEXT COLLATE "C",
    next_attempt_at  BIGINT,
    result           TEXT COLLATE "C",
    error            TEXT COLLATE "C",
    requested_by     TEXT COLLATE "C" NOT NULL,
    cancel_requested BIGINT NOT NULL CHECK (cancel_requested IN (0, 1)),
    created_at       BIGINT NOT NULL,
    started_at       BIGINT,
    finished_at      BIGINT,
    deadline_at      BIGINT,
    lease_owner      TEXT COLLATE "C",
    -- Rises with every claim; a worker's writes name it, so one that lost its lease writes nothing.
    lease_token      BIGINT NOT NULL,
    lease_until      BIGINT,
    CHECK ((state = 'running') = (lease_owner IS NOT NULL)),
    CHECK ((state = 'running') = (lease_until IS NOT NULL)),
    CHECK ((state = 'waiting') = (next_attempt_at IS NOT NULL)),
    CHECK ((state IN ('succeeded', 'failed', 'needs_attention', 'canceled')) = (finished_at IS NOT NULL)),
    CHECK ((state = 'succeeded') = (result IS NOT NULL)),
    CHECK ((state IN ('failed', 'needs_attention')) = (error IS NOT NULL))
);

-- At most one active job per app.
CREATE UNIQUE INDEX jobs_active_app ON jobs (app_id) WHERE state IN ('queued', 'running', 'waiting');
CREATE INDEX jobs_active ON jobs (id) WHERE state IN ('queued', 'running', 'waiting');
CREATE INDEX jobs_app ON jobs (app_id, id);

CREATE TABLE steps (
    job_id      TEXT COLLATE "C" NOT NULL REFERENCES jobs (id),
    position    BIGINT NOT NULL,
    resource    TEXT COLLATE "C" NOT NULL,
    state       TEXT COLLATE "C" NOT NULL CHECK (state IN ('pending', 'running', 'waiting', 'done', 'failed', 'skipped')),
    changes     TEXT COLLATE "C" NOT NULL,
    attempts    BIGINT NOT NULL,
    error       TEXT COLLATE "C",
    duration_ms BIGINT,
    PRIMARY KEY (job_id, position)
);

CREATE TABLE events (
    seq    BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id TEXT COLLATE "C" NOT NULL REFERENCES jobs (id),
    at     BIGINT NOT NULL,
    data   TEXT COLLATE "C" NOT NULL
);

CREATE INDEX events_job ON events (job_id, seq);

-- What jobs made or looked at, by app. Not what is in AWS: that is only in AWS.
CREATE TABLE resources (
    app_id     TEXT COLLATE "C" NOT NULL REFERENCES apps (id),
    resource   TEXT COLLATE "C" NOT NULL,
    arn        TEXT COLLATE "C",
    -- Whether a job of this app created it.
    made       BIGINT NOT NULL CHECK (made IN (0, 1)),
    state      TEXT COLLATE "C" NOT NULL CHECK (state IN ('pending', 'running', 'waiting', 'done', 'failed', 'skipped')),
    error      TEXT COLLATE "C",
    job_id     TEXT COLLATE "C" NOT NULL REFERENCES jobs (id),
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (app_id, resource)
);

-- Written before CreateAccessKey is called; open until its outcome is known.
CREATE TABLE key_intents (
    id         TEXT COLLATE "C" PRIMARY KEY,
    app_id     TEXT COLLATE "C" NOT NULL REFERENCES apps (id),
    job_id     TEXT COLLATE "C" NOT NULL REFERENCES jobs (id),
    known_keys TEXT COLLATE "C" NOT NULL,
    at         BIGINT NOT NULL,
    closed_at  BIGINT
);

CREATE UNIQUE INDEX key_intents_open ON key_intents (app_id) WHERE closed_at IS NULL;

CREATE TABLE credentials (
    id            TEXT COLLATE "C" PRIMARY KEY,
    app_id        TEXT COLLATE "C" NOT NULL REFERENCES apps (id),
    job_id        TEXT COLLATE "C" NOT NULL REFERENCES jobs (id),
    access_key_id TEXT COLLATE "C" NOT NULL UNIQUE,
    -- The sealed secret, while it is to be shown; NULL once it is destroyed.
    sealed        BYTEA,
    seal_key      TEXT COLLATE "C" NOT NULL,
    secret        TEXT COLLATE "C" NOT NULL CHECK (secret IN ('unclaimed', 'claimed', 'expired')),
    readiness     TEXT COLLATE "C" NOT NULL CHECK (readiness IN ('ready', 'unverified')),
    created_at    BIGINT NOT NULL,
    claimed_at    BIGINT,
    claimed_by    TEXT COLLATE "C",
    -- A hash of the claim's Idempotency-Key, with which the same caller can repeat it for a while.
    claim_key     TEXT COLLATE "C",
    -- When the key was found to be gone from AWS.
    gone_at       BIGINT,
    CHECK (secret <> 'unclaimed' OR sealed IS NOT NULL),
    CHECK (secret <> 'expired' OR sealed IS NULL),
    CHECK ((secret = 'claimed') = (claimed_at IS NOT NULL))
);

CREATE INDEX credentials_app ON credentials (app_id);
CREATE INDEX credentials_sealed ON credentials (secret) WHERE sealed IS NOT NULL;

CREATE TABLE idempotency (
    caller      TEXT COLLATE "C" NOT NULL,
    route       TEXT COLLATE "C" NOT NULL,
    key         TEXT COLLATE "C" NOT NULL,
    fingerprint TEXT COLLATE "C" NOT NULL,
    status      BIGINT NOT NULL,
    location    TEXT COLLATE "C",
    body        TEXT COLLATE "C" NOT NULL,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (caller, route, key)
);

CREATE INDEX idempotency_age ON idempotency (created_at);

CREATE TABLE tokens (
    id         TEXT COLLATE "C" PRIMARY KEY,
    name       TEXT COLLATE "C" NOT NULL,
    role       TEXT COLLATE "C" NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    hash       TEXT COLLATE "C" NOT NULL UNIQUE,
    created_by TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL
);
