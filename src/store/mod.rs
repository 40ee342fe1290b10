//! The database: what was asked, who may work on it, and what people are told.
//!
//! Invariants:
//! - A job's row, its app's row, its idempotency record and its first event are one commit.
//! - Every write of a worker names its lease's token and changes nothing once the lease is lost.
//! - A row that cannot be read as a domain value is an error that names table, column and row.
//! - SQLite commits are durable before they are answered (WAL, `synchronous=FULL`); one writer commits
//!   the requests that wait together.

mod apps;
mod credentials;
mod idempotency;
mod jobs;
mod rows;
mod tokens;
mod writer;

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tokio::sync::broadcast;
use ulid::Ulid;

use crate::clock::Clock;
use crate::shutdown::Tasks;

pub use apps::AppFilter;
pub use credentials::{ClaimAnswer, CredentialRow, NewCredential, REPEATABLE, UNCLAIMED};
pub use idempotency::{Answer, IDEMPOTENCY_AGE, IdempotencyKey, fingerprint};
pub use jobs::{Accepted, Claimed, Ended, JobFilter, Lease, NewApp, Refusal, StepRecord};
pub use tokens::TokenRow;
use writer::Writer;

/// Connections that read.
const READERS: u32 = 4;

/// Why the database did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database is in trouble: full, locked, gone.
    #[error("the database did not answer: {0}")]
    Unavailable(String),
    /// A row that no code of ours writes.
    #[error("{table}.{column} of row {row} cannot be read: {why}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's key.
        row: String,
        /// What is wrong with it.
        why: String,
    },
    /// The database URL is not one.
    #[error("SLIPWAY_DATABASE_URL is not a database URL that Slipway knows: {0}. Use sqlite://PATH")]
    Url(String),
    /// Another process has the database.
    #[error("another slipway has {0} open; SQLite serves one process, so stop the other one first")]
    InUse(PathBuf),
    /// The worker's lease is lost.
    #[error("the job's lease is lost")]
    LostLease,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// Something that was committed, for those who wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// A job can be claimed.
    Queued,
    /// A job's events grew.
    Progress(Ulid),
    /// Somebody asked to end a job.
    CancelAsked(Ulid),
    /// A secret was sealed.
    Sealed,
    /// A sealed secret was destroyed.
    Destroyed,
}

/// The database.
#[derive(Clone)]
pub struct Store {
    reads: SqlitePool,
    writer: Writer,
    signals: broadcast::Sender<Signal>,
    clock: Clock,
    /// Held as long as the store: one process per SQLite file.
    _lock: std::sync::Arc<Option<std::fs::File>>,
}

impl Store {
    /// Opens the database at `url`, makes it if it is not there, and brings its schema up to date.
    ///
    /// # Errors
    /// When the URL is not known, another process has the file, or the database does not answer.
    pub async fn open(url: &str, clock: Clock, tasks: &Tasks) -> Result<Self, StoreError> {
        if !url.starts_with("sqlite:") {
            return Err(StoreError::Url(url.split("://").next().unwrap_or_default().to_owned()));
        }
        let options = SqliteConnectOptions::from_str(url).map_err(|error| StoreError::Url(error.to_string()))?;
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5))
            .foreign_keys(true)
            // What is deleted is overwritten: destroyed secrets do not stay in free pages.
            .pragma("secure_delete", "ON");
        let lock = lock_file(&options)?;
        let writer = Writer::open(&options, tasks).await?;
        let reads = SqlitePoolOptions::new().max_connections(READERS).acquire_timeout(Duration::from_secs(5)).connect_with(options).await?;
        let (signals, _) = broadcast::channel(4096);
        Ok(Self { reads, writer, signals, clock, _lock: std::sync::Arc::new(lock) })
    }

    /// Hears of commits from now on.
    pub fn signals(&self) -> broadcast::Receiver<Signal> {
        self.signals.subscribe()
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn check(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.reads).await?;
        self.writer.write(|_| Box::pin(async { Ok(()) })).await
    }

    fn signal(&self, signal: Signal) {
        // Nobody listening is fine.
        let _ = self.signals.send(signal);
    }
}

/// Takes the lock beside the database file; an in-memory database needs none.
fn lock_file(options: &SqliteConnectOptions) -> Result<Option<std::fs::File>, StoreError> {
    let path = options.get_filename();
    if path.as_os_str().is_empty() || path.to_string_lossy().contains(":memory:") {
        return Ok(None);
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let in_use = |_| StoreError::InUse(path.to_path_buf());
    let file = private(&PathBuf::from(name))?;
    file.try_lock().map_err(in_use)?;
    private(path)?;
    Ok(Some(file))
}

/// The file, made for its owner alone if it is not there: sealed secrets are nobody else's to copy.
fn private(path: &Path) -> Result<std::fs::File, StoreError> {
    let opened = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    opened.map_err(|error| StoreError::Unavailable(format!("{}: {error}", path.display())))
}
