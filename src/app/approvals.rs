//! Which jobs wait for an approval, and who may give it.

use serde_json::Value;
use ulid::Ulid;

use crate::app::error::UseCaseError;
use crate::app::preview::preview;
use crate::app::service::Service;
use crate::app::token_exchange::rule_prefix_of;
use crate::clock::Timestamp;
use crate::domain::app::App;
use crate::domain::approval::{Approval, ApprovalReason, PlanDigest, Requested, is_onboarding};
use crate::domain::caller::Caller;
use crate::domain::job::Job;
use crate::domain::plan::Action;
use crate::domain::removal::Removal;
use crate::domain::role::Role;
use crate::domain::task::Task;
use crate::domain::validation::{FieldError, Fields};
use crate::store::{
    Accepted, AppChange, ApprovalFilter, Decision, IdempotencyKey, JobRequest, NewApproval,
    PlanToApprove, Refusal, Verdict,
};

const MAX_COMMENT: usize = 500;

/// Enqueues a job that a caller requests of an app, with the approval that it needs, if it needs one. The app exists, or
/// the request comes with its spec.
///
/// # Errors
/// When the plan to approve cannot be made, or the database is not available.
pub async fn enqueue(
    service: &Service,
    caller: &Caller,
    app: impl Into<Option<&App>>,
    request: JobRequest,
    key: Option<IdempotencyKey>,
) -> Result<Result<Accepted, Refusal>, UseCaseError> {
    let app = app.into();
    let (of_change, removal) = match &request.change {
        Some(AppChange::Spec(spec, _)) => (Some(&**spec), None),
        Some(AppChange::Removal(removal)) => (None, Some(removal)),
        _ => (None, None),
    };
    let Some(spec) = of_change.or_else(|| app.map(|app| &app.spec)) else {
        return Ok(Err(Refusal::NoApp));
    };
    let requested = Requested {
        task: &request.task,
        spec,
        app,
        removal,
    };
    let approval = needed(service, caller, &requested, key.as_ref()).await?;
    let request = JobRequest {
        approval,
        ..request
    };
    Ok(service.store.enqueue(request, key).await?)
}

/// The approval that a job needs, with the plan to approve; `None` if it needs none.
///
/// # Errors
/// When the plan cannot be made.
pub async fn needed(
    service: &Service,
    caller: &Caller,
    requested: &Requested<'_>,
    key: Option<&IdempotencyKey>,
) -> Result<Option<NewApproval>, UseCaseError> {
    let rules = &service.settings.approvals;
    let mut reasons = rules.reasons(requested);
    if rules.first_app_of_pipeline
        && is_onboarding(requested.task.kind(), requested.app)
        && let Some(prefix) = rule_prefix_of(caller)
        && !service.store.has_onboarded(prefix).await?
    {
        reasons.insert(ApprovalReason::FirstAppOfPipeline);
    }
    if caller.proposes {
        reasons.insert(ApprovalReason::RepositoryEvent);
    }
    // A repeated request is answered as the first one was, without another plan.
    if reasons.is_empty() || service.store.replay(key).await??.is_some() {
        return Ok(None);
    }
    let plan = plan_to_approve(service, requested).await?;
    require_feasible(&plan)?;
    Ok(Some(NewApproval {
        reasons,
        plan,
        requester: person(caller),
    }))
}

/// The plan of a job that needs an approval. That of a removal also tells what is deleted after the quarantine.
async fn plan_to_approve(
    service: &Service,
    requested: &Requested<'_>,
) -> Result<PlanToApprove, UseCaseError> {
    let Requested {
        task,
        spec,
        app,
        removal,
    } = *requested;
    let mut plan = preview(service, task, spec, app).await?;
    if let (Some(app), Some(removal)) = (app, removal) {
        plan.warnings
            .extend(deletions(service, app, removal).await?);
    }
    Ok(PlanToApprove {
        digest: PlanDigest::of(task, &plan, removal),
        changes: plan.changes,
        warnings: plan.warnings,
        expires_at: expiry(service),
    })
}

/// What a removal deletes after its quarantine.
async fn deletions(
    service: &Service,
    app: &App,
    removal: &Removal,
) -> Result<Vec<String>, UseCaseError> {
    let app = App {
        removal: Some(removal.clone()),
        ..app.clone()
    };
    let later = preview(service, &Task::Remove, &app.spec, Some(&app)).await?;
    let deleted = later
        .changes
        .into_iter()
        .filter(|change| change.action == Action::Delete)
        .map(|change| format!("After the quarantine: {}.", change.detail));
    Ok(deleted.chain(later.warnings).collect())
}

/// A plan that cannot be made now is not put before a person.
fn require_feasible(plan: &PlanToApprove) -> Result<(), UseCaseError> {
    let retryable = plan
        .changes
        .iter()
        .find_map(|change| change.error.clone().filter(|error| error.retryable));
    match retryable {
        Some(error) => Err(UseCaseError::NoPlan(error)),
        None => Ok(()),
    }
}

/// When an approval that is asked for now expires.
pub fn expiry(service: &Service) -> Timestamp {
    service
        .clock
        .now()
        .after(service.settings.approvals.expires_after)
}

/// Approvals, the newest first.
///
/// # Errors
/// When the database is not available.
pub async fn list_approvals(
    service: &Service,
    filter: &ApprovalFilter,
) -> Result<Vec<Approval>, UseCaseError> {
    Ok(service.store.approvals(filter).await?)
}

/// The approval that a job needs or needed.
///
/// # Errors
/// When there is no such job, or it needs no approval.
pub async fn get_approval(service: &Service, job: Ulid) -> Result<Approval, UseCaseError> {
    let approval = service.store.approval(job).await?;
    approval.ok_or(UseCaseError::NoSuch("approval"))
}

/// Approves the plan that the body names, and queues its job.
///
/// # Errors
/// When the body has invalid fields, the plan has changed, the caller requested the job, or the job does not wait for an
/// approval.
pub async fn approve(
    service: &Service,
    caller: &Caller,
    job: Ulid,
    body: &Value,
) -> Result<Job, UseCaseError> {
    let mut fields = Fields::of(body, "");
    let plan_digest = fields.required("plan_digest", PlanDigest::parse);
    let comment = fields.parsed("comment", parse_comment);
    let break_glass = fields.boolean("break_glass").unwrap_or(false);
    if break_glass && comment.is_none() {
        fields.error("comment", "is required with break_glass: it is the reason.");
    }
    let errors = fields.finish();
    let (Some(plan_digest), true) = (plan_digest, errors.is_empty()) else {
        return Err(UseCaseError::Fields(errors));
    };
    if break_glass && caller.role < Role::Admin {
        let why = "requires the role admin.";
        return Err(UseCaseError::Fields(vec![FieldError::new(
            "/break_glass",
            why,
        )]));
    }
    let verdict = Verdict::Approve {
        plan_digest,
        break_glass,
    };
    decide(service, caller, job, verdict, comment).await
}

/// Rejects the plan of a job, and cancels the job.
///
/// # Errors
/// When the body has invalid fields, or the job does not wait for an approval.
pub async fn reject(
    service: &Service,
    caller: &Caller,
    job: Ulid,
    body: Option<&Value>,
) -> Result<Job, UseCaseError> {
    let empty = Value::Object(serde_json::Map::new());
    let body = body.filter(|body| !body.is_null()).unwrap_or(&empty);
    let mut fields = Fields::of(body, "");
    let comment = fields.parsed("comment", parse_comment);
    let errors = fields.finish();
    if !errors.is_empty() {
        return Err(UseCaseError::Fields(errors));
    }
    decide(service, caller, job, Verdict::Reject, comment).await
}

async fn decide(
    service: &Service,
    caller: &Caller,
    job: Ulid,
    verdict: Verdict,
    comment: Option<String>,
) -> Result<Job, UseCaseError> {
    let decision = Decision {
        verdict,
        by: caller.name.clone(),
        person: person(caller),
        comment,
    };
    Ok(service.store.decide(job, decision).await??)
}

/// Who is behind a token, so that nobody approves a request by a second token of his or her own.
fn person(caller: &Caller) -> String {
    match &caller.person {
        Some(person) => format!("{} {}", person.issuer, person.subject),
        None => caller.id.clone(),
    }
}

fn parse_comment(text: &str) -> Result<String, String> {
    let is_text = |c: char| !c.is_control() || c == '\n';
    if !text.trim().is_empty() && text.chars().count() <= MAX_COMMENT && text.chars().all(is_text) {
        Ok(text.to_owned())
    } else {
        Err(format!("must be 1 to {MAX_COMMENT} visible characters"))
    }
}
