//! Compares AWS with an app's spec, on demand and in the background.

use std::collections::BTreeSet;

use crate::app::inspect::read_only_context;
use crate::app::service::Service;
use crate::domain::app::App;
use crate::domain::drift::DriftReport;
use crate::domain::task::Task;
use crate::store::{Refusal, StoreError};

/// A repair that removes nothing: what a drift check measures against.
pub fn repair_task() -> Task {
    Task::Repair {
        remove: BTreeSet::new(),
        accept_expiry: false,
    }
}

/// Compares AWS with the app's spec now and stores the report. Changes nothing in AWS.
///
/// # Errors
/// When the database does not answer.
pub async fn check(
    service: &Service,
    app: &App,
) -> Result<Result<DriftReport, Refusal>, StoreError> {
    let Some(account) = service.account(&app.spec.account) else {
        return Ok(Err(Refusal::NoApp));
    };
    let (task, app) = (
        repair_task(),
        &service.store.with_record(app.clone()).await?,
    );
    let conventions = service.conventions(&account);
    let nodes = crate::provision::graph::nodes(&task, Some(app), &app.spec, &conventions);
    let cx = read_only_context(service, account, &task, &app.spec, Some(app)).await?;
    let report = crate::provision::drift::look(app, &nodes, &conventions, &cx).await;
    if let Err(refusal) = service.store.save_drift_report(app, &report).await? {
        return Ok(Err(refusal));
    }
    record(app, &report);
    metrics::gauge!("slipway_drifted_apps").set(service.store.drifted_apps().await?);
    Ok(Ok(report))
}

/// Counts and logs the outcome.
fn record(app: &App, report: &DriftReport) {
    let outcome = match report {
        DriftReport { error: Some(_), .. } => "error",
        DriftReport { drifted: true, .. } => "drifted",
        _ => "none",
    };
    metrics::counter!("slipway_drift_checks_total", "outcome" => outcome).increment(1);
    if let Some(error) = &report.error {
        tracing::warn!(app = %app.spec.name, app_id = %app.id, error = error.detail, "the drift check is incomplete");
    }
    if report.drifted {
        let (changes, unexpected) = (report.changes.len(), report.unexpected.len());
        tracing::warn!(app = %app.spec.name, app_id = %app.id, changes, unexpected, "drift found");
    }
}
