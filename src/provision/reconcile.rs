//! Reconciles one resource: observe, plan and apply until nothing is left to change.
//!
//! Invariants:
//! - Jobs and plans follow the same path. A plan stops before apply.
//! - Before each change the job's state is checked: after a lost lease or a cancellation nothing more is changed.
//! - A short wait keeps the lease. A longer one ends the attempt, so that the worker is free.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::domain::event::EventPayload;
use crate::domain::job::{JobError, JobErrorCode};
use crate::domain::plan::Action;
use crate::domain::spec::OnExisting;
use crate::provision::backoff::full_jitter;
use crate::provision::change::{Applied, Change as _, Changes, Observation, Want};
use crate::provision::context::ReconcileContext;
use crate::provision::fault::Fault;
use crate::provision::report::{Outcome, Report};
use crate::provision::resource::Resource;

/// Observations before an existing resource that AWS does not return counts as not yet propagated.
const LOOKS: u32 = 3;

/// What a turn has done so far, over its tries.
struct Turn<C> {
    changes: Vec<String>,
    retries: u32,
    waited: Duration,
    /// What is left of a plan, from the change on that did not work.
    left: Option<Changes<C>>,
}

/// Brings `resource` to its target.
pub async fn reconcile<R: Resource>(
    resource: &R,
    cx: &ReconcileContext,
    deadline: Timestamp,
    report: &dyn Report,
) -> Outcome {
    let id = resource.id();
    let began = cx.clock.now();
    report.tell(EventPayload::StepStarted {
        resource: id.clone(),
    });
    let mut turn = Turn {
        changes: Vec::new(),
        retries: 0,
        waited: Duration::ZERO,
        left: None,
    };
    loop {
        let fault = match try_once(resource, cx, report, &mut turn).await {
            Ok(warnings) => {
                for message in &warnings {
                    report.tell(EventPayload::Warning {
                        resource: id.clone(),
                        message: message.clone(),
                    });
                }
                let duration_ms = cx.clock.now().millis() - began.millis();
                let (resource, changes) = (id, turn.changes.clone());
                report.tell(match cx.want {
                    Want::Present | Want::Released => EventPayload::StepDone {
                        resource,
                        changes,
                        duration_ms,
                    },
                    Want::Absent => EventPayload::StepGone {
                        resource,
                        changes,
                        duration_ms,
                    },
                });
                return Outcome::Done {
                    changes: turn.changes,
                    warnings,
                };
            }
            Err(fault) => denied_for_now(resource, cx, fault),
        };
        if !matches!(fault, Fault::Throttled(_)) {
            turn.left = None;
        }
        let (reason, after, job_error) = match fault {
            Fault::Wait { why, after } => (why, after, None),
            Fault::Retry(job_error) | Fault::Throttled(job_error) => {
                turn.retries += 1;
                let after = full_jitter(cx.timing.backoff, cx.timing.backoff_cap, turn.retries);
                (job_error.detail.clone(), after, Some(job_error))
            }
            fault => {
                if let Some(error) = fault.job_error().cloned() {
                    report.tell(EventPayload::StepFailed {
                        resource: id,
                        error,
                    });
                }
                return Outcome::Failed(fault);
            }
        };
        let after_ms = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
        report.tell(EventPayload::StepWaiting {
            resource: id.clone(),
            reason: reason.clone(),
            after_ms,
        });
        turn.waited += after;
        if turn.waited > cx.timing.hold || cx.clock.now().after(after) >= cx.deadline(deadline) {
            return Outcome::Later {
                reason,
                after,
                job_error,
            };
        }
        tokio::time::sleep(after).await;
    }
}

/// AWS authorizes before it looks: a permission that is limited by path or tag does not match what it does not show yet,
/// nor what is gone (IAM User Guide, "Policy evaluation logic"). What was changed just now gets time; what was not does not.
fn denied_for_now<R: Resource>(resource: &R, cx: &ReconcileContext, fault: Fault) -> Fault {
    let Fault::Denied {
        job_error,
        depends_on_resource,
        in_doubt,
    } = fault
    else {
        return fault;
    };
    if in_doubt {
        cx.note_unsettled(resource.id());
    }
    let unsettled = std::iter::once(resource.id())
        .chain(resource.needs())
        .find(|id| depends_on_resource && cx.is_unsettled(id));
    match unsettled {
        Some(id) => Fault::Wait {
            why: format!("AWS does not authorize calls to {id} yet."),
            after: cx.timing.poll_delay,
        },
        None => Fault::Blocked(job_error),
    }
}

/// One try: observes, plans and applies until the plan is empty. Returns the warnings of the plan.
async fn try_once<R: Resource>(
    resource: &R,
    cx: &ReconcileContext,
    report: &dyn Report,
    turn: &mut Turn<R::Change>,
) -> Result<Vec<String>, Fault> {
    let mut look_first =
        cx.want != Want::Present || cx.has_created(&resource.id()) || !resource.create_first(cx);
    let mut looks = 0;
    while looks < LOOKS {
        stop_if_interrupted(report)?;
        let planned = match turn.left.take() {
            Some(left) => left,
            None if look_first => {
                planned(resource, cx, Box::pin(look(resource, cx)).await?.as_ref())?
            }
            None => planned(resource, cx, None)?,
        };
        match apply_all(resource, cx, report, turn, &planned).await {
            Ok(Applied::Done) => return Ok(planned.warnings),
            Ok(Applied::MetExisting) => looks += 1,
            // Each part is progress: it is not done until nothing is left.
            Ok(Applied::More) => cx.note_progress(),
            Err(denied @ Fault::Denied { .. }) => {
                turn.left = Some(Box::pin(without_denied(resource, cx, turn, denied)).await?)
            }
            Err(fault) => return Err(fault),
        }
        look_first = true;
    }
    Err(Fault::Wait {
        why: format!(
            "AWS reports that {} exists, but does not return it.",
            resource.id()
        ),
        after: cx.timing.poll_delay,
    })
}

/// A plan anew after a denial: what was to be taken away may be gone already, by an attempt that nobody heard of.
async fn without_denied<R: Resource>(
    resource: &R,
    cx: &ReconcileContext,
    turn: &mut Turn<R::Change>,
    denied: Fault,
) -> Result<Changes<R::Change>, Fault> {
    let change = turn
        .left
        .take()
        .and_then(|left| left.changes.into_iter().next());
    let Some(change) = change.filter(|change| change.action() != Action::Create) else {
        return Err(denied);
    };
    let planned = planned(resource, cx, look(resource, cx).await?.as_ref())?;
    if planned
        .changes
        .iter()
        .any(|planned| planned.to_string() == change.to_string())
    {
        return Err(denied);
    }
    Ok(planned)
}

/// The changes to the target.
pub fn planned<R: Resource>(
    resource: &R,
    cx: &ReconcileContext,
    seen: Option<&R::Observed>,
) -> Result<Changes<R::Change>, Fault> {
    match (cx.want, seen) {
        (Want::Present, seen) => resource.plan(seen),
        (Want::Absent, Some(seen)) => resource.plan_absent(cx, seen),
        (Want::Released, Some(seen)) => Ok(resource.plan_released(seen)),
        (Want::Absent | Want::Released, None) => Ok(Changes::of(Vec::new())),
    }
}

/// Applies the changes in order. Stops after a change that requires another observation.
async fn apply_all<R: Resource>(
    resource: &R,
    cx: &ReconcileContext,
    report: &dyn Report,
    turn: &mut Turn<R::Change>,
    planned: &Changes<R::Change>,
) -> Result<Applied, Fault> {
    for (done, change) in planned.changes.iter().enumerate() {
        stop_if_interrupted(report)?;
        let applied = resource.apply(cx, change).await;
        let calls = cx.take_calls();
        match applied {
            Ok(Applied::Done) if change.action() != Action::None => {
                turn.changes.push(change.to_string());
                report.tell(EventPayload::ChangeApplied {
                    resource: resource.id(),
                    change: change.to_string(),
                    calls,
                });
            }
            Ok(Applied::More) => report.tell(EventPayload::StepProgress {
                resource: resource.id(),
                message: change.to_string(),
                calls,
            }),
            // What was called is told of also where the change is not done by it.
            _ if !calls.is_empty() => {
                let message = format!("{change}: not finished");
                report.tell(EventPayload::StepProgress {
                    resource: resource.id(),
                    message,
                    calls,
                });
            }
            _ => {}
        }
        match applied {
            Ok(Applied::Done) => {}
            Ok(not_done) => return Ok(not_done),
            Err(fault) => {
                let changes = planned.changes.iter().skip(done).cloned().collect();
                turn.left = Some(Changes {
                    changes,
                    warnings: planned.warnings.clone(),
                });
                return Err(fault);
            }
        }
    }
    Ok(Applied::Done)
}

fn stop_if_interrupted(report: &dyn Report) -> Result<(), Fault> {
    report.interrupted().map_or(Ok(()), Err)
}

/// The observed state, if the job may change the resource.
pub async fn look<R: Resource>(
    resource: &R,
    cx: &ReconcileContext,
) -> Result<Option<R::Observed>, Fault> {
    let seen = match resource.observe(cx).await {
        // What no job of this app has made or adopted is not its to remove, whoever has it.
        // What is to be given back, and has become somebody else's, needs nothing more.
        Err(fault)
            if cx.want != Want::Present
                && fault.is_conflict()
                && (cx.want == Want::Released || !cx.owns(&resource.id())) =>
        {
            return Ok(None);
        }
        seen => seen?,
    };
    match seen {
        Observation::Absent => Ok(None),
        Observation::Ours(seen) => Ok(Some(seen)),
        // What is not ours is not ours to remove.
        Observation::Foreign { .. } if cx.want != Want::Present => Ok(None),
        Observation::Foreign { owner: None, seen }
            if cx.request.on_existing == OnExisting::Adopt =>
        {
            Ok(Some(seen))
        }
        Observation::Foreign { owner, .. } => {
            Err(Fault::conflict(&resource.id(), owner.as_deref()))
        }
    }
}

/// The error of a job whose deadline has passed.
pub fn deadline_passed(reason: &str, job_error: Option<&JobError>) -> JobError {
    JobError {
        code: JobErrorCode::DeadlineExceeded,
        detail: format!("The deadline passed while waiting: {reason}"),
        remedy: Some(
            "Resolve the cause, then retry the job. The job continues from the current state."
                .into(),
        ),
        retryable: true,
        aws: job_error.and_then(|job_error| job_error.aws.clone()),
    }
}
