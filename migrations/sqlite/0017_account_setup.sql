-- The set-up of an account is a subject of jobs, as an app is: a row of `apps` that is no app.

ALTER TABLE apps ADD COLUMN subject TEXT NOT NULL DEFAULT 'app' CHECK (subject IN ('app', 'account'));

-- The person whose first console password this is. An access key has none.
ALTER TABLE credentials ADD COLUMN person TEXT;
CREATE INDEX credentials_person ON credentials (app_id, person, seq) WHERE person IS NOT NULL;

-- SQLite alters no CHECK. A CHECK that allows more than before leaves what is stored valid, so its text is replaced
-- (https://sqlite.org/lang_altertable.html, "Making Other Kinds Of Table Schema Changes", the simpler procedure).
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, '''restore'', ''remove''', '''restore'', ''remove'', ''setup_account''')
WHERE type = 'table' AND name = 'jobs';
UPDATE sqlite_schema SET sql = replace(sql, '''secret_claimed''', '''secret_claimed'', ''password_claimed''')
WHERE type = 'table' AND name = 'audit';
PRAGMA writable_schema = RESET;
