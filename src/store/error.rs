//! Errors of the database.

use std::path::PathBuf;

/// Why a database operation failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database is not available: full, locked, gone.
    #[error("the database did not answer: {0}")]
    Unavailable(String),
    /// A row holds a value that Slipway does not write.
    #[error("{table}.{column} of row {row} cannot be read: {why}")]
    Corrupt {
        /// Its table.
        table: &'static str,
        /// Its column.
        column: &'static str,
        /// The row's key.
        row: String,
        /// What is wrong with it.
        why: String,
    },
    /// The database URL is invalid.
    #[error(
        "SLIPWAY_DATABASE_URL is not a database URL that Slipway knows: {0}. Use sqlite://PATH or postgres://USER@HOST/DATABASE"
    )]
    Url(String),
    /// Another process has the SQLite file open.
    #[error(
        "another slipway has {0} open; SQLite serves one process, so stop the other one first, or use PostgreSQL"
    )]
    InUse(PathBuf),
    /// The backup failed.
    #[error("no backup was written to {0}: {1}")]
    Backup(PathBuf, String),
    /// The worker's lease is lost.
    #[error("the job's lease is lost")]
    LostLease,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}
