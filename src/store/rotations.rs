//! Rotations of access keys, which advance when their jobs end.
//!
//! Invariants:
//! - A transition names the stage that it starts from, so only one of several concurrent ones applies.
//! - The transition that follows from the end of a job, or from a claim, is in the same commit.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::access_key::CLAIM_DEADLINE;
use crate::domain::app::App;
use crate::domain::job::{Job, JobError, JobErrorCode, JobState};
use crate::domain::rotation::{Rotation, RotationEvent, Stage};
use crate::domain::task::{KeyStatus, Task};
use crate::domain::webhook::EventType;
use crate::store::apps;
use crate::store::audit::Subject;
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::outbox::{Announcement, announce};
use crate::store::refusal::Refusal;
use crate::store::rows::{RowReader, readable, to_json};
use crate::store::sql::{Sql, for_update};

const COLUMNS: &str = "SELECT id, app_id, stage, task, new_key, old_key, forced, hold, requested_by, created_at, since, due_at, reason, error, \
    failures, job_id, ended_at FROM rotations";

/// The wait after a stage's job has failed; it doubles each time.
const INITIAL_RETRY_DELAY: Duration = Duration::from_secs(60);
/// The longest wait is a bit more than an hour.
const MAX_DOUBLINGS: u32 = 6;

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

/// A rotation that is due.
#[derive(Debug, Clone)]
pub struct DueRotation {
    /// The rotation.
    pub rotation: Rotation,
    /// Its app.
    pub app: App,
    /// The task of its first job.
    pub task: Task,
}

/// A row with its internal columns.
struct Row {
    rotation: Rotation,
    app: Ulid,
    task: Task,
    hold: Duration,
    failures: u32,
}

#[derive(Default)]
struct With {
    new_key: Option<String>,
    reason: Option<String>,
    error: Option<JobError>,
    job: Option<Ulid>,
}

impl Store {
    /// An app's newest rotation, active or ended.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn rotation(&self, app: Ulid) -> Result<Option<Rotation>, StoreError> {
        let mut sql = Sql::new(COLUMNS);
        sql.push(" WHERE app_id = ")
            .bind(app.to_string())?
            .push(" ORDER BY seq DESC LIMIT 1");
        let row = sql
            .query()
            .fetch_optional(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        Ok(row
            .map(|row| read(&row))
            .transpose()?
            .map(|row| row.rotation))
    }

    /// Rotations that are due, except those whose record, or whose app's, cannot be read.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn due_rotations(&self) -> Result<Vec<DueRotation>, StoreError> {
        let mut sql = Sql::new(COLUMNS);
        sql.push(" WHERE due_at <= ")
            .bind(self.clock.now().millis())?
            .push(" ORDER BY due_at LIMIT 100");
        let mut db = self.reader().await?;
        let mut due = Vec::new();
        for row in sql.query().fetch_all(&mut *db).with_timeout().await? {
            due.extend(readable(due_rotation(&mut db, &row).with_timeout().await)?);
        }
        Ok(due)
    }

    /// Advances a rotation from the stage that it was seen in. Returns `false` if its stage has changed.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn move_rotation(
        &self,
        seen: &Rotation,
        event: RotationEvent,
        reason: Option<String>,
    ) -> Result<bool, StoreError> {
        let (now, seen) = (self.clock.now(), seen.clone());
        self.writer
            .write(move |db| {
                Box::pin(async move {
                    let Some(row) = row_by_id(db, seen.id)
                        .await?
                        .filter(|row| row.rotation.stage == seen.stage)
                    else {
                        return Ok(false);
                    };
                    step(
                        db,
                        &row,
                        event,
                        With {
                            reason,
                            ..With::default()
                        },
                        now,
                    )
                    .await
                })
            })
            .await
    }

    /// Postpones a rotation in the stage that it was seen in.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn postpone_rotation(
        &self,
        seen: &Rotation,
        until: Timestamp,
        reason: Option<String>,
    ) -> Result<(), StoreError> {
        let seen = seen.clone();
        self.writer
            .write(move |db| {
                Box::pin(async move {
                    let update = "UPDATE rotations SET due_at = $1, reason = $2 WHERE id = $3 AND stage = $4 AND due_at IS NOT NULL";
                    let update = sqlx::query(update).bind(until.millis()).bind(reason);
                    update.bind(seen.id.to_string()).bind(seen.stage.to_string()).execute(db).await?;
                    Ok(())
                })
            })
            .await
    }

    /// Apps whose newest key is older than their `rotate_after`, without an active job, a removal, an active rotation or
    /// one that started within the last day; except those whose record cannot be read.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn apps_to_rotate(&self) -> Result<Vec<App>, StoreError> {
        let now = self.clock.now();
        let mut sql = Sql::new(
            "SELECT a.id FROM apps a JOIN credentials c ON c.app_id = a.id AND c.gone_at IS NULL \
             WHERE a.state <> 'removed' AND a.removal IS NULL AND a.rotate_after IS NOT NULL \
             AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.app_id = a.id AND j.finished_at IS NULL) \
             AND NOT EXISTS (SELECT 1 FROM rotations r WHERE r.app_id = a.id AND (r.ended_at IS NULL OR r.created_at > ",
        );
        sql.bind(now.before(Duration::from_secs(24 * 3600)).millis())?
            .push(")) GROUP BY a.id, a.rotate_after HAVING MAX(c.created_at) + a.rotate_after <= ")
            .bind(now.millis())?;
        let mut db = self.reader().await?;
        let mut due = Vec::new();
        for row in sql.query().fetch_all(&mut *db).with_timeout().await? {
            due.extend(readable(app_of(&mut db, &row).with_timeout().await)?);
        }
        Ok(due)
    }
}

async fn due_rotation(db: &mut AnyConnection, row: &AnyRow) -> Result<DueRotation, StoreError> {
    let Row {
        rotation,
        app,
        task,
        ..
    } = read(row)?;
    Ok(DueRotation {
        rotation,
        task,
        app: apps::app_by_id(db, app).await?,
    })
}

async fn app_of(db: &mut AnyConnection, row: &AnyRow) -> Result<App, StoreError> {
    let row = RowReader::new(row, "apps", "id");
    apps::app_by_id(db, row.id("id")?).await
}

/// Applies the change that comes with `job`, or returns the refusal.
pub(super) async fn change(
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
pub(super) async fn stop(
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

/// Advances the rotation whose new key was claimed.
pub(super) async fn claimed(
    db: &mut AnyConnection,
    app: Ulid,
    access_key_id: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    match active(db, app).await? {
        Some(row)
            if row.rotation.stage == Stage::AwaitingClaim
                && row.rotation.new_key.as_deref() == Some(access_key_id) =>
        {
            step(db, &row, RotationEvent::Claimed, With::default(), now)
                .await
                .map(drop)
        }
        _ => Ok(()),
    }
}

/// Completes the rotation whose old key was deleted.
pub(super) async fn gone(
    db: &mut AnyConnection,
    app: Ulid,
    access_key_ids: &[String],
    now: Timestamp,
) -> Result<(), StoreError> {
    match active(db, app).await? {
        Some(row)
            if row
                .rotation
                .old_key
                .as_ref()
                .is_some_and(|old| access_key_ids.contains(old)) =>
        {
            step(db, &row, RotationEvent::Gone, With::default(), now)
                .await
                .map(drop)
        }
        _ => Ok(()),
    }
}

/// Applies the end of a job to its rotation. A canceled job counts as canceled also if it was parked, because a key of
/// the app is in doubt.
pub(super) async fn apply_job_end(
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

/// Makes a transition, if the rotation's stage is still the one that was read.
async fn step(
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

/// Locks the app's active rotation until the commit.
async fn active(db: &mut AnyConnection, app: Ulid) -> Result<Option<Row>, StoreError> {
    let mut sql = Sql::new(COLUMNS);
    sql.push(" WHERE ended_at IS NULL AND app_id = ")
        .bind(app.to_string())?
        .push(for_update(db));
    sql.query()
        .fetch_optional(db)
        .await?
        .map(|row| read(&row))
        .transpose()
}

/// Locks the rotation by its id until the commit.
async fn row_by_id(db: &mut AnyConnection, id: Ulid) -> Result<Option<Row>, StoreError> {
    let mut sql = Sql::new(COLUMNS);
    sql.push(" WHERE id = ")
        .bind(id.to_string())?
        .push(for_update(db));
    sql.query()
        .fetch_optional(db)
        .await?
        .map(|row| read(&row))
        .transpose()
}

fn read(row: &AnyRow) -> Result<Row, StoreError> {
    let row = RowReader::new(row, "rotations", "id");
    let job = row
        .plain::<Option<String>>("job_id")?
        .map(|_| row.id("job_id"))
        .transpose()?;
    let rotation = Rotation {
        id: row.id("id")?,
        stage: row.parsed("stage")?,
        new_key: row.plain("new_key")?,
        old_key: row.plain("old_key")?,
        forced: row.plain::<i64>("forced")? == 1,
        requested_by: row.plain("requested_by")?,
        created_at: row.moment("created_at")?,
        since: row.moment("since")?,
        due_at: row.moment_or_null("due_at")?,
        reason: row.plain("reason")?,
        error: row.json_or_null("error")?,
        job,
        ended_at: row.moment_or_null("ended_at")?,
    };
    let hold = Duration::from_millis(row.count("hold")?);
    Ok(Row {
        rotation,
        app: row.id("app_id")?,
        task: row.json("task")?,
        hold,
        failures: row.count("failures")?,
    })
}
