//! Decides on plans that wait for an approval.
//!
//! Invariants:
//! - The change of the app's record that a request asks for is made in the commit that approves it, and never otherwise.
//! - A decision names the digest of the plan that it is for. Of two decisions at once, one applies.
//! - The person who requested a job does not approve it, unless an admin breaks the glass.

use sqlx::AnyConnection;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::approval::{ApprovalState, PlanDifference, PlanDigest};
use crate::domain::audit::AuditEvent;
use crate::domain::event::EventPayload;
use crate::domain::job::{Job, JobEvent, JobState};
use crate::store::approvals::{Row, by_job, end};
use crate::store::audit::Subject;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::events::insert_events;
use crate::store::jobs::cancel_and_retry::{lock, stop};
use crate::store::jobs::enqueue::{AppChange, apply_change};
use crate::store::jobs::query::job_by_id;
use crate::store::refusal::Refusal;
use crate::store::rows::RowReader;
use crate::store::signals::Signal;
use crate::store::sql::Sql;
use crate::store::{apps, audit};

/// A decision on a plan.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Approved or rejected.
    pub verdict: Verdict,
    /// The token's name.
    pub by: String,
    /// The person behind the token.
    pub person: String,
    /// What is said with it.
    pub comment: Option<String>,
}

/// Approved or rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The plan with this digest is approved.
    Approve {
        /// The digest.
        plan_digest: PlanDigest,
        /// Whether an admin approves without a second person.
        break_glass: bool,
    },
    /// Whatever the plan is, it is rejected.
    Reject,
}

impl Store {
    /// Approves or rejects the plan of a job.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn decide(
        &self,
        job: Ulid,
        decision: Decision,
    ) -> Result<Result<Job, Refusal>, StoreError> {
        let now = self.clock.now();
        let decided = self
            .writer
            .write(move |db| Box::pin(async move { decide(db, job, decision, now).await }))
            .await?;
        self.signal(Signal::Queued);
        self.signal(Signal::Progress(job));
        self.signal_here(Signal::Outbox);
        Ok(decided)
    }

    /// Cancels a batch of the jobs that nobody has approved in time. Returns their number.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn expire_approvals(&self) -> Result<u64, StoreError> {
        let now = self.clock.now();
        let expired = self
            .writer
            .write(move |db| Box::pin(async move { expire(db, now).await }))
            .await?;
        for job in &expired {
            self.signal(Signal::Progress(*job));
        }
        Ok(expired.len() as u64)
    }
}

async fn decide(
    db: &mut AnyConnection,
    id: Ulid,
    decision: Decision,
    now: Timestamp,
) -> Result<Result<Job, Refusal>, StoreError> {
    let Some((job, app)) = lock(db, id).await? else {
        return Ok(Err(Refusal::NoJob));
    };
    let Some(row) = by_job(db, id).await? else {
        return Ok(Err(Refusal::NoApproval));
    };
    if let Some(refusal) = refused(&row, &decision) {
        return Ok(Err(refusal));
    }
    let refusal = match &decision.verdict {
        Verdict::Approve {
            plan_digest,
            break_glass,
        } => approve(db, &job, app, (plan_digest, *break_glass), &decision, now).await?,
        Verdict::Reject => {
            reject(db, job, app, row.approval.plan_digest, &decision, now).await?;
            None
        }
    };
    match refusal {
        Some(refusal) => Ok(Err(refusal)),
        None => Ok(job_by_id(db, id).await?.ok_or(Refusal::NoJob)),
    }
}

fn refused(row: &Row, decision: &Decision) -> Option<Refusal> {
    if row.approval.state != ApprovalState::Pending {
        return Some(Refusal::Decided(row.approval.state));
    }
    match &decision.verdict {
        Verdict::Approve { plan_digest, .. } if *plan_digest != row.approval.plan_digest => {
            let difference = row.approval.difference.clone().unwrap_or(PlanDifference {
                added: row.approval.changes.clone(),
                removed: Vec::new(),
            });
            Some(Refusal::PlanChanged(row.approval.job, Box::new(difference)))
        }
        Verdict::Approve {
            break_glass: false, ..
        } if decision.person == row.requester => Some(Refusal::OwnRequest),
        _ => None,
    }
}

/// Makes the change of the app's record that was requested with the job, and queues the job.
async fn approve(
    db: &mut AnyConnection,
    job: &Job,
    app_id: Ulid,
    (plan_digest, break_glass): (&PlanDigest, bool),
    decision: &Decision,
    now: Timestamp,
) -> Result<Option<Refusal>, StoreError> {
    apps::lock(db, &job.app).await?;
    let app = apps::app_by_id(db, app_id).await?;
    if let Some(change) = requested_change(db, job.id).await?
        && let Some(refusal) = apply_change(db, &app, job, &change, now).await?
    {
        return Ok(Some(refusal));
    }
    let Ok(state) = job.state.on(JobEvent::Approved) else {
        return Ok(Some(Refusal::Decided(ApprovalState::Approved)));
    };
    let mut sql = Sql::new("UPDATE jobs SET reason = NULL, deadline_at = NULL, state = ");
    sql.bind(state.to_string())?
        .push(" WHERE id = ")
        .bind(job.id.to_string())?;
    sql.then(
        db,
        "UPDATE approvals SET state = 'approved', record_change = NULL, break_glass = ",
    )
    .bind(i64::from(break_glass))?;
    sql.push(", decided_by = ")
        .bind(decision.by.clone())?
        .push(", decided_at = ")
        .bind(now.millis())?;
    sql.push(", comment = ")
        .bind(decision.comment.clone())?
        .push(" WHERE job_id = ")
        .bind(job.id.to_string())?;
    let event = EventPayload::JobApproved {
        by: decision.by.clone(),
        comment: decision.comment.clone(),
    };
    insert_events(db, &mut sql, &[(job.id, now, &event)])?;
    let entry = AuditEvent::JobApproved {
        plan_digest: plan_digest.clone(),
        comment: decision.comment.clone(),
        break_glass,
    };
    audit::record(
        db,
        &mut sql,
        Subject::Job(job.id),
        Some(&decision.by),
        &[(now, entry)],
    )?;
    sql.run(db).await?;
    Ok(None)
}

async fn reject(
    db: &mut AnyConnection,
    job: Job,
    app: Ulid,
    plan_digest: PlanDigest,
    decision: &Decision,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (id, by, comment) = (job.id, decision.by.clone(), decision.comment.clone());
    let reason = match &comment {
        Some(comment) => format!("Rejected by {by}: {comment}"),
        None => format!("Rejected by {by}."),
    };
    let mut sql = Sql::default();
    let entry = AuditEvent::JobRejected {
        plan_digest,
        comment: comment.clone(),
    };
    audit::record(db, &mut sql, Subject::Job(id), Some(&by), &[(now, entry)])?;
    let event = EventPayload::JobRejected {
        by: by.clone(),
        comment: comment.clone(),
    };
    insert_events(db, &mut sql, &[(id, now, &event)])?;
    sql.run(db).await?;
    end(db, id, ApprovalState::Rejected, Some(&by), comment, now).await?;
    stop(db, app, job, JobState::Canceled, Some(reason), now).await
}

async fn expire(db: &mut AnyConnection, now: Timestamp) -> Result<Vec<Ulid>, StoreError> {
    let mut sql =
        Sql::new("SELECT job_id FROM approvals WHERE state = 'pending' AND expires_at <= ");
    sql.bind(now.millis())?
        .push(" ORDER BY expires_at LIMIT 100");
    let due: Vec<String> = sql.scalars().fetch_all(&mut *db).await?;
    let mut expired = Vec::new();
    for id in due {
        let Ok(id) = Ulid::from_string(&id) else {
            continue;
        };
        let Some((job, app)) = lock(db, id).await? else {
            continue;
        };
        if job.state != JobState::AwaitingApproval {
            continue;
        }
        end(db, id, ApprovalState::Expired, None, None, now).await?;
        let reason = "Nobody approved the plan in time.".to_owned();
        stop(db, app, job, JobState::Canceled, Some(reason), now).await?;
        expired.push(id);
    }
    Ok(expired)
}

async fn requested_change(
    db: &mut AnyConnection,
    job: Ulid,
) -> Result<Option<AppChange>, StoreError> {
    let row = sqlx::query("SELECT job_id, record_change FROM approvals WHERE job_id = $1")
        .bind(job.to_string())
        .fetch_one(db)
        .await?;
    RowReader::new(&row, "approvals", "job_id").json_or_null("record_change")
}
