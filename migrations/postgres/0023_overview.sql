-- The overview finds keys and counts apps without reading the rows of all apps.

CREATE INDEX credentials_created ON credentials (created_at) WHERE gone_at IS NULL;
CREATE INDEX credentials_unclaimed ON credentials (created_at) WHERE secret = 'unclaimed';
CREATE INDEX apps_subject_state ON apps (subject, state, name_key, account);
