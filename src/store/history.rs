//! Removal of old history, and backups.
//!
//! Invariants:
//! - Jobs that explain the present stay: an app's newest job, its newest one that succeeded, and those that last changed
//!   its resources, created its keys or have an open intent.
//! - Audit entries are removed by their own age.
//! - History is removed in small commits, so that others can write in between.

use std::fs::File;
use std::path::Path;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, ConnectOptions as _};

use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::sql::{Sql, for_update};
use crate::store::sqlite;

/// Jobs in one commit.
const JOB_BATCH: i64 = 100;

/// Entries of the audit in one commit.
const AUDIT_BATCH: i64 = 1000;

/// Finished jobs that explain nothing present.
const FINISHED_JOBS: &str = "SELECT j.id FROM jobs j WHERE j.seq <> (SELECT MAX(n.seq) FROM jobs n WHERE n.app_id = j.app_id) \
    AND (j.state <> 'succeeded' OR EXISTS (SELECT 1 FROM jobs s WHERE s.app_id = j.app_id AND s.state = 'succeeded' AND s.seq > j.seq)) \
    AND NOT EXISTS (SELECT 1 FROM resources r WHERE r.job_id = j.id) \
    AND NOT EXISTS (SELECT 1 FROM credentials c WHERE c.job_id = j.id) \
    AND NOT EXISTS (SELECT 1 FROM key_intents i WHERE i.job_id = j.id AND i.closed_at IS NULL) \
    AND j.finished_at <= ";

impl Store {
    /// Removes a batch of the jobs that ended longer ago than `age`, with their steps and events. Returns their number.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn prune_history(&self, age: Duration) -> Result<u64, StoreError> {
        let oldest = self.clock.now().before(age).millis();
        self.writer
            .write(move |db| Box::pin(async move { prune(db, oldest).await }))
            .await
    }

    /// Removes a batch of the audit entries that are older than `age`. Returns their number.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn prune_audit(&self, age: Duration) -> Result<u64, StoreError> {
        let oldest = self.clock.now().before(age).millis();
        let delete = "DELETE FROM audit WHERE seq IN (SELECT seq FROM audit WHERE at <= $1 ORDER BY at LIMIT $2)";
        let delete = sqlx::query(delete).bind(oldest).bind(AUDIT_BATCH);
        self.writer
            .write(move |db| Box::pin(async move { Ok(delete.execute(db).await?.rows_affected()) }))
            .await
    }
}

async fn prune(db: &mut AnyConnection, oldest: i64) -> Result<u64, StoreError> {
    let rotations = "DELETE FROM rotations WHERE ended_at <= $1 AND seq <> (SELECT MAX(n.seq) FROM rotations n WHERE n.app_id = rotations.app_id)";
    sqlx::query(rotations)
        .bind(oldest)
        .execute(&mut *db)
        .await?;
    let mut over = Sql::new(FINISHED_JOBS);
    over.bind(oldest)?
        .push(" ORDER BY j.finished_at LIMIT ")
        .bind(JOB_BATCH)?
        .push(for_update(db));
    let jobs: Vec<String> = over.scalars().fetch_all(&mut *db).await?;
    if jobs.is_empty() {
        return Ok(0);
    }
    for delete in [
        "DELETE FROM steps WHERE job_id",
        "DELETE FROM events WHERE job_id",
        "DELETE FROM key_intents WHERE job_id",
        "DELETE FROM approvals WHERE job_id",
        "DELETE FROM jobs WHERE id",
    ] {
        let mut sql = Sql::new(delete);
        sql.push(" IN (").list(&jobs)?.push(")");
        sql.query().execute(&mut *db).await?;
    }
    Ok(jobs.len() as u64)
}

/// Copies the SQLite database at `url`, which may be in use, to a new file. No file is left if that fails.
///
/// # Errors
/// When it is not SQLite, the file exists or cannot be written, or the database does not answer.
pub async fn backup(url: &str, to: &Path) -> Result<(), StoreError> {
    if !url.starts_with("sqlite:") {
        return Err(StoreError::Url(
            "backup copies SQLite; for PostgreSQL use pg_dump".into(),
        ));
    }
    if to.exists() {
        return Err(StoreError::Backup(
            to.to_path_buf(),
            "there is a file by this name already".into(),
        ));
    }
    let partial = sqlite::beside(to, ".partial");
    let written = match copy(url, &partial).await {
        Ok(()) => name_durably(&partial, to)
            .map_err(|error| StoreError::Backup(to.to_path_buf(), error.to_string())),
        Err(error) => Err(StoreError::Backup(to.to_path_buf(), error.to_string())),
    };
    if written.is_err() {
        // What is left of it would be taken for a backup, or be in the way.
        let _ = std::fs::remove_file(&partial);
    }
    written
}

/// Copies the database to a file under another name: a file with the backup's name is complete.
async fn copy(url: &str, partial: &Path) -> Result<(), StoreError> {
    sqlx::any::install_default_drivers();
    let options =
        AnyConnectOptions::from_str(url).map_err(|error| StoreError::Url(error.to_string()))?;
    let mut db = options.connect().await?;
    // Of a process that was lost.
    if partial.exists() {
        std::fs::remove_file(partial)
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
    }
    let file = sqlite::new_private(partial)?;
    // Into a file that is there and empty: https://sqlite.org/lang_vacuum.html
    sqlx::query("VACUUM INTO $1")
        .bind(partial.to_string_lossy().into_owned())
        .execute(&mut db)
        .await?;
    file.sync_all()
        .map_err(|error| StoreError::Unavailable(error.to_string()))
}

/// Renames a complete backup, durably.
fn name_durably(partial: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::rename(partial, to)?;
    let folder = to
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
