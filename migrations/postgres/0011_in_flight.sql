-- What a job had taken over before there was a record of that, and what another job did not bring to its end since, is the
-- app's as well: it carries the app's tag, and no installation's yet. A conflict was somebody else's.

UPDATE resources SET adopted = 1
WHERE made = 0 AND adopted = 0 AND state IN ('running', 'waiting', 'failed', 'skipped')
    AND (error IS NULL OR error NOT LIKE '%"code":"conflict"%')
    AND app_id NOT IN (SELECT id FROM apps WHERE state = 'removed');
