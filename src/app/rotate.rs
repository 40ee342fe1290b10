//! Rotates the access key of an app, and rolls a rotation back.

use ulid::Ulid;

use crate::app::approvals::enqueue;
use crate::app::credentials::{listed_keys, recorded_keys};
use crate::app::error::UseCaseError;
use crate::app::find::live_app;
use crate::app::service::Service;
use crate::domain::access_key::InUse;
use crate::domain::app::App;
use crate::domain::caller::Caller;
use crate::domain::names::{AccessKeyId, AppName};
use crate::domain::rotation::RotationEvent;
use crate::domain::task::{KeyStatus, Task};
use crate::provision::ids;
use crate::provision::rotation_rules::{NoStart, Start, start};
use crate::store::{Accepted, AppChange, IdempotencyKey, JobRequest, Refusal, RotationChange};

/// How a rotation is requested.
#[derive(Default)]
pub struct RotateOptions {
    /// The access key to delete if the user already has two.
    pub replace: Option<AccessKeyId>,
    /// Rotates even if the keys that it deactivates or deletes are in use.
    pub force: bool,
}

/// Enqueues the first job of a rotation.
///
/// # Errors
/// When there is no such app, a rotation or a job is running, there is no room for another key, or the key to
/// replace is in use.
pub async fn rotate(
    service: &Service,
    caller: Caller,
    name: &AppName,
    options: RotateOptions,
    key: Option<IdempotencyKey>,
) -> Result<Accepted, UseCaseError> {
    let app = live_app(service, name).await?;
    if let Some(answer) = service.store.replay(key.as_ref()).await?? {
        return Ok(Accepted::Replay(answer));
    }
    require_idle(service, &app).await?;
    let keys = listed_keys(service, &app).await?;
    let ours = recorded_keys(service, &app).await?;
    let in_use = InUse::forced(options.force);
    let begun = start(
        &keys,
        &ours,
        options.replace.as_ref().map(AccessKeyId::as_str),
        in_use,
        service.clock.now(),
        service.timing.idle_period,
    )
    .map_err(|no_start| match no_start {
        NoStart::NoSlot(keys) => UseCaseError::NoKeySlot(keys),
        NoStart::InUse(key) => UseCaseError::KeyInUse(key),
    })?;
    let request = first_job(service, &app, begun, in_use, &caller.name);
    Ok(enqueue(service, &caller, &app, request, key).await??)
}

/// Enqueues the rollback of the app's rotation: its old key is activated again.
///
/// # Errors
/// When there is no such app, it has no rotation to roll back, or a job is running for it.
pub async fn roll_back(
    service: &Service,
    caller: Caller,
    name: &AppName,
    key: Option<IdempotencyKey>,
) -> Result<Accepted, UseCaseError> {
    let app = live_app(service, name).await?;
    let rotation = service
        .store
        .rotation(app.id)
        .await?
        .ok_or(Refusal::NoRotation)?;
    let old_key = rotation.old_key.as_ref();
    let task = set_old_key_status(rotation.id, old_key, KeyStatus::Active, InUse::Refuse)
        .ok_or(Refusal::NoRotation)?;
    let change = RotationChange::Move(rotation.id, RotationEvent::RollbackAsked);
    let request = JobRequest {
        change: Some(AppChange::Rotation(change)),
        ..key_job(&app, task, &caller.name)
    };
    Ok(enqueue(service, &caller, &app, request, key).await??)
}

/// Fails if a removal, a rotation or a job is running for the app.
async fn require_idle(service: &Service, app: &App) -> Result<(), UseCaseError> {
    if app.removal.is_some() {
        return Err(Refusal::BeingRemoved(app.spec.name.clone()).into());
    }
    if let Some(active) = service
        .store
        .rotation(app.id)
        .await?
        .filter(|rotation| !rotation.stage.has_ended())
    {
        return Err(Refusal::RotationActive(active.id).into());
    }
    match app.summary.active_job {
        Some(job) => Err(Refusal::Active(job).into()),
        None => Ok(()),
    }
}

/// The request for the first job of a rotation.
pub fn first_job(
    service: &Service,
    app: &App,
    begun: Start,
    in_use: InUse,
    by: impl Into<String>,
) -> JobRequest {
    let Start {
        known_keys,
        old_key,
        replace,
    } = begun;
    let task = Task::Rotate {
        rotation: service.clock.new_id(),
        known_keys,
        replace,
        force: in_use == InUse::Allow,
    };
    let change = RotationChange::Begin {
        old_key,
        hold: service.settings.rotation_delete_delay,
    };
    JobRequest {
        change: Some(AppChange::Rotation(change)),
        ..key_job(app, task, by)
    }
}

/// A request for a job that changes nothing but the app's keys.
pub fn key_job(app: &App, task: Task, by: impl Into<String>) -> JobRequest {
    JobRequest::new(
        app.spec.name.clone(),
        task,
        vec![ids::access_key(&app.spec.name)],
        by,
    )
}

/// The task that sets the status of a rotation's old key; `None` if the rotation has no old key.
pub fn set_old_key_status(
    rotation: Ulid,
    old_key: Option<&String>,
    to: KeyStatus,
    in_use: InUse,
) -> Option<Task> {
    old_key.map(|key| Task::SetKeyStatus {
        access_key_id: key.clone(),
        to,
        force: in_use == InUse::Allow,
        rotation: Some(rotation),
    })
}
