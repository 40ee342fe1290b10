//! Jobs: accepted, claimed under a lease, moved on by the holder of the lease, and read.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::app::{App, AppState};
use crate::domain::audit::AuditEvent;
use crate::domain::event::EventPayload;
use crate::domain::job::{
    IllegalTransition, Job, JobError, JobErrorCode, JobEvent, JobKind, JobResult, JobState, Step,
};
use crate::domain::names::{AccountName, AppName, NameError};
use crate::domain::rotation::IllegalStep;
use crate::domain::spec::AppSpec;
use crate::domain::task::{Dropped, Removal, Task};
use crate::store::audit;
use crate::store::audit::Of;
use crate::store::connection::InTime as _;
use crate::store::events::insert_events;
use crate::store::idempotency;
use crate::store::idempotency::{Answer, Earlier, IdempotencyKey};
use crate::store::rotations;
use crate::store::rotations::RotationChange;
use crate::store::rows::{Reader, to_json};
use crate::store::sql::{Sql, for_update, is_postgres, skip_locked};
use crate::store::{Signal, Store, StoreError, apps};

const COLUMNS: &str = "SELECT j.id, j.kind, j.task, j.state, j.attempt, j.reason, j.next_attempt_at, j.result, j.error, j.requested_by, j.created_at, \
    j.started_at, j.finished_at, a.name, a.account, a.id AS app_id, s.steps FROM jobs j \
    JOIN apps a ON a.id = j.app_id LEFT JOIN steps s ON s.job_id = j.id";

/// The condition on an app's row under which it can be asked for anew: it was removed, or its onboarding ended
/// without success; and no key of it can be live.
macro_rules! can_be_asked_for_anew {
    () => {
        "apps.state IN ('failed', 'canceled', 'removed') AND NOT EXISTS (SELECT 1 FROM jobs WHERE app_id = apps.id \
         AND (state IN ('queued', 'running', 'waiting') OR state = 'succeeded' AND apps.state <> 'removed' AND jobs.seq > COALESCE((SELECT MAX(r.seq) FROM jobs r WHERE r.app_id = apps.id \
         AND r.kind = 'remove' AND r.state = 'succeeded'), 0))) \
         AND NOT EXISTS (SELECT 1 FROM key_intents WHERE app_id = apps.id AND closed_at IS NULL)"
    };
}

/// Jobs that are claimed in one commit at most: leases run while it lasts.
pub const CLAIMED_TOGETHER: usize = 32;

/// An app to be onboarded.
#[derive(Debug, Clone)]
pub struct NewApp {
    /// What it should have.
    pub spec: AppSpec,
    /// The ids of its resources, in the order that they are shown in.
    pub resources: Vec<String>,
    /// Whether images with protected tags may expire.
    pub accept_expiry: bool,
    /// Who asked.
    pub requested_by: String,
}

/// A request for a job of an app that there is.
#[derive(Debug, Clone)]
pub struct JobRequest {
    /// The app.
    pub app: AppName,
    /// What to do.
    pub task: Task,
    /// The ids of its steps' resources, in the order that they are shown in.
    pub resources: Vec<String>,
    /// Who asked.
    pub requested_by: String,
    /// The version of the app's record that it was decided on, if it only holds for that one.
    pub if_version: Option<i64>,
    /// What is changed of the app's record in the same commit.
    pub change: Option<AppChange>,
}

impl JobRequest {
    /// A request that changes nothing of the app's record.
    pub fn new(
        app: AppName,
        task: Task,
        resources: Vec<String>,
        requested_by: impl Into<String>,
    ) -> Self {
        Self {
            app,
            task,
            resources,
            requested_by: requested_by.into(),
            if_version: None,
            change: None,
        }
    }
}

/// What a request for a job changes of its app's record.
#[derive(Debug, Clone)]
pub enum AppChange {
    /// Another spec, and what it and those before it do not name any more.
    Spec(Box<AppSpec>, Dropped),
    /// It is being removed.
    Removal(Removal),
    /// A rotation begins or goes on.
    Rotation(RotationChange),
}

/// Why a request for a job is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is an app by this name.
    AppExists(AppName),
    /// There is no such app.
    NoApp,
    /// The app was removed at that time.
    Removed(AppName, Timestamp),
    /// The app is being taken apart by this job.
    RemovalBegun(AppName, Ulid),
    /// There is no such job.
    NoJob,
    /// A job is at work on the app.
    Active(Ulid),
    /// The job's state does not allow it.
    State(IllegalTransition),
    /// A later job of the app has taken its place.
    Superseded(Ulid),
    /// The Idempotency-Key came with another query or body before.
    KeyReused,
    /// The app's record has changed since the request was decided on.
    Changed,
    /// The app is being removed.
    BeingRemoved(AppName),
    /// The app is not being removed, so there is nothing to restore.
    NotBeingRemoved,
    /// A rotation of the app's key is under way.
    RotationActive(Ulid),
    /// There is no rotation of the app's key.
    NoRotation,
    /// The rotation's stage does not allow it.
    RotationStage(IllegalStep),
}

/// A request that was accepted now, or before by the same key.
#[derive(Debug, Clone, PartialEq)]
pub enum Accepted {
    /// A job: a new one, or one that does already what is asked for.
    Fresh(Box<Job>),
    /// What was answered before.
    Replay(Answer),
}

/// Which jobs to list.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Of this app.
    pub app: Option<AppName>,
    /// In this state.
    pub state: Option<JobState>,
    /// Of this kind.
    pub kind: Option<JobKind>,
    /// Before the one by this id, for the newest come first.
    pub before: Option<Ulid>,
    /// At most this many.
    pub limit: u32,
}

/// The right to work on a job: its token rises with every claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The job.
    pub job: Ulid,
    /// The fencing token.
    pub token: i64,
}

/// A claimed job, with what its worker needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// The lease.
    pub lease: Lease,
    /// The job.
    pub job: Job,
    /// Its app.
    pub app: App,
    /// When trying ends.
    pub deadline: Timestamp,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum AttemptResult {
    /// Everything is as wanted.
    Succeeded(JobResult),
    /// To be tried again.
    Waiting {
        /// Why.
        reason: String,
        /// When.
        at: Timestamp,
    },
    /// It did not work.
    Failed(JobError),
    /// A person has to do something.
    NeedsAttention(JobError),
    /// Stopped on request.
    Canceled,
    /// Handed back: the worker stops.
    Released {
        /// Why.
        reason: String,
    },
}

/// A step as it is now, to be recorded with what happened.
#[derive(Debug, Clone)]
pub struct StepRecord {
    /// The step.
    pub step: Step,
    /// All steps of the job as they are now.
    pub steps: Vec<Step>,
    /// Its ARN.
    pub arn: Option<String>,
    /// Whether this job created it.
    pub made: bool,
    /// When this job created it.
    pub made_at: Option<Timestamp>,
    /// Whether it is the app's: a job has changed it, or found it as the spec says.
    pub owned: bool,
    /// Whether it is not the app's any more.
    pub gone: bool,
}

impl AttemptResult {
    fn event(&self) -> JobEvent {
        match self {
            Self::Succeeded(_) => JobEvent::Converged,
            Self::Waiting { .. } => JobEvent::MustWait,
            Self::Failed(_) => JobEvent::GaveUp,
            Self::NeedsAttention(_) => JobEvent::Parked,
            Self::Canceled => JobEvent::Canceled,
            Self::Released { .. } => JobEvent::Released,
        }
    }

    fn payload(&self) -> EventPayload {
        match self.clone() {
            Self::Succeeded(_) => EventPayload::JobSucceeded,
            Self::Waiting { reason, at } => EventPayload::JobWaiting {
                reason,
                next_attempt_at: at,
            },
            Self::Failed(error) => EventPayload::JobFailed { error },
            Self::NeedsAttention(error) => EventPayload::JobNeedsAttention { error },
            Self::Canceled => EventPayload::JobCanceled,
            Self::Released { reason } => EventPayload::JobReleased { reason },
        }
    }
}

impl Store {
    /// Records an app and its onboarding: app, job, steps, event and idempotency record in one commit.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn onboard(
        &self,
        new: NewApp,
        key: Option<IdempotencyKey>,
    ) -> Result<Result<Accepted, Refusal>, StoreError> {
        let (now, ids) = (self.clock.now(), [self.clock.new_id(), self.clock.new_id()]);
        let accepted = self
            .writer
            .write(move |db| Box::pin(async move { onboard(db, new, key, ids, now).await }))
            .await?;
        Ok(self.announce(accepted))
    }

    /// Whether an onboarding by this name would be refused: there is an app, and it was finished once or may be still.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn is_taken(&self, name: &AppName) -> Result<bool, StoreError> {
        let taken = concat!(
            "SELECT COUNT(*) FROM apps WHERE name_key = $1 AND NOT ((name = $2 OR state = 'removed') AND ",
            can_be_asked_for_anew!(),
            ")"
        );
        let taken: i64 = sqlx::query_scalar(taken)
            .bind(name.key())
            .bind(name.as_str())
            .fetch_one(&mut *self.reader().await?)
            .in_time()
            .await?;
        Ok(taken > 0)
    }

    /// Records a job of an app that there is, with what it changes of the app's record.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn enqueue(
        &self,
        request: JobRequest,
        key: Option<IdempotencyKey>,
    ) -> Result<Result<Accepted, Refusal>, StoreError> {
        let (now, id) = (self.clock.now(), self.clock.new_id());
        let accepted = self
            .writer
            .write(move |db| {
                Box::pin(async move { self::enqueue(db, request, key, id, now).await })
            })
            .await?;
        Ok(self.announce(accepted))
    }

    /// Accepts a request that a job does already.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn join(
        &self,
        job: Job,
        key: Option<IdempotencyKey>,
    ) -> Result<Result<Accepted, Refusal>, StoreError> {
        let Some(key) = key else {
            return Ok(Ok(Accepted::Fresh(Box::new(job))));
        };
        let earlier = self.keep_answer(key, answer_of(&job)?).await?;
        Ok(earlier.map(|earlier| {
            earlier.map_or_else(|| Accepted::Fresh(Box::new(job)), Accepted::Replay)
        }))
    }

    /// Takes the lease of a job that is due, oldest first: queued, waited long enough, or left by a lost worker.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn claim(
        &self,
        owner: &str,
        lease: Duration,
        deadline: Duration,
    ) -> Result<Option<Claimed>, StoreError> {
        Ok(self.claim_up_to(1, owner, lease, deadline).await?.pop())
    }

    /// Takes the leases of so many jobs that are due, in one commit.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn claim_up_to(
        &self,
        most: usize,
        owner: &str,
        lease: Duration,
        deadline: Duration,
    ) -> Result<Vec<Claimed>, StoreError> {
        let now = self.clock.now();
        let terms = Terms {
            owner: owner.to_owned(),
            now,
            lease_until: now.after(lease),
            deadline_at: now.after(deadline),
        };
        let (claimed, taken) = self
            .writer
            .write(move |db| Box::pin(async move { claim_up_to(db, most, &terms).await }))
            .await?;
        for job in taken {
            self.signal(Signal::Progress(job));
        }
        Ok(claimed)
    }

    /// When the next job is due that nobody can claim yet.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let due = "SELECT MIN(COALESCE(next_attempt_at, lease_until)) FROM jobs WHERE finished_at IS NULL";
        let due: Option<i64> = sqlx::query_scalar(due)
            .fetch_one(&mut *self.reader().await?)
            .in_time()
            .await?;
        Ok(due.map(Timestamp::from_millis))
    }

    /// Keeps the lease; answers whether somebody asked to end the job.
    ///
    /// # Errors
    /// [`StoreError::LostLease`] when another worker has it.
    pub async fn renew(&self, lease: Lease, span: Duration) -> Result<bool, StoreError> {
        let clock = self.clock.clone();
        self.writer
            .write_of(lease.job, move |db| {
                Box::pin(async move {
                    // Read when it is this write's turn: one that waited long must not renew into the past.
                    let until = clock.now().after(span).millis();
                    let renew =
                        "UPDATE jobs SET lease_until = $1 WHERE id = $2 AND lease_token = $3 AND state = 'running' RETURNING cancel_requested";
                    let row: Option<i64> =
                        sqlx::query_scalar(renew).bind(until).bind(lease.job.to_string()).bind(lease.token).fetch_optional(db).await?;
                    row.map(|asked| asked == 1).ok_or(StoreError::LostLease)
                })
            })
            .await
    }

    /// Ends an attempt.
    ///
    /// # Errors
    /// [`StoreError::LostLease`] when another worker has it.
    pub async fn end(&self, lease: Lease, ended: AttemptResult) -> Result<(), StoreError> {
        let now = self.clock.now();
        let again = matches!(ended, AttemptResult::Released { .. });
        self.write_held(lease, move |db| {
            Box::pin(async move { end(db, lease, &ended, now).await })
        })
        .await?;
        self.signal(Signal::Progress(lease.job));
        if again {
            self.signal(Signal::Queued);
        }
        Ok(())
    }

    /// Ends a job that nobody works on, or asks its worker to.
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
        self.signal(Signal::Progress(id));
        Ok(job)
    }

    /// Lets a job that has ended without success go on from what is there; with `accept_expiry` also where images
    /// with protected tags expire by it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn retry(
        &self,
        id: Ulid,
        by: String,
        accept_expiry: bool,
    ) -> Result<Result<Job, Refusal>, StoreError> {
        let now = self.clock.now();
        let job = self
            .writer
            .write(move |db| Box::pin(async move { retry(db, id, by, accept_expiry, now).await }))
            .await?;
        self.signal(Signal::Queued);
        self.signal(Signal::Progress(id));
        Ok(job)
    }

    /// Gives back every lease: this process has the database alone, so whoever held one is gone.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn release_all(&self) -> Result<u64, StoreError> {
        let now = self.clock.now();
        self.writer
            .write(move |db| {
                Box::pin(async move {
                    let rows: Vec<(String, i64)> =
                        sqlx::query_as("SELECT id, lease_token FROM jobs WHERE state = 'running'")
                            .fetch_all(&mut *db)
                            .await?;
                    for (id, token) in &rows {
                        let job = Ulid::from_string(id)
                            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
                        let ended = AttemptResult::Released {
                            reason: "the process that worked on it has ended".into(),
                        };
                        end(db, Lease { job, token: *token }, &ended, now).await?;
                    }
                    Ok(rows.len() as u64)
                })
            })
            .await
    }

    /// The job by this id.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn job(&self, id: Ulid) -> Result<Option<Job>, StoreError> {
        let mut db = self.reader().await?;
        job_by_id(&mut db, id).in_time().await
    }

    /// Jobs, the newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn jobs(&self, filter: &JobFilter) -> Result<Vec<Job>, StoreError> {
        let mut sql = Sql::new(COLUMNS);
        sql.push(" WHERE 1 = 1");
        if let Some(before) = filter.before {
            // The job by this id may have been removed with old history since.
            sql.push(" AND j.seq < COALESCE((SELECT seq FROM jobs WHERE id = ")
                .bind(before.to_string())?;
            sql.push("), (SELECT MAX(seq) + 1 FROM jobs WHERE id < ")
                .bind(before.to_string())?
                .push("))");
        }
        if let Some(app) = &filter.app {
            sql.push(" AND j.app_id = (SELECT id FROM apps WHERE name_key = ")
                .bind(app.key())?
                .push(")");
        }
        if let Some(state) = filter.state {
            sql.push(" AND j.state = ").bind(state.to_string())?;
        }
        if let Some(kind) = filter.kind {
            sql.push(" AND j.kind = ").bind(kind.to_string())?;
        }
        sql.push(" ORDER BY j.seq DESC LIMIT ")
            .bind(i64::from(filter.limit))?;
        let mut db = self.reader().await?;
        sql.query()
            .fetch_all(&mut *db)
            .in_time()
            .await?
            .iter()
            .map(read_job)
            .collect()
    }

    /// How many jobs are active, by state.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn active_jobs(&self) -> Result<Vec<(JobState, u64)>, StoreError> {
        let count = "SELECT state, COUNT(*) AS n FROM jobs WHERE state IN ('queued', 'running', 'waiting') GROUP BY state";
        let rows = sqlx::query(count)
            .fetch_all(&mut *self.reader().await?)
            .in_time()
            .await?;
        let read = |row: &AnyRow| {
            let row = Reader {
                row,
                table: "jobs",
                key: "state",
            };
            Ok((row.parsed("state")?, row.count("n")?))
        };
        rows.iter().map(read).collect()
    }

    fn announce(&self, accepted: Result<Accepted, Refusal>) -> Result<Accepted, Refusal> {
        if let Ok(Accepted::Fresh(_)) = &accepted {
            self.signal(Signal::Queued);
        }
        accepted
    }
}

async fn onboard(
    db: &mut AnyConnection,
    new: NewApp,
    key: Option<IdempotencyKey>,
    [new_app, job]: [Ulid; 2],
    now: Timestamp,
) -> Result<Result<Accepted, Refusal>, StoreError> {
    if let Some(answer) = earlier(db, key.as_ref(), now).await? {
        return Ok(answer);
    }
    let Some(app_id) = insert_app(db, &new, new_app, now).await? else {
        return Ok(Err(Refusal::AppExists(new.spec.name)));
    };
    let task = Task::Onboard {
        accept_expiry: new.accept_expiry,
    };
    let job = new_job(job, &new.spec, task, &new.resources, new.requested_by, now);
    insert_job(db, app_id, &job, key, now).await?;
    Ok(Ok(Accepted::Fresh(Box::new(job))))
}

/// The app's row: a new one, or that of an app whose onboarding has failed and was never finished, which
/// can be asked for anew. `None` if there is an app by this name.
async fn insert_app(
    db: &mut AnyConnection,
    new: &NewApp,
    id: Ulid,
    now: Timestamp,
) -> Result<Option<Ulid>, StoreError> {
    let insert = "INSERT INTO apps (id, name, name_key, account, spec, state, version, created_by, created_at, updated_at, retained) \
         VALUES ($1, $2, $3, $4, $5, 'pending', 1, $6, $7, $7, '{}') ON CONFLICT (name_key) DO NOTHING RETURNING id";
    let insert = sqlx::query(insert)
        .bind(id.to_string())
        .bind(new.spec.name.as_str())
        .bind(new.spec.name.key())
        .bind(new.spec.account.as_str());
    let insert = insert
        .bind(to_json(&new.spec)?)
        .bind(&new.requested_by)
        .bind(now.millis());
    match insert.fetch_optional(&mut *db).await? {
        Some(row) => Ok(Some(
            Reader {
                row: &row,
                table: "apps",
                key: "id",
            }
            .id("id")?,
        )),
        None => ask_anew(db, new, now).await,
    }
}

/// The row of an app that is asked for anew. What its earlier spec has named is remembered: jobs may have made it. What a
/// removal has left in AWS is nobody's, and no more this app's than another's.
async fn ask_anew(
    db: &mut AnyConnection,
    new: &NewApp,
    now: Timestamp,
) -> Result<Option<Ulid>, StoreError> {
    // Whether the app can be asked for anew is decided by what is there after the wait.
    let Some(id) = apps::lock(db, &new.spec.name).await? else {
        return Ok(None);
    };
    let earlier = apps::app_by_id(db, id).await?;
    let was_removed = earlier.summary.state == AppState::Removed;
    let dropped = if was_removed {
        Dropped::default()
    } else {
        earlier.dropped.after(&earlier.spec, &new.spec)
    };
    let update = concat!(
        "UPDATE apps SET name = $1, spec = $2, account = $3, state = 'pending', version = version + 1, \
         created_by = CASE state WHEN 'removed' THEN $4 ELSE created_by END, \
         created_at = CASE state WHEN 'removed' THEN $5 ELSE created_at END, \
         removal = NULL, remove_at = NULL, updated_at = $5, retained = $6 WHERE id = $7 AND (name = $1 OR state = 'removed') AND ",
        can_be_asked_for_anew!()
    );
    let update = sqlx::query(update)
        .bind(new.spec.name.as_str())
        .bind(to_json(&new.spec)?)
        .bind(new.spec.account.as_str());
    let update = update
        .bind(&new.requested_by)
        .bind(now.millis())
        .bind(to_json(&dropped)?)
        .bind(id.to_string());
    if update.execute(&mut *db).await?.rows_affected() == 0 {
        return Ok(None);
    }
    // What was seen of the earlier app does not count.
    sqlx::query("DELETE FROM drift_reports WHERE app_id = $1")
        .bind(id.to_string())
        .execute(&mut *db)
        .await?;
    if was_removed {
        sqlx::query("DELETE FROM resources WHERE app_id = $1")
            .bind(id.to_string())
            .execute(db)
            .await?;
    }
    Ok(Some(id))
}

async fn enqueue(
    db: &mut AnyConnection,
    request: JobRequest,
    key: Option<IdempotencyKey>,
    id: Ulid,
    now: Timestamp,
) -> Result<Result<Accepted, Refusal>, StoreError> {
    if let Some(answer) = earlier(db, key.as_ref(), now).await? {
        return Ok(answer);
    }
    let Some(app_id) = apps::lock(db, &request.app).await? else {
        return Ok(Err(Refusal::NoApp));
    };
    let app = apps::app_by_id(db, app_id).await?;
    match refused(&app, &request) {
        Some(Refusal::Active(job)) if takes_apart(db, &app, job).await? => {
            return Ok(Err(Refusal::RemovalBegun(request.app, job)));
        }
        Some(refusal) => return Ok(Err(refusal)),
        None => {}
    }
    let spec = match &request.change {
        Some(AppChange::Spec(spec, dropped)) => {
            apps::set_spec(db, app_id, spec, dropped, now).await?;
            spec
        }
        Some(AppChange::Removal(removal)) => {
            apps::set_removal(db, app_id, Some(removal)).await?;
            rotations::stop(db, app_id, "the app is being removed", now).await?;
            &app.spec
        }
        Some(AppChange::Rotation(_)) | None => &app.spec,
    };
    let job = new_job(
        id,
        spec,
        request.task,
        &request.resources,
        request.requested_by,
        now,
    );
    if let Some(AppChange::Rotation(change)) = &request.change
        && let Some(refusal) = rotations::change(db, app_id, &job, change, now).await?
    {
        return Ok(Err(refusal));
    }
    insert_job(db, app_id, &job, key, now).await?;
    Ok(Ok(Accepted::Fresh(Box::new(job))))
}

/// Whether the job that works on an app takes it apart: then there is nothing to wait for.
async fn takes_apart(db: &mut AnyConnection, app: &App, job: Ulid) -> Result<bool, StoreError> {
    if app.removal.is_none() {
        return Ok(false);
    }
    let kind: String = sqlx::query_scalar("SELECT kind FROM jobs WHERE id = $1")
        .bind(job.to_string())
        .fetch_one(db)
        .await?;
    Ok(kind == JobKind::Remove.to_string())
}

/// Why an app as it is does not take a request.
fn refused(app: &App, request: &JobRequest) -> Option<Refusal> {
    if app.summary.state == AppState::Removed {
        return Some(Refusal::Removed(
            app.spec.name.clone(),
            app.summary.updated_at,
        ));
    }
    if let Some(active) = app.summary.active_job {
        return Some(Refusal::Active(active));
    }
    match (&app.removal, &request.task) {
        (None, Task::Restore { .. } | Task::Remove) => return Some(Refusal::NotBeingRemoved),
        (Some(_), task) if !task.is_of_removal() => {
            return Some(Refusal::BeingRemoved(app.spec.name.clone()));
        }
        _ => {}
    }
    request
        .if_version
        .is_some_and(|version| version != app.version)
        .then_some(Refusal::Changed)
}

async fn earlier(
    db: &mut AnyConnection,
    key: Option<&IdempotencyKey>,
    now: Timestamp,
) -> Result<Option<Result<Accepted, Refusal>>, StoreError> {
    let Some(key) = key else { return Ok(None) };
    Ok(match idempotency::earlier(db, key, now).await? {
        Earlier::None => None,
        Earlier::Same(answer) => Some(Ok(Accepted::Replay(answer))),
        Earlier::Other => Some(Err(Refusal::KeyReused)),
    })
}

fn new_job(
    id: Ulid,
    spec: &AppSpec,
    task: Task,
    resources: &[String],
    requested_by: String,
    now: Timestamp,
) -> Job {
    Job {
        id,
        kind: task.kind(),
        task,
        app: spec.name.clone(),
        account: spec.account.clone(),
        state: JobState::Queued,
        attempt: 0,
        reason: None,
        next_attempt_at: None,
        steps: resources.iter().map(Step::pending).collect(),
        result: None,
        error: None,
        requested_by,
        created_at: now,
        started_at: None,
        finished_at: None,
    }
}

async fn insert_job(
    db: &mut AnyConnection,
    app: Ulid,
    job: &Job,
    key: Option<IdempotencyKey>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let id = job.id.to_string();
    let mut sql = Sql::new(
        "INSERT INTO jobs (attempt, cancel_requested, lease_token, id, app_id, kind, task, state, requested_by, created_at) VALUES (0, 0, 0, ",
    );
    sql.list([
        &id,
        &app.to_string(),
        &job.kind.to_string(),
        &to_json(&job.task)?,
        &job.state.to_string(),
        &job.requested_by,
    ])?;
    sql.push(", ").bind(now.millis())?.push(")");
    sql.then(db, "INSERT INTO steps (job_id, steps) VALUES (")
        .list([&id, &to_json(&job.steps)?])?
        .push(")");
    let queued = EventPayload::JobQueued {
        kind: job.kind,
        requested_by: job.requested_by.clone(),
    };
    insert_events(db, &mut sql, &[(job.id, now, &queued)])?;
    let requested = AuditEvent::JobRequested {
        task: job.task.clone(),
    };
    audit::note(
        db,
        &mut sql,
        Of::Job(job.id),
        Some(&job.requested_by),
        &[(now, requested)],
    )?;
    if let Some(key) = key {
        idempotency::record(db, &mut sql, &key, &answer_of(job)?, now)?;
    }
    sql.run(db).await.map(drop)
}

/// What a request for a job is answered.
fn answer_of(job: &Job) -> Result<Answer, StoreError> {
    Ok(Answer {
        status: 202,
        location: Some(format!("/v1/jobs/{}", job.id)),
        body: to_json(job)?,
    })
}

/// What a claim gives its worker.
struct Terms {
    owner: String,
    now: Timestamp,
    lease_until: Timestamp,
    /// When trying ends, if this is the first time.
    deadline_at: Timestamp,
}

/// What is handed over to workers, and every job that was taken: also those that end here.
async fn claim_up_to(
    db: &mut AnyConnection,
    most: usize,
    terms: &Terms,
) -> Result<(Vec<Claimed>, Vec<Ulid>), StoreError> {
    let (most, mut claimed, mut all) = (most.min(CLAIMED_TOGETHER), Vec::new(), Vec::new());
    loop {
        let taken = take_leases(db, most - claimed.len(), terms).await?;
        let handed_over = claimed.len() + taken.len();
        all.extend(taken.iter().map(|taken| taken.lease.job));
        if !taken.is_empty() {
            claimed.extend(load(db, taken, terms.now).await?);
        }
        if claimed.len() == handed_over {
            return Ok((claimed, all));
        }
    }
}

/// A lease that was just taken.
struct Taken {
    lease: Lease,
    app: Ulid,
    attempt: u32,
    deadline: Timestamp,
    cancel_requested: bool,
    seq: i64,
}

async fn take_leases(
    db: &mut AnyConnection,
    most: usize,
    terms: &Terms,
) -> Result<Vec<Taken>, StoreError> {
    let now = terms.now.millis();
    // Materialized: a plan that looks into it again would take the next ones, too.
    let mut sql =
        Sql::new("WITH due AS MATERIALIZED (SELECT id FROM jobs WHERE finished_at IS NULL ");
    // A queued job has neither time, a waiting one the first, a running one the second.
    sql.push("AND COALESCE(next_attempt_at, lease_until, 0) <= ")
        .bind(now)?;
    sql.push(" ORDER BY seq LIMIT ")
        .bind(most as i64)?
        .push(skip_locked(db));
    sql.push(") UPDATE jobs SET state = 'running', attempt = attempt + 1, lease_owner = ")
        .bind(&terms.owner)?;
    sql.push(", lease_token = lease_token + 1, lease_until = ")
        .bind(terms.lease_until.millis())?;
    sql.push(", started_at = COALESCE(started_at, ").bind(now)?;
    sql.push("), deadline_at = COALESCE(deadline_at, ")
        .bind(terms.deadline_at.millis())?;
    sql.push("), next_attempt_at = NULL, reason = NULL WHERE id IN (SELECT id FROM due) ");
    sql.push("RETURNING id, app_id, attempt, lease_token, deadline_at, cancel_requested, seq");
    let read = |row: &AnyRow| {
        let row = Reader {
            row,
            table: "jobs",
            key: "id",
        };
        let lease = Lease {
            job: row.id("id")?,
            token: row.plain("lease_token")?,
        };
        Ok(Taken {
            lease,
            app: row.id("app_id")?,
            attempt: row.count("attempt")?,
            deadline: row.moment("deadline_at")?,
            cancel_requested: row.plain::<i64>("cancel_requested")? == 1,
            seq: row.plain("seq")?,
        })
    };
    let taken = sql.query().fetch_all(db).await?;
    let mut taken = taken
        .iter()
        .map(read)
        .collect::<Result<Vec<_>, StoreError>>()?;
    taken.sort_by_key(|taken| taken.seq);
    Ok(taken)
}

/// Tells that the jobs have started, and reads them and their apps. A job that cannot be read is parked, and one whose
/// cancel was accepted in an attempt that was lost ends here.
async fn load(
    db: &mut AnyConnection,
    taken: Vec<Taken>,
    now: Timestamp,
) -> Result<Vec<Claimed>, StoreError> {
    let (canceled, taken): (Vec<_>, Vec<_>) =
        taken.into_iter().partition(|taken| taken.cancel_requested);
    for Taken { lease, .. } in canceled {
        match end(db, lease, &AttemptResult::Canceled, now).await {
            Err(error @ StoreError::Corrupt { .. }) => {
                end(
                    db,
                    lease,
                    &AttemptResult::NeedsAttention(unreadable(&error)),
                    now,
                )
                .await?
            }
            ended => ended?,
        }
    }
    if taken.is_empty() {
        return Ok(Vec::new());
    }
    let started: Vec<_> = taken
        .iter()
        .map(|taken| {
            (
                taken.lease.job,
                EventPayload::JobStarted {
                    attempt: taken.attempt,
                },
            )
        })
        .collect();
    let mut sql = Sql::default();
    insert_events(
        db,
        &mut sql,
        &started
            .iter()
            .map(|(job, payload)| (*job, now, payload))
            .collect::<Vec<_>>(),
    )?;
    sql.then(db, COLUMNS)
        .push(" WHERE j.id IN (")
        .list(taken.iter().map(|taken| taken.lease.job.to_string()))?
        .push(")");
    let (jobs, apps) = (
        sql.run(db).await?,
        apps::rows_by_id(db, taken.iter().map(|taken| taken.app)).await?,
    );
    let (jobs, apps) = (by_id(&jobs, "jobs")?, by_id(&apps, "apps")?);
    let mut claimed = Vec::new();
    for Taken {
        lease,
        app,
        deadline,
        ..
    } in taken
    {
        let gone = || StoreError::Unavailable(format!("the job {} is gone", lease.job));
        let (job, app) = (
            jobs.get(&lease.job).ok_or_else(gone)?,
            apps.get(&app).ok_or_else(gone)?,
        );
        match read_job(job).and_then(|job| Ok((job, apps::read_app(app)?))) {
            Ok((job, app)) => claimed.push(Claimed {
                lease,
                job,
                app,
                deadline,
            }),
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::error!(%error, "a job is parked because its record cannot be read");
                end(
                    db,
                    lease,
                    &AttemptResult::NeedsAttention(unreadable(&error)),
                    now,
                )
                .await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(claimed)
}

fn by_id<'r>(
    rows: &'r [AnyRow],
    table: &'static str,
) -> Result<HashMap<Ulid, &'r AnyRow>, StoreError> {
    rows.iter()
        .map(|row| {
            Ok((
                Reader {
                    row,
                    table,
                    key: "id",
                }
                .id("id")?,
                row,
            ))
        })
        .collect()
}

/// A job that cannot be read must not hold up the others.
fn unreadable(error: &StoreError) -> JobError {
    JobError {
        code: JobErrorCode::Internal,
        detail: error.to_string(),
        remedy: Some("Put the row right in the database, then retry the job.".into()),
        retryable: false,
        aws: None,
    }
}

/// Statements that have no effect unless the lease is held: every write of a worker begins like this. Those that come
/// after return no rows.
pub(super) fn held(db: &AnyConnection, lease: Lease) -> Result<Sql, StoreError> {
    let mut sql = Sql::new(
        "SELECT app_id, id, task, cancel_requested FROM jobs WHERE state = 'running' AND id = ",
    );
    sql.bind(lease.job.to_string())?
        .push(" AND lease_token = ")
        .bind(lease.token)?
        .push(for_update(db));
    Ok(sql)
}

/// Runs what [`held`] begins; the job's app. What ran without the lease is undone with the request that it is part of.
pub(super) async fn run_held(
    db: &mut AnyConnection,
    lease: Lease,
    sql: Sql,
) -> Result<Ulid, StoreError> {
    match sql.run_if_found(db).await {
        Ok(found) => app_of(found),
        // Who has lost the lease may run into what its holder has written.
        Err(error) if !is_postgres(db) => hold(db, lease).await.and(Err(error)),
        Err(error) => Err(error),
    }
}

/// Fails unless the lease is held.
pub(super) async fn hold(db: &mut AnyConnection, lease: Lease) -> Result<Ulid, StoreError> {
    app_of(held(db, lease)?.run_if_found(db).await?)
}

fn app_of(found: Option<AnyRow>) -> Result<Ulid, StoreError> {
    Reader {
        row: &found.ok_or(StoreError::LostLease)?,
        table: "jobs",
        key: "id",
    }
    .id("app_id")
}

async fn end(
    db: &mut AnyConnection,
    lease: Lease,
    ended: &AttemptResult,
    now: Timestamp,
) -> Result<(), StoreError> {
    let row = held(db, lease)?
        .run_if_found(db)
        .await?
        .ok_or(StoreError::LostLease)?;
    let row = Reader {
        row: &row,
        table: "jobs",
        key: "id",
    };
    let (app, task, cancel_requested) = (
        row.id("app_id")?,
        row.json::<Task>("task"),
        row.plain::<i64>("cancel_requested")? == 1,
    );
    let ended = if cancel_requested {
        canceled_unless_in_doubt(ended)
    } else {
        ended.clone()
    };
    let canceled = cancel_requested || matches!(ended, AttemptResult::Canceled);
    let ended = &in_doubt_unless_settled(db, app, ended).await?;
    // The lease says that the job is running, and every end of an attempt is legal from there.
    let state = JobState::Running
        .on(ended.event())
        .map_err(|_| StoreError::LostLease)?;
    let (reason, at) = match ended {
        AttemptResult::Waiting { reason, at } => (Some(reason.clone()), Some(at.millis())),
        AttemptResult::Failed(job_error) | AttemptResult::NeedsAttention(job_error) => {
            (Some(job_error.detail.clone()), None)
        }
        AttemptResult::Released { reason } => (Some(reason.clone()), None),
        AttemptResult::Succeeded(_) | AttemptResult::Canceled => (None, None),
    };
    let result = if let AttemptResult::Succeeded(result) = ended {
        Some(to_json(result)?)
    } else {
        None
    };
    let error = if let AttemptResult::Failed(job_error) | AttemptResult::NeedsAttention(job_error) =
        ended
    {
        Some(job_error.clone())
    } else {
        None
    };
    let mut sql = Sql::new("UPDATE jobs SET lease_owner = NULL, lease_until = NULL, state = ");
    sql.bind(state.to_string())?
        .push(", reason = ")
        .bind(reason)?
        .push(", next_attempt_at = ")
        .bind(at)?;
    sql.push(", result = ")
        .bind(result)?
        .push(", error = ")
        .bind(error.as_ref().map(to_json).transpose()?)?;
    sql.push(", finished_at = ")
        .bind((!state.is_active()).then_some(now.millis()))?;
    if state == JobState::Queued {
        // The deadline counts the time of trying, not the time that the service is down.
        sql.push(", deadline_at = NULL");
    }
    sql.push(" WHERE id = ").bind(lease.job.to_string())?;
    let payload = ended.payload();
    // A job is parked because it cannot be read, and that can be its task.
    let task = if matches!(ended, AttemptResult::NeedsAttention(_)) || state.is_active() {
        task.ok()
    } else {
        Some(task?)
    };
    leave(
        db,
        sql,
        Left {
            app,
            job: lease.job,
            task,
            state,
            canceled,
            error,
            payload,
        },
        now,
    )
    .await
}

/// A cancel that was accepted is kept, however far the attempt came. What a person has to know of a key or of a record
/// that cannot be read is told all the same.
fn canceled_unless_in_doubt(ended: &AttemptResult) -> AttemptResult {
    match ended {
        AttemptResult::NeedsAttention(job_error)
            if matches!(
                job_error.code,
                JobErrorCode::CredentialInDoubt | JobErrorCode::Internal
            ) =>
        {
            ended.clone()
        }
        _ => AttemptResult::Canceled,
    }
}

/// How a job leaves its app.
struct Left {
    app: Ulid,
    job: Ulid,
    /// What it was asked to do, if that can be read.
    task: Option<Task>,
    state: JobState,
    /// Whether somebody asked to end it.
    canceled: bool,
    error: Option<JobError>,
    payload: EventPayload,
}

/// Runs the statement that ends a job or its attempt, and tells of it. The app is left in the state that its job
/// ended in, and its record with what follows from what was done.
async fn leave(
    db: &mut AnyConnection,
    mut sql: Sql,
    left: Left,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Left {
        app,
        job,
        task,
        state: ended,
        canceled,
        error,
        payload,
    } = left;
    if !ended.is_active() {
        let state = task
            .as_ref()
            .map_or(Some(AppState::NeedsAttention), |task| {
                AppState::left_by(task.kind(), ended)
            });
        let state = state.map(|state| state.to_string());
        sql.then(
            db,
            "UPDATE apps SET version = version + 1, state = COALESCE(CAST(",
        )
        .bind(state)?
        .push(" AS TEXT), state), updated_at = ");
        sql.bind(now.millis())?
            .push(" WHERE id = ")
            .bind(app.to_string())?;
    }
    insert_events(db, &mut sql, &[(job, now, &payload)])?;
    sql.run(db).await?;
    let Some(task) = task.filter(|_| !ended.is_active()) else {
        return Ok(());
    };
    rotations::follow(db, &task, (ended, canceled), error, now).await?;
    if ended == JobState::Succeeded {
        apps::follow(db, app, job, &task, now).await
    } else {
        Ok(())
    }
}

/// A job does not end for good while nobody knows whether its CreateAccessKey has made a key.
async fn in_doubt_unless_settled(
    db: &mut AnyConnection,
    app: Ulid,
    ended: AttemptResult,
) -> Result<AttemptResult, StoreError> {
    let so_far = match &ended {
        AttemptResult::Succeeded(_)
        | AttemptResult::Waiting { .. }
        | AttemptResult::Released { .. }
        | AttemptResult::NeedsAttention(_) => return Ok(ended),
        AttemptResult::Canceled => "the job was canceled".to_owned(),
        AttemptResult::Failed(job_error) => job_error.detail.clone(),
    };
    Ok(if has_open_intent(db, app).await? {
        AttemptResult::NeedsAttention(JobError::key_in_doubt(&so_far))
    } else {
        ended
    })
}

async fn has_open_intent(db: &mut AnyConnection, app: Ulid) -> Result<bool, StoreError> {
    let open = sqlx::query_scalar(
        "SELECT COUNT(*) FROM key_intents WHERE app_id = $1 AND closed_at IS NULL",
    );
    let open: i64 = open.bind(app.to_string()).fetch_one(db).await?;
    Ok(open > 0)
}

/// The job and its app. Until the commit nobody else changes it.
async fn lock(db: &mut AnyConnection, id: Ulid) -> Result<Option<(Job, Ulid)>, StoreError> {
    let mut sql = Sql::new("SELECT app_id, id FROM jobs WHERE id = ");
    sql.bind(id.to_string())?.push(for_update(db));
    let Some(row) = sql.query().fetch_optional(&mut *db).await? else {
        return Ok(None);
    };
    let app = Reader {
        row: &row,
        table: "jobs",
        key: "id",
    }
    .id("app_id")?;
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
    audit::note(
        db,
        &mut sql,
        Of::Job(id),
        Some(&by),
        &[(now, AuditEvent::CancelRequested)],
    )?;
    insert_events(
        db,
        &mut sql,
        &[(id, now, &EventPayload::CancelRequested { by })],
    )?;
    if job.state == JobState::Running {
        sql.then(db, "UPDATE jobs SET cancel_requested = 1 WHERE id = ")
            .bind(id.to_string())?;
    }
    sql.run(db).await?;
    if job.state != JobState::Running {
        stop(db, app, job, state, now).await?;
    }
    Ok(job_by_id(db, id).await?.ok_or(Refusal::NoJob))
}

/// Ends a job that nobody works on: canceled, or parked if a key of its may be live.
async fn stop(
    db: &mut AnyConnection,
    app: Ulid,
    job: Job,
    canceled: JobState,
    now: Timestamp,
) -> Result<(), StoreError> {
    let ended = in_doubt_unless_settled(db, app, AttemptResult::Canceled).await?;
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
        .bind(error.as_ref().map(|job_error| job_error.detail.clone()))?
        .push(" WHERE id = ")
        .bind(job.id.to_string())?;
    leave(
        db,
        sql,
        Left {
            app,
            job: job.id,
            task: Some(job.task),
            state,
            canceled: true,
            error,
            payload,
        },
        now,
    )
    .await
}

/// Why a job that is over is not the one to go on with, if a later one of its app has taken its place.
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
    let newest = Reader {
        row: &newest,
        table: "jobs",
        key: "id",
    };
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
    accept_expiry: bool,
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
    let task = if accept_expiry {
        job.task.accepting_expiry()
    } else {
        job.task
    };
    let mut sql = Sql::new(
        "UPDATE jobs SET error = NULL, reason = NULL, finished_at = NULL, next_attempt_at = NULL, deadline_at = NULL, cancel_requested = 0, state = ",
    );
    sql.bind(state.to_string())?
        .push(", task = ")
        .bind(to_json(&task)?)?
        .push(" WHERE id = ")
        .bind(id.to_string())?;
    audit::note(
        db,
        &mut sql,
        Of::Job(id),
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

async fn job_by_id(db: &mut AnyConnection, id: Ulid) -> Result<Option<Job>, StoreError> {
    let mut sql = Sql::new(COLUMNS);
    sql.push(" WHERE j.id = ").bind(id.to_string())?;
    sql.query()
        .fetch_optional(&mut *db)
        .await?
        .map(|row| read_job(&row))
        .transpose()
}

fn read_job(row: &AnyRow) -> Result<Job, StoreError> {
    let row = Reader {
        row,
        table: "jobs",
        key: "id",
    };
    let name = |column| row.plain::<String>(column);
    let app: String = row.plain("app_id")?;
    let corrupt = |column, error: NameError| StoreError::Corrupt {
        table: "apps",
        column,
        row: app.clone(),
        why: error.to_string(),
    };
    Ok(Job {
        id: row.id("id")?,
        kind: row.parsed("kind")?,
        task: row.json("task")?,
        app: AppName::parse(&name("name")?).map_err(|error| corrupt("name", error))?,
        account: AccountName::parse(&name("account")?)
            .map_err(|error| corrupt("account", error))?,
        state: row.parsed("state")?,
        attempt: row.count("attempt")?,
        reason: row.plain("reason")?,
        next_attempt_at: row.moment_or_null("next_attempt_at")?,
        steps: Reader {
            table: "steps",
            ..row
        }
        .json_or_null("steps")?
        .unwrap_or_default(),
        result: row.json_or_null("result")?,
        error: row.json_or_null("error")?,
        requested_by: row.plain("requested_by")?,
        created_at: row.moment("created_at")?,
        started_at: row.moment_or_null("started_at")?,
        finished_at: row.moment_or_null("finished_at")?,
    })
}
