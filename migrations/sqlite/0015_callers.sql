-- Who calls: tokens with a scope and an end, and pipelines by their ID tokens.

CREATE TABLE new_tokens (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    role       TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'approver', 'admin')),
    hash       TEXT NOT NULL UNIQUE,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    -- NULL for everything.
    scope      TEXT,
    expires_at BIGINT,
    -- Who is behind it, and the person it counts as; NULL where that is the token itself.
    identity   TEXT,
    person     TEXT
);
INSERT INTO new_tokens (id, name, role, hash, created_by, created_at) SELECT id, name, role, hash, created_by, created_at FROM tokens;
DROP TABLE tokens;
ALTER TABLE new_tokens RENAME TO tokens;

CREATE INDEX tokens_expires ON tokens (expires_at) WHERE expires_at IS NOT NULL;

-- Who is behind the names of callers that an identity provider vouches for.
CREATE TABLE actors (
    name     TEXT PRIMARY KEY,
    identity TEXT NOT NULL,
    seen_at  BIGINT NOT NULL
) WITHOUT ROWID;

-- Which ID tokens of which issuers are exchanged for what.
CREATE TABLE trust_rules (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    issuer     TEXT NOT NULL,
    rule       TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX trust_rules_issuer ON trust_rules (issuer);

-- ID tokens that were exchanged, until they expire: each is accepted once.
CREATE TABLE used_tokens (
    id         TEXT PRIMARY KEY,
    expires_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX used_tokens_expires ON used_tokens (expires_at);
