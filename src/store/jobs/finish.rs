//! Finishes attempts and jobs, and applies the outcome to the app.

use std::collections::BTreeSet;

use sqlx::AnyConnection;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::app::AppState;
use crate::domain::approval::{ApprovalReason, PlanDifference};
use crate::domain::event::EventPayload;
use crate::domain::job::{JobError, JobErrorCode, JobEvent, JobResult, JobState};
use crate::domain::task::Task;
use crate::domain::webhook::EventType;
use crate::store::approvals::{self, PlanToApprove};
use crate::store::audit::Subject;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::events::insert_events;
use crate::store::lease::{Lease, held};
use crate::store::outbox::{Announcement, announce};
use crate::store::rows::{RowReader, to_json};
use crate::store::signals::Signal;
use crate::store::sql::Sql;
use crate::store::{apps, rotations};

/// The result of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum AttemptResult {
    /// AWS is as the task wants it.
    Succeeded(JobResult),
    /// Another attempt follows.
    Waiting {
        /// Why.
        reason: String,
        /// When.
        at: Timestamp,
    },
    /// The job failed.
    Failed(JobError),
    /// A person has to act.
    NeedsAttention(JobError),
    /// Canceled on request.
    Canceled,
    /// Its plan goes beyond the approved one.
    AwaitingApproval {
        /// The plan, and why it needs an approval.
        reopened: Box<Reopened>,
    },
    /// Handed back, because the worker stops.
    Released {
        /// Why.
        reason: String,
    },
}

/// A plan that goes beyond the approved one.
#[derive(Debug, Clone, PartialEq)]
pub struct Reopened {
    /// Why the job needs an approval.
    pub reasons: BTreeSet<ApprovalReason>,
    /// The plan.
    pub plan: PlanToApprove,
    /// How it differs from the approved one.
    pub difference: PlanDifference,
}

impl AttemptResult {
    fn event(&self) -> JobEvent {
        match self {
            Self::Succeeded(_) => JobEvent::Converged,
            Self::Waiting { .. } => JobEvent::MustWait,
            Self::Failed(_) => JobEvent::GaveUp,
            Self::NeedsAttention(_) => JobEvent::Parked,
            Self::Canceled => JobEvent::Canceled,
            Self::AwaitingApproval { .. } => JobEvent::PlanChanged,
            Self::Released { .. } => JobEvent::Released,
        }
    }

    pub(super) fn payload(&self) -> EventPayload {
        match self.clone() {
            Self::Succeeded(_) => EventPayload::JobSucceeded,
            Self::Waiting { reason, at } => EventPayload::JobWaiting {
                reason,
                next_attempt_at: at,
            },
            Self::Failed(error) => EventPayload::JobFailed { error },
            Self::NeedsAttention(error) => EventPayload::JobNeedsAttention { error },
            Self::Canceled => EventPayload::JobCanceled,
            Self::AwaitingApproval { reopened } => EventPayload::JobAwaitingApproval {
                reasons: reopened.reasons,
                plan_digest: reopened.plan.digest,
            },
            Self::Released { reason } => EventPayload::JobReleased { reason },
        }
    }
}

impl Store {
    /// Finishes an attempt.
    ///
    /// # Errors
    /// [`StoreError::LostLease`] when another worker has it.
    pub async fn finish(&self, lease: Lease, ended: AttemptResult) -> Result<(), StoreError> {
        let now = self.clock.now();
        let again = matches!(ended, AttemptResult::Released { .. });
        self.write_with_lease(lease, move |db| {
            Box::pin(async move { finish_attempt(db, lease, &ended, now).await })
        })
        .await?;
        self.signal(Signal::Progress(lease.job));
        self.signal_here(Signal::Outbox);
        if again {
            self.signal(Signal::Queued);
        }
        Ok(())
    }
}

pub(super) async fn finish_attempt(
    db: &mut AnyConnection,
    lease: Lease,
    ended: &AttemptResult,
    now: Timestamp,
) -> Result<(), StoreError> {
    let row = held(db, lease)?
        .run_if_found(db)
        .await?
        .ok_or(StoreError::LostLease)?;
    let row = RowReader::new(&row, "jobs", "id");
    let (app, task, cancel_requested) = (
        row.id("app_id")?,
        row.json::<Task>("task"),
        row.plain::<i64>("cancel_requested")? == 1,
    );
    let ended = if cancel_requested {
        cancel_unless_in_doubt(ended)
    } else {
        ended.clone()
    };
    let canceled = cancel_requested || matches!(ended, AttemptResult::Canceled);
    let ended = &park_if_key_in_doubt(db, app, ended).await?;
    // The lease says that the job is running, and every end of an attempt is legal from there.
    let state = JobState::Running
        .on(ended.event())
        .map_err(|_| StoreError::LostLease)?;
    let (reason, at) = match ended {
        AttemptResult::Waiting { reason, at } => (Some(reason.clone()), Some(at.millis())),
        AttemptResult::Failed(job_error) | AttemptResult::NeedsAttention(job_error) => {
            (Some(job_error.detail.clone()), None)
        }
        AttemptResult::AwaitingApproval { .. } => (
            Some("The plan has changed since it was approved.".into()),
            None,
        ),
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
    if let AttemptResult::AwaitingApproval { reopened } = ended {
        approvals::reopen(
            db,
            &mut sql,
            lease.job,
            &reopened.plan,
            &reopened.difference,
        )?;
    }
    let payload = ended.payload();
    // A job is parked because it cannot be read, and that can be its task.
    let task = if matches!(ended, AttemptResult::NeedsAttention(_)) || state.is_active() {
        task.ok()
    } else {
        Some(task?)
    };
    let left = task
        .as_ref()
        .map_or(Some(AppState::NeedsAttention), |task| {
            AppState::left_by(task.kind(), state)
        });
    finish(
        db,
        sql,
        JobEnd {
            app,
            job: lease.job,
            task,
            state,
            left,
            canceled,
            error,
            payload,
        },
        now,
    )
    .await
}

/// An accepted cancellation prevails, however far the attempt came, unless a key is in doubt or a record cannot be read:
/// a person has to know of these.
fn cancel_unless_in_doubt(ended: &AttemptResult) -> AttemptResult {
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

/// The end of a job or of an attempt.
pub(super) struct JobEnd {
    pub(super) app: Ulid,
    pub(super) job: Ulid,
    /// Its task, if that can be read.
    pub(super) task: Option<Task>,
    pub(super) state: JobState,
    /// The state that it leaves the app in, if another one.
    pub(super) left: Option<AppState>,
    /// Whether its cancellation was requested.
    pub(super) canceled: bool,
    pub(super) error: Option<JobError>,
    pub(super) payload: EventPayload,
}

/// Runs the statement that ends a job or its attempt, and records the event. A job that ends sets the app's state and
/// applies its outcome to the app's record.
pub(super) async fn finish(
    db: &mut AnyConnection,
    mut sql: Sql,
    end: JobEnd,
    now: Timestamp,
) -> Result<(), StoreError> {
    let JobEnd {
        app,
        job,
        task,
        state: ended,
        left,
        canceled,
        error,
        payload,
    } = end;
    if !ended.is_active() {
        let left = left.map(|state| state.to_string());
        sql.then(
            db,
            "UPDATE apps SET version = version + 1, state = COALESCE(CAST(",
        )
        .bind(left)?
        .push(" AS TEXT), state), updated_at = ");
        sql.bind(now.millis())?
            .push(" WHERE id = ")
            .bind(app.to_string())?;
    }
    insert_events(db, &mut sql, &[(job, now, &payload)])?;
    if ended == JobState::Succeeded
        && let Some(kind) = task
            .as_ref()
            .and_then(|task| EventType::of_success(task.kind()))
    {
        let event = Announcement::new(kind, Subject::Job(job), now);
        announce(db, &mut sql, event)?;
    }
    sql.run(db).await?;
    let Some(task) = task.filter(|_| !ended.is_active()) else {
        return Ok(());
    };
    rotations::apply_job_end(db, &task, (ended, canceled), error, now).await?;
    if ended == JobState::Succeeded {
        apps::apply_success(db, app, job, &task, now).await
    } else {
        Ok(())
    }
}

/// Parks a job that would end while it is unknown whether its CreateAccessKey has created a key.
pub(super) async fn park_if_key_in_doubt(
    db: &mut AnyConnection,
    app: Ulid,
    ended: AttemptResult,
) -> Result<AttemptResult, StoreError> {
    let so_far = match &ended {
        AttemptResult::Succeeded(_)
        | AttemptResult::Waiting { .. }
        | AttemptResult::AwaitingApproval { .. }
        | AttemptResult::Released { .. }
        | AttemptResult::NeedsAttention(_) => return Ok(ended),
        AttemptResult::Canceled => "The job was canceled".to_owned(),
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
