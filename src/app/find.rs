//! Finds apps, accounts and the steps of a task.

use std::sync::Arc;

use crate::app::error::UseCaseError;
use crate::app::service::Service;
use crate::aws::Account;
use crate::domain::app::{App, AppState};
use crate::domain::names::{AccountName, AppName};
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::AppSpec;
use crate::domain::task::Task;
use crate::provision::graph::nodes;
use crate::store::Refusal;

/// The app by this name, also one that was removed.
///
/// # Errors
/// When there is no such app.
pub async fn any_app(service: &Service, name: &AppName) -> Result<App, UseCaseError> {
    service.app(name).await?.ok_or(UseCaseError::NoSuch("app"))
}

/// The app by this name, unless it was removed.
///
/// # Errors
/// When there is no such app, or it was removed.
pub async fn live_app(service: &Service, name: &AppName) -> Result<App, UseCaseError> {
    let app = any_app(service, name).await?;
    match app.summary.state {
        AppState::Removed => Err(Refusal::Removed(app.spec.name, app.summary.updated_at).into()),
        _ => Ok(app),
    }
}

/// The registered account by this name.
///
/// # Errors
/// When no account is registered under the name.
pub async fn account(service: &Service, name: &AccountName) -> Result<Arc<Account>, UseCaseError> {
    let account = service.account(name).await?;
    account.ok_or(UseCaseError::NoSuch("account"))
}

/// The ids of the resources that a task reconciles.
///
/// # Errors
/// When the spec's account is not registered.
pub async fn steps_of(
    service: &Service,
    task: &Task,
    app: Option<&App>,
    spec: &AppSpec,
) -> Result<Vec<ResourceId>, UseCaseError> {
    let conventions = service.conventions(&*account(service, &spec.account).await?);
    Ok(nodes(task, app, spec, &conventions)
        .iter()
        .map(|node| node.id())
        .collect())
}
