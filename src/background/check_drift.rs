//! Looks for drift: on demand, and by itself, one app after another.
//!
//! Invariants:
//! - One slow pass an account: one look at a time, with a pause between two, so that jobs have AWS to themselves.
//! - A look changes nothing in AWS. What it finds is repaired by a job like any other, at most once in a period.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ulid::Ulid;

use crate::app::service::Service;
use crate::aws::Account;
use crate::aws::account::PATIENCE;
use crate::domain::app::{App, AppState, Recorded};
use crate::domain::drift::DriftReport;
use crate::domain::job::JobKind;
use crate::domain::names::AccountName;
use crate::domain::spec::{AppSpec, DriftMode};
use crate::domain::task::Task;
use crate::provision::context::{ReconcileContext, Timing};
use crate::provision::kinds::access_key::KeyRecords;
use crate::provision::resource::Want;
use crate::store::{Accepted, JobRequest, Refusal, StoreError};

use crate::background::access_key_store::ReadOnlyKeyStore;

/// Who asks for repairs by themselves.
const BY_ITSELF: &str = "drift";
/// Between two looks for an app that is due, while none is.
const IDLE: Duration = Duration::from_secs(10);
/// An app that is being repaired by itself is looked at again after this time.
const AGAIN: Duration = Duration::from_secs(60);

/// What plans and looks work with: they write nothing, and so need no lease.
///
/// # Errors
/// When the database does not answer.
pub async fn looking(
    service: &Service,
    account: Arc<Account>,
    task: &Task,
    spec: &AppSpec,
    app: Option<&App>,
) -> Result<ReconcileContext, StoreError> {
    let (records, recorded) = match app {
        Some(app) => (
            service.key_records(app.id).await?,
            service.store.recorded(app.id).await?,
        ),
        None => (KeyRecords::default(), Recorded::default()),
    };
    // A plan looks afresh: what is remembered of shared things could be wrong by now.
    account.forget();
    Ok(ReconcileContext {
        account,
        app: spec.name.clone(),
        job: Ulid::nil(),
        accepted_at: service.clock.now(),
        on_existing: spec.on_existing,
        accept_expiry: task.accepts_expiry(),
        untouched: false,
        interrupted: Arc::default(),
        recorded: Arc::new(recorded),
        installation: service.store.installation().clone(),
        keys: Arc::new(ReadOnlyKeyStore(records)),
        clock: service.clock.clone(),
        timing: Timing {
            turn: PATIENCE,
            ..service.timing
        },
        made: Arc::default(),
        want: Want::Present,
        remove_adopted: app
            .and_then(|app| app.removal.as_ref())
            .is_some_and(|removal| removal.adopted),
        dropped_tags: Arc::new(task.dropped_tags()),
        force: task.forces(),
        data: task.data(),
        calls: Arc::default(),
    })
}

/// Looks at an app now, and keeps what it finds as the app's report.
///
/// # Errors
/// When the database does not answer.
pub async fn look(
    service: &Service,
    app: &App,
) -> Result<Result<DriftReport, Refusal>, StoreError> {
    let Some(account) = service.account(&app.spec.account) else {
        return Ok(Err(Refusal::NoApp));
    };
    let (task, app) = (repair(), &service.store.with_record(app.clone()).await?);
    let conventions = service.conventions(&account);
    let nodes = crate::provision::graph::nodes(&task, Some(app), &app.spec, &conventions);
    let cx = looking(service, account, &task, &app.spec, Some(app)).await?;
    let report = crate::provision::drift::look(app, &nodes, &conventions, &cx).await;
    if let Err(refusal) = service.store.keep_drift(app, &report).await? {
        return Ok(Err(refusal));
    }
    tell(app, &report);
    metrics::gauge!("slipway_drifted_apps").set(service.store.drifted_apps().await?);
    Ok(Ok(report))
}

fn tell(app: &App, report: &DriftReport) {
    let outcome = match report {
        DriftReport { error: Some(_), .. } => "error",
        DriftReport { drifted: true, .. } => "drifted",
        _ => "none",
    };
    metrics::counter!("slipway_drift_checks_total", "outcome" => outcome).increment(1);
    if let Some(error) = &report.error {
        tracing::warn!(app = %app.spec.name, app_id = %app.id, error = error.detail, "a look for drift is not whole");
    }
    if report.drifted {
        let (changes, unexpected) = (report.changes.len(), report.unexpected.len());
        tracing::warn!(app = %app.spec.name, app_id = %app.id, changes, unexpected, "the app has drifted");
    }
}

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
    let Some(app) = service.store.next_look(account, every).await? else {
        return Ok(false);
    };
    let before = service.store.drift_report(app.id).await?;
    match look(service, &app).await? {
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
    let task = repair();
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
                .drift_is_repaired(app.id, &report, service.clock.now().after(AGAIN.min(every)))
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

fn repair() -> Task {
    Task::Repair {
        remove: BTreeSet::new(),
        accept_expiry: false,
    }
}
