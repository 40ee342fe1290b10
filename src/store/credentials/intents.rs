//! Intents to create access keys.
//!
//! Invariant: an intent is committed before the call, and stays open until it is known what the call has done.

use sqlx::AnyConnection;
use tokio::time::Instant;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::access_key::Intent;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::lease::{Lease, held, hold, run_held};
use crate::store::rows::{RowReader, to_json};
use crate::store::sql::Sql;

impl Store {
    /// Records the intent to create a key.
    ///
    /// # Errors
    /// [`StoreError::LostLease`] when another worker has the job.
    pub async fn intend_key(
        &self,
        lease: Lease,
        known_keys: Vec<String>,
    ) -> Result<Intent, StoreError> {
        let intent = Intent {
            id: Ulid::generate(),
            known_keys,
            at: self.clock.now(),
            met: Instant::now(),
        };
        let row = intent.clone();
        self.write_with_lease(lease, move |db| {
            Box::pin(async move {
                let mut sql = held(db, lease)?;
                sql.then(
                    db,
                    "INSERT INTO key_intents (id, known_keys, at, app_id, job_id) SELECT ",
                )
                .bind(row.id.to_string())?;
                sql.push(", ")
                    .bind(to_json(&row.known_keys)?)?
                    .push(", ")
                    .bind(row.at.millis())?;
                sql.push(", app_id, id FROM jobs WHERE id = ")
                    .bind(lease.job.to_string())?;
                run_held(db, lease, sql).await.map(drop)
            })
        })
        .await?;
        Ok(intent)
    }

    /// Closes an intent that created no key.
    ///
    /// # Errors
    /// [`StoreError::LostLease`] when another worker has the job.
    pub async fn close_intent(&self, lease: Lease, intent: Ulid) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.write_with_lease(lease, move |db| {
            Box::pin(async move {
                let mut sql = held(db, lease)?;
                close(db, &mut sql, intent, now)?;
                run_held(db, lease, sql).await.map(drop)
            })
        })
        .await
    }

    /// Closes an intent whose key was deleted, and remembers the key.
    ///
    /// # Errors
    /// [`StoreError::LostLease`] when another worker has the job.
    pub async fn close_deleted_intent(
        &self,
        lease: Lease,
        intent: Ulid,
        access_key_id: String,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.write_with_lease(lease, move |db| {
            Box::pin(async move {
                hold(db, lease).await?;
                let known = sqlx::query(
                    "SELECT id, known_keys FROM key_intents WHERE closed_at IS NULL AND id = $1",
                );
                let Some(row) = known
                    .bind(intent.to_string())
                    .fetch_optional(&mut *db)
                    .await?
                else {
                    return Ok(());
                };
                let mut known: Vec<String> =
                    RowReader::new(&row, "key_intents", "id").json("known_keys")?;
                known.push(access_key_id);
                let update = sqlx::query(
                    "UPDATE key_intents SET closed_at = $1, known_keys = $2 WHERE id = $3",
                );
                update
                    .bind(now.millis())
                    .bind(to_json(&known)?)
                    .bind(intent.to_string())
                    .execute(db)
                    .await?;
                Ok(())
            })
        })
        .await
    }
}

pub(super) fn close(
    db: &AnyConnection,
    sql: &mut Sql,
    intent: Ulid,
    now: Timestamp,
) -> Result<(), StoreError> {
    sql.then(db, "UPDATE key_intents SET closed_at = ")
        .bind(now.millis())?
        .push(" WHERE closed_at IS NULL AND id = ")
        .bind(intent.to_string())?;
    Ok(())
}
