//! What a request changes of a rotation, in the commit that accepts it.
//!
//! Invariant: an app has at most one active rotation.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use ulid::Ulid;

use super::row::{active, row_by_id};
use super::transition::{With, step};
use crate::clock::Timestamp;
use crate::domain::job::Job;
use crate::domain::rotation::RotationEvent;
use crate::domain::task::Task;
use crate::store::error::StoreError;
use crate::store::refusal::Refusal;
use crate::store::rows::to_json;

/// The change of a rotation that comes with a job.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotationChange {
    /// The rotation of the task starts.
    Begin {
        /// The key that the new one replaces.
        old_key: Option<String>,
        /// How long the old key stays inactive before it is deleted.
        hold: Duration,
    },
    /// It advances to a stage with a job.
    Move(Ulid, RotationEvent),
}

/// Applies the change that comes with `job`, or returns the refusal.
pub(in crate::store) async fn change(
    db: &mut AnyConnection,
    app: Ulid,
    job: &Job,
    change: &RotationChange,
    now: Timestamp,
) -> Result<Option<Refusal>, StoreError> {
    match change {
        RotationChange::Begin { old_key, hold } => {
            let Task::Rotate {
                rotation, force, ..
            } = &job.task
            else {
                return Ok(Some(Refusal::Changed));
            };
            if let Some(active) = active(db, app).await? {
                return Ok(Some(Refusal::RotationActive(active.rotation.id)));
            }
            let insert = "INSERT INTO rotations (id, app_id, stage, task, old_key, forced, hold, requested_by, created_at, since, failures, job_id) \
                          VALUES ($1, $2, 'creating', $3, $4, $5, $6, $7, $8, $8, 0, $9)";
            let insert = sqlx::query(insert)
                .bind(rotation.to_string())
                .bind(app.to_string())
                .bind(to_json(&job.task)?)
                .bind(old_key);
            let hold = i64::try_from(hold.as_millis()).unwrap_or(i64::MAX);
            let insert = insert
                .bind(i64::from(*force))
                .bind(hold)
                .bind(&job.requested_by)
                .bind(now.millis())
                .bind(job.id.to_string());
            insert.execute(db).await?;
            Ok(None)
        }
        RotationChange::Move(id, event) => {
            let Some(row) = row_by_id(db, *id).await? else {
                return Ok(Some(Refusal::NoRotation));
            };
            if let Err(illegal) = row.rotation.stage.on(*event) {
                return Ok(Some(Refusal::RotationStage(illegal)));
            }
            let moved = step(
                db,
                &row,
                *event,
                With {
                    job: Some(job.id),
                    ..With::default()
                },
                now,
            )
            .await?;
            Ok((!moved).then_some(Refusal::Changed))
        }
    }
}

/// Stops the app's active rotation, if any.
pub(in crate::store) async fn stop(
    db: &mut AnyConnection,
    app: Ulid,
    why: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(row) = active(db, app).await? else {
        return Ok(());
    };
    step(
        db,
        &row,
        RotationEvent::Stopped,
        With {
            reason: Some(why.to_owned()),
            ..With::default()
        },
        now,
    )
    .await
    .map(drop)
}
