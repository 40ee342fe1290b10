//! The jobs of a key rotation, which the API and the background task request.

use ulid::Ulid;

use crate::app::service::Service;
use crate::domain::app::App;
use crate::domain::task::{KeyStatus, Task};
use crate::provision::kinds::access_key;
use crate::provision::rotation_rules::Start;
use crate::store::{AppChange, JobRequest, RotationChange};

/// The request for a rotation's first job.
pub fn first_job(
    service: &Service,
    app: &App,
    begun: Start,
    force: bool,
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
        force,
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
        vec![access_key::id(&app.spec.name)],
        by,
    )
}

/// The task that sets the status of a rotation's old key; `None` if the rotation has no old key.
pub fn set_old_key_status(
    rotation: Ulid,
    old_key: Option<&String>,
    to: KeyStatus,
    force: bool,
) -> Option<Task> {
    old_key.map(|key| Task::SetKeyStatus {
        access_key_id: key.clone(),
        to,
        force,
        rotation: Some(rotation),
    })
}
