-- Who calls: tokens with a scope and an end, and pipelines by their ID tokens.

ALTER TABLE tokens DROP CONSTRAINT tokens_role_check;
ALTER TABLE tokens ADD CONSTRAINT tokens_role_check CHECK (role IN ('viewer', 'operator', 'approver', 'admin'));
-- NULL for everything.
ALTER TABLE tokens ADD COLUMN scope TEXT;
ALTER TABLE tokens ADD COLUMN expires_at BIGINT;
-- Who is behind it, and the person it counts as; NULL where that is the token itself.
ALTER TABLE tokens ADD COLUMN identity TEXT;
ALTER TABLE tokens ADD COLUMN person TEXT;

CREATE INDEX tokens_expires ON tokens (expires_at) WHERE expires_at IS NOT NULL;

-- Who is behind the names of callers that an identity provider vouches for.
CREATE TABLE actors (
    name     TEXT COLLATE "C" PRIMARY KEY,
    identity TEXT NOT NULL,
    seen_at  BIGINT NOT NULL
);

-- Which ID tokens of which issuers are exchanged for what.
CREATE TABLE trust_rules (
    id         TEXT COLLATE "C" PRIMARY KEY,
    name       TEXT COLLATE "C" NOT NULL UNIQUE,
    issuer     TEXT COLLATE "C" NOT NULL,
    rule       TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX trust_rules_issuer ON trust_rules (issuer);

-- ID tokens that were exchanged, until they expire: each is accepted once.
CREATE TABLE used_tokens (
    id         TEXT COLLATE "C" PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
CREATE INDEX used_tokens_expires ON used_tokens (expires_at);
