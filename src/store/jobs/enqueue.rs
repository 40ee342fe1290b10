//! Accepts jobs.
//!
//! Invariant: a job's row, its app's row, its idempotency record and its first event are one commit.

use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::app::{App, AppState};
use crate::domain::audit::AuditEvent;
use crate::domain::event::EventPayload;
use crate::domain::job::{Job, JobState, Step};
use crate::domain::job_kind::JobKind;
use crate::domain::names::AppName;
use crate::domain::removal::Removal;
use crate::domain::resource_id::ResourceId;
use crate::domain::retained::Dropped;
use crate::domain::spec::AppSpec;
use crate::domain::task::Task;
use crate::store::approvals::{self, NewApproval};
use crate::store::audit::Subject;
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::events::insert_events;
use crate::store::idempotency::{Earlier, IdempotencyKey};
use crate::store::refusal::Refusal;
use crate::store::rotations::RotationChange;
use crate::store::rows::{RowReader, to_json};
use crate::store::signals::Signal;
use crate::store::sql::Sql;
use crate::store::{accounts, apps, audit, idempotency, rotations, setups};
use crate::telemetry::TraceParent;

/// The condition on an app's row under which its name can be onboarded again: it was removed, or its onboarding ended
/// without success; and no key of it can be live.
macro_rules! can_be_onboarded_again {
    () => {
        "apps.state IN ('failed', 'canceled', 'removed') AND NOT EXISTS (SELECT 1 FROM jobs WHERE app_id = apps.id \
         AND (state IN ('awaiting_approval', 'queued', 'running', 'waiting') OR state = 'succeeded' AND apps.state <> 'removed' AND jobs.seq > COALESCE((SELECT MAX(r.seq) FROM jobs r WHERE r.app_id = apps.id \
         AND r.kind = 'remove' AND r.state = 'succeeded'), 0))) \
         AND NOT EXISTS (SELECT 1 FROM key_intents WHERE app_id = apps.id AND closed_at IS NULL)"
    };
}

/// An app to be onboarded.
#[derive(Debug, Clone)]
pub struct NewApp {
    /// What it should have.
    pub spec: AppSpec,
    /// The ids of its resources, in display order.
    pub resources: Vec<ResourceId>,
    /// Whether images with protected tags may expire.
    pub accept_expiry: bool,
    /// The requester.
    pub requested_by: String,
    /// The approval that the job needs.
    pub approval: Option<NewApproval>,
}

/// A request for a job of an existing app.
#[derive(Debug, Clone)]
pub struct JobRequest {
    /// The app.
    pub app: AppName,
    /// What to do.
    pub task: Task,
    /// The ids of its steps' resources, in display order.
    pub resources: Vec<ResourceId>,
    /// Who asked.
    pub requested_by: String,
    /// The only version of the app's record that the request applies to.
    pub if_version: Option<i64>,
    /// A change of the app's record in the same commit.
    pub change: Option<AppChange>,
    /// The approval that the job needs. The change waits for it, too.
    pub approval: Option<NewApproval>,
}

impl JobRequest {
    /// A request that does not change the app's record.
    pub fn new(
        app: AppName,
        task: Task,
        resources: Vec<ResourceId>,
        requested_by: impl Into<String>,
    ) -> Self {
        Self {
            app,
            task,
            resources,
            requested_by: requested_by.into(),
            if_version: None,
            change: None,
            approval: None,
        }
    }
}

/// A change of the app's record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppChange {
    /// Another spec, and what the specs before it named and it does not.
    Spec(Box<AppSpec>, Dropped),
    /// The app's removal starts.
    Removal(Removal),
    /// The app's removal ends.
    Restoring(Removal),
    /// A rotation starts or advances.
    Rotation(RotationChange),
}

/// An accepted request.
#[derive(Debug, Clone, PartialEq)]
pub enum Accepted {
    /// A new job, or an active one that does what was requested.
    Fresh(Box<Job>),
    /// The job that an earlier request with the same key was answered with, as it was then.
    Replay(Box<Job>),
}

/// What a request is given when it is accepted.
#[derive(Debug, Clone)]
struct Receipt {
    at: Timestamp,
    /// The id of what it creates beside the job.
    subject: Ulid,
    job: Ulid,
    trace_parent: Option<TraceParent>,
}

impl Store {
    fn receipt(&self) -> Receipt {
        Receipt {
            at: self.clock.now(),
            subject: self.clock.new_id(),
            job: self.clock.new_id(),
            trace_parent: TraceParent::current(),
        }
    }

    /// Creates an app and its onboarding job: app, job, steps, event and idempotency record in one commit.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn onboard(
        &self,
        new: NewApp,
        key: Option<IdempotencyKey>,
    ) -> Result<Result<Accepted, Refusal>, StoreError> {
        let receipt = self.receipt();
        let accepted = self
            .writer
            .write(move |db| Box::pin(async move { onboard(db, new, key, receipt).await }))
            .await?;
        Ok(self.announce(accepted))
    }

    /// Whether an onboarding by this name would be refused.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn is_taken(&self, name: &AppName) -> Result<bool, StoreError> {
        let taken = concat!(
            "SELECT COUNT(*) FROM apps WHERE name_key = $1 AND NOT ((name = $2 OR state = 'removed') AND ",
            can_be_onboarded_again!(),
            ")"
        );
        let taken: i64 = sqlx::query_scalar(taken)
            .bind(name.key())
            .bind(name.as_str())
            .fetch_one(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        Ok(taken > 0)
    }

    /// Creates a job of an existing app, with its change of the app's record.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn enqueue(
        &self,
        request: JobRequest,
        key: Option<IdempotencyKey>,
    ) -> Result<Result<Accepted, Refusal>, StoreError> {
        let receipt = self.receipt();
        let accepted = self
            .writer
            .write(move |db| Box::pin(async move { enqueue(db, request, key, receipt).await }))
            .await?;
        Ok(self.announce(accepted))
    }

    /// Accepts a request that an active job fulfills.
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
        let earlier = self.keep_answer(key, job.clone()).await?;
        Ok(earlier.map(|earlier| {
            earlier.map_or_else(|| Accepted::Fresh(Box::new(job)), Accepted::Replay)
        }))
    }

    fn announce(&self, accepted: Result<Accepted, Refusal>) -> Result<Accepted, Refusal> {
        if let Ok(Accepted::Fresh(job)) = &accepted {
            if job.needs_approval {
                self.signal_here(Signal::Outbox);
            }
            self.signal(Signal::Queued);
        }
        accepted
    }
}

async fn onboard(
    db: &mut AnyConnection,
    new: NewApp,
    key: Option<IdempotencyKey>,
    receipt: Receipt,
) -> Result<Result<Accepted, Refusal>, StoreError> {
    let now = receipt.at;
    if let Some(answer) = earlier(db, key.as_ref(), now).await? {
        return Ok(answer);
    }
    if let Err(refusal) = accounts::lock_for_app(db, &new.spec.account).await? {
        return Ok(Err(refusal));
    }
    let Some(app_id) = insert_app(db, &new, receipt.subject, now).await? else {
        return Ok(Err(Refusal::AppExists(new.spec.name)));
    };
    let task = Task::Onboard {
        accept_expiry: new.accept_expiry,
    };
    let id = receipt.job;
    let mut job = new_job(id, &new.spec, task, &new.resources, new.requested_by, now);
    let approval = new.approval.as_ref().map(|approval| (approval, None));
    insert_job(db, app_id, &mut job, approval, key, &receipt).await?;
    Ok(Ok(Accepted::Fresh(Box::new(job))))
}

/// Creates the app's row, or resets that of an app whose name can be onboarded again. `None` if the name is taken.
async fn insert_app(
    db: &mut AnyConnection,
    new: &NewApp,
    id: Ulid,
    now: Timestamp,
) -> Result<Option<Ulid>, StoreError> {
    let insert = "INSERT INTO apps (id, name, name_key, account, spec, state, version, created_by, created_at, updated_at, retained, rotate_after) \
         VALUES ($1, $2, $3, $4, $5, 'pending', 1, $6, $7, $7, '{}', $8) ON CONFLICT (name_key) DO NOTHING RETURNING id";
    let insert = sqlx::query(insert)
        .bind(id.to_string())
        .bind(new.spec.name.as_str())
        .bind(new.spec.name.key())
        .bind(new.spec.account.as_str());
    let insert = insert
        .bind(to_json(&new.spec)?)
        .bind(&new.requested_by)
        .bind(now.millis())
        .bind(apps::rotate_after(&new.spec));
    match insert.fetch_optional(&mut *db).await? {
        Some(row) => Ok(Some(RowReader::new(&row, "apps", "id").id("id")?)),
        None => reset_app(db, new, now).await,
    }
}

/// Resets the row of an app that is onboarded again. Resources of its earlier spec are remembered, because jobs may have
/// created them. What a removal has left in AWS belongs to no app.
async fn reset_app(
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
    // What its jobs may have created is in the account of the earlier spec.
    if !was_removed && earlier.spec.account != new.spec.account {
        return Ok(None);
    }
    let dropped = if was_removed {
        Dropped::default()
    } else {
        earlier.dropped.after(&earlier.spec, &new.spec)
    };
    let update = concat!(
        "UPDATE apps SET name = $1, spec = $2, account = $3, state = 'pending', version = version + 1, \
         created_by = CASE state WHEN 'removed' THEN $4 ELSE created_by END, \
         created_at = CASE state WHEN 'removed' THEN $5 ELSE created_at END, \
         removal = NULL, remove_at = NULL, updated_at = $5, retained = $6, rotate_after = $7 WHERE id = $8 AND (name = $1 OR state = 'removed') AND ",
        can_be_onboarded_again!()
    );
    let update = sqlx::query(update)
        .bind(new.spec.name.as_str())
        .bind(to_json(&new.spec)?)
        .bind(new.spec.account.as_str());
    let update = update
        .bind(&new.requested_by)
        .bind(now.millis())
        .bind(to_json(&dropped)?)
        .bind(apps::rotate_after(&new.spec))
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
    receipt: Receipt,
) -> Result<Result<Accepted, Refusal>, StoreError> {
    let now = receipt.at;
    if let Some(answer) = earlier(db, key.as_ref(), now).await? {
        return Ok(answer);
    }
    if let (Task::SetupAccount { .. }, Some(AppChange::Spec(spec, _))) =
        (&request.task, &request.change)
    {
        if let Err(refusal) = accounts::lock_for_app(db, &spec.account).await? {
            return Ok(Err(refusal));
        }
        setups::insert(db, spec, receipt.subject, &request.requested_by, now).await?;
    }
    let Some(app_id) = apps::lock(db, &request.app).await? else {
        return Ok(Err(Refusal::NoApp));
    };
    let app = apps::app_by_id(db, app_id).await?;
    match refused(&app, &request) {
        Some(Refusal::Active(job)) if is_removal(db, &app, job).await? => {
            return Ok(Err(Refusal::RemovalBegun(request.app, job)));
        }
        Some(refusal) => return Ok(Err(refusal)),
        None => {}
    }
    let change = request.change.or_else(|| restoring(&request.task, &app));
    let mut job = new_job(
        receipt.job,
        &app.spec,
        request.task,
        &request.resources,
        request.requested_by,
        now,
    );
    let approval = request.approval.as_ref();
    if let (Some(change), None) = (&change, approval)
        && let Some(refusal) = apply_change(db, &app, &job, change, now).await?
    {
        return Ok(Err(refusal));
    }
    let approval = approval.map(|approval| (approval, change.as_ref()));
    insert_job(db, app_id, &mut job, approval, key, &receipt).await?;
    Ok(Ok(Accepted::Fresh(Box::new(job))))
}

/// The change of the app's record that the restoring of a removed app begins with.
fn restoring(task: &Task, app: &App) -> Option<AppChange> {
    match (task, &app.removal) {
        (Task::Restore { .. }, Some(removal)) => Some(AppChange::Restoring(removal.clone())),
        _ => None,
    }
}

/// Makes the change of an app's record that comes with a job.
pub(super) async fn apply_change(
    db: &mut AnyConnection,
    app: &App,
    job: &Job,
    change: &AppChange,
    now: Timestamp,
) -> Result<Option<Refusal>, StoreError> {
    match change {
        AppChange::Spec(spec, dropped) => {
            apps::set_spec(db, app.id, spec, dropped, now).await?;
        }
        AppChange::Removal(removal) => {
            apps::set_removal(db, app.id, Some(removal)).await?;
            rotations::stop(db, app.id, "The app is being removed.", now).await?;
        }
        AppChange::Restoring(removal) => {
            let restoring = Removal {
                restoring: true,
                ..removal.clone()
            };
            apps::set_removal(db, app.id, Some(&restoring)).await?;
        }
        AppChange::Rotation(change) => {
            return rotations::change(db, app.id, job, change, now).await;
        }
    }
    Ok(None)
}

/// Whether the app's active job removes it.
async fn is_removal(db: &mut AnyConnection, app: &App, job: Ulid) -> Result<bool, StoreError> {
    if app.removal.is_none() {
        return Ok(false);
    }
    let kind: String = sqlx::query_scalar("SELECT kind FROM jobs WHERE id = $1")
        .bind(job.to_string())
        .fetch_one(db)
        .await?;
    Ok(kind == JobKind::Remove.to_string())
}

/// Why the app in its present state refuses a request.
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
        // A restore that cannot succeed by the spec has a way on: another spec.
        (Some(removal), Task::Update { .. }) if removal.restoring => {}
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
        Earlier::Same(job) => Some(Ok(Accepted::Replay(job))),
        Earlier::Other => Some(Err(Refusal::KeyReused)),
    })
}

fn new_job(
    id: Ulid,
    spec: &AppSpec,
    task: Task,
    resources: &[ResourceId],
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
        steps: resources.iter().cloned().map(Step::pending).collect(),
        result: None,
        error: None,
        requested_by,
        needs_approval: false,
        created_at: now,
        started_at: None,
        finished_at: None,
    }
}

async fn insert_job(
    db: &mut AnyConnection,
    app: Ulid,
    job: &mut Job,
    approval: Option<(&NewApproval, Option<&AppChange>)>,
    key: Option<IdempotencyKey>,
    receipt: &Receipt,
) -> Result<(), StoreError> {
    let now = receipt.at;
    if approval.is_some() {
        job.needs_approval = true;
        job.state = JobState::AwaitingApproval;
    }
    let id = job.id.to_string();
    let mut sql = Sql::new(
        "INSERT INTO jobs (attempt, cancel_requested, lease_token, id, app_id, kind, task, state, requested_by, created_at, needs_approval, trace_parent) VALUES (0, 0, 0, ",
    );
    sql.list([
        &id,
        &app.to_string(),
        &job.kind.to_string(),
        &to_json(&job.task)?,
        &job.state.to_string(),
        &job.requested_by,
    ])?;
    sql.push(", ").bind(now.millis())?;
    sql.push(", ").bind(i64::from(job.needs_approval))?;
    let trace_parent = receipt.trace_parent.as_ref().map(ToString::to_string);
    sql.push(", ").bind(trace_parent)?.push(")");
    sql.then(db, "INSERT INTO steps (job_id, steps) VALUES (")
        .list([&id, &to_json(&job.steps)?])?
        .push(")");
    let accepted = match approval {
        Some((new, change)) => {
            approvals::insert(db, &mut sql, job.id, new, change.map(to_json).transpose()?)?;
            EventPayload::JobAwaitingApproval {
                reasons: new.reasons.clone(),
                plan_digest: new.plan.digest.clone(),
            }
        }
        None => EventPayload::JobQueued {
            kind: job.kind,
            requested_by: job.requested_by.clone(),
        },
    };
    insert_events(db, &mut sql, &[(job.id, now, &accepted)])?;
    let requested = AuditEvent::JobRequested {
        task: job.task.clone(),
    };
    audit::record(
        db,
        &mut sql,
        Subject::Job(job.id),
        Some(&job.requested_by),
        &[(now, requested)],
    )?;
    if let Some(key) = key {
        idempotency::record(db, &mut sql, &key, job, now)?;
    }
    sql.run(db).await.map(drop)
}
