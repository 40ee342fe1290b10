-- What the last look at each app found, and when the next one is due.

CREATE TABLE drift_reports (
    app_id    TEXT COLLATE "C" PRIMARY KEY REFERENCES apps (id),
    looked_at BIGINT NOT NULL,
    drifted   BIGINT NOT NULL CHECK (drifted IN (0, 1)),
    report    TEXT COLLATE "C" NOT NULL
);

CREATE INDEX drift_reports_drifted ON drift_reports (app_id) WHERE drifted = 1;

ALTER TABLE apps ADD COLUMN drift_due_at BIGINT;
