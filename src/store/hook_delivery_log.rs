//! The deliveries of incoming webhooks as they are listed.
//!
//! Invariant: of a delivery's body, only the event that was read from it is kept and listed.

use sqlx::any::AnyRow;

use crate::clock::Timestamp;
use crate::domain::hooks::delivery::HookDeliveryState;
use crate::domain::hooks::event::RepositoryEvent;
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::rows::{RowReader, readable};
use crate::store::sql::Sql;

/// A delivery, as it is listed.
#[derive(Debug, Clone)]
pub struct ReceivedDelivery {
    /// Its number, in the order in which deliveries came.
    pub seq: i64,
    /// Who sent it.
    pub source: String,
    /// The id that the source gave it.
    pub delivery_id: String,
    /// When it came.
    pub received_at: Timestamp,
    /// What has become of it.
    pub state: HookDeliveryState,
    /// What happened; `None` if nothing follows from it.
    pub event: Option<RepositoryEvent>,
    /// What has become of it in words, or why it is tried again.
    pub outcome: Option<String>,
    /// The number of attempts whose outcome is recorded.
    pub attempts: u32,
    /// When it is tried again.
    pub retry_at: Option<Timestamp>,
}

/// Which deliveries to list.
#[derive(Debug, Clone, Default)]
pub struct ReceivedFilter {
    /// In this state.
    pub state: Option<HookDeliveryState>,
    /// Of this source.
    pub source: Option<String>,
    /// Received at this time or later.
    pub since: Option<Timestamp>,
    /// Before the delivery with this number: the newest come first.
    pub before: Option<i64>,
    /// At most this many.
    pub limit: u32,
}

impl Store {
    /// Deliveries of incoming webhooks, those received last first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn received_deliveries(
        &self,
        filter: &ReceivedFilter,
    ) -> Result<Vec<ReceivedDelivery>, StoreError> {
        let mut sql = Sql::new(
            "SELECT d.seq, d.source, d.delivery_id, d.received_at, d.state, d.event, d.outcome, d.attempts, d.retry_at \
             FROM hook_deliveries d WHERE d.received_at >= ",
        );
        sql.bind(filter.since.map_or(0, Timestamp::millis))?;
        if let Some(state) = filter.state {
            sql.push(" AND d.state = ").bind(state.to_string())?;
        }
        if let Some(source) = &filter.source {
            sql.push(" AND d.source = ").bind(source.clone())?;
        }
        if let Some(before) = filter.before {
            sql.push(" AND d.seq < ").bind(before)?;
        }
        sql.push(" ORDER BY d.seq DESC LIMIT ")
            .bind(i64::from(filter.limit))?;
        let rows = sql
            .query()
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        let read = rows
            .iter()
            .filter_map(|row| readable(read(row)).transpose());
        read.collect()
    }
}

fn read(row: &AnyRow) -> Result<ReceivedDelivery, StoreError> {
    let row = RowReader::new(row, "hook_deliveries", "delivery_id");
    Ok(ReceivedDelivery {
        seq: row.plain("seq")?,
        source: row.plain("source")?,
        delivery_id: row.plain("delivery_id")?,
        received_at: row.moment("received_at")?,
        state: row.parsed("state")?,
        event: row.json_or_null("event")?,
        outcome: row.plain("outcome")?,
        attempts: row.count("attempts")?,
        retry_at: row.moment_or_null("retry_at")?,
    })
}
