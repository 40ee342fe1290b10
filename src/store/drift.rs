//! Drift reports and the schedule of drift checks.
//!
//! Invariants:
//! - A replica takes an app's check by moving its due time in one guarded write, so no two replicas take the same.
//! - A report that a job has overtaken is not saved.

use std::time::Duration;

use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::app::{App, AppState};
use crate::domain::drift::DriftReport;
use crate::domain::names::AccountName;
use crate::domain::webhook::EventType;
use crate::store::apps::{app_by_id, lock};
use crate::store::audit::Subject;
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::outbox::{Announcement, announce};
use crate::store::refusal::Refusal;
use crate::store::rows::{RowReader, readable, to_json};
use crate::store::signals::Signal;
use crate::store::sql::{Sql, skip_locked};

/// Apps that are scheduled in one commit.
const SPREAD_BATCH: i64 = 100;

/// Apps that can be checked: onboarded, not being removed, and without an active job.
const AT_REST: &str = " AND a.state NOT IN ('pending', 'removed') AND a.removal IS NULL \
    AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.app_id = a.id AND j.finished_at IS NULL AND j.state <> 'awaiting_approval')";

impl Store {
    /// The app's last report.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn drift_report(&self, app: Ulid) -> Result<Option<DriftReport>, StoreError> {
        let found = "SELECT app_id, report FROM drift_reports WHERE app_id = $1";
        let row = sqlx::query(found)
            .bind(app.to_string())
            .fetch_optional(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        row.map(|row| RowReader::new(&row, "drift_reports", "app_id").json("report"))
            .transpose()
    }

    /// Saves the report of a check of the app, unless the app has changed since it was read.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn save_drift_report(
        &self,
        app: &App,
        report: &DriftReport,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let (seen, report) = (app.clone(), report.clone());
        self.writer
            .write(move |db| Box::pin(async move { keep(db, &seen, &report).await }))
            .await
            .inspect(|_| self.signal_here(Signal::Outbox))
    }

    /// Saves a report with its repair job, and schedules the next check for `again`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn save_drift_repair(
        &self,
        app: Ulid,
        report: &DriftReport,
        again: Timestamp,
    ) -> Result<(), StoreError> {
        let report = report.clone();
        self.writer
            .write(move |db| {
                Box::pin(async move {
                    write(db, app, &report).await?;
                    let update = sqlx::query("UPDATE apps SET drift_due_at = $1 WHERE id = $2");
                    update
                        .bind(again.millis())
                        .bind(app.to_string())
                        .execute(db)
                        .await?;
                    Ok(())
                })
            })
            .await
    }

    /// Takes the check of an app of the account that is due, and schedules the next one about `every` later. An app whose
    /// record cannot be read is skipped until then.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn next_drift_check(
        &self,
        account: &AccountName,
        every: Duration,
    ) -> Result<Option<App>, StoreError> {
        let now = self.clock.now();
        let mut due = Sql::new("SELECT COUNT(*) FROM apps a WHERE a.account = ");
        due.bind(account.as_str())?
            .push(AT_REST)
            .push(" AND (a.drift_due_at IS NULL OR a.drift_due_at <= ")
            .bind(now.millis())?;
        due.push(" OR a.drift_due_at > ")
            .bind(too_late(now, every))?
            .push(")");
        let due: i64 = due
            .scalars()
            .fetch_one(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        if due == 0 {
            return Ok(None);
        }
        let account = account.clone();
        self.writer
            .write(move |db| {
                Box::pin(async move {
                    spread(db, &account, now, every).await?;
                    take(db, &account, now, every).await
                })
            })
            .await
    }

    /// The number of apps that had drifted at their last check.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn drifted_apps(&self) -> Result<u32, StoreError> {
        let count = "SELECT COUNT(*) AS n, 'drift_reports' AS name FROM drift_reports r JOIN apps a ON a.id = r.app_id \
            WHERE r.drifted = 1 AND a.subject = 'app' AND a.state <> 'removed'";
        let row = sqlx::query(count)
            .fetch_one(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        RowReader::new(&row, "drift_reports", "name").count("n")
    }
}

async fn keep(
    db: &mut AnyConnection,
    seen: &App,
    report: &DriftReport,
) -> Result<Result<(), Refusal>, StoreError> {
    let Some(id) = lock(db, &seen.spec.name).await? else {
        return Ok(Err(Refusal::NoApp));
    };
    let app = app_by_id(db, id).await?;
    if app.summary.state == AppState::Removed {
        return Ok(Err(Refusal::Removed(app.spec.name, app.summary.updated_at)));
    }
    if app.removal.is_some() {
        return Ok(Err(Refusal::BeingRemoved(app.spec.name)));
    }
    if let (Some(job), _) | (None, Some(job)) = (app.summary.active_job, app.last_job)
        && (app.summary.active_job.is_some() || app.version != seen.version)
    {
        return Ok(Err(Refusal::Active(job)));
    }
    write(db, id, report).await.map(Ok)
}

async fn write(db: &mut AnyConnection, app: Ulid, report: &DriftReport) -> Result<(), StoreError> {
    if report.drifted {
        let event = Announcement::new(
            EventType::DriftDetected,
            Subject::App(app),
            report.checked_at,
        );
        let mut sql = Sql::default();
        announce(db, &mut sql, event)?;
        // Once for each time that it begins to drift.
        sql.push(
            " AND NOT EXISTS (SELECT 1 FROM drift_reports r WHERE r.app_id = a.id AND r.drifted = 1)",
        );
        sql.run(&mut *db).await?;
    }
    let upsert = "INSERT INTO drift_reports (app_id, checked_at, drifted, report) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (app_id) DO UPDATE SET checked_at = excluded.checked_at, drifted = excluded.drifted, report = excluded.report";
    let upsert = sqlx::query(upsert)
        .bind(app.to_string())
        .bind(report.checked_at.millis())
        .bind(i64::from(report.drifted));
    upsert.bind(to_json(report)?).execute(db).await?;
    Ok(())
}

/// A due time from here on was set with a longer interval.
fn too_late(now: Timestamp, every: Duration) -> i64 {
    now.after(every.saturating_mul(2)).millis()
}

/// Schedules apps that have no due time, spread over the interval.
async fn spread(
    db: &mut AnyConnection,
    account: &AccountName,
    now: Timestamp,
    every: Duration,
) -> Result<(), StoreError> {
    let mut without = Sql::new("SELECT a.id FROM apps a WHERE a.account = ");
    without
        .bind(account.as_str())?
        .push(AT_REST)
        .push(" AND (a.drift_due_at IS NULL OR a.drift_due_at > ");
    without
        .bind(too_late(now, every))?
        .push(") ORDER BY a.id LIMIT ")
        .bind(SPREAD_BATCH)?;
    let without: Vec<String> = without.scalars().fetch_all(&mut *db).await?;
    for app in without {
        let due = now.after(every.mul_f64(fastrand::f64())).millis();
        let update = "UPDATE apps SET drift_due_at = $1 WHERE id = $2 AND (drift_due_at IS NULL OR drift_due_at > $3)";
        sqlx::query(update)
            .bind(due)
            .bind(app)
            .bind(too_late(now, every))
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}

async fn take(
    db: &mut AnyConnection,
    account: &AccountName,
    now: Timestamp,
    every: Duration,
) -> Result<Option<App>, StoreError> {
    let next = now
        .after(every.mul_f64(0.9 + 0.2 * fastrand::f64()))
        .millis();
    let mut sql = Sql::new("UPDATE apps SET drift_due_at = ");
    sql.bind(next)?
        .push(" WHERE id = (SELECT a.id FROM apps a WHERE a.account = ")
        .bind(account.as_str())?
        .push(AT_REST);
    sql.push(" AND a.drift_due_at <= ")
        .bind(now.millis())?
        .push(" ORDER BY a.drift_due_at LIMIT 1")
        .push(skip_locked(db));
    sql.push(") RETURNING id");
    let row: Option<AnyRow> = sql.query().fetch_optional(&mut *db).await?;
    let Some(row) = row else { return Ok(None) };
    let id = RowReader::new(&row, "apps", "id").id("id")?;
    readable(app_by_id(db, id).await)
}
