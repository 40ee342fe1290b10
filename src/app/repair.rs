//! Repairs an app: brings AWS back to its spec.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::app::approvals::enqueue;
use crate::app::error::UseCaseError;
use crate::app::find::{account, live_app, steps_of};
use crate::app::service::Service;
use crate::domain::app::App;
use crate::domain::caller::Caller;
use crate::domain::names::AppName;
use crate::domain::resource_id::ResourceId;
use crate::domain::task::Task;
use crate::domain::validation::{self, FieldError, Fields};
use crate::provision::conventions::Conventions;
use crate::provision::retained::retained;
use crate::provision::unmanaged;
use crate::store::{Accepted, IdempotencyKey, JobRequest};

/// How many resources one repair can remove.
const MAX_REMOVED: usize = 50;

/// A repair that removes nothing and lets no image expire.
pub fn repair_task() -> Task {
    Task::Repair {
        remove: BTreeSet::new(),
        accept_expiry: false,
    }
}

/// Enqueues a repair. The body, if any, names retained and unmanaged resources to remove.
///
/// # Errors
/// When there is no such app, a resource in the body cannot be removed, or a job is running for the app.
pub async fn repair(
    service: &Service,
    caller: Caller,
    name: &AppName,
    body: Option<&Value>,
    accept_expiry: bool,
    key: Option<IdempotencyKey>,
) -> Result<Accepted, UseCaseError> {
    let app = live_app(service, name).await?;
    let remove = match body {
        Some(body) => {
            let account = account(service, &app.spec.account).await?;
            parse_removals(body, &app, &service.conventions(&account))?
        }
        None => BTreeSet::new(),
    };
    let task = Task::Repair {
        remove,
        accept_expiry,
    };
    let steps = steps_of(service, &task, Some(&app), &app.spec).await?;
    let request = JobRequest::new(app.spec.name.clone(), task, steps, &caller.name);
    Ok(enqueue(service, &caller, &app, request, key).await??)
}

/// The ids of the resources that the body of a repair removes.
fn parse_removals(
    body: &Value,
    app: &App,
    conventions: &Conventions,
) -> Result<BTreeSet<ResourceId>, UseCaseError> {
    let mut fields = Fields::of(body, "");
    let retained = retained(app, conventions).resources;
    let is_retained = |id: &ResourceId| retained.iter().any(|it| it.resource == *id);
    let remove = fields.list("remove", MAX_REMOVED, |item, at, errors| {
        let text = validation::text(item, &at, errors)?;
        let id = ResourceId::parse(text)
            .map_err(|error| errors.push(FieldError::new(at.clone(), error)))
            .ok()?;
        let spec = &app.spec;
        if is_retained(&id) || unmanaged::node(&id, spec, conventions).is_some() {
            return Some(id);
        }
        let why = if unmanaged::is_asked_for(&id, spec, conventions) {
            "is in the app's spec. Update the spec or remove the app."
        } else {
            "cannot be removed by a repair of this app. See removal_request in the app's drift report and retained in the app."
        };
        errors.push(FieldError::new(at, why));
        None
    });
    let errors = fields.finish();
    if errors.is_empty() {
        Ok(remove.unwrap_or_default().into_iter().collect())
    } else {
        Err(UseCaseError::Fields(errors))
    }
}
