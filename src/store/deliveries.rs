//! Deliveries of events to webhooks.
//!
//! Invariants:
//! - One sender at a time has the lease of a webhook. Its writes name the lease's token and change nothing once the lease
//!   is lost, or the webhook is disabled.
//! - A webhook's deliveries are made in the order of the outbox. One that fails holds back those after it.

use std::time::Duration;

use serde::Serialize;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::audit::AuditEvent;
use crate::domain::webhook::{DeliveryState, WebhookEvent, host_of};
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::outbox::{EVENT_COLUMNS, read_event};
use crate::store::rows::RowReader;
use crate::store::signals::Signal;
use crate::store::sql::{Sql, indexed_by, skip_locked};
use crate::store::webhooks::{SealedWebhookSecret, note};

/// Who disables a webhook that keeps failing, as the audit shows it.
const ACTOR: &str = "webhooks";

/// The right to send to a webhook. Its token rises with every claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebhookLease {
    /// The webhook.
    pub webhook: Ulid,
    /// The fencing token.
    pub token: i64,
}

/// What a sender needs of its webhook.
#[derive(Debug, Clone)]
pub struct Sender {
    /// Where to post to.
    pub url: String,
    /// The secrets to sign with.
    pub secrets: Vec<SealedWebhookSecret>,
    /// Since when no delivery has succeeded.
    pub failing_since: Option<Timestamp>,
}

/// A delivery that is still to be made.
#[derive(Debug, Clone)]
pub struct PendingDelivery {
    /// The number of its event.
    pub seq: i64,
    /// Its event.
    pub event: WebhookEvent,
    /// The number of attempts so far.
    pub attempts: u32,
}

/// An attempt to make a delivery.
#[derive(Debug, Clone)]
pub struct DeliveryAttempt {
    /// The number of the event.
    pub seq: i64,
    /// When it was made.
    pub at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// The status of the response.
    pub status: Option<u16>,
    /// What became of it.
    pub outcome: AttemptOutcome,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The receiver has accepted the event.
    Delivered,
    /// Another attempt follows.
    Failed(String),
    /// It was the last attempt.
    GivenUp(String),
}

/// How a sender leaves its webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PassEnd {
    /// It goes on.
    Continue,
    /// There is nothing more to send now.
    Released,
    /// The receiver does not accept: the next attempt is made then.
    Failing(Timestamp),
    /// The receiver is gone, or has not accepted anything for too long.
    Disabled(String),
}

#[derive(Serialize)]
struct AttemptRow<'a> {
    event: i64,
    state: DeliveryState,
    at: i64,
    duration: i64,
    status: Option<u16>,
    error: Option<&'a str>,
}

impl<'a> AttemptRow<'a> {
    fn of(attempt: &'a DeliveryAttempt) -> Self {
        let (state, error) = match &attempt.outcome {
            AttemptOutcome::Delivered => (DeliveryState::Delivered, None),
            AttemptOutcome::Failed(why) => (DeliveryState::Pending, Some(why.as_str())),
            AttemptOutcome::GivenUp(why) => (DeliveryState::Failed, Some(why.as_str())),
        };
        Self {
            event: attempt.seq,
            state,
            at: attempt.at.millis(),
            duration: i64::try_from(attempt.duration.as_millis()).unwrap_or(i64::MAX),
            status: attempt.status,
            error,
        }
    }
}

/// Webhooks with something to send that may be tried.
const WAITING: &str = " FROM webhooks w WHERE w.state = 'active' AND EXISTS (SELECT 1 FROM webhook_deliveries d WHERE d.webhook_id = w.id AND d.state = 'pending')";

impl Store {
    /// Takes the leases of webhooks that there is something to send to.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn claim_webhooks(&self, span: Duration) -> Result<Vec<WebhookLease>, StoreError> {
        let now = self.clock.now();
        self.writer
            .write(move |db| Box::pin(async move { claim(db, now, span).await }))
            .await
    }

    /// Whether there are events that nobody has distributed yet.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn has_new_webhook_events(&self) -> Result<bool, StoreError> {
        let query = "SELECT seq FROM webhook_events WHERE is_new = 1 LIMIT 1";
        let found = sqlx::query(query)
            .fetch_optional(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        Ok(found.is_some())
    }

    /// Wakes what sends to webhooks in this process.
    pub fn note_outbox(&self) {
        self.signal_here(Signal::Outbox);
    }

    /// When each webhook with something to send can be claimed.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn webhooks_due(&self) -> Result<Vec<Timestamp>, StoreError> {
        let query = Sql::new(&format!("SELECT w.id, w.retry_at, w.lease_until{WAITING}"));
        let rows = query
            .query()
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        let due = |row: &AnyRow| {
            let row = RowReader::new(row, "webhooks", "id");
            let times = [
                row.moment_or_null("retry_at")?,
                row.moment_or_null("lease_until")?,
            ];
            let due = times.into_iter().flatten().max();
            Ok::<_, StoreError>(due.unwrap_or(Timestamp::from_millis(0)))
        };
        rows.iter().map(due).collect()
    }

    /// The number of events and deliveries that wait, also those for disabled webhooks.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn outbox_depth(&self) -> Result<u32, StoreError> {
        let count = "SELECT (SELECT COUNT(*) FROM webhook_events WHERE is_new = 1) \
            + (SELECT COUNT(*) FROM webhook_deliveries WHERE state = 'pending') AS n, 'outbox' AS name";
        let row = sqlx::query(count)
            .fetch_one(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        RowReader::new(&row, "webhook_events", "name").count("n")
    }

    /// Renews the lease.
    ///
    /// # Errors
    /// [`StoreError::LostLease`] when another sender has it.
    pub async fn renew_webhook_lease(
        &self,
        lease: WebhookLease,
        span: Duration,
    ) -> Result<(), StoreError> {
        let clock = self.clock.clone();
        self.writer
            .write(move |db| {
                Box::pin(async move {
                    // Read when it is this write's turn: one that waited long must not renew into the past.
                    let until = clock.now().after(span).millis();
                    held(db, lease, &format!("lease_until = {until}"))
                        .await
                        .map(drop)
                })
            })
            .await
    }

    /// Releases the lease, also that of a webhook that was disabled meanwhile.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn release_webhook(&self, lease: WebhookLease) -> Result<(), StoreError> {
        let release = "UPDATE webhooks SET lease_until = NULL WHERE id = $1 AND lease_token = $2";
        let release = sqlx::query(release)
            .bind(lease.webhook.to_string())
            .bind(lease.token);
        self.writer
            .write(move |db| Box::pin(async move { Ok(release.execute(db).await.map(drop)?) }))
            .await
    }

    /// The webhook of a lease, and the oldest deliveries that are still to be made.
    ///
    /// # Errors
    /// [`StoreError::LostLease`] when another sender has it, or it is disabled.
    pub async fn pending_deliveries(
        &self,
        lease: WebhookLease,
        limit: u32,
    ) -> Result<(Sender, Vec<PendingDelivery>), StoreError> {
        let mut db = self.reader().await?;
        let sender = sender(&mut db, lease).with_timeout().await?;
        // SQLite would take the primary key, and read all deliveries that were made.
        let index = indexed_by(&db, "webhook_deliveries_pending");
        let mut sql = Sql::new(&format!(
            "SELECT d.attempts, {EVENT_COLUMNS} FROM webhook_deliveries d {index} JOIN webhook_events e ON e.seq = d.event_seq \
             WHERE d.state = 'pending' AND d.webhook_id = "
        ));
        sql.bind(lease.webhook.to_string())?
            .push(" ORDER BY d.event_seq LIMIT ")
            .bind(i64::from(limit))?;
        let rows = sql.query().fetch_all(&mut *db).with_timeout().await?;
        let read = |row: &AnyRow| {
            let columns = RowReader::new(row, "webhook_deliveries", "id");
            Ok(PendingDelivery {
                seq: columns.plain("seq")?,
                attempts: columns.count("attempts")?,
                event: read_event(row)?,
            })
        };
        let pending = rows.iter().map(read).collect::<Result<_, StoreError>>()?;
        Ok((sender, pending))
    }

    /// Records attempts, and how the sender leaves the webhook.
    ///
    /// # Errors
    /// [`StoreError::LostLease`] when another sender has it, or it is disabled.
    pub async fn record_deliveries(
        &self,
        lease: WebhookLease,
        attempts: Vec<DeliveryAttempt>,
        end: PassEnd,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.writer
            .write(move |db| Box::pin(async move { record(db, lease, &attempts, &end, now).await }))
            .await
    }
}

async fn claim(
    db: &mut AnyConnection,
    now: Timestamp,
    span: Duration,
) -> Result<Vec<WebhookLease>, StoreError> {
    // Materialized: a plan that looks into it again would take the next ones, too.
    let mut sql = Sql::new(&format!(
        "WITH due AS MATERIALIZED (SELECT w.id{WAITING} AND COALESCE(w.lease_until, 0) <= "
    ));
    sql.bind(now.millis())?
        .push(" AND COALESCE(w.retry_at, 0) <= ")
        .bind(now.millis())?
        .push(skip_locked(db));
    sql.push(") UPDATE webhooks SET lease_token = lease_token + 1, lease_until = ")
        .bind(now.after(span).millis())?;
    sql.push(" WHERE id IN (SELECT id FROM due) RETURNING id, lease_token");
    let rows = sql.query().fetch_all(db).await?;
    let read = |row: &AnyRow| {
        let row = RowReader::new(row, "webhooks", "id");
        Ok(WebhookLease {
            webhook: row.id("id")?,
            token: row.plain("lease_token")?,
        })
    };
    rows.iter().map(read).collect()
}

/// Releases every lease. Only for a process that has the database alone.
pub(super) async fn release_all(db: &mut AnyConnection) -> Result<(), StoreError> {
    sqlx::query("UPDATE webhooks SET lease_until = NULL WHERE lease_until IS NOT NULL")
        .execute(db)
        .await?;
    Ok(())
}

/// Updates the webhook if the lease is held, or fails. The text is the program's own.
async fn held(
    db: &mut AnyConnection,
    lease: WebhookLease,
    set: &str,
) -> Result<AnyRow, StoreError> {
    let mut sql = Sql::new(&format!("UPDATE webhooks SET {set} WHERE id = "));
    sql.bind(lease.webhook.to_string())?
        .push(" AND lease_token = ")
        .bind(lease.token)?;
    sql.push(" AND lease_until IS NOT NULL AND state = 'active' RETURNING id, url");
    let row = sql.query().fetch_optional(db).await?;
    row.ok_or(StoreError::LostLease)
}

async fn sender(db: &mut AnyConnection, lease: WebhookLease) -> Result<Sender, StoreError> {
    let mut sql = Sql::new(
        "SELECT id, url, sealed, encryption_key, previous_sealed, previous_encryption_key, previous_until, failing_since FROM webhooks \
         WHERE lease_until IS NOT NULL AND state = 'active' AND id = ",
    );
    sql.bind(lease.webhook.to_string())?
        .push(" AND lease_token = ")
        .bind(lease.token)?;
    let row = sql.query().fetch_optional(db).await?;
    let row = row.ok_or(StoreError::LostLease)?;
    let row = RowReader::new(&row, "webhooks", "id");
    let secret = |sealed, encryption_key| SealedWebhookSecret {
        webhook: lease.webhook,
        sealed,
        encryption_key,
    };
    let mut secrets = vec![secret(row.plain("sealed")?, row.plain("encryption_key")?)];
    let previous: Option<Vec<u8>> = row.plain("previous_sealed")?;
    if let Some(sealed) = previous {
        secrets.push(secret(sealed, row.plain("previous_encryption_key")?));
    }
    Ok(Sender {
        url: row.plain("url")?,
        secrets,
        failing_since: row.moment_or_null("failing_since")?,
    })
}

async fn record(
    db: &mut AnyConnection,
    lease: WebhookLease,
    attempts: &[DeliveryAttempt],
    end: &PassEnd,
    now: Timestamp,
) -> Result<(), StoreError> {
    let last_success = attempts
        .iter()
        .any(|attempt| attempt.outcome == AttemptOutcome::Delivered);
    let since = if last_success {
        "NULL"
    } else {
        "failing_since"
    };
    let row = held(db, lease, &leaving(end, since, now)).await?;
    let mut sql = Sql::default();
    if !attempts.is_empty() {
        let rows: Vec<AttemptRow<'_>> = attempts.iter().map(AttemptRow::of).collect();
        // SQLite would take the primary key, and look for each attempt at all deliveries of the webhook.
        let index = indexed_by(db, "webhook_deliveries_event");
        sql.push(&format!(
            "UPDATE webhook_deliveries {index} SET state = item.value ->> 'state', attempts = attempts + 1, \
             last_attempt_at = CAST(item.value ->> 'at' AS BIGINT), response_status = CAST(item.value ->> 'status' AS BIGINT), \
             error = item.value ->> 'error', duration_ms = CAST(item.value ->> 'duration' AS BIGINT) FROM ",
        ));
        sql.rows(db, &rows)?
            .push(" WHERE event_seq = CAST(item.value ->> 'event' AS BIGINT) AND webhook_id = ")
            .bind(lease.webhook.to_string())?;
    }
    if let PassEnd::Disabled(reason) = end {
        let url: String = RowReader::new(&row, "webhooks", "id").plain("url")?;
        sql.then(
            db,
            "UPDATE webhooks SET state = 'disabled', disabled_reason = ",
        )
        .bind(reason.clone())?
        .push(" WHERE id = ")
        .bind(lease.webhook.to_string())?;
        let event = AuditEvent::WebhookDisabled {
            webhook_id: lease.webhook,
            host: host_of(&url),
            reason: reason.clone(),
        };
        note(db, &mut sql, ACTOR, now, event)?;
    }
    if attempts.is_empty() && !matches!(end, PassEnd::Disabled(_)) {
        return Ok(());
    }
    sql.run(db).await.map(drop)
}

/// What a sender that leaves changes of its webhook.
fn leaving(end: &PassEnd, since: &str, now: Timestamp) -> String {
    let now = now.millis();
    match end {
        PassEnd::Continue => format!("failing_since = {since}, retry_at = NULL"),
        PassEnd::Released => {
            format!("failing_since = {since}, retry_at = NULL, lease_until = NULL")
        }
        PassEnd::Failing(at) => format!(
            "failing_since = COALESCE({since}, {now}), retry_at = {}, lease_until = NULL",
            at.millis()
        ),
        PassEnd::Disabled(_) => {
            format!("failing_since = COALESCE({since}, {now}), retry_at = NULL, lease_until = NULL")
        }
    }
}
