//! Sealed secrets: destroyed when their time is over, and sealed again with another encryption key.
//!
//! Invariant: a secret that was claimed or destroyed meanwhile is not put back.

use sqlx::Executor as _;
use ulid::Ulid;

use super::row::{CredentialRow, read};
use crate::domain::access_key::{CLAIM_DEADLINE, CLAIM_REPLAY_WINDOW};
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::rows::RowReader;
use crate::store::signals::Signal;

impl Store {
    /// Destroys secrets that were claimed more than [`CLAIM_REPLAY_WINDOW`] ago, and those that nobody claimed within
    /// [`CLAIM_DEADLINE`]. Returns their number.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn expire_secrets(&self) -> Result<u64, StoreError> {
        let now = self.clock.now();
        let destroyed = self
            .writer
            .write(move |db| {
                Box::pin(async move {
                    let claimed = sqlx::query(
                        "UPDATE credentials SET sealed = NULL WHERE secret = 'claimed' AND sealed IS NOT NULL AND claimed_at <= $1",
                    );
                    let claimed = claimed.bind(now.before(CLAIM_REPLAY_WINDOW).millis()).execute(&mut *db).await?;
                    let expired = sqlx::query(
                        "UPDATE credentials SET sealed = NULL, secret = 'expired' WHERE secret = 'unclaimed' AND sealed IS NOT NULL AND created_at <= $1",
                    );
                    let expired = expired.bind(now.before(CLAIM_DEADLINE).millis()).execute(&mut *db).await?;
                    Ok(claimed.rows_affected() + expired.rows_affected())
                })
            })
            .await?;
        if destroyed > 0 && !self.truncate_log().await {
            self.signal(Signal::Destroyed);
        }
        Ok(destroyed)
    }

    /// Truncates SQLite's write-ahead log, whose old pages hold destroyed secrets, sealed. Returns `false` if a reader
    /// prevents it.
    pub async fn truncate_log(&self) -> bool {
        if self.is_shared() {
            return true;
        }
        let Ok(mut db) = self.reader().await else {
            return false;
        };
        // Without a wait: a checkpoint that waits for a reader, such as a backup, blocks writers.
        if db.execute("PRAGMA busy_timeout = 0").await.is_err() {
            return false;
        }
        let busy = sqlx::query_scalar("PRAGMA wal_checkpoint(TRUNCATE)")
            .fetch_one(&mut *db)
            .await;
        let patient = db.execute("PRAGMA busy_timeout = 5000").await;
        patient.is_ok() && matches!(busy, Ok(0_i64))
    }

    /// The number of sealed secrets by the id of their encryption key.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn sealed_by_key(&self) -> Result<Vec<(String, i64)>, StoreError> {
        let query = "SELECT encryption_key, COUNT(*) AS secrets FROM (SELECT encryption_key FROM credentials WHERE sealed IS NOT NULL \
            UNION ALL SELECT encryption_key FROM webhooks \
            UNION ALL SELECT previous_encryption_key FROM webhooks WHERE previous_sealed IS NOT NULL) AS sealed GROUP BY encryption_key ORDER BY encryption_key";
        let rows = sqlx::query(query)
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        let read = |row| {
            let row = RowReader::new(row, "credentials", "encryption_key");
            Ok((row.plain("encryption_key")?, row.plain("secrets")?))
        };
        rows.iter().map(read).collect()
    }

    /// Keys whose secret is sealed with another encryption key, with their sealed secrets, in the order of their rows' ids.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn sealed_with_other_keys(
        &self,
        encryption_key: &str,
        after: Option<Ulid>,
        limit: u32,
    ) -> Result<Vec<(CredentialRow, Vec<u8>)>, StoreError> {
        let query = sqlx::query(
            "SELECT id, app_id, access_key_id, sealed, encryption_key, secret, readiness, created_at, claimed_at, claimed_by, gone_at FROM credentials \
             WHERE sealed IS NOT NULL AND encryption_key <> $1 AND id > $2 ORDER BY id LIMIT $3",
        );
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        let rows = query
            .bind(encryption_key)
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        rows.iter()
            .map(|row| {
                Ok((
                    read(row)?,
                    RowReader::new(row, "credentials", "id").plain("sealed")?,
                ))
            })
            .collect()
    }

    /// Replaces the sealed secret `was`. Returns `false` if it was claimed, destroyed or replaced meanwhile.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn replace_sealed_secret(
        &self,
        id: Ulid,
        was: Vec<u8>,
        sealed: Vec<u8>,
        encryption_key: String,
    ) -> Result<bool, StoreError> {
        let resealed = self
            .writer
            .write(move |db| {
                Box::pin(async move {
                    let update = sqlx::query("UPDATE credentials SET sealed = $1, encryption_key = $2 WHERE id = $3 AND sealed = $4");
                    let done = update.bind(sealed).bind(encryption_key).bind(id.to_string()).bind(was).execute(db).await?;
                    Ok(done.rows_affected() > 0)
                })
            })
            .await?;
        if resealed {
            // The log still holds what the previous key decrypts.
            self.signal(Signal::Destroyed);
        }
        Ok(resealed)
    }
}
