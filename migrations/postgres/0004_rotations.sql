-- Rotations of access keys: each row is one, and says in what stage it stands and when it goes on.

CREATE TABLE rotations (
    id           TEXT COLLATE "C" PRIMARY KEY,
    app_id       TEXT COLLATE "C" NOT NULL REFERENCES apps (id),
    stage        TEXT COLLATE "C" NOT NULL CHECK (stage IN ('making', 'claiming', 'watching', 'switching_off', 'holding', 'deleting',
                 'rolling_back', 'done', 'rolled_back', 'stopped')),
    -- What its first job is asked to do, also when it is asked again.
    task         TEXT COLLATE "C" NOT NULL,
    new_key      TEXT COLLATE "C",
    old_key      TEXT COLLATE "C",
    forced       BIGINT NOT NULL CHECK (forced IN (0, 1)),
    -- How long the old key is off before it is deleted, in milliseconds.
    hold         BIGINT NOT NULL,
    requested_by TEXT COLLATE "C" NOT NULL,
    created_at   BIGINT NOT NULL,
    -- When its stage began, and when it goes on or looks again; NULL while a job is at work.
    since        BIGINT NOT NULL,
    due_at       BIGINT,
    reason       TEXT COLLATE "C",
    error        TEXT COLLATE "C",
    -- How often in a row the job of its stage has not succeeded.
    failures     BIGINT NOT NULL,
    -- The last job that was asked for; it may have been removed with old history since.
    job_id       TEXT COLLATE "C",
    ended_at     BIGINT,
    CHECK ((stage IN ('done', 'rolled_back', 'stopped')) = (ended_at IS NOT NULL)),
    CHECK (ended_at IS NULL OR due_at IS NULL)
);

CREATE UNIQUE INDEX rotations_active ON rotations (app_id) WHERE ended_at IS NULL;
CREATE INDEX rotations_app ON rotations (app_id, id);
CREATE INDEX rotations_due ON rotations (due_at) WHERE due_at IS NOT NULL;
