//! SQLite: one process and one writer, which commits waiting requests together.
//!
//! Invariants:
//! - Commits are durable before they are answered (WAL, `synchronous=FULL`).
//! - A request that fails rolls back alone: with several in a batch, each has a savepoint.
//! - `BEGIN IMMEDIATE`: a plain `BEGIN` that reads and then writes fails at once under concurrency.
//! - A commit to a file that was deleted or replaced is an error.

use std::fs::File;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AnyConnection, AnyPool, ConnectOptions as _, Executor as _};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::shutdown::Tasks;
use crate::store::error::StoreError;
use crate::store::schema;
use crate::store::writer::{Reply, Request, Waiting, Writer, record_commit};

/// Requests in one commit, without the delayed ones.
const BATCH: usize = 128;
const READERS: u32 = 4;
/// For every connection. `secure_delete` overwrites destroyed secrets in free pages.
const PRAGMAS: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON";

/// Opens the file, creates it if there is none, migrates its schema and starts its writer.
pub async fn open(
    url: &str,
    clock: &Clock,
    tasks: &Tasks,
) -> Result<(AnyPool, Writer, Arc<DatabaseFile>), StoreError> {
    let wrong = |error: sqlx::Error| StoreError::Url(error.to_string());
    let _hold = clock.hold();
    let file = DatabaseFile::lock(
        SqliteConnectOptions::from_str(url)
            .map_err(wrong)?
            .get_filename(),
    )?;
    let options = AnyConnectOptions::from_str(url).map_err(wrong)?;
    let mut connection = options.connect().await?;
    connection.execute(PRAGMAS).await?;
    // A table that is made anew would else take with it what refers to it.
    connection.execute("PRAGMA foreign_keys = OFF").await?;
    let migrated = schema::sqlite().run(&mut connection).await;
    migrated.map_err(|error| StoreError::Unavailable(error.to_string()))?;
    connection.execute("PRAGMA foreign_keys = ON").await?;
    let file = Arc::new(file.opened()?);
    let (writer, mut waiting) = Writer::to(1);
    if let Some(waiting) = waiting.pop() {
        tasks.spawn_to_the_end(run(connection, file.clone(), clock.clone(), waiting));
    }
    let pool = AnyPoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(Duration::from_secs(5))
        .test_before_acquire(false);
    let pool = pool.after_connect(|connection, _| {
        Box::pin(async move { connection.execute(PRAGMAS).await.map(drop) })
    });
    Ok((pool.connect_with(options).await?, writer, file))
}

/// The database's files, locked by this process.
#[derive(Debug)]
pub struct DatabaseFile {
    path: PathBuf,
    /// Held as long as the store.
    _lock: Option<File>,
    /// The files as they were opened: path, device, inode.
    opened: Vec<(PathBuf, u64, u64)>,
}

impl DatabaseFile {
    /// Takes the lock beside the file; an in-memory database needs none.
    fn lock(path: &Path) -> Result<Self, StoreError> {
        let mut held = Self {
            path: path.to_path_buf(),
            _lock: None,
            opened: Vec::new(),
        };
        if path.as_os_str().is_empty() || path.to_string_lossy().contains(":memory:") {
            return Ok(held);
        }
        let lock = private(&beside(path, ".lock"))?;
        lock.try_lock()
            .map_err(|_| StoreError::InUse(path.to_path_buf()))?;
        private(path)?;
        held._lock = Some(lock);
        Ok(held)
    }

    /// Remembers which files were opened: the database and its log.
    fn opened(mut self) -> Result<Self, StoreError> {
        if self._lock.is_some() {
            for path in [self.path.clone(), beside(&self.path, "-wal")] {
                let metadata = path.metadata().map_err(|error| {
                    StoreError::Unavailable(format!("{}: {error}", path.display()))
                })?;
                self.opened.push((path, metadata.dev(), metadata.ino()));
            }
        }
        Ok(self)
    }

    /// Checks that the open files are those at their paths. A process can go on writing to a deleted or replaced file,
    /// and its commits would be lost.
    pub fn check(&self) -> Result<(), StoreError> {
        for (path, device, inode) in &self.opened {
            let same = path
                .metadata()
                .is_ok_and(|now| (now.dev(), now.ino()) == (*device, *inode));
            if !same {
                return Err(StoreError::Unavailable(format!(
                    "{} was deleted, moved or replaced; put it back as it was, or stop slipway, restore the database and start it again",
                    path.display()
                )));
            }
        }
        Ok(())
    }
}

pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Opens or creates the file with mode 0600, because it holds sealed secrets.
fn private(path: &Path) -> Result<File, StoreError> {
    let opened = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path);
    opened.map_err(|error| StoreError::Unavailable(format!("{}: {error}", path.display())))
}

/// Creates a file with mode 0600.
pub fn new_private(path: &Path) -> Result<File, StoreError> {
    let opened = std::fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path);
    opened.map_err(|error| StoreError::Unavailable(format!("{}: {error}", path.display())))
}

async fn run(
    mut connection: AnyConnection,
    file: Arc<DatabaseFile>,
    clock: Clock,
    mut waiting: Waiting,
) {
    loop {
        let batch = waiting.take(BATCH).await;
        if batch.is_empty() {
            return;
        }
        let _hold = clock.hold();
        let began = Instant::now();
        let (replies, committed) = commit(&mut connection, &file, batch).await;
        record_commit(began, committed.is_ok());
        if let Err(error) = &committed {
            tracing::error!(%error, "the commit failed");
        }
        for reply in replies {
            reply(committed.clone());
        }
    }
}

/// Runs a batch in one transaction, each request in a savepoint unless it is alone. Requests that did not run are
/// dropped, which fails them.
async fn commit(
    connection: &mut AnyConnection,
    file: &DatabaseFile,
    batch: Vec<Request>,
) -> (Vec<Reply>, Result<(), StoreError>) {
    let mut replies = Vec::new();
    if let Err(error) = file.check() {
        return (replies, Err(error));
    }
    let alone = batch.len() == 1;
    let (mut next, mut end) = (
        if alone {
            "BEGIN IMMEDIATE"
        } else {
            "BEGIN IMMEDIATE; SAVEPOINT request"
        },
        "COMMIT",
    );
    for request in batch {
        // It fails, too, when SQLite has rolled the whole transaction back, as it does when the disk is full.
        if let Err(error) = sqlx::query(next).execute(&mut *connection).await {
            // A transaction that a failure left open would refuse every later one.
            let _ = connection.execute("ROLLBACK").await;
            return (replies, Err(error.into()));
        }
        let (worked, reply) = request(connection).await;
        replies.push(reply);
        (next, end) = match (alone, worked) {
            (true, true) => ("", "COMMIT"),
            (true, false) => ("", "ROLLBACK"),
            (false, true) => (
                "RELEASE request; SAVEPOINT request",
                "RELEASE request; COMMIT",
            ),
            (false, false) => (
                "ROLLBACK TO request; RELEASE request; SAVEPOINT request",
                "ROLLBACK TO request; RELEASE request; COMMIT",
            ),
        };
    }
    let ended = sqlx::query(end).execute(&mut *connection).await;
    if ended.is_err() {
        let _ = connection.execute("ROLLBACK").await;
    }
    (
        replies,
        ended.map_err(StoreError::from).and_then(|_| file.check()),
    )
}
