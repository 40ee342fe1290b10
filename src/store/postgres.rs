//! PostgreSQL: several processes (replicas) on one database.
//!
//! Invariants:
//! - A request is one transaction (READ COMMITTED). It locks the rows that it decides on first, jobs before apps;
//!   requests with the same Idempotency-Key wait for one another.
//! - A replica that hangs does not block the others: its transaction ends after [`TRANSACTION_TIMEOUT`].
//! - When the database cannot be reached, all waiting requests fail at once, not one after another.
//! - NOTIFY tells the other replicas of commits. A lost notice is made up for by their polls.
//! - Replicas use the database's time.

use std::str::FromStr as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::any::AnyConnectOptions;
use sqlx::postgres::PgListener;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use ulid::Ulid;

use crate::clock::{Clock, Timestamp};
use crate::shutdown::Tasks;
use crate::store::connection::{Connections, PooledConnection, WithTimeout as _};
use crate::store::error::StoreError;
use crate::store::schema;
use crate::store::signals::{Signal, Signals};
use crate::store::writer::{Request, Waiting, Writer, record_commit};

const WRITERS: usize = 8;
const READERS: u32 = 8;
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(15);
/// For every connection, in milliseconds: locks and statements time out before [`TRANSACTION_TIMEOUT`], and the server
/// ends the transaction of a process that hangs. In seconds: keepalives keep firewalls from dropping idle connections,
/// and close those of a lost replica.
const SETTINGS: &str = "SET lock_timeout = 5000; SET statement_timeout = 10000; SET idle_in_transaction_session_timeout = 15000; \
    SET tcp_keepalives_idle = 15; SET tcp_keepalives_interval = 5";
const CHANNEL: &str = "slipway";
/// Signals in one notice; PostgreSQL takes up to 8000 bytes.
const MAX_NOTICE_SIGNALS: usize = 100;
/// A listener that has received nothing for this long checks its connection, with the same timeout.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CLOCK_SYNC_INTERVAL: Duration = Duration::from_secs(60);

/// Signals from one replica to the others.
#[derive(Serialize, Deserialize)]
struct Notice {
    from: Ulid,
    signals: Vec<Signal>,
}

/// Connects, migrates the schema and starts the writers. Replicas that start together migrate one after another, under
/// the migrator's lock.
pub async fn open(url: &str, tasks: &Tasks) -> Result<(Connections, Writer), StoreError> {
    let options =
        AnyConnectOptions::from_str(url).map_err(|error| StoreError::Url(error.to_string()))?;
    let mut connection = options.connect().await?;
    let migrated = schema::postgres().run(&mut connection).await;
    migrated.map_err(|error| StoreError::Unavailable(error.to_string()))?;
    connection.close().await?;
    let writes = Connections::options(WRITERS as u32, SETTINGS).connect_lazy_with(options.clone());
    let writes = Connections::of_server(writes, tasks);
    let (writer, waiting) = Writer::to(WRITERS);
    for waiting in waiting {
        tasks.spawn_to_the_end(run(writes.clone(), waiting));
    }
    let reads = Connections::options(READERS, SETTINGS)
        .connect_with(options)
        .await?;
    Ok((Connections::of_server(reads, tasks), writer))
}

async fn run(connections: Connections, mut waiting: Waiting) {
    loop {
        let requests = waiting.take(1).await;
        if requests.is_empty() {
            return;
        }
        for request in requests {
            let mut connection = match connections.acquire().await {
                Ok(connection) => connection,
                Err(error) => {
                    let refused = waiting.refuse_all();
                    tracing::error!(%error, refused, "the database cannot be reached");
                    // What was taken is dropped, too, which tells its requesters.
                    break;
                }
            };
            let began = Instant::now();
            let committed = timeout(TRANSACTION_TIMEOUT, commit(&mut connection, request)).await;
            record_commit(began, matches!(committed, Ok(Ok(()))));
            match committed {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "the commit failed"),
                Err(_) => {
                    tracing::error!("the commit timed out");
                    connection.close();
                }
            }
        }
    }
}

/// Runs a request in a transaction. A request that did not run is dropped, which fails it.
async fn commit(connection: &mut PooledConnection, request: Request) -> Result<(), StoreError> {
    let mut transaction = connection.begin().await?;
    let (worked, reply) = request(&mut transaction).await;
    let ended = if worked {
        transaction.commit().await
    } else {
        transaction.rollback().await
    };
    let ended = ended.map_err(StoreError::from);
    reply(ended.clone());
    ended
}

/// Sends signals to the other replicas and receives theirs.
pub async fn connect_replicas(
    url: &str,
    signals: &Signals,
    clock: &Clock,
    tasks: &Tasks,
) -> Result<mpsc::UnboundedSender<Signal>, StoreError> {
    let options =
        AnyConnectOptions::from_str(url).map_err(|error| StoreError::Url(error.to_string()))?;
    let connections = Connections::of_server(
        Connections::options(2, SETTINGS)
            .connect_with(options)
            .await?,
        tasks,
    );
    follow_clock(&connections, clock).await?;
    let me = Ulid::generate();
    let (tell, told) = mpsc::unbounded_channel();
    tasks.spawn_to_the_end(notify(connections.clone(), me, told));
    let (url, signals, clock, stop) = (
        url.to_owned(),
        signals.clone(),
        clock.clone(),
        tasks.clone(),
    );
    tasks.spawn(async move {
        tokio::select! {
            () = listen(&url, me, &signals) => {}
            () = keep_time(&connections, &clock) => {}
            () = stop.stopping() => {}
        }
    });
    Ok(tell)
}

async fn notify(connections: Connections, me: Ulid, mut told: mpsc::UnboundedReceiver<Signal>) {
    let mut signals = Vec::with_capacity(MAX_NOTICE_SIGNALS);
    while told.recv_many(&mut signals, MAX_NOTICE_SIGNALS).await > 0 {
        signals.dedup();
        let Ok(notice) = serde_json::to_string(&Notice {
            from: me,
            signals: std::mem::take(&mut signals),
        }) else {
            continue;
        };
        if let Err(error) = send(&connections, notice).await {
            tracing::warn!(%error, "cannot notify the other replicas; they will poll");
        }
    }
}

async fn send(connections: &Connections, notice: String) -> Result<(), StoreError> {
    let mut connection = connections.acquire().await?;
    let notify = sqlx::query("SELECT pg_notify($1, $2)")
        .bind(CHANNEL)
        .bind(notice);
    notify
        .execute(&mut *connection)
        .with_timeout()
        .await
        .map(drop)
}

async fn listen(url: &str, me: Ulid, signals: &Signals) {
    loop {
        if let Err(error) = hear(url, me, signals).await {
            tracing::warn!(%error, "cannot listen to the other replicas; trying again");
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// Receives signals until the connection is lost. The connection is not pooled: a silent one would keep its place.
async fn hear(url: &str, me: Ulid, signals: &Signals) -> Result<(), StoreError> {
    let late = |_| StoreError::Unavailable("the connection is silent".into());
    let connected = async {
        let mut listener = PgListener::connect(url).await?;
        listener.listen(CHANNEL).await?;
        Ok::<_, sqlx::Error>(listener)
    };
    let mut listener = timeout(CONNECT_TIMEOUT, connected).await.map_err(late)??;
    listener.eager_reconnect(false);
    loop {
        let Ok(heard) = timeout(LISTEN_TIMEOUT, listener.try_recv()).await else {
            timeout(LISTEN_TIMEOUT, listener.execute("SELECT 1"))
                .await
                .map_err(late)??;
            continue;
        };
        let notice =
            heard?.ok_or_else(|| StoreError::Unavailable("the connection is lost".into()))?;
        let Ok(notice) = serde_json::from_str::<Notice>(notice.payload()) else {
            continue;
        };
        if notice.from != me {
            for signal in notice.signals {
                signals.send(signal);
            }
        }
    }
}

async fn keep_time(connections: &Connections, clock: &Clock) {
    loop {
        sleep(CLOCK_SYNC_INTERVAL).await;
        if let Err(error) = follow_clock(connections, clock).await {
            tracing::warn!(%error, "cannot read the database's time; using the last offset");
        }
    }
}

/// Leases are compared between machines whose clocks may differ, so all use the database's.
async fn follow_clock(connections: &Connections, clock: &Clock) -> Result<(), StoreError> {
    let mut connection = connections.acquire().await?;
    let before = Clock::default().now();
    let there = sqlx::query_scalar("SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::BIGINT");
    let there: i64 = there.fetch_one(&mut *connection).with_timeout().await?;
    let here = before.after(Clock::default().now().since(before) / 2);
    clock.follow(Timestamp::from_millis(there), here);
    Ok(())
}
