//! The outbox: events for webhooks, written in the commit of what they tell.
//!
//! Invariants:
//! - An event is recorded if and only if what it tells is committed. While there is no active webhook, none is.
//! - Which webhooks an event is for is found afterwards, for one batch after another in the order of the outbox, so a
//!   webhook gets events in that order.

use std::collections::BTreeSet;

use serde::Serialize;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::event::EventPayload;
use crate::domain::names::{AccountName, AppName};
use crate::domain::scope::Scope;
use crate::domain::webhook::{EventType, WebhookEvent};
use crate::store::audit::Subject;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::rows::{RowReader, readable};
use crate::store::sql::{Sql, for_update};

/// Events in one commit.
const BATCH: i64 = 500;
pub(super) const EVENT_COLUMNS: &str =
    "e.seq, e.id, e.type, e.at, e.app, e.account, e.job_id, e.access_key_id, e.webhook_id";

/// An event to record.
#[derive(Clone, Copy)]
pub(super) struct Announcement<'a> {
    pub kind: EventType,
    pub of: Subject<'a>,
    pub access_key_id: Option<&'a str>,
    pub at: Timestamp,
}

impl<'a> Announcement<'a> {
    pub fn new(kind: EventType, of: Subject<'a>, at: Timestamp) -> Self {
        Self {
            kind,
            of,
            access_key_id: None,
            at,
        }
    }
}

/// Adds the statement that records an event. What is pushed after it narrows its condition.
pub(super) fn announce(
    db: &AnyConnection,
    sql: &mut Sql,
    event: Announcement<'_>,
) -> Result<(), StoreError> {
    let (job, app, account) = match event.of {
        Subject::Job(job) => (Some(job.to_string()), None, None),
        Subject::App(app) => (None, Some(app.to_string()), None),
        Subject::Account(name) => (None, None, Some(name.to_string())),
        Subject::Service => (None, None, None),
    };
    sql.then(
        db,
        "INSERT INTO webhook_events (id, type, at, app, account, job_id, access_key_id) SELECT CAST(",
    );
    sql.bind(Ulid::generate().to_string())?
        .push(" AS TEXT), CAST(")
        .bind(event.kind.to_string())?
        .push(" AS TEXT), CAST(")
        .bind(event.at.millis())?;
    sql.push(" AS BIGINT), a.name, COALESCE(a.account, CAST(")
        .bind(account)?
        .push(" AS TEXT)), j.id, CAST(")
        .bind(event.access_key_id.map(str::to_owned))?;
    sql.push(" AS TEXT) FROM (SELECT 1 AS one) AS o LEFT JOIN jobs j ON j.id = CAST(")
        .bind(job)?
        .push(" AS TEXT) LEFT JOIN apps a ON a.id = COALESCE(j.app_id, CAST(")
        .bind(app)?;
    sql.push(" AS TEXT)) WHERE EXISTS (SELECT 1 FROM webhooks WHERE state = 'active')");
    Ok(())
}

/// Adds the statements that record what webhooks are told of a job's events.
pub(super) fn announce_job(
    db: &AnyConnection,
    sql: &mut Sql,
    job: Ulid,
    at: Timestamp,
    payload: &EventPayload,
) -> Result<(), StoreError> {
    let kind = match payload {
        EventPayload::JobSucceeded => EventType::JobSucceeded,
        EventPayload::JobFailed { .. } => EventType::JobFailed,
        EventPayload::JobNeedsAttention { .. } => EventType::JobNeedsAttention,
        EventPayload::JobAwaitingApproval { .. } => EventType::JobAwaitingApproval,
        _ => return Ok(()),
    };
    announce(db, sql, Announcement::new(kind, Subject::Job(job), at))
}

impl Store {
    /// Finds out which webhooks the oldest events are for that nobody has looked at yet. Returns whether there may be more.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn distribute_webhook_events(&self) -> Result<bool, StoreError> {
        self.writer
            .write(move |db| Box::pin(async move { distribute(db).await }))
            .await
    }
}

/// A delivery to insert.
#[derive(Serialize)]
struct NewDelivery {
    webhook: Ulid,
    event: i64,
}

async fn distribute(db: &mut AnyConnection) -> Result<bool, StoreError> {
    // Another replica waits here, so that no later event overtakes an earlier one.
    let mut sql = Sql::new(&format!(
        "SELECT {EVENT_COLUMNS} FROM webhook_events e WHERE e.is_new = 1 ORDER BY e.seq LIMIT {BATCH}"
    ));
    sql.push(for_update(db));
    let rows = sql.query().fetch_all(&mut *db).await?;
    if rows.is_empty() {
        return Ok(false);
    }
    let webhooks = active_webhooks(db).await?;
    let (mut seen, mut deliveries) = (Vec::new(), Vec::new());
    for row in &rows {
        let event: i64 = RowReader::new(row, "webhook_events", "id").plain("seq")?;
        seen.push(event);
        let Some(told) = readable(read_event(row))? else {
            continue;
        };
        let is_for = |webhook: &&ActiveWebhook| {
            told.is_for(webhook.id, webhook.events.as_ref(), &webhook.scope)
        };
        let recipients = webhooks.iter().filter(is_for);
        deliveries.extend(recipients.map(|webhook| NewDelivery {
            webhook: webhook.id,
            event,
        }));
    }
    let mut sql = Sql::default();
    if !deliveries.is_empty() {
        sql.push("INSERT INTO webhook_deliveries (webhook_id, event_seq, state, attempts) SELECT item.value ->> 'webhook', CAST(item.value ->> 'event' AS BIGINT), 'pending', 0 FROM ");
        sql.rows(db, &deliveries)?
            .push(" WHERE EXISTS (SELECT 1 FROM webhooks w WHERE w.id = item.value ->> 'webhook')");
    }
    sql.then(db, "UPDATE webhook_events SET is_new = 0 WHERE seq IN (")
        .list(seen.iter().copied())?
        .push(")");
    sql.then(db, "DELETE FROM webhook_events WHERE seq IN (")
        .list(seen.iter().copied())?
        .push(") AND NOT EXISTS (SELECT 1 FROM webhook_deliveries d WHERE d.event_seq = webhook_events.seq)");
    sql.run(db).await?;
    Ok(i64::try_from(rows.len()).is_ok_and(|rows| rows == BATCH))
}

struct ActiveWebhook {
    id: Ulid,
    events: Option<BTreeSet<EventType>>,
    scope: Scope,
}

async fn active_webhooks(db: &mut AnyConnection) -> Result<Vec<ActiveWebhook>, StoreError> {
    let rows = sqlx::query("SELECT id, events, scope FROM webhooks WHERE state = 'active'")
        .fetch_all(db)
        .await?;
    let read = |row: &AnyRow| {
        let row = RowReader::new(row, "webhooks", "id");
        Ok(ActiveWebhook {
            id: row.id("id")?,
            events: row.json_or_null("events")?,
            scope: row.json_or_null("scope")?.unwrap_or_default(),
        })
    };
    let read = rows
        .iter()
        .filter_map(|row| readable(read(row)).transpose());
    read.collect()
}

pub(super) fn read_event(row: &AnyRow) -> Result<WebhookEvent, StoreError> {
    let row = RowReader::new(row, "webhook_events", "id");
    let id_or_null = |column| -> Result<Option<Ulid>, StoreError> {
        let text: Option<String> = row.plain(column)?;
        text.map(|_| row.id(column)).transpose()
    };
    // The set-up of an account is no app, and has a name that no app can have.
    let app: Option<String> = row.plain("app")?;
    let account: Option<String> = row.plain("account")?;
    Ok(WebhookEvent {
        id: row.id("id")?,
        kind: row.parsed("type")?,
        at: row.moment("at")?,
        app: app.and_then(|app| AppName::parse(&app).ok()),
        account: account
            .map(|_| row.named("account", AccountName::parse))
            .transpose()?,
        job: id_or_null("job_id")?,
        access_key_id: row.plain("access_key_id")?,
        webhook: id_or_null("webhook_id")?,
    })
}
