//! Pooled connections with timeouts: a network can drop packets without an error.
//!
//! Invariants:
//! - Every wait has a timeout, and a connection that does not answer is closed.
//! - A connection returns to its pool after a ping with a timeout. sqlx pings without one, so a silent connection would
//!   keep its place in the pool for ever.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Connection as _, Executor as _};
use tokio::time::timeout;

use crate::shutdown::Tasks;
use crate::store::error::StoreError;

const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(2);
const READ_TIMEOUT: Duration = Duration::from_secs(6);

#[derive(Clone)]
pub struct Connections {
    pool: AnyPool,
    /// Returns connections to the pool in the background, if there is a network in between.
    tasks: Option<Tasks>,
}

impl Connections {
    /// Connections to a file, which cannot go silent.
    pub fn of_file(pool: AnyPool) -> Self {
        Self { pool, tasks: None }
    }

    /// Pool options for a server. Each connection starts with these settings.
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

    /// Connections to a server, by a pool made with [`Self::options`].
    pub fn of_server(pool: AnyPool, tasks: &Tasks) -> Self {
        Self {
            pool,
            tasks: Some(tasks.clone()),
        }
    }

    /// A connection, which returns to the pool when it is dropped.
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

pub struct PooledConnection {
    connection: PoolConnection<Any>,
    tasks: Option<Tasks>,
    close: bool,
}

impl PooledConnection {
    /// Closes a connection that has not answered in time.
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

pub(super) trait WithTimeout<T> {
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
