//! Activates, deactivates and deletes a single access key.

use crate::app::approvals::enqueue;
use crate::app::credentials::listed_keys;
use crate::app::error::UseCaseError;
use crate::app::find::live_app;
use crate::app::rotate::key_job;
use crate::app::service::Service;
use crate::domain::access_key::InUse;
use crate::domain::caller::Caller;
use crate::domain::names::{AccessKeyId, AppName};
use crate::domain::task::{KeyStatus, Task};
use crate::provision::rotation_rules::told;
use crate::store::{Accepted, IdempotencyKey};

/// Enqueues the change of an access key's status.
///
/// # Errors
/// When there is no such app or key, the key is in use and that is refused, or a job is running for the app.
pub async fn set_key_status(
    service: &Service,
    caller: Caller,
    (app, access_key): (&AppName, &AccessKeyId),
    to: KeyStatus,
    in_use: InUse,
    key: Option<IdempotencyKey>,
) -> Result<Accepted, UseCaseError> {
    let app = live_app(service, app).await?;
    if let Some(answer) = service.store.replay(key.as_ref()).await?? {
        return Ok(Accepted::Replay(answer));
    }
    let keys = listed_keys(service, &app).await?;
    let now = service.clock.now();
    let listed = keys
        .iter()
        .find(|listed| listed.id == access_key.as_str())
        .ok_or(UseCaseError::NoSuch("access key on the app's user"))?;
    if in_use == InUse::Refuse && listed.is_in_use(now, service.timing.idle_period) {
        return Err(UseCaseError::KeyInUse(told(listed, now)));
    }
    let task = Task::SetKeyStatus {
        access_key_id: access_key.to_string(),
        to,
        force: in_use == InUse::Allow,
        rotation: None,
    };
    let request = key_job(&app, task, &caller.name);
    Ok(enqueue(service, &caller, &app, request, key).await??)
}
