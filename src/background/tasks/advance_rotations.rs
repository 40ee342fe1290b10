//! Moves rotations of access keys to their next stage.
//!
//! Invariants:
//! - Every transition names the stage that it starts from, so of several replicas one makes it.
//! - A change in AWS is a job like any other.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::app::accounts::is_ready;
use crate::app::rotate::{key_job, set_old_key_status};
use crate::app::service::Service;
use crate::background::driver::{BackgroundTask, NextRun};
use crate::domain::access_key::InUse;
use crate::domain::rotation::{RotationEvent, Stage};
use crate::domain::task::{KeyStatus, Task};
use crate::provision::rotation_rules::{Held, Watched, held, watched};
use crate::provision::user_keys::{ListedKey, look, unlisted_yet};
use crate::store::{AppChange, DueRotation, JobRequest, Refusal, RotationChange, StoreError};

/// After AWS did not answer, or while another job is running for the app.
const RETRY_DELAY: Duration = Duration::from_secs(10);

pub struct AdvanceRotations {
    period: Duration,
}

impl AdvanceRotations {
    pub fn new(service: &Service) -> Self {
        Self {
            period: service.timing.poll,
        }
    }
}

impl BackgroundTask for AdvanceRotations {
    fn name(&self) -> &'static str {
        "advance_rotations"
    }

    fn period(&self) -> Duration {
        self.period
    }

    fn activate<'a>(
        &'a mut self,
        service: &'a Arc<Service>,
    ) -> BoxFuture<'a, Result<NextRun, StoreError>> {
        async {
            for due in service.store.due_rotations().await? {
                advance(service, &due).await?;
            }
            Ok(NextRun::AfterPeriod)
        }
        .boxed()
    }
}

async fn advance(service: &Service, due: &DueRotation) -> Result<(), StoreError> {
    let id = due.rotation.id;
    match due.rotation.stage {
        Stage::Creating => {
            request_job(service, due, RotationEvent::AskedAgain, due.task.clone()).await?
        }
        Stage::AwaitingClaim => stop_unclaimed(service, due).await?,
        Stage::Draining => drain(service, due).await?,
        Stage::Deactivating => {
            request_key_status(service, due, RotationEvent::AskedAgain, KeyStatus::Inactive).await?
        }
        Stage::PendingDeletion => delete_old_key(service, due, RotationEvent::HoldOver).await?,
        Stage::Deleting => delete_old_key(service, due, RotationEvent::AskedAgain).await?,
        Stage::RollingBack => {
            request_key_status(service, due, RotationEvent::AskedAgain, KeyStatus::Active).await?
        }
        Stage::Done | Stage::RolledBack | Stage::Stopped => {
            tracing::error!(%id, "an ended rotation is still scheduled")
        }
    }
    Ok(())
}

/// Nobody has the new key's secret, so the old key goes only if that was forced.
async fn stop_unclaimed(service: &Service, due: &DueRotation) -> Result<(), StoreError> {
    let event = if due.rotation.forced {
        RotationEvent::Unclaimed
    } else {
        RotationEvent::Stopped
    };
    let reason = Some("The new key's secret was not claimed in time.".into());
    service
        .store
        .move_rotation(&due.rotation, event, reason)
        .await
        .map(drop)
}

/// Looks whether the old key is unused.
async fn drain(service: &Service, due: &DueRotation) -> Result<(), StoreError> {
    let (store, rotation, now) = (&service.store, &due.rotation, service.clock.now());
    let Some(keys) = listed_keys(service, due).await? else {
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
            let reason = Some("The new key no longer exists, so the old key is retained.".into());
            store
                .move_rotation(rotation, RotationEvent::Stopped, reason)
                .await
                .map(drop)
        }
        Watched::Quiet => {
            request_key_status(service, due, RotationEvent::Quiet, KeyStatus::Inactive).await
        }
        Watched::Kept(until, reason) => {
            store.postpone_rotation(rotation, until, Some(reason)).await
        }
    }
}

/// Looks once more before the old key is deleted: nothing brings it back.
async fn delete_old_key(
    service: &Service,
    due: &DueRotation,
    event: RotationEvent,
) -> Result<(), StoreError> {
    let Some(keys) = listed_keys(service, due).await? else {
        return Ok(());
    };
    match held(&due.rotation, &keys, service.clock.now()) {
        Held::Over => request_key_status(service, due, event, KeyStatus::Deleted).await,
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
async fn listed_keys(
    service: &Service,
    due: &DueRotation,
) -> Result<Option<Vec<ListedKey>>, StoreError> {
    let why_not = match service.account(&due.app.spec.account).await? {
        None => format!("No account is registered as {}.", due.app.spec.account),
        Some(_) if !is_ready(service, &due.app.spec.account).await? => {
            format!("The account {} is not ready.", due.app.spec.account)
        }
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
                    Some((id, _)) => format!("Waiting for AWS to list access key {id}."),
                }
            }
            Err(error) => error.to_string(),
        },
    };
    let until = service.clock.now().after(RETRY_DELAY);
    service
        .store
        .postpone_rotation(&due.rotation, until, Some(why_not))
        .await?;
    Ok(None)
}

async fn request_key_status(
    service: &Service,
    due: &DueRotation,
    event: RotationEvent,
    to: KeyStatus,
) -> Result<(), StoreError> {
    let Some(task) = set_old_key_status(
        due.rotation.id,
        due.rotation.old_key.as_ref(),
        to,
        InUse::forced(due.rotation.forced),
    ) else {
        return Ok(());
    };
    request_job(service, due, event, task).await
}

async fn request_job(
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
            tracing::info!(app = %app.spec.name, rotation = %rotation.id, %event, "rotation continues")
        }
        Err(Refusal::Active(_)) => {
            let until = service.clock.now().after(RETRY_DELAY);
            service
                .store
                .postpone_rotation(
                    rotation,
                    until,
                    Some("Another job is running for the app.".into()),
                )
                .await?;
        }
        // Another replica was first, or it was rolled back or stopped meanwhile.
        Err(refusal) => {
            tracing::debug!(app = %app.spec.name, rotation = %rotation.id, ?refusal, "rotation already continued")
        }
    }
    Ok(())
}
