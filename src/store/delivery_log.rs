//! The deliveries of webhooks as they are listed, tested, replayed and pruned.
//!
//! Invariant: a delivery that is made again keeps its event's id and its place in the order.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::audit::AuditEvent;
use crate::domain::webhook::{DeliveryState, EventType, WebhookEvent};
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::outbox::{EVENT_COLUMNS, read_event};
use crate::store::rows::{RowReader, readable};
use crate::store::signals::Signal;
use crate::store::sql::{Sql, for_update};
use crate::store::webhooks::note;

/// Events that are pruned in one commit.
const PRUNE_BATCH: i64 = 1000;

/// A delivery, as it is listed.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are named after what they hold")]
pub struct Delivery {
    pub event: WebhookEvent,
    pub state: DeliveryState,
    pub attempts: u32,
    pub last_attempt_at: Option<Timestamp>,
    pub response_status: Option<u16>,
    pub error: Option<String>,
    pub duration_ms: Option<u64>,
}

/// Which deliveries to list.
#[derive(Debug, Clone)]
pub struct DeliveryFilter {
    /// Of this webhook.
    pub webhook: Ulid,
    /// In this state.
    pub state: Option<DeliveryState>,
    /// Of events of this type.
    pub kind: Option<EventType>,
    /// Before that of this event: the newest come first.
    pub before: Option<Ulid>,
    /// At most this many.
    pub limit: u32,
}

/// Which deliveries to make again.
#[derive(Debug, Clone, Copy)]
pub enum Replay {
    /// That of this event.
    One(Ulid),
    /// Those of events within this time.
    Between(Timestamp, Timestamp),
}

impl Store {
    /// Deliveries of a webhook, the newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn deliveries(&self, filter: &DeliveryFilter) -> Result<Vec<Delivery>, StoreError> {
        let mut sql = Sql::new(&format!(
            "SELECT d.state, d.attempts, d.last_attempt_at, d.response_status, d.error, d.duration_ms, {EVENT_COLUMNS} \
             FROM webhook_deliveries d JOIN webhook_events e ON e.seq = d.event_seq WHERE d.webhook_id = "
        ));
        sql.bind(filter.webhook.to_string())?;
        if let Some(state) = filter.state {
            sql.push(" AND d.state = ").bind(state.to_string())?;
        }
        if let Some(kind) = filter.kind {
            sql.push(" AND e.type = ").bind(kind.to_string())?;
        }
        if let Some(before) = filter.before {
            sql.push(" AND d.event_seq < (SELECT b.seq FROM webhook_events b WHERE b.id = ")
                .bind(before.to_string())?
                .push(")");
        }
        sql.push(" ORDER BY d.event_seq DESC LIMIT ")
            .bind(i64::from(filter.limit))?;
        let rows = sql
            .query()
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        let read = rows
            .iter()
            .filter_map(|row| readable(read_delivery(row)).transpose());
        read.collect()
    }

    /// The newest delivery of each webhook that has one.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn last_deliveries(&self) -> Result<BTreeMap<Ulid, Delivery>, StoreError> {
        let sql = Sql::new(&format!(
            "SELECT d.webhook_id AS receiver, d.state, d.attempts, d.last_attempt_at, d.response_status, d.error, d.duration_ms, {EVENT_COLUMNS} \
             FROM webhooks w JOIN webhook_deliveries d ON d.webhook_id = w.id \
             AND d.event_seq = (SELECT MAX(n.event_seq) FROM webhook_deliveries n WHERE n.webhook_id = w.id) \
             JOIN webhook_events e ON e.seq = d.event_seq"
        ));
        let rows = sql
            .query()
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        let read = |row: &AnyRow| {
            let receiver = RowReader::new(row, "webhook_deliveries", "id").id("receiver")?;
            Ok::<_, StoreError>((receiver, read_delivery(row)?))
        };
        let read = rows
            .iter()
            .filter_map(|row| readable(read(row)).transpose());
        read.collect()
    }

    /// Records an event that tests the webhook. What waits for it is tried at once.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn test_webhook(&self, webhook: Ulid) -> Result<WebhookEvent, StoreError> {
        let event = WebhookEvent {
            id: self.clock.new_id(),
            kind: EventType::WebhookTest,
            at: self.clock.now(),
            app: None,
            account: None,
            job: None,
            access_key_id: None,
            webhook: Some(webhook),
        };
        let row = event.clone();
        self.writer
            .write(move |db| {
                Box::pin(async move {
                    let mut sql =
                        Sql::new("INSERT INTO webhook_events (id, type, webhook_id, at) VALUES (");
                    sql.list([
                        row.id.to_string(),
                        row.kind.to_string(),
                        webhook.to_string(),
                    ])?;
                    sql.push(", ").bind(row.at.millis())?.push(")");
                    sql.then(db, "UPDATE webhooks SET retry_at = NULL WHERE id = ")
                        .bind(webhook.to_string())?;
                    sql.run(db).await.map(drop)
                })
            })
            .await?;
        self.signal(Signal::Outbox);
        Ok(event)
    }

    /// Makes deliveries again that were made or given up. Returns their number.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn replay_deliveries(
        &self,
        webhook: Ulid,
        replay: Replay,
        host: String,
        by: String,
    ) -> Result<u64, StoreError> {
        let now = self.clock.now();
        let replayed = self
            .writer
            .write(move |db| {
                Box::pin(async move {
                    let deliveries = set_pending(db, webhook, replay).await?;
                    let mut sql = Sql::new("UPDATE webhooks SET retry_at = NULL WHERE id = ");
                    sql.bind(webhook.to_string())?;
                    let event = AuditEvent::WebhookReplayed {
                        webhook_id: webhook,
                        host,
                        deliveries,
                    };
                    note(db, &mut sql, &by, now, event)?;
                    sql.run(db).await?;
                    Ok(deliveries)
                })
            })
            .await?;
        self.signal(Signal::Outbox);
        Ok(replayed)
    }

    /// Whether there is a delivery of this event to the webhook.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn has_delivery(&self, webhook: Ulid, event: Ulid) -> Result<bool, StoreError> {
        let query = "SELECT COUNT(*) FROM webhook_deliveries d JOIN webhook_events e ON e.seq = d.event_seq WHERE d.webhook_id = $1 AND e.id = $2";
        let found: i64 = sqlx::query_scalar(query)
            .bind(webhook.to_string())
            .bind(event.to_string())
            .fetch_one(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        Ok(found > 0)
    }

    /// Removes a batch of the events that are older than `age`, with their deliveries, unless one of these is still to be
    /// made. Returns their number.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn prune_webhook_events(&self, age: Duration) -> Result<u64, StoreError> {
        let oldest = self.clock.now().before(age).millis();
        self.writer
            .write(move |db| Box::pin(async move { prune(db, oldest).await }))
            .await
    }
}

async fn set_pending(
    db: &mut AnyConnection,
    webhook: Ulid,
    replay: Replay,
) -> Result<u64, StoreError> {
    let mut sql = Sql::new(
        "UPDATE webhook_deliveries SET state = 'pending', attempts = 0, last_attempt_at = NULL, response_status = NULL, error = NULL, \
         duration_ms = NULL WHERE state <> 'pending' AND webhook_id = ",
    );
    sql.bind(webhook.to_string())?
        .push(" AND event_seq IN (SELECT seq FROM webhook_events WHERE ");
    match replay {
        Replay::One(event) => sql.push("id = ").bind(event.to_string())?,
        Replay::Between(since, until) => sql
            .push("at >= ")
            .bind(since.millis())?
            .push(" AND at < ")
            .bind(until.millis())?,
    };
    sql.push(")");
    Ok(sql.query().execute(db).await?.rows_affected())
}

async fn prune(db: &mut AnyConnection, oldest: i64) -> Result<u64, StoreError> {
    let mut old = Sql::new("SELECT e.seq FROM webhook_events e WHERE e.is_new = 0 AND e.at <= ");
    old.bind(oldest)?.push(
        " AND NOT EXISTS (SELECT 1 FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id \
         WHERE d.event_seq = e.seq AND d.state = 'pending' AND w.state = 'active') ORDER BY e.at LIMIT ",
    );
    old.bind(PRUNE_BATCH)?.push(for_update(db));
    let events: Vec<i64> = old.scalars().fetch_all(&mut *db).await?;
    if events.is_empty() {
        return Ok(0);
    }
    for delete in [
        "DELETE FROM webhook_deliveries WHERE event_seq",
        "DELETE FROM webhook_events WHERE seq",
    ] {
        let mut sql = Sql::new(delete);
        sql.push(" IN (").list(events.iter().copied())?.push(")");
        sql.query().execute(&mut *db).await?;
    }
    Ok(events.len() as u64)
}

fn read_delivery(row: &AnyRow) -> Result<Delivery, StoreError> {
    let event = read_event(row)?;
    let row = RowReader::new(row, "webhook_deliveries", "id");
    let number = |column| row.plain::<Option<i64>>(column);
    Ok(Delivery {
        event,
        state: row.parsed("state")?,
        attempts: row.count("attempts")?,
        last_attempt_at: row.moment_or_null("last_attempt_at")?,
        response_status: number("response_status")?.and_then(|status| u16::try_from(status).ok()),
        error: row.plain("error")?,
        duration_ms: number("duration_ms")?.and_then(|time| u64::try_from(time).ok()),
    })
}
