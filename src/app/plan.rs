//! Plans a change of an app without making it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::app::error::UseCaseError;
use crate::app::find::live_app;
use crate::app::preview::preview;
use crate::app::service::Service;
use crate::app::update::{UpdateOptions, plan_update};
use crate::domain::names::AppName;
use crate::domain::plan::Plan;
use crate::domain::task::Task;

/// What an update to the spec in `body` would do now; without a body, what a repair would do.
///
/// # Errors
/// When there is no such app, or the body has invalid fields.
pub async fn plan_app(
    service: &Service,
    name: &AppName,
    options: UpdateOptions,
    body: Option<&Value>,
) -> Result<Plan, UseCaseError> {
    let app = live_app(service, name).await?;
    match body {
        Some(body) => plan_update(service, &app, options, body).await,
        None => {
            let task = Task::Repair {
                remove: BTreeSet::new(),
                accept_expiry: options.accept_expiry,
            };
            preview(service, &task, &app.spec, Some(&app)).await
        }
    }
}
