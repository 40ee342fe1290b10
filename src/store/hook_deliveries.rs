//! Deliveries of incoming webhooks: each has an effect once, and is handled by whoever has the lease.
//!
//! Invariants:
//! - A delivery is known by its id and by its body: forges sign the body alone.
//! - The deliveries of one repository are handled one after another, in the order in which they arrived.
//! - A repeated delivery has an effect only if the first one failed.

use std::time::Duration;

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use crate::clock::Timestamp;
use crate::domain::hooks::event::{EventKind, RepositoryEvent};
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::rows::{RowReader, readable, to_json};
use crate::store::signals::Signal;
use crate::store::sql::{Sql, skip_locked};

/// Nothing of the same repository waits before it.
const IS_NEXT: &str = "NOT EXISTS (SELECT 1 FROM hook_deliveries e WHERE e.state = 'pending' AND e.source = d.source \
     AND e.repository_id = d.repository_id AND e.seq < d.seq)";

/// How long a delivery is remembered.
const AGE: Duration = Duration::from_secs(30 * 24 * 3600);

/// A delivery that has come.
#[derive(Debug, Clone)]
pub struct NewHookDelivery {
    /// Who sent it.
    pub source: String,
    /// The id that the source gave it.
    pub delivery_id: String,
    /// A hash of its body.
    pub body_digest: String,
    /// What is to be handled; `None` if nothing follows from it.
    pub event: Option<RepositoryEvent>,
}

/// A delivery to handle.
#[derive(Debug, Clone)]
pub struct HookDelivery {
    /// Who sent it.
    pub source: String,
    /// The id that the source gave it.
    pub delivery_id: String,
    /// What happened.
    pub event: RepositoryEvent,
    /// When it came.
    pub received_at: Timestamp,
    /// The number of earlier attempts whose outcome is recorded.
    pub attempts: u32,
    /// The number of earlier attempts that ended without an outcome, as when their process was lost.
    pub lost_attempts: u32,
    seq: i64,
    token: i64,
}

/// What became of an attempt to handle a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookOutcome {
    /// It is handled. Tells the commit, if one was applied.
    Done(String, Option<String>),
    /// What it asks for is refused.
    Failed(String),
    /// It is tried again at that time.
    Retry(String, Timestamp),
}

impl Store {
    /// Remembers a delivery. Returns whether anything follows from it, also if it came before.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn receive_hook_delivery(&self, new: NewHookDelivery) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let follows = self
            .writer
            .write(move |db| Box::pin(async move { receive(db, new, now).await }))
            .await?;
        self.signal_here(Signal::Received);
        Ok(follows)
    }

    /// Takes the leases of deliveries that can be handled: the oldest of each repository.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn claim_hook_deliveries(
        &self,
        span: Duration,
        limit: u32,
    ) -> Result<Vec<HookDelivery>, StoreError> {
        let now = self.clock.now();
        self.writer
            .write(move |db| Box::pin(async move { claim(db, now, span, limit).await }))
            .await
    }

    /// Records what became of a delivery.
    ///
    /// # Errors
    /// [`StoreError::LostLease`] when somebody else handles it by now.
    pub async fn finish_hook_delivery(
        &self,
        delivery: &HookDelivery,
        outcome: HookOutcome,
    ) -> Result<(), StoreError> {
        let (seq, token) = (delivery.seq, delivery.token);
        self.writer
            .write(move |db| Box::pin(async move { finish(db, seq, token, outcome).await }))
            .await
    }

    /// The commit of a repository whose file was applied last.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn last_applied_commit(
        &self,
        source: &str,
        repository_id: &str,
    ) -> Result<Option<String>, StoreError> {
        let query = "SELECT applied_commit FROM hook_deliveries WHERE source = $1 AND repository_id = $2 \
             AND applied_commit IS NOT NULL ORDER BY seq DESC LIMIT 1";
        let found = sqlx::query_scalar(query).bind(source).bind(repository_id);
        found
            .fetch_optional(&mut *self.reader().await?)
            .with_timeout()
            .await
    }

    /// When the next delivery can be handled.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn next_hook_delivery(&self) -> Result<Option<Timestamp>, StoreError> {
        // One that waits for an earlier one of its repository is due when that one is handled, whatever its own times say.
        let mut query = Sql::new(
            "SELECT MIN(CASE WHEN COALESCE(d.retry_at, 0) > COALESCE(d.lease_until, 0) THEN d.retry_at \
             ELSE COALESCE(d.lease_until, 0) END) FROM hook_deliveries d WHERE d.state = 'pending' AND ",
        );
        query.push(IS_NEXT);
        let next: Option<i64> = query
            .scalars()
            .fetch_one(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        Ok(next.map(Timestamp::from_millis))
    }

    /// Whether a push to the same repository came after this one and waits.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn has_later_push(&self, delivery: &HookDelivery) -> Result<bool, StoreError> {
        let query = "SELECT delivery_id, event FROM hook_deliveries WHERE state = 'pending' AND source = $1 AND repository_id = $2 \
             AND seq > $3 ORDER BY seq DESC LIMIT 20";
        let rows = sqlx::query(query)
            .bind(&delivery.source)
            .bind(&delivery.event.repository.id)
            .bind(delivery.seq)
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        let is_push = |row: &AnyRow| {
            let row = RowReader::new(row, "hook_deliveries", "delivery_id");
            let event: Result<RepositoryEvent, StoreError> = row.json("event");
            event.is_ok_and(|event| event.kind == EventKind::Pushed)
        };
        Ok(rows.iter().any(is_push))
    }

    /// Forgets deliveries that came long ago and are handled. Returns their number.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn prune_hook_deliveries(&self) -> Result<u64, StoreError> {
        let oldest = self.clock.now().before(AGE).millis();
        let prune = "DELETE FROM hook_deliveries WHERE seq IN (SELECT seq FROM hook_deliveries \
             WHERE received_at <= $1 AND state <> 'pending' ORDER BY received_at LIMIT 500)";
        let prune = sqlx::query(prune).bind(oldest);
        self.writer
            .write(move |db| Box::pin(async move { Ok(prune.execute(db).await?.rows_affected()) }))
            .await
    }
}

async fn receive(
    db: &mut AnyConnection,
    new: NewHookDelivery,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let state = if new.event.is_some() {
        "pending"
    } else {
        "ignored"
    };
    let event = new.event.as_ref();
    forget_failed(db, &new).await?;
    let insert = "INSERT INTO hook_deliveries (source, delivery_id, body_digest, received_at, state, repository_id, event) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
    let insert = sqlx::query(insert)
        .bind(&new.source)
        .bind(&new.delivery_id)
        .bind(&new.body_digest)
        .bind(now.millis())
        .bind(state)
        .bind(event.map(|event| event.repository.id.clone()))
        .bind(event.map(to_json).transpose()?);
    if insert.execute(&mut *db).await?.rows_affected() > 0 {
        return Ok(event.is_some());
    }
    let earlier = "SELECT state FROM hook_deliveries WHERE source = $1 AND (delivery_id = $2 OR body_digest = $3) ORDER BY seq LIMIT 1";
    let earlier: String = sqlx::query_scalar(earlier)
        .bind(&new.source)
        .bind(&new.delivery_id)
        .bind(&new.body_digest)
        .fetch_one(db)
        .await?;
    Ok(earlier != "ignored")
}

/// A delivery that failed and is sent again, as by somebody who has mended the cause, counts as a new one: it comes after
/// what has come meanwhile.
async fn forget_failed(db: &mut AnyConnection, new: &NewHookDelivery) -> Result<(), StoreError> {
    let delete = "DELETE FROM hook_deliveries WHERE source = $1 AND (delivery_id = $2 OR body_digest = $3) AND state = 'failed'";
    let delete = sqlx::query(delete)
        .bind(&new.source)
        .bind(&new.delivery_id)
        .bind(&new.body_digest);
    delete.execute(db).await?;
    Ok(())
}

async fn claim(
    db: &mut AnyConnection,
    now: Timestamp,
    span: Duration,
    limit: u32,
) -> Result<Vec<HookDelivery>, StoreError> {
    // Materialized: a plan that looks into it again would take the next ones, too.
    let mut sql = Sql::new(
        "WITH due AS MATERIALIZED (SELECT d.seq FROM hook_deliveries d WHERE d.state = 'pending' AND COALESCE(d.lease_until, 0) <= ",
    );
    sql.bind(now.millis())?
        .push(" AND COALESCE(d.retry_at, 0) <= ")
        .bind(now.millis())?;
    sql.push(" AND ").push(IS_NEXT);
    sql.push(" ORDER BY d.seq LIMIT ")
        .bind(i64::from(limit))?
        .push(skip_locked(db));
    sql.push(") UPDATE hook_deliveries SET lease_token = lease_token + 1, lease_until = ")
        .bind(now.after(span).millis())?;
    sql.push(" WHERE seq IN (SELECT seq FROM due) RETURNING seq, source, delivery_id, event, received_at, attempts, lease_token");
    let rows = sql.query().fetch_all(db).await?;
    let read = |row: &AnyRow| {
        let row = RowReader::new(row, "hook_deliveries", "delivery_id");
        let (attempts, token) = (row.count("attempts")?, row.plain("lease_token")?);
        Ok(HookDelivery {
            source: row.plain("source")?,
            delivery_id: row.plain("delivery_id")?,
            event: row.json("event")?,
            received_at: row.moment("received_at")?,
            attempts,
            // The token counts the claims, this one among them.
            lost_attempts: u32::try_from(token - 1 - i64::from(attempts)).unwrap_or(0),
            seq: row.plain("seq")?,
            token,
        })
    };
    let read = rows
        .iter()
        .filter_map(|row| readable(read(row)).transpose());
    read.collect()
}

async fn finish(
    db: &mut AnyConnection,
    seq: i64,
    token: i64,
    outcome: HookOutcome,
) -> Result<(), StoreError> {
    let (state, text, commit, retry_at) = match outcome {
        HookOutcome::Done(text, commit) => ("done", text, commit, None),
        HookOutcome::Failed(text) => ("failed", text, None, None),
        HookOutcome::Retry(text, at) => ("pending", text, None, Some(at.millis())),
    };
    let update = "UPDATE hook_deliveries SET state = $1, outcome = $2, applied_commit = $3, retry_at = $4, attempts = attempts + 1, \
         lease_until = NULL WHERE seq = $5 AND lease_token = $6 AND state = 'pending'";
    let update = sqlx::query(update)
        .bind(state)
        .bind(text)
        .bind(commit)
        .bind(retry_at)
        .bind(seq)
        .bind(token);
    match update.execute(db).await?.rows_affected() {
        0 => Err(StoreError::LostLease),
        _ => Ok(()),
    }
}

/// Releases every lease. Only for a process that has the database alone.
pub(super) async fn release_all(db: &mut AnyConnection) -> Result<(), StoreError> {
    sqlx::query("UPDATE hook_deliveries SET lease_until = NULL WHERE lease_until IS NOT NULL")
        .execute(db)
        .await?;
    Ok(())
}
