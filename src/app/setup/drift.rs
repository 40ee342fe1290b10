//! Compares AWS with the set-up of an account, on demand.

use crate::app::drift;
use crate::app::error::UseCaseError;
use crate::app::service::Service;
use crate::app::setup::find::setup;
use crate::app::setup::view::SetupDriftReport;
use crate::domain::names::AccountName;

/// The report of the last drift check of an account's set-up.
///
/// # Errors
/// When the account has no set-up, or that has not been checked yet.
pub async fn last_report(
    service: &Service,
    name: &AccountName,
) -> Result<SetupDriftReport, UseCaseError> {
    let found = setup(service, name).await?;
    let report = service.store.drift_report(found.record.id).await?;
    let report = report.ok_or_else(|| UseCaseError::NoSetupReport(name.clone()))?;
    Ok(SetupDriftReport::of(name.clone(), report))
}

/// Checks the set-up of an account for drift now.
///
/// # Errors
/// When the account has no set-up, or a job of it is running.
pub async fn check_setup(
    service: &Service,
    name: &AccountName,
) -> Result<SetupDriftReport, UseCaseError> {
    let found = setup(service, name).await?;
    let report = drift::check_app(service, &found.record.spec.name).await?;
    Ok(SetupDriftReport::of(name.clone(), report))
}
