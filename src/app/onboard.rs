//! Onboards an app.

use serde_json::Value;

use crate::app::error::UseCaseError;
use crate::app::find::steps_of;
use crate::app::preview::preview;
use crate::app::service::Service;
use crate::domain::plan::Plan;
use crate::domain::role::Caller;
use crate::domain::spec::AppSpec;
use crate::domain::task::Task;
use crate::domain::validation::FieldError;
use crate::store::{Accepted, IdempotencyKey, NewApp, Refusal};

/// Records the app that `body` describes and enqueues its onboarding.
///
/// # Errors
/// When the body has invalid fields, or the name is taken.
pub async fn onboard(
    service: &Service,
    caller: Caller,
    body: &Value,
    accept_expiry: bool,
    key: Option<IdempotencyKey>,
) -> Result<Accepted, UseCaseError> {
    let spec = parse_spec(service, body)?;
    let resources = steps_of(service, &Task::Onboard { accept_expiry }, None, &spec)?;
    let new = NewApp {
        spec,
        resources,
        accept_expiry,
        requested_by: caller.name,
    };
    Ok(service.store.onboard(new, key).await??)
}

/// What onboarding the app would do now.
///
/// # Errors
/// As [`onboard`].
pub async fn plan_onboarding(
    service: &Service,
    body: &Value,
    accept_expiry: bool,
    key: Option<&IdempotencyKey>,
) -> Result<Plan, UseCaseError> {
    service.store.replay(key).await??;
    let spec = parse_spec(service, body)?;
    if service.store.is_taken(&spec.name).await? {
        return Err(Refusal::AppExists(spec.name).into());
    }
    let app = service.app(&spec.name).await?;
    let task = Task::Onboard { accept_expiry };
    preview(service, &task, &spec, app.as_ref()).await
}

/// The spec that a request describes, in a registered account.
///
/// # Errors
/// When the body has invalid fields.
pub fn parse_spec(service: &Service, body: &Value) -> Result<AppSpec, UseCaseError> {
    let spec = AppSpec::parse(body, &service.settings.defaults, &service.place())
        .map_err(UseCaseError::Fields)?;
    if service.account(&spec.account).is_none() {
        return Err(UseCaseError::Fields(vec![FieldError::new(
            "/account",
            format!("No account is registered as {}.", spec.account),
        )]));
    }
    Ok(spec)
}
