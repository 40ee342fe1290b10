//! Keeps callers within their role and scope where no extractor of the API does.
//!
//! Invariant: what is outside the caller's scope does not exist for them.

use ulid::Ulid;

use crate::app::error::UseCaseError;
use crate::app::scope::require_all_apps;
use crate::app::service::Service;
use crate::domain::caller::Caller;
use crate::domain::names::AppName;
use crate::domain::role::Role;

/// Fails if the caller's role is lower.
///
/// # Errors
/// When it is.
pub fn require_role(caller: &Caller, needed: Role) -> Result<(), UseCaseError> {
    if caller.role >= needed {
        return Ok(());
    }
    let has = caller.role;
    Err(UseCaseError::OutOfScope(format!(
        "This requires the role {needed}. You have the role {has}."
    )))
}

/// Fails if the app is outside the caller's scope.
///
/// # Errors
/// When it is.
pub async fn require_app(
    service: &Service,
    caller: &Caller,
    name: &AppName,
) -> Result<(), UseCaseError> {
    let scope = &caller.scope;
    if scope.is_all() || service.store.is_app_within(name, scope).await? {
        Ok(())
    } else {
        Err(UseCaseError::NoSuch("app"))
    }
}

/// Fails if the job is outside the caller's scope, or the caller may see but not change it.
///
/// # Errors
/// When it is.
pub async fn require_job_to_change(
    service: &Service,
    caller: &Caller,
    id: Ulid,
) -> Result<(), UseCaseError> {
    let scope = &caller.scope;
    if !scope.is_all() && !service.store.is_job_within(id, scope).await? {
        return Err(UseCaseError::NoSuch("job"));
    }
    let job = service.store.job(id).await?;
    match job {
        None => Err(UseCaseError::NoSuch("job")),
        // A job of an account's set-up is a change of the account.
        Some(job) if job.app.is_of_setup() => require_all_apps(scope),
        Some(_) => Ok(()),
    }
}
