//! Connections that are used for a limited time, for a network can go silent: no answer comes, and no error.
//!
//! Invariants:
//! - Nobody waits for an answer for ever, and a connection that does not answer is closed.
//! - A connection goes back to its pool once it has answered again, within a limit: sqlx asks it without one, and the
//!   place of a connection that is silent would be taken for good.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Connection as _, Executor as _};
use tokio::time::timeout;

use crate::shutdown::Tasks;
use crate::store::error::StoreError;

/// How long a connection is waited for.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may take to say that it is there.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a read may take.
const READ_TIMEOUT: Duration = Duration::from_secs(6);

/// Connections of a pool.
#[derive(Clone)]
pub struct Connections {
    pool: AnyPool,
    /// Who sees them back, where there is a network between.
    tasks: Option<Tasks>,
}

impl Connections {
    /// To a file, which does not go silent.
    pub fn of_file(pool: AnyPool) -> Self {
        Self { pool, tasks: None }
    }

    /// At most so many to a server, each of which begins with these settings.
    pub fn options(most: u32, settings: &'static str) -> AnyPoolOptions {
        let pool = AnyPoolOptions::new()
            .max_connections(most)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false);
        let pool = pool.before_acquire(|connection, _| {
            Box::pin(async move {
                let alive = timeout(PING_TIMEOUT, connection.ping()).await;
                alive.unwrap_or_else(|_| Err(silent())).map(|()| true)
            })
        });
        pool.after_connect(move |connection, _| {
            Box::pin(async move { connection.execute(settings).await.map(drop) })
        })
    }

    /// To a server, by a pool that was made with [`Self::options`].
    pub fn of_server(pool: AnyPool, tasks: &Tasks) -> Self {
        Self {
            pool,
            tasks: Some(tasks.clone()),
        }
    }

    /// A connection, which goes back when it is dropped.
    pub async fn acquire(&self) -> Result<PooledConnection, StoreError> {
        Ok(PooledConnection {
            connection: self.pool.acquire().await?,
            tasks: self.tasks.clone(),
            close: false,
        })
    }
}

fn silent() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        "the connection is silent",
    ))
}

/// A connection of a pool.
pub struct PooledConnection {
    connection: PoolConnection<Any>,
    tasks: Option<Tasks>,
    close: bool,
}

impl PooledConnection {
    /// Closes it: it has not answered in time.
    pub fn close(mut self) {
        self.close = true;
    }
}

impl Deref for PooledConnection {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.connection
    }
}

impl DerefMut for PooledConnection {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        if self.close {
            self.connection.close_on_drop();
            return;
        }
        if let Some(tasks) = &self.tasks {
            // Given up half-way, it is closed, and its place in the pool is free.
            let back = timeout(PING_TIMEOUT, self.connection.return_to_pool());
            tasks.spawn_to_the_end(async move { drop(back.await) });
        }
    }
}

/// What reads the database.
pub(super) trait WithTimeout<T> {
    /// The answer, unless it takes too long.
    async fn with_timeout(self) -> Result<T, StoreError>;
}

impl<T, E: Into<StoreError>, F: Future<Output = Result<T, E>>> WithTimeout<T> for F {
    async fn with_timeout(self) -> Result<T, StoreError> {
        let late = |_| StoreError::Unavailable("it did not answer in time".into());
        timeout(READ_TIMEOUT, self)
            .await
            .map_err(late)?
            .map_err(Into::into)
    }
}
