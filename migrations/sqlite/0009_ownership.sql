-- What jobs of an app have taken over, besides what they have made; and when they made it.

ALTER TABLE resources ADD COLUMN adopted BIGINT NOT NULL DEFAULT 0 CHECK (adopted IN (0, 1));
ALTER TABLE resources ADD COLUMN made_at BIGINT;

-- A job ends a step only on what is the app's.
UPDATE resources SET adopted = 1 WHERE made = 0 AND state = 'done';
