//! Moves rotations on when their time has come, and begins those of keys that are too old.
//!
//! Invariants:
//! - Every move names the stage that it begins at, so several replicas that make it at once make it once.
//! - What changes something in AWS is a job like any other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ulid::Ulid;

use crate::app::rotate::{first_job, key_job, set_old_key_status};
use crate::app::service::Service;
use crate::clock::Timestamp;
use crate::domain::app::App;
use crate::domain::rotation::{RotationEvent, Stage};
use crate::domain::task::{KeyStatus, Task};
use crate::provision::rotation_rules::{Held, Watched, held, start, watched};
use crate::provision::user_keys::{SeenKey, look, unlisted_yet};
use crate::store::{AppChange, DueRotation, JobRequest, Refusal, RotationChange, StoreError};

/// Between two looks for keys that are too old.
const SCHEDULE: Duration = Duration::from_secs(60);
/// After a look that AWS did not answer, or while another job is at work on the app.
const AGAIN: Duration = Duration::from_secs(10);

/// Runs until the service stops.
pub async fn run(service: Arc<Service>) {
    let mut schedule = Schedule {
        checked_at: Timestamp::from_millis(0),
        told: BTreeSet::new(),
    };
    loop {
        if let Err(error) = go_on(&service).await {
            tracing::warn!(%error, "rotations that are due could not go on; trying again");
        }
        if let Err(error) = schedule.round(&service).await {
            tracing::warn!(%error, "keys that are too old could not be looked for; trying again");
        }
        tokio::select! {
            () = tokio::time::sleep(service.timing.poll) => {}
            () = service.tasks.stopping() => return,
        }
    }
}

async fn go_on(service: &Service) -> Result<(), StoreError> {
    for due in service.store.due_rotations().await? {
        let id = due.rotation.id;
        match due.rotation.stage {
            Stage::Creating => {
                ask(service, &due, RotationEvent::AskedAgain, due.task.clone()).await?
            }
            Stage::AwaitingClaim => unclaimed(service, &due).await?,
            Stage::Draining => watch(service, &due).await?,
            Stage::Deactivating => {
                switch(
                    service,
                    &due,
                    RotationEvent::AskedAgain,
                    KeyStatus::Inactive,
                )
                .await?
            }
            Stage::PendingDeletion => delete(service, &due, RotationEvent::HoldOver).await?,
            Stage::Deleting => delete(service, &due, RotationEvent::AskedAgain).await?,
            Stage::RollingBack => {
                switch(service, &due, RotationEvent::AskedAgain, KeyStatus::Active).await?
            }
            Stage::Done | Stage::RolledBack | Stage::Stopped => {
                tracing::error!(%id, "a rotation that has ended is due")
            }
        }
    }
    Ok(())
}

/// Nobody has the new key's secret, so the old key goes only if that was forced.
async fn unclaimed(service: &Service, due: &DueRotation) -> Result<(), StoreError> {
    let event = if due.rotation.forced {
        RotationEvent::Unclaimed
    } else {
        RotationEvent::Stopped
    };
    let reason = Some("nobody claimed the new key's secret in time".into());
    service
        .store
        .move_rotation(&due.rotation, event, reason)
        .await
        .map(drop)
}

/// Looks whether the old key is unused.
async fn watch(service: &Service, due: &DueRotation) -> Result<(), StoreError> {
    let (store, rotation, now) = (&service.store, &due.rotation, service.clock.now());
    let Some(keys) = seen(service, due).await? else {
        return Ok(());
    };
    match watched(rotation, &keys, now, service.timing.idle_period) {
        Watched::Gone => store
            .move_rotation(rotation, RotationEvent::Gone, None)
            .await
            .map(drop),
        Watched::Off => store
            .move_rotation(rotation, RotationEvent::Off, None)
            .await
            .map(drop),
        Watched::NewGone => {
            let reason = Some("the new key is gone, so the old one stays".into());
            store
                .move_rotation(rotation, RotationEvent::Stopped, reason)
                .await
                .map(drop)
        }
        Watched::Quiet => switch(service, due, RotationEvent::Quiet, KeyStatus::Inactive).await,
        Watched::Kept(until, reason) => {
            store.postpone_rotation(rotation, until, Some(reason)).await
        }
    }
}

/// Looks once more before the old key is deleted: nothing brings it back.
async fn delete(
    service: &Service,
    due: &DueRotation,
    event: RotationEvent,
) -> Result<(), StoreError> {
    let Some(keys) = seen(service, due).await? else {
        return Ok(());
    };
    match held(&due.rotation, &keys, service.clock.now()) {
        Held::Over => switch(service, due, event, KeyStatus::Deleted).await,
        Held::Stopped(reason) => service
            .store
            .move_rotation(&due.rotation, RotationEvent::Stopped, Some(reason))
            .await
            .map(drop),
        Held::Kept(until, reason) => {
            service
                .store
                .postpone_rotation(&due.rotation, until, Some(reason))
                .await
        }
    }
}

/// The keys on the app's user; without all that must be there, the rotation looks again soon.
async fn seen(service: &Service, due: &DueRotation) -> Result<Option<Vec<SeenKey>>, StoreError> {
    let why_not = match service.account(&due.app.spec.account) {
        None => format!("no account is registered as {}", due.app.spec.account),
        Some(account) => match look(&account, &due.app.spec.name).await {
            Ok(keys) => {
                let recorded = service.store.key_records(due.app.id).await?.keys;
                match unlisted_yet(
                    &keys,
                    recorded,
                    service.clock.now(),
                    service.timing.propagation,
                )
                .first()
                {
                    None => return Ok(Some(keys)),
                    Some((id, _)) => format!("AWS does not list the access key {id} yet"),
                }
            }
            Err(error) => error.to_string(),
        },
    };
    let until = service.clock.now().after(AGAIN);
    service
        .store
        .postpone_rotation(&due.rotation, until, Some(why_not))
        .await?;
    Ok(None)
}

async fn switch(
    service: &Service,
    due: &DueRotation,
    event: RotationEvent,
    to: KeyStatus,
) -> Result<(), StoreError> {
    let Some(task) = set_old_key_status(
        due.rotation.id,
        due.rotation.old_key.as_ref(),
        to,
        due.rotation.forced,
    ) else {
        return Ok(());
    };
    ask(service, due, event, task).await
}

async fn ask(
    service: &Service,
    due: &DueRotation,
    event: RotationEvent,
    task: Task,
) -> Result<(), StoreError> {
    let (rotation, app) = (&due.rotation, &due.app);
    let change = AppChange::Rotation(RotationChange::Move(rotation.id, event));
    match service
        .store
        .enqueue(
            JobRequest {
                change: Some(change),
                ..key_job(app, task, "rotation")
            },
            None,
        )
        .await?
    {
        Ok(_) => {
            tracing::info!(app = %app.spec.name, rotation = %rotation.id, %event, "the rotation goes on")
        }
        Err(Refusal::Active(_)) => {
            let until = service.clock.now().after(AGAIN);
            service
                .store
                .postpone_rotation(
                    rotation,
                    until,
                    Some("another job is at work on the app".into()),
                )
                .await?;
        }
        // Another replica was first, or it was rolled back or stopped meanwhile.
        Err(refusal) => {
            tracing::debug!(app = %app.spec.name, rotation = %rotation.id, ?refusal, "the rotation has moved on")
        }
    }
    Ok(())
}

/// When keys that are too old were last looked for, and of which apps it was told that they cannot be rotated.
struct Schedule {
    checked_at: Timestamp,
    told: BTreeSet<Ulid>,
}

impl Schedule {
    async fn round(&mut self, service: &Service) -> Result<(), StoreError> {
        let now = service.clock.now();
        if now.since(self.checked_at) < SCHEDULE {
            return Ok(());
        }
        self.checked_at = now;
        for app in service.store.apps_to_rotate().await? {
            self.begin(service, &app).await?;
        }
        Ok(())
    }

    async fn begin(&mut self, service: &Service, app: &App) -> Result<(), StoreError> {
        let Some(account) = service.account(&app.spec.account) else {
            return Ok(());
        };
        let keys = match look(&account, &app.spec.name).await {
            Ok(keys) => keys,
            Err(error) => {
                tracing::warn!(app = %app.spec.name, %error, "the app's keys could not be looked at; trying again");
                return Ok(());
            }
        };
        let ours: Vec<String> = service
            .store
            .key_records(app.id)
            .await?
            .keys
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        match start(
            &keys,
            &ours,
            None,
            false,
            service.clock.now(),
            service.timing.idle_period,
        ) {
            Ok(begun) => {
                let asked = service
                    .store
                    .enqueue(first_job(service, app, begun, false, "schedule"), None)
                    .await?;
                self.told.remove(&app.id);
                tracing::info!(app = %app.spec.name, begun = asked.is_ok(), "the app's key is older than its spec allows");
            }
            Err(no_start) => {
                if self.told.insert(app.id) {
                    let remedy = "rotate it with replace= and one of them";
                    tracing::warn!(app = %app.spec.name, ?no_start, remedy, "the app's key is older than its spec allows");
                }
            }
        }
        Ok(())
    }
}
