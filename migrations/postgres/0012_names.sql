-- The names that the field uses: of a kind of job, of the stages of a rotation, of columns and of fields in documents.

ALTER TABLE jobs DROP CONSTRAINT jobs_kind_check;
UPDATE jobs SET kind = 'set_key_status', task = replace(task, '"kind":"switch_key"', '"kind":"set_key_status"') WHERE kind = 'switch_key';
ALTER TABLE jobs ADD CONSTRAINT jobs_kind_check
    CHECK (kind IN ('onboard', 'update', 'repair', 'rotate', 'set_key_status', 'offboard', 'restore', 'remove'));
ALTER TABLE rotations DROP CONSTRAINT rotations_stage_check;
UPDATE rotations SET stage = CASE stage WHEN 'making' THEN 'creating' WHEN 'claiming' THEN 'awaiting_claim' WHEN 'watching' THEN 'draining'
    WHEN 'switching_off' THEN 'deactivating' WHEN 'holding' THEN 'pending_deletion' ELSE stage END, task = replace(task, '"kind":"switch_key"', '"kind":"set_key_status"');
ALTER TABLE rotations ADD CONSTRAINT rotations_stage_check CHECK (stage IN ('creating', 'awaiting_claim', 'draining', 'deactivating',
    'pending_deletion', 'deleting', 'rolling_back', 'done', 'rolled_back', 'stopped'));

UPDATE events SET data = replace(data, '"kind":"switch_key"', '"kind":"set_key_status"') WHERE data LIKE '%"kind":"switch_key"%';
UPDATE audit SET detail = replace(detail, '"kind":"switch_key"', '"kind":"set_key_status"') WHERE detail LIKE '%"kind":"switch_key"%';
ALTER TABLE drift_reports RENAME COLUMN looked_at TO checked_at;
UPDATE drift_reports SET report = replace(replace(report, '"looked_at":', '"checked_at":'), '"remove_with":', '"removal_request":');
ALTER TABLE credentials RENAME COLUMN seal_key TO encryption_key;
