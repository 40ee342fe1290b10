//! The database: what was asked, who may work on it, and what people are told.
//!
//! Invariants:
//! - What the audit tells of is committed together with its entry.
//! - A job's row, its app's row, its idempotency record and its first event are one commit.
//! - Every write of a worker names its lease's token and changes nothing once the lease is lost.
//! - A row that cannot be read as a domain value is an error that names table, column and row.
//! - What is answered is committed: durable, whichever the database is.
//! - What came first and what is latest is said by the rows' `seq`, which the database gives; ids are made by clocks.
//! - One SQL text serves both databases; what differs is in `sqlite`, `postgres` and `sql`.

mod apps;
mod audit;
mod connection;
mod credentials;
mod drift;
mod events;
mod history;
mod idempotency;
mod jobs;
mod postgres;
mod progress;
mod rotations;
mod rows;
mod signals;
mod sql;
mod sqlite;
mod tokens;
mod writer;

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::Arc;

use sqlx::AnyConnection;
use tokio::sync::{broadcast, mpsc};
use ulid::Ulid;

use crate::clock::{Clock, TimeHold};
use crate::shutdown::Tasks;

pub use apps::AppFilter;
pub use audit::{AuditCursor, AuditFilter};
use connection::{Connections, InTime as _, Lent};
pub use credentials::{ClaimAnswer, CredentialRow, NewCredential, REPEATABLE, UNCLAIMED};
pub use history::backup;
pub use idempotency::{Answer, IDEMPOTENCY_AGE, IdempotencyKey, fingerprint};
pub use jobs::{
    Accepted, AppChange, AttemptResult, CLAIMED_TOGETHER, Claimed, JobFilter, JobRequest, Lease,
    NewApp, Refusal, StepRecord,
};
use progress::Progress;
pub use rotations::{DueRotation, RotationChange};
pub use signals::Signal;
use signals::Signals;
use sqlite::DatabaseFile;
pub use tokens::TokenRow;
use writer::Writer;

/// Why the database did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database is in job_error: full, locked, gone.
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
    #[error(
        "SLIPWAY_DATABASE_URL is not a database URL that Slipway knows: {0}. Use sqlite://PATH or postgres://USER@HOST/DATABASE"
    )]
    Url(String),
    /// Another process has the database.
    #[error(
        "another slipway has {0} open; SQLite serves one process, so stop the other one first, or use PostgreSQL"
    )]
    InUse(PathBuf),
    /// No backup was made.
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

/// The database.
#[derive(Clone)]
pub struct Store {
    readers: Connections,
    writer: Writer,
    progress: Progress,
    signals: Signals,
    clock: Clock,
    kind: Kind,
    installation: Arc<str>,
}

/// A connection that reads; simulated time stands still meanwhile.
struct Reader {
    connection: Lent,
    _hold: TimeHold,
}

impl Deref for Reader {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.connection
    }
}

impl DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }
}

/// Which database it is.
#[derive(Clone)]
enum Kind {
    /// A file that this process has alone.
    Sqlite(Arc<DatabaseFile>),
    /// A server, and the way to the other replicas.
    Postgres(mpsc::UnboundedSender<Signal>),
}

impl Store {
    /// Opens the database at `url`, makes its file if it is not there, and brings its schema up to date.
    ///
    /// # Errors
    /// When the URL is not known, another process has the file, or the database does not answer.
    pub async fn open(url: &str, clock: Clock, tasks: &Tasks) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let signals = Signals::default();
        let (readers, writer, kind) = match url.split(':').next() {
            Some("sqlite") => {
                let (pool, writer, file) = sqlite::open(url, &clock, tasks).await?;
                (Connections::of_file(pool), writer, Kind::Sqlite(file))
            }
            Some("postgres" | "postgresql") => {
                let (readers, writer) = postgres::open(url, tasks).await?;
                let replicas = postgres::connect_replicas(url, &signals, &clock, tasks).await?;
                (readers, writer, Kind::Postgres(replicas))
            }
            scheme => return Err(StoreError::Url(scheme.unwrap_or_default().to_owned())),
        };
        let hold = clock.hold();
        let installation = installation(&readers, &writer, clock.new_id()).await?;
        drop(hold);
        Ok(Self {
            readers,
            writer,
            progress: Progress::default(),
            signals,
            clock,
            kind,
            installation,
        })
    }

    /// The id of this installation of Slipway, made when its database was: whoever has that database has its things.
    pub fn installation(&self) -> &Arc<str> {
        &self.installation
    }

    /// Hears of commits from now on, but for jobs' progress: of this process at once, of other replicas as they tell.
    pub fn signals(&self) -> broadcast::Receiver<Signal> {
        self.signals.rest()
    }

    /// Hears of jobs' progress from now on.
    pub fn progress_signals(&self) -> broadcast::Receiver<Signal> {
        self.signals.progress()
    }

    /// Whether the database answers and takes writes.
    ///
    /// # Errors
    /// When it does not.
    pub async fn check(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1")
            .execute(&mut *self.reader().await?)
            .in_time()
            .await?;
        self.writer.check(self.clock.now()).await
    }

    /// Whether other processes may have jobs of this database.
    pub fn is_shared(&self) -> bool {
        matches!(self.kind, Kind::Postgres(_))
    }

    /// A connection that reads.
    async fn reader(&self) -> Result<Reader, StoreError> {
        if let Kind::Sqlite(file) = &self.kind {
            file.check()?;
        }
        let hold = self.clock.hold();
        Ok(Reader {
            connection: self.readers.acquire().await?,
            _hold: hold,
        })
    }

    fn signal(&self, signal: Signal) {
        self.signals.send(signal);
        if let Kind::Postgres(replicas) = &self.kind {
            let _ = replicas.send(signal);
        }
    }
}

/// The installation's id, made if there is none. Of replicas that start together one makes it.
async fn installation(
    readers: &Connections,
    writer: &Writer,
    new: Ulid,
) -> Result<Arc<str>, StoreError> {
    let known = sqlx::query_scalar("SELECT id FROM installation");
    let known: Option<String> = known
        .fetch_optional(&mut *readers.acquire().await?)
        .in_time()
        .await?;
    if let Some(id) = known {
        return Ok(id.into());
    }
    let id = new.to_string();
    let id: String = writer
        .write(move |db| {
            Box::pin(async move {
                let insert = sqlx::query(
                    "INSERT INTO installation (id, one) VALUES ($1, 1) ON CONFLICT DO NOTHING",
                );
                insert.bind(id).execute(&mut *db).await?;
                Ok(sqlx::query_scalar("SELECT id FROM installation")
                    .fetch_one(db)
                    .await?)
            })
        })
        .await?;
    Ok(id.into())
}
