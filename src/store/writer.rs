//! The one writer: takes what waits, runs it in one transaction, commits, and only then answers.
//!
//! Invariants:
//! - Whoever gets `Ok` has been committed to disk.
//! - One request's failure undoes that request alone: each runs in a savepoint when there are several.
//! - `BEGIN IMMEDIATE`: a plain `BEGIN` that reads and then writes fails at once under concurrency.

use futures::future::BoxFuture;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::StoreError;
use crate::shutdown::Tasks;

/// Requests that are committed together at most.
const BATCH: usize = 128;

/// Tells one requester how the commit went.
type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// One request: whether it worked, and whom to tell.
type Request = Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, (bool, Reply)> + Send>;

/// The way to the writer.
#[derive(Clone)]
pub struct Writer {
    requests: mpsc::UnboundedSender<Request>,
}

impl Writer {
    /// Opens the writing connection, migrates the schema, and starts the writer.
    pub async fn open(options: &SqliteConnectOptions, tasks: &Tasks) -> Result<Self, StoreError> {
        let mut connection = options.connect().await?;
        sqlx::migrate!("migrations/sqlite").run(&mut connection).await.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let (requests, waiting) = mpsc::unbounded_channel();
        tasks.spawn_to_the_end(run(connection, waiting));
        Ok(Self { requests })
    }

    /// Runs `work` in a transaction and answers when it is on disk.
    pub async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let request = request(work, move |result| drop(tell.send(result)));
        let stopped = || StoreError::Unavailable("the writer has stopped".into());
        self.requests.send(request).map_err(|_| stopped())?;
        told.await.map_err(|_| StoreError::Unavailable("the request was not committed".into()))?
    }

    /// Queues `work` without waiting for it; what comes after it in the queue is committed after it.
    pub fn write_behind<T, F>(&self, work: F, then: impl FnOnce(Result<T, StoreError>) + Send + 'static)
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        // The writer outlives everybody who writes; a request that it drops tells so by itself.
        let _ = self.requests.send(request(work, then));
    }
}

fn request<T, F>(work: F, tell: impl FnOnce(Result<T, StoreError>) + Send + 'static) -> Request
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
{
    Box::new(move |connection| {
        Box::pin(async move {
            let result = work(connection).await;
            let worked = result.is_ok();
            let reply: Reply = Box::new(move |committed| tell(committed.and(result)));
            (worked, reply)
        })
    })
}

async fn run(mut connection: SqliteConnection, mut waiting: mpsc::UnboundedReceiver<Request>) {
    let mut batch = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let alone = batch.len() == 1;
        let (replies, committed) = commit(&mut connection, batch.drain(..), alone).await;
        if let Err(error) = &committed {
            tracing::error!(%error, "the database did not commit");
        }
        for reply in replies {
            reply(committed.clone());
        }
    }
}

/// What became of one request of a batch.
enum Kept {
    /// It is part of the transaction.
    Yes(Reply),
    /// It failed, and is undone.
    No(Reply),
    /// The database has rolled the whole transaction back: nothing of the batch is left.
    TransactionGone(Reply),
}

/// Runs a batch in one transaction. Requests that did not run are dropped, which tells their requesters.
async fn commit(
    connection: &mut SqliteConnection,
    batch: impl Iterator<Item = Request>,
    alone: bool,
) -> (Vec<Reply>, Result<(), StoreError>) {
    let mut replies = Vec::new();
    if let Err(error) = sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await {
        // A transaction that an earlier failure left open would refuse every later one.
        let _ = sqlx::query("ROLLBACK").execute(&mut *connection).await;
        return (replies, Err(error.into()));
    }
    let mut end = "COMMIT";
    for request in batch {
        match in_savepoint(connection, request, alone).await {
            Kept::Yes(reply) => replies.push(reply),
            Kept::No(reply) => {
                replies.push(reply);
                if alone {
                    end = "ROLLBACK";
                }
            }
            Kept::TransactionGone(reply) => {
                replies.push(reply);
                let _ = sqlx::query("ROLLBACK").execute(&mut *connection).await;
                return (replies, Err(StoreError::Unavailable("the transaction was rolled back".into())));
            }
        }
    }
    let ended = sqlx::query(end).execute(&mut *connection).await;
    if ended.is_err() {
        let _ = sqlx::query("ROLLBACK").execute(&mut *connection).await;
    }
    (replies, ended.map(|_| ()).map_err(StoreError::from))
}

/// Runs one request; in a savepoint of its own unless it is alone in the transaction.
async fn in_savepoint(connection: &mut SqliteConnection, request: Request, alone: bool) -> Kept {
    if alone {
        let (worked, reply) = request(connection).await;
        return if worked { Kept::Yes(reply) } else { Kept::No(reply) };
    }
    if let Err(error) = sqlx::query("SAVEPOINT request").execute(&mut *connection).await {
        drop(request);
        return Kept::TransactionGone(Box::new(move |_| tracing::error!(%error, "a savepoint could not be set")));
    }
    let (worked, reply) = request(connection).await;
    let end = if worked { "RELEASE request" } else { "ROLLBACK TO request; RELEASE request" };
    // Without its savepoint the transaction is gone too: SQLite rolls all of it back when the disk is full.
    match (sqlx::raw_sql(end).execute(&mut *connection).await, worked) {
        (Ok(_), true) => Kept::Yes(reply),
        (Ok(_), false) => Kept::No(reply),
        (Err(_), _) => Kept::TransactionGone(reply),
    }
}
