//! Restores an app during its quarantine.

use crate::app::approvals::enqueue;
use crate::app::error::UseCaseError;
use crate::app::find::{live_app, steps_of};
use crate::app::remove::switched_off;
use crate::app::service::Service;
use crate::domain::caller::Caller;
use crate::domain::names::AppName;
use crate::domain::task::Task;
use crate::store::{Accepted, IdempotencyKey, JobRequest};

/// Enqueues the restoring of an app: its access keys are activated again, and AWS is brought back to its spec.
///
/// # Errors
/// When there is no such app, it is not being removed, or a job is running for it.
pub async fn restore(
    service: &Service,
    caller: Caller,
    name: &AppName,
    accept_expiry: bool,
    key: Option<IdempotencyKey>,
) -> Result<Accepted, UseCaseError> {
    let app = live_app(service, name).await?;
    let task = Task::Restore {
        accept_expiry,
        switched_off: switched_off(&app),
    };
    let steps = steps_of(service, &task, Some(&app), &app.spec).await?;
    let request = JobRequest::new(app.spec.name.clone(), task, steps, &caller.name);
    Ok(enqueue(service, &caller, &app, request, key).await??)
}
