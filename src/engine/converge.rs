//! One resource's turn: observe, plan, apply, until nothing is left to change.

use std::time::Duration;

use super::{Outcome, Report, full_jitter};
use crate::clock::Timestamp;
use crate::domain::event::Happening;
use crate::domain::job::{Trouble, TroubleCode};
use crate::domain::plan::Action;
use crate::domain::spec::OnExisting;
use crate::resources::{Applied, Change as _, Changes, Cx, Fault, Observation, Resource, Want};

/// Looks at one thing before it is taken for something that AWS does not show everywhere yet.
const LOOKS: u32 = 3;

/// What a turn has done so far, over its tries.
#[derive(Default)]
struct Turn {
    changes: Vec<String>,
    retries: u32,
    waited: Duration,
}

/// Brings `resource` to what is wanted.
pub async fn converge<R: Resource>(resource: &R, cx: &Cx, deadline: Timestamp, report: &dyn Report) -> Outcome {
    let id = resource.id();
    let began = cx.clock.now();
    report.tell(Happening::StepStarted { resource: id.clone() });
    let mut turn = Turn::default();
    loop {
        let fault = match try_once(resource, cx, report, &mut turn).await {
            Ok(warnings) => {
                for message in &warnings {
                    report.tell(Happening::Warning { resource: id.clone(), message: message.clone() });
                }
                let duration_ms = cx.clock.now().millis() - began.millis();
                let (resource, changes) = (id, turn.changes.clone());
                report.tell(match cx.want {
                    Want::Present => Happening::StepDone { resource, changes, duration_ms },
                    Want::Absent => Happening::StepGone { resource, changes, duration_ms },
                });
                return Outcome::Done { changes: turn.changes, warnings };
            }
            Err(fault) => fault,
        };
        let (reason, after, trouble) = match fault {
            Fault::Wait { why, after } => (why, after, None),
            Fault::Retry(trouble) => {
                turn.retries += 1;
                let after = full_jitter(cx.timing.backoff, cx.timing.backoff_cap, turn.retries);
                (trouble.detail.clone(), after, Some(trouble))
            }
            fault => {
                if let Some(error) = fault.trouble().cloned() {
                    report.tell(Happening::StepFailed { resource: id, error });
                }
                return Outcome::Failed(fault);
            }
        };
        let after_ms = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
        report.tell(Happening::StepWaiting { resource: id.clone(), reason: reason.clone(), after_ms });
        turn.waited += after;
        if turn.waited > cx.timing.hold || cx.clock.now().after(after) >= cx.deadline(deadline) {
            return Outcome::Later { reason, after, trouble };
        }
        tokio::time::sleep(after).await;
    }
}

/// One try: looks, plans and applies until the plan is empty; its answer are the plan's warnings.
async fn try_once<R: Resource>(resource: &R, cx: &Cx, report: &dyn Report, turn: &mut Turn) -> Result<Vec<String>, Fault> {
    let mut look_first = cx.want == Want::Absent || !resource.create_first(cx);
    let mut looks = 0;
    while looks < LOOKS {
        stop_if_interrupted(report)?;
        let seen = if look_first { look(resource, cx).await? } else { None };
        let planned = planned(resource, cx, seen.as_ref())?;
        match apply_all(resource, cx, report, turn, &planned.changes).await? {
            Applied::Done => return Ok(planned.warnings),
            Applied::MetExisting => looks += 1,
            // Each part is progress: it is not done until nothing is left.
            Applied::More => cx.note_progress(),
        }
        look_first = true;
    }
    Err(Fault::Wait { why: format!("AWS says that {} exists and does not show it", resource.id()), after: cx.timing.settle })
}

/// What to change, towards what is wanted.
pub fn planned<R: Resource>(resource: &R, cx: &Cx, seen: Option<&R::Observed>) -> Result<Changes<R::Change>, Fault> {
    match (cx.want, seen) {
        (Want::Present, seen) => resource.plan(seen),
        (Want::Absent, Some(seen)) => resource.plan_absent(cx, seen),
        (Want::Absent, None) => Ok(Changes::of(Vec::new())),
    }
}

/// Makes the changes one after another; stops at one after which the thing has to be looked at again.
async fn apply_all<R: Resource>(
    resource: &R,
    cx: &Cx,
    report: &dyn Report,
    turn: &mut Turn,
    changes: &[R::Change],
) -> Result<Applied, Fault> {
    for change in changes {
        stop_if_interrupted(report)?;
        let applied = resource.apply(cx, change).await;
        let calls = cx.calls.take();
        match applied {
            Ok(Applied::Done) if change.action() != Action::None => {
                turn.changes.push(change.to_string());
                report.tell(Happening::ChangeApplied { resource: resource.id(), change: change.to_string(), calls });
            }
            Ok(Applied::More) => report.tell(Happening::StepProgress { resource: resource.id(), message: change.to_string(), calls }),
            // What was called is told of also where the change is not done by it.
            _ if !calls.is_empty() => {
                let message = format!("{change}: not finished");
                report.tell(Happening::StepProgress { resource: resource.id(), message, calls });
            }
            _ => {}
        }
        match applied? {
            Applied::Done => {}
            not_done => return Ok(not_done),
        }
    }
    Ok(Applied::Done)
}

fn stop_if_interrupted(report: &dyn Report) -> Result<(), Fault> {
    report.interrupted().map_or(Ok(()), Err)
}

/// What is there, if the job may work with it.
pub async fn look<R: Resource>(resource: &R, cx: &Cx) -> Result<Option<R::Observed>, Fault> {
    match resource.observe(cx).await? {
        Observation::Absent => Ok(None),
        Observation::Ours(seen) => Ok(Some(seen)),
        // What is not ours is not ours to remove.
        Observation::Foreign { .. } if cx.want == Want::Absent => Ok(None),
        Observation::Foreign { owner: None, seen } if cx.on_existing == OnExisting::Adopt => Ok(Some(seen)),
        Observation::Foreign { owner, .. } => Err(Fault::conflict(&resource.id(), owner.as_deref())),
    }
}

/// The error of a job whose deadline has passed.
pub fn deadline_passed(reason: &str, trouble: Option<&Trouble>) -> Trouble {
    Trouble {
        code: TroubleCode::DeadlineExceeded,
        detail: format!("the deadline passed while waiting: {reason}"),
        remedy: Some("Retry the job when the cause is gone; it goes on from what is there.".into()),
        retryable: true,
        aws: trouble.and_then(|trouble| trouble.aws.clone()),
    }
}
