//! Onboards an app.

use std::sync::Arc;

use serde_json::Value;

use crate::app::accounts::require_ready;
use crate::app::approvals;
use crate::app::error::UseCaseError;
use crate::app::find::steps_of;
use crate::app::preview::preview;
use crate::app::scope::{require_account, require_app_name};
use crate::app::service::Service;
use crate::aws::Account;
use crate::domain::approval::Requested;
use crate::domain::caller::Caller;
use crate::domain::names::AccountName;
use crate::domain::plan::Plan;
use crate::domain::spec::AppSpec;
use crate::domain::task::Task;
use crate::domain::validation::FieldError;
use crate::store::{Accepted, IdempotencyKey, NewApp, Refusal};

/// Records the app that `body` describes and enqueues its onboarding.
///
/// # Errors
/// When the body has invalid fields, the app would be outside the caller's scope, or the name is taken.
pub async fn onboard(
    service: &Service,
    caller: Caller,
    body: &Value,
    accept_expiry: bool,
    key: Option<IdempotencyKey>,
) -> Result<Accepted, UseCaseError> {
    require_account(&caller.scope, body.get("account"))?;
    let spec = parse_spec(service, body).await?;
    require_app_name(&caller.scope, &spec.name)?;
    let task = Task::Onboard { accept_expiry };
    let resources = steps_of(service, &task, None, &spec).await?;
    let earlier = service.app(&spec.name).await?;
    let requested = Requested {
        task: &task,
        spec: &spec,
        app: earlier.as_ref(),
        removal: None,
    };
    let approval = approvals::needed(service, &caller, &requested, key.as_ref()).await?;
    let new = NewApp {
        spec,
        resources,
        accept_expiry,
        requested_by: caller.name,
        approval,
    };
    Ok(service.store.onboard(new, key).await??)
}

/// What onboarding the app would do now.
///
/// # Errors
/// As [`onboard`].
pub async fn plan_onboarding(
    service: &Service,
    caller: &Caller,
    body: &Value,
    accept_expiry: bool,
    key: Option<&IdempotencyKey>,
) -> Result<Plan, UseCaseError> {
    service.store.replay(key).await??;
    require_account(&caller.scope, body.get("account"))?;
    let spec = parse_spec(service, body).await?;
    require_app_name(&caller.scope, &spec.name)?;
    require_ready(service, &spec.account).await?;
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
pub async fn parse_spec(service: &Service, body: &Value) -> Result<AppSpec, UseCaseError> {
    let account = account_named(service, body.get("account")).await?;
    let own = service.own_account();
    let account_or_own = account.as_ref().unwrap_or(own);
    let spec = AppSpec::parse(
        body,
        &service.defaults(account_or_own),
        &service.place(account_or_own),
    );
    match account {
        Some(_) => spec.map_err(UseCaseError::Fields),
        None => {
            let mut errors = spec.err().unwrap_or_default();
            let name = body.get("account").and_then(Value::as_str);
            errors.push(FieldError::new(
                "/account",
                format!("No account is registered as {}.", name.unwrap_or_default()),
            ));
            Err(UseCaseError::Fields(errors))
        }
    }
}

/// The account that a request names, or the service's own. `None` if no account is registered by that name.
pub async fn account_named(
    service: &Service,
    name: Option<&Value>,
) -> Result<Option<Arc<Account>>, UseCaseError> {
    let name = name.and_then(Value::as_str).map(AccountName::parse);
    match name {
        Some(Ok(name)) => Ok(service.account(&name).await?),
        // A malformed name is an error of the field.
        Some(Err(_)) | None => Ok(Some(service.own_account().clone())),
    }
}
