//! One transition of a rotation, and when it is due next.
//!
//! Invariant: a transition names the stage that it starts from, so only one of several concurrent ones applies.

use std::time::Duration;

use sqlx::AnyConnection;
use ulid::Ulid;

use super::row::Row;
use crate::clock::Timestamp;
use crate::domain::access_key::CLAIM_DEADLINE;
use crate::domain::job::JobError;
use crate::domain::rotation::{RotationEvent, Stage};
use crate::domain::webhook::EventType;
use crate::store::audit::Subject;
use crate::store::error::StoreError;
use crate::store::outbox::{Announcement, announce};
use crate::store::rows::to_json;
use crate::store::sql::Sql;

/// The wait after a stage's job has failed; it doubles each time.
pub(super) const INITIAL_RETRY_DELAY: Duration = Duration::from_secs(60);

/// What a transition records.
#[derive(Default)]
pub(super) struct With {
    pub(super) new_key: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) error: Option<JobError>,
    pub(super) job: Option<Ulid>,
}

/// Makes a transition, if the rotation's stage is still the one that was read.
pub(super) async fn step(
    db: &mut AnyConnection,
    row: &Row,
    event: RotationEvent,
    with: With,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let from = row.rotation.stage;
    let Ok(to) = from.on(event) else {
        return Ok(false);
    };
    let due = due_at(row, event, to, now).map(Timestamp::millis);
    let failures = if event == RotationEvent::AskedAgain {
        i64::from(row.failures)
    } else {
        0
    };
    let update = "UPDATE rotations SET stage = $1, since = CASE WHEN stage = $1 THEN since ELSE $2 END, due_at = $3, reason = $4, error = $5, \
                  failures = $6, new_key = COALESCE($7, new_key), job_id = COALESCE($8, job_id), ended_at = $9 WHERE id = $10 AND stage = $11";
    let update = sqlx::query(update)
        .bind(to.to_string())
        .bind(now.millis())
        .bind(due)
        .bind(with.reason);
    let update = update
        .bind(with.error.as_ref().map(to_json).transpose()?)
        .bind(failures)
        .bind(with.new_key);
    let update = update
        .bind(with.job.map(|job| job.to_string()))
        .bind(to.has_ended().then_some(now.millis()));
    let moved = update
        .bind(row.rotation.id.to_string())
        .bind(from.to_string())
        .execute(&mut *db)
        .await?;
    if moved.rows_affected() == 0 {
        return Ok(false);
    }
    if to == Stage::Done {
        announce_rotated(db, row, now).await?;
    }
    Ok(true)
}

async fn announce_rotated(
    db: &mut AnyConnection,
    row: &Row,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut sql = Sql::default();
    let rotated = Announcement {
        access_key_id: row.rotation.new_key.as_deref(),
        ..Announcement::new(EventType::KeyRotated, Subject::App(row.app), now)
    };
    announce(db, &mut sql, rotated)?;
    sql.run(db).await.map(drop)
}

/// When a rotation is due next; `None` while its job is active.
fn due_at(row: &Row, event: RotationEvent, stage: Stage, now: Timestamp) -> Option<Timestamp> {
    match (stage, event) {
        (Stage::AwaitingClaim, _) => Some(now.after(CLAIM_DEADLINE)),
        (Stage::Draining, RotationEvent::InUse) => Some(now.after(INITIAL_RETRY_DELAY)),
        (Stage::Draining, _) => Some(now),
        (Stage::PendingDeletion, _) => Some(now.after(row.hold)),
        _ => None,
    }
}
