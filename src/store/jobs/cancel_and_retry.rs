//! Cancels and retries jobs at a person's request.

use sqlx::AnyConnection;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::app::AppState;
use crate::domain::approval::ApprovalState;
use crate::domain::audit::AuditEvent;
use crate::domain::event::EventPayload;
use crate::domain::job::{Job, JobEvent, JobState};
use crate::domain::job_kind::JobKind;
use crate::domain::task::ImageExpiry;
use crate::store::audit::Subject;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::events::insert_events;
use crate::store::jobs::finish::{AttemptResult, JobEnd, finish, park_if_key_in_doubt};
use crate::store::jobs::query::job_by_id;
use crate::store::refusal::Refusal;
use crate::store::rows::{RowReader, to_json};
use crate::store::signals::Signal;
use crate::store::sql::{Sql, for_update};
use crate::store::{approvals, apps, audit};

impl Store {
    /// Cancels a job that is not running, or asks its worker to.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn cancel(&self, id: Ulid, by: String) -> Result<Result<Job, Refusal>, StoreError> {
        let now = self.clock.now();
        let job = self
            .writer
            .write(move |db| Box::pin(async move { cancel(db, id, by, now).await }))
            .await?;
        self.signal(Signal::CancelAsked(id));
        self.signal_here(Signal::Outbox);
        self.signal(Signal::Progress(id));
        Ok(job)
    }

    /// Queues a job again that ended without success. It may accept that images expire.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn retry(
        &self,
        id: Ulid,
        by: String,
        expiry: ImageExpiry,
    ) -> Result<Result<Job, Refusal>, StoreError> {
        let now = self.clock.now();
        let job = self
            .writer
            .write(move |db| Box::pin(async move { retry(db, id, by, expiry, now).await }))
            .await?;
        self.signal(Signal::Queued);
        self.signal(Signal::Progress(id));
        Ok(job)
    }
}

/// Locks the job until the commit; returns it and its app.
pub(super) async fn lock(
    db: &mut AnyConnection,
    id: Ulid,
) -> Result<Option<(Job, Ulid)>, StoreError> {
    let mut sql = Sql::new("SELECT app_id, id FROM jobs WHERE id = ");
    sql.bind(id.to_string())?.push(for_update(db));
    let Some(row) = sql.query().fetch_optional(&mut *db).await? else {
        return Ok(None);
    };
    let app = RowReader::new(&row, "jobs", "id").id("app_id")?;
    Ok(job_by_id(db, id).await?.map(|job| (job, app)))
}

async fn cancel(
    db: &mut AnyConnection,
    id: Ulid,
    by: String,
    now: Timestamp,
) -> Result<Result<Job, Refusal>, StoreError> {
    let Some((job, app)) = lock(db, id).await? else {
        return Ok(Err(Refusal::NoJob));
    };
    let state = match job.state.on(JobEvent::Canceled) {
        Ok(state) => state,
        Err(illegal) => return Ok(Err(Refusal::State(illegal))),
    };
    if !job.state.is_active() {
        // The app's state is a later job's to say.
        apps::lock(db, &job.app).await?;
        if let Some(refusal) = later_job(db, id, app).await? {
            return Ok(Err(refusal));
        }
    }
    let mut sql = Sql::default();
    audit::record(
        db,
        &mut sql,
        Subject::Job(id),
        Some(&by),
        &[(now, AuditEvent::CancelRequested)],
    )?;
    insert_events(
        db,
        &mut sql,
        &[(id, now, &EventPayload::CancelRequested { by: by.clone() })],
    )?;
    if job.state == JobState::Running {
        sql.then(db, "UPDATE jobs SET cancel_requested = 1 WHERE id = ")
            .bind(id.to_string())?;
    }
    sql.run(db).await?;
    if job.state == JobState::AwaitingApproval {
        approvals::end(db, id, ApprovalState::Canceled, Some(&by), None, now).await?;
    }
    if job.state != JobState::Running {
        stop(db, app, job, state, None, now).await?;
    }
    Ok(job_by_id(db, id).await?.ok_or(Refusal::NoJob))
}

/// Ends a job that is not running: canceled, or parked if a key of its may be live.
pub(super) async fn stop(
    db: &mut AnyConnection,
    app: Ulid,
    job: Job,
    canceled: JobState,
    reason: Option<String>,
    now: Timestamp,
) -> Result<(), StoreError> {
    // Of a job that was never approved, the app's record knows nothing yet.
    let never_began = job.state == JobState::AwaitingApproval
        && job.started_at.is_none()
        && job.kind != JobKind::Onboard;
    let ended = match never_began {
        true => AttemptResult::Canceled,
        false => park_if_key_in_doubt(db, app, AttemptResult::Canceled).await?,
    };
    let payload = ended.payload();
    let (state, error) = match ended {
        AttemptResult::NeedsAttention(job_error) => (
            job.state.on(JobEvent::Parked).unwrap_or(job.state),
            Some(job_error),
        ),
        _ => (canceled, None),
    };
    let mut sql = Sql::new("UPDATE jobs SET next_attempt_at = NULL, state = ");
    sql.bind(state.to_string())?
        .push(", finished_at = ")
        .bind(now.millis())?;
    sql.push(", error = ")
        .bind(error.as_ref().map(to_json).transpose()?)?;
    sql.push(", reason = ")
        .bind(reason.or_else(|| error.as_ref().map(|job_error| job_error.detail.clone())))?
        .push(" WHERE id = ")
        .bind(job.id.to_string())?;
    finish(
        db,
        sql,
        JobEnd {
            app,
            job: job.id,
            task: Some(job.task).filter(|_| !never_began),
            state,
            left: (!never_began)
                .then(|| AppState::left_by(job.kind, state))
                .flatten(),
            canceled: true,
            error,
            payload,
        },
        now,
    )
    .await
}

/// The refusal to retry or cancel a job that a later one of its app has superseded.
async fn later_job(
    db: &mut AnyConnection,
    id: Ulid,
    app: Ulid,
) -> Result<Option<Refusal>, StoreError> {
    let newest = "SELECT id, state FROM jobs WHERE app_id = $1 ORDER BY seq DESC LIMIT 1";
    let newest = sqlx::query(newest)
        .bind(app.to_string())
        .fetch_one(&mut *db)
        .await?;
    let newest = RowReader::new(&newest, "jobs", "id");
    let newest_id = newest.id("id")?;
    if newest_id == id {
        return Ok(None);
    }
    let active = newest.parsed::<JobState>("state")?.is_active();
    Ok(Some(if active {
        Refusal::Active(newest_id)
    } else {
        Refusal::Superseded(newest_id)
    }))
}

async fn retry(
    db: &mut AnyConnection,
    id: Ulid,
    by: String,
    expiry: ImageExpiry,
    now: Timestamp,
) -> Result<Result<Job, Refusal>, StoreError> {
    let Some((job, app)) = lock(db, id).await? else {
        return Ok(Err(Refusal::NoJob));
    };
    let state = match job.state.on(JobEvent::RetryAsked) {
        Ok(state) => state,
        Err(illegal) => return Ok(Err(Refusal::State(illegal))),
    };
    apps::lock(db, &job.app).await?;
    if let Some(refusal) = later_job(db, id, app).await? {
        return Ok(Err(refusal));
    }
    if job.needs_approval
        && let Some(refusal) = approvals::refuse_retry(db, id).await?
    {
        return Ok(Err(refusal));
    }
    let task = match expiry {
        ImageExpiry::Accept => job.task.accepting_expiry(),
        ImageExpiry::Refuse => job.task,
    };
    let mut sql = Sql::new(
        "UPDATE jobs SET error = NULL, reason = NULL, finished_at = NULL, next_attempt_at = NULL, deadline_at = NULL, cancel_requested = 0, state = ",
    );
    sql.bind(state.to_string())?
        .push(", task = ")
        .bind(to_json(&task)?)?
        .push(" WHERE id = ")
        .bind(id.to_string())?;
    audit::record(
        db,
        &mut sql,
        Subject::Job(id),
        Some(&by),
        &[(now, AuditEvent::RetryRequested)],
    )?;
    insert_events(
        db,
        &mut sql,
        &[(id, now, &EventPayload::RetryRequested { by })],
    )?;
    sql.run(db).await?;
    Ok(job_by_id(db, id).await?.ok_or(Refusal::NoJob))
}
