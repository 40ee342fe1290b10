-- A job's steps are one document: they are written together and read together.

ALTER TABLE steps RENAME TO old_steps;

CREATE TABLE steps (
    job_id TEXT PRIMARY KEY REFERENCES jobs (id),
    steps  TEXT NOT NULL
) WITHOUT ROWID;

INSERT INTO steps (job_id, steps)
SELECT job_id, json_group_array(json_object('resource', resource, 'state', state, 'changes', json(changes), 'attempts', attempts,
    'error', json(error), 'duration_ms', duration_ms) ORDER BY position)
FROM old_steps GROUP BY job_id;

DROP TABLE old_steps;
