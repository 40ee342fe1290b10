//! Checks apps for drift, one after another.
//!
//! Invariants:
//! - One slow pass an account: one look at a time, with a pause between two, so that jobs have AWS to themselves.
//! - A look changes nothing in AWS. What it finds is repaired by a job like any other, at most once in a period.

use std::sync::Arc;
use std::time::Duration;

use crate::app::drift::{check, repair_task};
use crate::app::service::Service;
use crate::domain::app::{App, AppState};
use crate::domain::drift::DriftReport;
use crate::domain::job::JobKind;
use crate::domain::names::AccountName;
use crate::domain::spec::DriftMode;
use crate::store::{Accepted, JobRequest, StoreError};

/// Who asks for repairs by themselves.
const BY_ITSELF: &str = "drift";
/// Between two looks for an app that is due, while none is.
const IDLE: Duration = Duration::from_secs(10);
/// An app that is being repaired by itself is looked at again after this time.
const AGAIN: Duration = Duration::from_secs(60);

/// Looks at the apps of an account when they are due, until the service stops.
pub async fn watch(service: Arc<Service>, account: AccountName) {
    let every = service.settings.drift_interval;
    if every.is_zero() {
        return;
    }
    loop {
        let turn = async {
            let pause = match turn(&service, &account, every).await {
                Ok(true) => service.timing.poll_delay,
                Ok(false) => IDLE.min(every / 4),
                Err(error) => {
                    tracing::warn!(%error, "apps could not be looked at for drift; trying again");
                    IDLE
                }
            };
            tokio::time::sleep(pause).await;
        };
        tokio::select! {
            () = turn => {}
            () = service.tasks.stopping() => return,
        }
    }
}

/// Looks at the next app that is due; whether there was one.
async fn turn(
    service: &Service,
    account: &AccountName,
    every: Duration,
) -> Result<bool, StoreError> {
    let Some(app) = service.store.next_drift_check(account, every).await? else {
        return Ok(false);
    };
    let before = service.store.drift_report(app.id).await?;
    match check(service, &app).await? {
        // The look after a repair of its own asks for none: what a repair does not mend would be repaired for ever.
        Ok(report) if before.is_none_or(|before| before.repair.is_none()) => {
            repair_by_itself(service, app, report, every).await?
        }
        Ok(_) => {}
        Err(refusal) => {
            tracing::debug!(app = %app.spec.name, ?refusal, "a job has overtaken a look for drift")
        }
    }
    Ok(true)
}

async fn repair_by_itself(
    service: &Service,
    app: App,
    report: DriftReport,
    every: Duration,
) -> Result<(), StoreError> {
    let Some(account) = service.account(&app.spec.account) else {
        return Ok(());
    };
    if app.spec.drift != DriftMode::Repair
        || !report.can_be_repaired()
        || !is_left_to_repairs(service, &app).await?
    {
        return Ok(());
    }
    let task = repair_task();
    let steps = crate::provision::graph::nodes(
        &task,
        Some(&app),
        &app.spec,
        &service.conventions(&account),
    )
    .iter()
    .map(|node| node.id())
    .collect();
    let ask = JobRequest {
        if_version: Some(app.version),
        ..JobRequest::new(app.spec.name.clone(), task, steps, BY_ITSELF)
    };
    match service.store.enqueue(ask, None).await? {
        Ok(Accepted::Fresh(job)) => {
            tracing::info!(app = %app.spec.name, app_id = %app.id, job = %job.id, "drift is repaired");
            let report = DriftReport {
                repair: Some(job.id),
                ..report
            };
            service
                .store
                .save_drift_repair(app.id, &report, service.clock.now().after(AGAIN.min(every)))
                .await
        }
        Ok(Accepted::Replay(_)) => Ok(()),
        Err(refusal) => {
            tracing::debug!(app = %app.spec.name, ?refusal, "drift is not repaired now");
            Ok(())
        }
    }
}

/// Whether nobody has left the app unfinished on purpose: what a job of another kind has not done, a person decides.
async fn is_left_to_repairs(service: &Service, app: &App) -> Result<bool, StoreError> {
    let last = match app.last_job {
        Some(id) if app.summary.state != AppState::Ready => service.store.job(id).await?,
        _ => None,
    };
    Ok(app.summary.state == AppState::Ready
        || last.is_some_and(|job| {
            job.kind == JobKind::Repair && app.summary.state == AppState::Failed
        }))
}
