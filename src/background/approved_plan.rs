//! Compares the plan of a job with the one that was approved, before the job changes anything.
//!
//! Invariant: an attempt goes on with the approved changes or fewer. With others, the job waits for another approval.

use std::sync::Arc;

use crate::app::approvals::expiry;
use crate::app::inspect::read_only_context;
use crate::app::service::Service;
use crate::aws::Account;
use crate::background::waiting::{database_trouble, waiting};
use crate::domain::approval::{Approval, PlanDifference, PlanDigest};
use crate::domain::plan::Plan;
use crate::provision::node::Node;
use crate::provision::plan::plan;
use crate::store::{AttemptResult, Claimed, PlanToApprove, Reopened};

/// Ends the attempt unless its plan is approved.
pub async fn require_approved(
    service: &Service,
    claimed: &Claimed,
    account: &Arc<Account>,
    nodes: &[Box<dyn Node>],
) -> Result<(), AttemptResult> {
    if !claimed.job.needs_approval {
        return Ok(());
    }
    let trouble = |error| database_trouble(service, claimed, &error);
    let approval = service.store.approval(claimed.lease.job).await;
    let approved = approval.map_err(trouble)?;
    let (task, app) = (&claimed.job.task, &claimed.app);
    let cx = read_only_context(service, account.clone(), task, &app.spec, Some(app))
        .await
        .map_err(trouble)?;
    let plan = plan(&app.spec, nodes, &cx).await;
    // What cannot be seen now cannot be compared.
    let unseen = plan
        .changes
        .iter()
        .find_map(|change| change.error.as_ref().filter(|error| error.retryable));
    if let Some(error) = unseen {
        return Err(waiting(service, claimed, error.detail.clone()));
    }
    let before = approved.as_ref().map_or(&[][..], |it| &it.changes);
    let difference = PlanDifference::between(before, &plan.changes);
    match difference.added.is_empty() {
        true => Ok(()),
        false => Err(reopened(service, claimed, approved, plan, difference)),
    }
}

fn reopened(
    service: &Service,
    claimed: &Claimed,
    approved: Option<Approval>,
    plan: Plan,
    difference: PlanDifference,
) -> AttemptResult {
    let reasons = approved.map(|it| it.reasons).unwrap_or_default();
    let plan = PlanToApprove {
        digest: PlanDigest::of(&claimed.job.task, &plan, claimed.app.removal.as_ref()),
        changes: plan.changes,
        warnings: plan.warnings,
        expires_at: expiry(service),
    };
    AttemptResult::AwaitingApproval {
        reopened: Box::new(Reopened {
            reasons,
            plan,
            difference,
        }),
    }
}
