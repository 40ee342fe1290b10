//! The row of a rotation.
//!
//! Invariant: a row that is read for a transition is locked until the commit.

use std::time::Duration;

use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use ulid::Ulid;

use crate::domain::rotation::Rotation;
use crate::domain::task::Task;
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::rows::RowReader;
use crate::store::sql::{Sql, for_update};

pub(super) const COLUMNS: &str = "SELECT id, app_id, stage, task, new_key, old_key, forced, hold, requested_by, created_at, since, due_at, reason, error, \
    failures, job_id, ended_at FROM rotations";

/// A row with its internal columns.
pub(super) struct Row {
    pub(super) rotation: Rotation,
    pub(super) app: Ulid,
    pub(super) task: Task,
    pub(super) hold: Duration,
    pub(super) failures: u32,
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
}

/// Locks the app's active rotation until the commit.
pub(super) async fn active(db: &mut AnyConnection, app: Ulid) -> Result<Option<Row>, StoreError> {
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
pub(super) async fn row_by_id(db: &mut AnyConnection, id: Ulid) -> Result<Option<Row>, StoreError> {
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

pub(super) fn read(row: &AnyRow) -> Result<Row, StoreError> {
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
