//! Compares AWS with an app's spec, on demand and in the background.

use crate::app::error::UseCaseError;
use crate::app::find::live_app;
use crate::app::inspect::read_only_context;
use crate::app::repair::repair_task;
use crate::app::service::Service;
use crate::domain::app::App;
use crate::domain::drift::DriftReport;
use crate::domain::names::AppName;
use crate::provision::graph::nodes;
use crate::store::{Refusal, StoreError};

/// The report of the app's last drift check.
///
/// # Errors
/// When there is no such app, or it has not been checked yet.
pub async fn last_report(service: &Service, name: &AppName) -> Result<DriftReport, UseCaseError> {
    let app = live_app(service, name).await?;
    let report = service.store.drift_report(app.id).await?;
    report.ok_or(UseCaseError::NoDriftReport(app.spec.name))
}

/// Checks an app for drift now.
///
/// # Errors
/// When there is no such app, a job is running for it, or it is being removed.
pub async fn check_app(service: &Service, name: &AppName) -> Result<DriftReport, UseCaseError> {
    let app = live_app(service, name).await?;
    if let Some(job) = app.summary.active_job {
        return Err(Refusal::Active(job).into());
    }
    if app.removal.is_some() {
        return Err(Refusal::BeingRemoved(app.spec.name).into());
    }
    Ok(check(service, &app).await??)
}

/// Compares AWS with the app's spec now and stores the report. Changes nothing in AWS.
///
/// # Errors
/// When the database is not available.
pub async fn check(
    service: &Service,
    app: &App,
) -> Result<Result<DriftReport, Refusal>, StoreError> {
    let Some(account) = service.account(&app.spec.account).await? else {
        return Ok(Err(Refusal::NoApp));
    };
    let task = repair_task();
    let app = &service.store.with_record(app.clone()).await?;
    let conventions = service.conventions(&account);
    let nodes = nodes(&task, Some(app), &app.spec, &conventions);
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
        tracing::warn!(app = %app.spec.name, app_id = %app.id, error = error.detail, "drift check is incomplete");
    }
    if report.drifted {
        let (changes, unexpected) = (report.changes.len(), report.unexpected.len());
        tracing::warn!(app = %app.spec.name, app_id = %app.id, changes, unexpected, "drift found");
    }
}
