//! The database: opening it, its connections and its signals.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use sqlx::AnyConnection;
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;
use ulid::Ulid;

use crate::clock::{Clock, TimeHold};
use crate::shutdown::Tasks;
use crate::store::connection::{Connections, PooledConnection, WithTimeout as _};
use crate::store::error::StoreError;
use crate::store::progress_queue::ProgressQueue;
use crate::store::signals::{Signal, Signals};
use crate::store::sqlite::DatabaseFile;
use crate::store::writer::Writer;
use crate::store::{postgres, sqlite};

/// The database.
#[derive(Clone)]
pub struct Store {
    readers: Connections,
    pub(super) writer: Writer,
    pub(super) progress: ProgressQueue,
    signals: Signals,
    pub(super) clock: Clock,
    kind: Kind,
    installation: Arc<str>,
}

/// A connection for reads. Simulated time stands still while it is in use.
pub(super) struct ReadConnection {
    connection: PooledConnection,
    /// When it was asked for.
    began: Instant,
    _hold: TimeHold,
}

impl Drop for ReadConnection {
    fn drop(&mut self) {
        metrics::histogram!("slipway_database_read_seconds")
            .record(self.began.elapsed().as_secs_f64());
    }
}

impl Deref for ReadConnection {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.connection
    }
}

impl DerefMut for ReadConnection {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }
}

#[derive(Clone)]
enum Kind {
    /// A file that only this process has open.
    Sqlite(Arc<DatabaseFile>),
    /// A server, and the channel to the other replicas.
    Postgres(mpsc::UnboundedSender<Signal>),
}

impl Store {
    /// Opens the database at `url`, creates its file if there is none, and migrates its schema.
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
            progress: ProgressQueue::default(),
            signals,
            clock,
            kind,
            installation,
        })
    }

    /// The clock of everything that is recorded. With PostgreSQL it follows the database's, so replicas agree on the time.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The id of this installation of Slipway, created with the database. It tags what the installation owns in AWS.
    pub fn installation(&self) -> &Arc<str> {
        &self.installation
    }

    /// Subscribes to commits other than jobs' progress: this process's at once, other replicas' when they notify.
    pub fn signals(&self) -> broadcast::Receiver<Signal> {
        self.signals.rest()
    }

    /// Subscribes to jobs' progress.
    pub fn progress_signals(&self) -> broadcast::Receiver<Signal> {
        self.signals.progress()
    }

    /// Checks that the database answers and accepts writes.
    ///
    /// # Errors
    /// When it does not.
    pub async fn check(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1")
            .execute(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        self.writer.check(self.clock.now()).await
    }

    /// Whether other processes may work on jobs of this database.
    pub fn is_shared(&self) -> bool {
        matches!(self.kind, Kind::Postgres(_))
    }

    pub(super) async fn reader(&self) -> Result<ReadConnection, StoreError> {
        if let Kind::Sqlite(file) = &self.kind {
            file.check()?;
        }
        let hold = self.clock.hold();
        let began = Instant::now();
        Ok(ReadConnection {
            began,
            connection: self.readers.acquire().await?,
            _hold: hold,
        })
    }

    /// Signals to this process alone.
    pub(super) fn signal_here(&self, signal: Signal) {
        self.signals.send(signal);
    }

    pub(super) fn signal(&self, signal: Signal) {
        self.signals.send(signal);
        if let Kind::Postgres(replicas) = &self.kind {
            let _ = replicas.send(signal);
        }
    }
}

/// The installation's id. Of replicas that start together, one creates it.
async fn installation(
    readers: &Connections,
    writer: &Writer,
    new: Ulid,
) -> Result<Arc<str>, StoreError> {
    let known = sqlx::query_scalar("SELECT id FROM installation");
    let known: Option<String> = known
        .fetch_optional(&mut *readers.acquire().await?)
        .with_timeout()
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
