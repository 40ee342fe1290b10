-- Who did what. A row is written in the same commit as what it tells of, and outlives jobs and tokens, so it
-- refers to none.
CREATE TABLE audit (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    at        BIGINT NOT NULL,
    actor     TEXT NOT NULL,
    action    TEXT NOT NULL CHECK (action IN ('job_requested', 'cancel_requested', 'retry_requested', 'change_applied', 'step_failed',
        'job_ended', 'secret_claimed', 'token_created', 'token_revoked')),
    app_id    TEXT,
    app       TEXT,
    account   TEXT,
    job_id    TEXT,
    resource  TEXT,
    -- The AWS operation that changed something or was refused.
    service   TEXT,
    operation TEXT,
    detail    TEXT NOT NULL,
    CHECK ((app_id IS NULL) = (app IS NULL)),
    CHECK ((app_id IS NULL) = (account IS NULL)),
    CHECK ((service IS NULL) = (operation IS NULL))
);

-- What there is already: jobs as far as their events tell, secrets that were claimed, tokens.
INSERT INTO audit (at, actor, action, app_id, app, account, job_id, resource, service, operation, detail)
SELECT told.at, told.actor, told.action, a.id, a.name, a.account, told.job_id, told.resource, told.service, told.operation, told.detail
FROM (
    SELECT j.created_at AS at, j.requested_by AS actor, 'job_requested' AS action, j.app_id, j.id AS job_id, NULL AS resource, NULL AS service,
        NULL AS operation, json_object('action', 'job_requested', 'task', json(j.task)) AS detail, 0 AS position
    FROM jobs j
    UNION ALL
    SELECT e.at, e.data ->> '$.by', e.data ->> '$.event', j.app_id, j.id, NULL, NULL, NULL, json_object('action', e.data ->> '$.event'), e.seq
    FROM events e JOIN jobs j ON j.id = e.job_id WHERE e.data ->> '$.event' IN ('cancel_requested', 'retry_requested')
    UNION ALL
    SELECT e.at, j.requested_by, 'change_applied', j.app_id, j.id, e.data ->> '$.resource', e.data ->> '$.calls[0].service',
        e.data ->> '$.calls[0].operation',
        json_object('action', 'change_applied', 'resource', e.data ->> '$.resource',
            'change', COALESCE(e.data ->> '$.change', e.data ->> '$.message'), 'calls', COALESCE(e.data -> '$.calls', json_array())), e.seq
    FROM events e JOIN jobs j ON j.id = e.job_id WHERE e.data ->> '$.event' IN ('change_applied', 'step_progress')
    UNION ALL
    SELECT e.at, j.requested_by, 'step_failed', j.app_id, j.id, e.data ->> '$.resource', e.data ->> '$.error.aws.service',
        e.data ->> '$.error.aws.operation',
        json_object('action', 'step_failed', 'resource', e.data ->> '$.resource', 'reason', e.data ->> '$.error.detail',
            'refused', e.data -> '$.error.aws'), e.seq
    FROM events e JOIN jobs j ON j.id = e.job_id WHERE e.data ->> '$.event' = 'step_failed'
    UNION ALL
    SELECT e.at, j.requested_by, 'job_ended', j.app_id, j.id, NULL, NULL, NULL,
        json_object('action', 'job_ended', 'state', substr(e.data ->> '$.event', 5), 'reason', e.data ->> '$.error.detail',
            'refused', e.data -> '$.error.aws'), e.seq
    FROM events e JOIN jobs j ON j.id = e.job_id
    WHERE e.data ->> '$.event' IN ('job_succeeded', 'job_failed', 'job_needs_attention', 'job_canceled')
    UNION ALL
    SELECT claimed_at, claimed_by, 'secret_claimed', app_id, NULL, NULL, NULL, NULL,
        json_object('action', 'secret_claimed', 'access_key_id', access_key_id, 'again', json('false')), 0
    FROM credentials WHERE claimed_at IS NOT NULL
    UNION ALL
    SELECT created_at, created_by, 'token_created', NULL, NULL, NULL, NULL, NULL,
        json_object('action', 'token_created', 'token_id', id, 'name', name, 'role', role), 0
    FROM tokens
) told LEFT JOIN apps a ON a.id = told.app_id
ORDER BY told.at, told.position;

-- A page is read newest first, by the one of these that narrows most.
CREATE INDEX audit_at ON audit (at, seq);
CREATE INDEX audit_app ON audit (app_id, at, seq) WHERE app_id IS NOT NULL;
CREATE INDEX audit_job ON audit (job_id, at, seq) WHERE job_id IS NOT NULL;
CREATE INDEX audit_resource ON audit (resource, at, seq) WHERE resource IS NOT NULL;
CREATE INDEX audit_operation ON audit (operation, at, seq) WHERE operation IS NOT NULL;
CREATE INDEX audit_actor ON audit (actor, at, seq);
CREATE INDEX audit_action ON audit (action, at, seq);
