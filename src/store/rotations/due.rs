//! Rotations and apps whose time has come.

use std::time::Duration;

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::row::{COLUMNS, Row, read, row_by_id};
use super::transition::{With, step};
use crate::clock::Timestamp;
use crate::domain::app::App;
use crate::domain::rotation::{Rotation, RotationEvent};
use crate::domain::task::Task;
use crate::store::apps;
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::rows::{RowReader, readable};
use crate::store::sql::Sql;

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

impl Store {
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
