//! What the end of a job changes of its rotation, in the same commit.
//!
//! Invariant: a job of an earlier stage changes nothing.

use sqlx::AnyConnection;
use ulid::Ulid;

use super::key_events::claimed;
use super::row::{Row, row_by_id};
use super::transition::{INITIAL_RETRY_DELAY, With, step};
use crate::clock::Timestamp;
use crate::domain::job::{JobError, JobErrorCode, JobState};
use crate::domain::rotation::RotationEvent;
use crate::domain::task::{KeyStatus, Task};
use crate::store::error::StoreError;
use crate::store::rows::to_json;

/// The longest wait is a bit more than an hour.
const MAX_DOUBLINGS: u32 = 6;

/// Applies the end of a job to its rotation. A canceled job counts as canceled also if it was parked, because a key of
/// the app is in doubt.
pub(in crate::store) async fn apply_job_end(
    db: &mut AnyConnection,
    task: &Task,
    (ended, canceled): (JobState, bool),
    error: Option<JobError>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (Task::Rotate { rotation, .. }
    | Task::SetKeyStatus {
        rotation: Some(rotation),
        ..
    }) = task
    else {
        return Ok(());
    };
    let Some(row) = row_by_id(db, *rotation).await? else {
        return Ok(());
    };
    let is = |code| {
        error
            .as_ref()
            .is_some_and(|job_error| job_error.code == code)
    };
    let (in_use, rejected) = (is(JobErrorCode::KeyInUse), is(JobErrorCode::Rejected));
    let (event, with) = match (task, ended) {
        (Task::Rotate { known_keys, .. }, JobState::Succeeded) => (
            RotationEvent::Made,
            With {
                new_key: newest_key(db, row.app, known_keys).await?,
                ..With::default()
            },
        ),
        (Task::SetKeyStatus { to, .. }, JobState::Succeeded) => (of_target(*to), With::default()),
        (Task::Rotate { known_keys, .. }, state) if canceled || state == JobState::Canceled => {
            let new_key = newest_key(db, row.app, known_keys).await?;
            let reason = canceled_first_job(new_key.as_deref(), row.rotation.old_key.as_deref());
            (
                RotationEvent::Stopped,
                With {
                    new_key,
                    reason: Some(reason),
                    ..With::default()
                },
            )
        }
        (Task::SetKeyStatus { to, .. }, _) if canceled => (
            RotationEvent::Stopped,
            With {
                reason: Some(canceled_job(*to).into()),
                ..With::default()
            },
        ),
        // The old key is gone: asking again brings it back as little.
        (
            Task::SetKeyStatus {
                to: KeyStatus::Active,
                ..
            },
            _,
        ) if rejected => (
            RotationEvent::Stopped,
            With {
                reason: error.map(|job_error| job_error.detail),
                ..With::default()
            },
        ),
        (Task::SetKeyStatus { .. }, _) if in_use => (
            RotationEvent::InUse,
            With {
                reason: error.map(|job_error| job_error.detail),
                ..With::default()
            },
        ),
        _ => return failed(db, &row, error, now).await,
    };
    // A job of an earlier stage that a person retried later changes nothing here.
    if row.rotation.stage.on(event).is_err() {
        return Ok(());
    }
    let new_key = with.new_key.clone();
    step(db, &row, event, with, now).await?;
    match new_key {
        Some(key) if is_claimed(db, row.app, &key).await? => claimed(db, row.app, &key, now).await,
        _ => Ok(()),
    }
}

/// Whether the key was claimed. That can happen before the job that created it has ended.
async fn is_claimed(db: &mut AnyConnection, app: Ulid, key: &str) -> Result<bool, StoreError> {
    let claimed = "SELECT COUNT(*) FROM credentials WHERE app_id = $1 AND access_key_id = $2 AND claimed_at IS NOT NULL";
    let claimed: i64 = sqlx::query_scalar(claimed)
        .bind(app.to_string())
        .bind(key)
        .fetch_one(db)
        .await?;
    Ok(claimed > 0)
}

/// A cancellation can come after the new key was created; then a person has to choose between the two keys.
fn canceled_first_job(new_key: Option<&str>, old_key: Option<&str>) -> String {
    match (new_key, old_key) {
        (None, _) => "The job that creates the new key was canceled.".to_owned(),
        (Some(new), None) => format!(
            "The rotation was canceled after it created access key {new}, which is active. To use the key, claim its secret. Otherwise, delete it."
        ),
        (Some(new), Some(old)) => format!(
            "The rotation was canceled after it created access key {new}. Both {new} and {old} are active. To use {new}, claim its secret and delete {old}. To keep {old}, delete {new}."
        ),
    }
}

fn canceled_job(to: KeyStatus) -> &'static str {
    match to {
        KeyStatus::Active => "The rollback was canceled.",
        KeyStatus::Inactive => "The job that deactivates the old key was canceled.",
        KeyStatus::Deleted => "The job that deletes the old key was canceled.",
    }
}

fn of_target(to: KeyStatus) -> RotationEvent {
    match to {
        KeyStatus::Active => RotationEvent::BackOn,
        KeyStatus::Inactive => RotationEvent::Off,
        KeyStatus::Deleted => RotationEvent::Gone,
    }
}

/// Retries the job of a stage later, each time after a longer wait.
async fn failed(
    db: &mut AnyConnection,
    row: &Row,
    error: Option<JobError>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if row.rotation.stage.has_ended() {
        return Ok(());
    }
    let due = now.after(INITIAL_RETRY_DELAY.saturating_mul(1 << row.failures.min(MAX_DOUBLINGS)));
    let update = "UPDATE rotations SET error = $1, due_at = $2, failures = failures + 1 WHERE id = $3 AND stage = $4";
    let update = sqlx::query(update)
        .bind(error.as_ref().map(to_json).transpose()?)
        .bind(due.millis());
    update
        .bind(row.rotation.id.to_string())
        .bind(row.rotation.stage.to_string())
        .execute(db)
        .await?;
    Ok(())
}

async fn newest_key(
    db: &mut AnyConnection,
    app: Ulid,
    known: &[String],
) -> Result<Option<String>, StoreError> {
    let keys = "SELECT access_key_id FROM credentials WHERE app_id = $1 AND gone_at IS NULL ORDER BY seq DESC";
    let keys: Vec<String> = sqlx::query_scalar(keys)
        .bind(app.to_string())
        .fetch_all(db)
        .await?;
    Ok(keys.into_iter().find(|key| !known.contains(key)))
}
