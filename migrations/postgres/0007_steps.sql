-- A job's steps are one document: they are written together and read together.

ALTER TABLE steps RENAME TO old_steps;
ALTER INDEX steps_pkey RENAME TO old_steps_pkey;

CREATE TABLE steps (
    job_id TEXT COLLATE "C" PRIMARY KEY REFERENCES jobs (id),
    steps  TEXT COLLATE "C" NOT NULL
);

INSERT INTO steps (job_id, steps)
SELECT job_id, CAST(json_agg(json_build_object('resource', resource, 'state', state, 'changes', CAST(changes AS json), 'attempts', attempts,
    'error', CAST(error AS json), 'duration_ms', duration_ms) ORDER BY position) AS TEXT)
FROM old_steps GROUP BY job_id;

DROP TABLE old_steps;
