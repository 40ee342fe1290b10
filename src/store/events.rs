//! Events of jobs, in one rising sequence.
//!
//! Invariant: an event that belongs in the audit log, or is one for webhooks, is recorded there in the same commit.

use serde::Serialize;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::audit::AuditEvent;
use crate::domain::event::{Event, EventPayload};
use crate::store::audit;
use crate::store::audit::Subject;
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::outbox;
use crate::store::rows::{RowReader, to_json};
use crate::store::sql::Sql;

impl Store {
    /// A job's events after the number `after`, oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn events(
        &self,
        job: Ulid,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError> {
        let rows = sqlx::query(
            "SELECT seq, job_id, at, data FROM events WHERE job_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
        );
        let rows = rows
            .bind(job.to_string())
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        let read = |row: &AnyRow| {
            let row = RowReader::new(row, "events", "job_id");
            Ok(Event {
                seq: row.plain("seq")?,
                at: row.moment("at")?,
                job_id: row.id("job_id")?,
                payload: row.json("data")?,
            })
        };
        rows.iter().map(read).collect()
    }
}

#[derive(Serialize)]
struct EventRow {
    job: Ulid,
    at: i64,
    data: String,
}

/// Adds the statements that insert events and their audit entries.
pub(super) fn insert_events(
    db: &AnyConnection,
    sql: &mut Sql,
    happened: &[(Ulid, Timestamp, &EventPayload)],
) -> Result<(), StoreError> {
    let row = |(job, at, payload): &(Ulid, Timestamp, &EventPayload)| {
        Ok(EventRow {
            job: *job,
            at: at.millis(),
            data: to_json(payload)?,
        })
    };
    let rows = happened
        .iter()
        .map(row)
        .collect::<Result<Vec<_>, StoreError>>()?;
    sql.then(db, "INSERT INTO events (job_id, at, data) SELECT item.value ->> 'job', CAST(item.value ->> 'at' AS BIGINT), item.value ->> 'data' FROM ");
    sql.rows(db, &rows)?.push(" ORDER BY item.key");
    for (job, at, payload) in happened {
        outbox::announce_job(db, sql, *job, *at, payload)?;
    }
    for told in happened.chunk_by(|(one, ..), (other, ..)| one == other) {
        let events: Vec<_> = told
            .iter()
            .flat_map(|(_, at, payload)| {
                AuditEvent::of(payload)
                    .into_iter()
                    .map(|event| (*at, event))
            })
            .collect();
        audit::record(db, sql, Subject::Job(told[0].0), None, &events)?;
    }
    Ok(())
}
