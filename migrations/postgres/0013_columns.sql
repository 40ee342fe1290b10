-- The age at which an app's key is rotated, in milliseconds, beside the spec that says so: apps with old keys are found by it.

ALTER TABLE apps ADD COLUMN rotate_after BIGINT;
UPDATE apps SET rotate_after = CASE right(spec::json ->> 'rotate_after', 1)
    WHEN 'd' THEN CAST(rtrim(spec::json ->> 'rotate_after', 'd') AS BIGINT) * 86400000
    WHEN 'h' THEN CAST(rtrim(spec::json ->> 'rotate_after', 'h') AS BIGINT) * 3600000
    END
WHERE spec LIKE '%"rotate_after":"%';

-- A request with an Idempotency-Key is answered with a job; what HTTP makes of it is not the database's.

UPDATE idempotency SET body = replace(body, '"kind":"switch_key"', '"kind":"set_key_status"') WHERE body LIKE '%"kind":"switch_key"%';
ALTER TABLE idempotency RENAME COLUMN body TO job;
ALTER TABLE idempotency DROP COLUMN status;
ALTER TABLE idempotency DROP COLUMN location;
