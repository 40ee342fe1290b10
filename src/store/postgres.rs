//! PostgreSQL: several processes (replicas) on one database.
//!
//! Invariants:
//! - A request is one transaction (READ COMMITTED). What it decides on is locked first, in the order job,
//!   then app; requests with the same Idempotency-Key wait for one another.
//! - A replica that hangs does not hold the others up: its transaction ends after [`PATIENCE`].
//! - What is committed here is heard by the other replicas by NOTIFY; a notice that gets lost is made up for
//!   by their polls.
//! - Replicas agree on the time: the database's.

use std::str::FromStr as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{AnyPool, ConnectOptions as _, Connection as _, Executor as _, PgPool};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use ulid::Ulid;

use super::StoreError;
use super::signals::{Signal, Signals};
use super::writer::{Request, Waiting, Writer};
use crate::clock::{Clock, Timestamp};
use crate::shutdown::Tasks;

/// Writers, each with a transaction of its own at a time.
const WRITERS: usize = 8;
/// Connections that read.
const READERS: u32 = 8;
/// A transaction that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(15);
/// For every connection, in milliseconds: locks and statements are waited for shorter than [`PATIENCE`], and
/// a transaction whose process hangs is ended by the server.
const SETTINGS: &str = "SET lock_timeout = 5000; SET statement_timeout = 10000; SET idle_in_transaction_session_timeout = 15000";
/// The channel that replicas hear each other on.
const CHANNEL: &str = "slipway";
/// Signals in one notice; PostgreSQL takes up to 8000 bytes.
const NOTICE: usize = 100;
/// Between two looks at the database's clock.
const CLOCK_ROUND: Duration = Duration::from_secs(60);

/// What one replica tells the others.
#[derive(Serialize, Deserialize)]
struct Notice {
    from: Ulid,
    signals: Vec<Signal>,
}

/// Connects, brings the schema up to date, and starts the writers. Replicas that start together migrate one
/// after the other, under a lock of the migrator's.
pub async fn open(url: &str, tasks: &Tasks) -> Result<(AnyPool, Writer), StoreError> {
    let options = AnyConnectOptions::from_str(url).map_err(|error| StoreError::Url(error.to_string()))?;
    let mut connection = options.connect().await?;
    let migrated = sqlx::migrate!("migrations/postgres").run(&mut connection).await;
    migrated.map_err(|error| StoreError::Unavailable(error.to_string()))?;
    connection.close().await?;
    let writes = pool(WRITERS as u32).connect_lazy_with(options.clone());
    let (writer, waiting) = Writer::to(WRITERS);
    for waiting in waiting {
        tasks.spawn_to_the_end(run(writes.clone(), waiting));
    }
    Ok((pool(READERS).connect_with(options).await?, writer))
}

fn pool(connections: u32) -> AnyPoolOptions {
    let pool = AnyPoolOptions::new().max_connections(connections).acquire_timeout(Duration::from_secs(5));
    pool.after_connect(|connection, _| Box::pin(async move { connection.execute(SETTINGS).await.map(drop) }))
}

async fn run(pool: AnyPool, mut waiting: Waiting) {
    loop {
        let requests = waiting.take(1).await;
        if requests.is_empty() {
            return;
        }
        for request in requests {
            match timeout(PATIENCE, commit(&pool, request)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "the database did not commit"),
                Err(_) => tracing::error!("the database did not commit in time"),
            }
        }
    }
}

/// Runs a request in a transaction. One that did not run is dropped, which tells its requester.
async fn commit(pool: &AnyPool, request: Request) -> Result<(), StoreError> {
    let mut transaction = pool.begin().await?;
    let (worked, reply) = request(&mut transaction).await;
    let ended = if worked { transaction.commit().await } else { transaction.rollback().await };
    let ended = ended.map_err(StoreError::from);
    reply(ended.clone());
    ended
}

/// Tells the other replicas what was committed here, and hears what was committed there.
pub async fn connect_replicas(
    url: &str,
    signals: &Signals,
    clock: &Clock,
    tasks: &Tasks,
) -> Result<mpsc::UnboundedSender<Signal>, StoreError> {
    let options = PgConnectOptions::from_str(url).map_err(|error| StoreError::Url(error.to_string()))?;
    let pool = PgPoolOptions::new().max_connections(2).acquire_timeout(Duration::from_secs(5)).connect_with(options).await?;
    follow_clock(&pool, clock).await?;
    let me = Ulid::generate();
    let (tell, told) = mpsc::unbounded_channel();
    tasks.spawn_to_the_end(notify(pool.clone(), me, told));
    let (signals, clock, stop) = (signals.clone(), clock.clone(), tasks.clone());
    tasks.spawn(async move {
        tokio::select! {
            () = listen(&pool, me, &signals) => {}
            () = keep_time(&pool, &clock) => {}
            () = stop.stopping() => {}
        }
    });
    Ok(tell)
}

async fn notify(pool: PgPool, me: Ulid, mut told: mpsc::UnboundedReceiver<Signal>) {
    let mut signals = Vec::with_capacity(NOTICE);
    while told.recv_many(&mut signals, NOTICE).await > 0 {
        signals.dedup();
        let Ok(notice) = serde_json::to_string(&Notice { from: me, signals: std::mem::take(&mut signals) }) else { continue };
        let sent = sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(notice).execute(&pool).await;
        if let Err(error) = sent {
            tracing::warn!(%error, "the other replicas were not told; they will find out by their polls");
        }
    }
}

async fn listen(pool: &PgPool, me: Ulid, signals: &Signals) {
    loop {
        if let Err(error) = hear(pool, me, signals).await {
            tracing::warn!(%error, "the other replicas are not heard; trying again");
        }
        sleep(Duration::from_secs(1)).await;
    }
}

async fn hear(pool: &PgPool, me: Ulid, signals: &Signals) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    loop {
        let notice = listener.recv().await?;
        let Ok(notice) = serde_json::from_str::<Notice>(notice.payload()) else { continue };
        if notice.from != me {
            for signal in notice.signals {
                signals.send(signal);
            }
        }
    }
}

async fn keep_time(pool: &PgPool, clock: &Clock) {
    loop {
        sleep(CLOCK_ROUND).await;
        if let Err(error) = follow_clock(pool, clock).await {
            tracing::warn!(%error, "the database's time is not known; going on with the last difference");
        }
    }
}

/// Leases are compared between machines whose clocks may differ: the database's is everybody's.
async fn follow_clock(pool: &PgPool, clock: &Clock) -> Result<(), StoreError> {
    let mut connection = pool.acquire().await?;
    let before = Clock::default().now();
    let there: i64 =
        sqlx::query_scalar("SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::BIGINT").fetch_one(&mut *connection).await?;
    let here = before.after(Clock::default().now().since(before) / 2);
    clock.follow(Timestamp::from_millis(there), here);
    Ok(())
}
