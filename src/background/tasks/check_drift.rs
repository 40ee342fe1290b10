//! Checks apps for drift.
//!
//! Invariants:
//! - One slow pass per account: one check at a time, with a pause between two, so that jobs have AWS to themselves. A
//!   slow account delays no other.
//! - A check changes nothing in AWS. Drift is repaired by a job like any other, at most once in a period.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tracing::Instrument as _;

use crate::app::drift::check;
use crate::app::in_progress::{Begun, InProgress};
use crate::app::repair::repair_task;
use crate::app::service::Service;
use crate::background::driver::{BackgroundTask, NextRun};
use crate::domain::account::AccountState;
use crate::domain::app::{App, AppState};
use crate::domain::drift::DriftReport;
use crate::domain::job_kind::JobKind;
use crate::domain::names::AccountName;
use crate::domain::spec::{DriftMode, default_account};
use crate::store::{Accepted, JobRequest, StoreError};
use crate::telemetry::spans;

/// The requester of automatic repairs.
const REQUESTER: &str = "drift";
/// The longest time between two looks for an app that is due.
const MAX_PERIOD: Duration = Duration::from_secs(10);
/// An app that is being repaired is checked again after this time.
const RECHECK_DELAY: Duration = Duration::from_secs(60);

/// Checks the apps of all accounts.
pub struct CheckDrift {
    /// The time between two checks of one app.
    interval: Duration,
    /// The accounts that a pass is under way in.
    passes: InProgress<AccountName>,
}

impl CheckDrift {
    pub fn new(service: &Service) -> Self {
        Self {
            interval: service.settings.drift_interval,
            passes: InProgress::default(),
        }
    }
}

impl BackgroundTask for CheckDrift {
    fn name(&self) -> &'static str {
        "check_drift"
    }

    fn period(&self) -> Duration {
        MAX_PERIOD.min(self.interval / 4)
    }

    fn activate<'a>(
        &'a mut self,
        service: &'a Arc<Service>,
    ) -> BoxFuture<'a, Result<NextRun, StoreError>> {
        async {
            for account in accounts(service).await? {
                if let Some(begun) = self.passes.begin(account) {
                    let (worker, interval) = (service.clone(), self.interval);
                    service
                        .tasks
                        .spawn(async move { pass(&worker, begun, interval).await });
                }
            }
            Ok(NextRun::AfterPeriod)
        }
        .boxed()
    }

    fn retry_delay(&self) -> Duration {
        MAX_PERIOD
    }
}

/// The accounts whose apps can be observed.
async fn accounts(service: &Service) -> Result<Vec<AccountName>, StoreError> {
    let registered = service.store.registered_accounts().await?.into_iter();
    let ready = registered
        .filter(|account| account.state == AccountState::Ready)
        .map(|account| account.name);
    Ok([default_account()].into_iter().chain(ready).collect())
}

/// Checks the apps of one account that are due, one after another.
async fn pass(service: &Service, begun: Begun<AccountName>, interval: Duration) {
    let account = begun.key();
    loop {
        match check_next(service, account, interval).await {
            Ok(Checked::OneApp) => {}
            Ok(Checked::NoneDue) => return,
            Err(error) => {
                tracing::warn!(%account, %error, "drift check failed; it will run again");
                return;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(service.timing.poll_delay) => {}
            () = service.tasks.stopping() => return,
        }
    }
}

enum Checked {
    OneApp,
    NoneDue,
}

/// Checks the next app that is due.
async fn check_next(
    service: &Service,
    account: &AccountName,
    interval: Duration,
) -> Result<Checked, StoreError> {
    let Some(app) = service.store.next_drift_check(account, interval).await? else {
        return Ok(Checked::NoneDue);
    };
    let before = service.store.drift_report(app.id).await?;
    let span = spans::background("check_drift", app.spec.name.as_str());
    match check(service, &app).instrument(span).await? {
        // The check after an automatic repair requests none: drift that a repair cannot mend would be repaired for ever.
        Ok(report) if before.is_none_or(|before| before.repair.is_none()) => {
            repair(service, app, report, interval).await?
        }
        Ok(_) => {}
        Err(refusal) => {
            tracing::debug!(app = %app.spec.name, ?refusal, "drift check superseded by a job")
        }
    }
    Ok(Checked::OneApp)
}

async fn repair(
    service: &Service,
    app: App,
    report: DriftReport,
    interval: Duration,
) -> Result<(), StoreError> {
    let Some(account) = service.account(&app.spec.account).await? else {
        return Ok(());
    };
    if app.spec.drift != DriftMode::Repair
        || !report.can_be_repaired()
        || !may_repair(service, &app).await?
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
    let request = JobRequest {
        if_version: Some(app.version),
        ..JobRequest::new(app.spec.name.clone(), task, steps, REQUESTER)
    };
    match service.store.enqueue(request, None).await? {
        Ok(Accepted::Fresh(job)) => {
            tracing::info!(app = %app.spec.name, app_id = %app.id, job = %job.id, "drift repair started");
            let report = DriftReport {
                repair: Some(job.id),
                ..report
            };
            service
                .store
                .save_drift_repair(
                    app.id,
                    &report,
                    service.clock.now().after(RECHECK_DELAY.min(interval)),
                )
                .await
        }
        Ok(Accepted::Replay(_)) => Ok(()),
        Err(refusal) => {
            tracing::debug!(app = %app.spec.name, ?refusal, "drift repair not started");
            Ok(())
        }
    }
}

/// Whether nobody has left the app unfinished on purpose: what a job of another kind has not done, a person decides.
async fn may_repair(service: &Service, app: &App) -> Result<bool, StoreError> {
    let last = match app.last_job {
        Some(id) if app.summary.state != AppState::Ready => service.store.job(id).await?,
        _ => None,
    };
    Ok(app.summary.state == AppState::Ready
        || last.is_some_and(|job| {
            job.kind == JobKind::Repair && app.summary.state == AppState::Failed
        }))
}
