-- Lists by state or kind, and what is over, are found without reading all of the history.
CREATE INDEX jobs_state ON jobs (state, id);
CREATE INDEX jobs_kind ON jobs (kind, id);
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;

-- A claim takes the oldest job that is not over. By jobs_state it would read and sort all of them.
DROP INDEX jobs_active;
CREATE INDEX jobs_active ON jobs (id) WHERE finished_at IS NULL;

-- What keeps a job from being removed is found by the job.
CREATE INDEX resources_job ON resources (job_id);
CREATE INDEX credentials_job ON credentials (job_id);
CREATE INDEX key_intents_job ON key_intents (job_id);

-- Written to find out whether the database takes writes; a row for each writer of a process.
CREATE TABLE pulse (
    writer BIGINT PRIMARY KEY,
    at     BIGINT NOT NULL
);
