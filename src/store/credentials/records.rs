//! The records of access keys: which ones an app has, whether AWS accepts them, and which are gone.
//!
//! Invariants:
//! - A key is recorded together with the end of its intent.
//! - What a key's record changes of its app's rotation is in the same commit.

use std::collections::BTreeSet;

use sqlx::any::AnyRow;
use tokio::time::Instant;
use ulid::Ulid;

use super::intents::close;
use super::row::{CredentialRow, NewCredential, read};
use crate::domain::access_key::{Intent, KeyRecords};
use crate::domain::webhook::EventType;
use crate::store::audit::Subject;
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::lease::{Lease, held, hold, run_held};
use crate::store::outbox::{Announcement, announce};
use crate::store::rotations;
use crate::store::rows::RowReader;
use crate::store::signals::Signal;

impl Store {
    /// The records of an app's keys: the present ones, the open intent, and earlier keys.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn key_records(&self, app: Ulid) -> Result<KeyRecords, StoreError> {
        let keys = sqlx::query(
            "SELECT access_key_id, created_at FROM credentials WHERE app_id = $1 AND person IS NULL AND gone_at IS NULL ORDER BY seq",
        );
        let keys = keys
            .bind(app.to_string())
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        let read = |row: &AnyRow| {
            let row = RowReader::new(row, "credentials", "access_key_id");
            Ok((row.plain("access_key_id")?, row.moment("created_at")?))
        };
        let keys = keys.iter().map(read).collect::<Result<_, StoreError>>()?;
        let open = sqlx::query(
            "SELECT id, known_keys, at FROM key_intents WHERE app_id = $1 AND closed_at IS NULL",
        );
        let open = open
            .bind(app.to_string())
            .fetch_optional(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        let read = |row: AnyRow| {
            let row = RowReader::new(&row, "key_intents", "id");
            let (id, known_keys, at) = (row.id("id")?, row.json("known_keys")?, row.moment("at")?);
            Ok::<_, StoreError>(Intent {
                id,
                known_keys,
                at,
                met: Instant::now(),
            })
        };
        let open = open.map(read).transpose()?;
        let gone = sqlx::query_scalar(
            "SELECT access_key_id FROM credentials WHERE app_id = $1 AND person IS NULL AND gone_at IS NOT NULL",
        );
        let mut earlier: BTreeSet<String> = gone
            .bind(app.to_string())
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?
            .into_iter()
            .collect();
        let closed = sqlx::query(
            "SELECT id, known_keys FROM key_intents WHERE app_id = $1 AND closed_at IS NOT NULL",
        );
        for row in closed
            .bind(app.to_string())
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?
        {
            earlier.extend(
                RowReader::new(&row, "key_intents", "id").json::<Vec<String>>("known_keys")?,
            );
        }
        Ok(KeyRecords {
            keys,
            open,
            earlier,
            passwords: Vec::new(),
        })
    }

    /// Records a key with its sealed secret, and closes its intent, in one commit.
    ///
    /// # Errors
    /// [`StoreError::LostLease`] when another worker has the job.
    pub async fn record_key(
        &self,
        lease: Lease,
        intent: Ulid,
        new: NewCredential,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.write_with_lease(lease, move |db| {
            Box::pin(async move {
                let mut sql = held(db, lease)?;
                sql.then(
                    db,
                    "INSERT INTO credentials (secret, readiness, id, access_key_id, encryption_key, sealed, created_at, app_id, job_id) \
                         SELECT 'unclaimed', 'unverified', ",
                );
                sql.list([new.id.to_string(), new.access_key_id.clone(), new.encryption_key])?.push(", ").bind(new.sealed)?;
                sql.push(", ").bind(now.millis())?.push(", app_id, id FROM jobs WHERE id = ").bind(lease.job.to_string())?;
                close(db, &mut sql, intent, now)?;
                let created = Announcement {
                    access_key_id: Some(&new.access_key_id),
                    ..Announcement::new(EventType::KeyCreated, Subject::Job(lease.job), now)
                };
                announce(db, &mut sql, created)?;
                run_held(db, lease, sql).await.map(drop)
            })
        })
        .await?;
        self.signal_here(Signal::Outbox);
        self.signal(Signal::Sealed);
        Ok(())
    }

    /// Records that keys were deleted in AWS, and destroys their unclaimed secrets.
    ///
    /// # Errors
    /// [`StoreError::LostLease`] when another worker has the job.
    pub async fn record_keys_gone(
        &self,
        lease: Lease,
        access_key_ids: Vec<String>,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.write_with_lease(lease, move |db| {
            Box::pin(async move {
                let app = hold(db, lease).await?;
                rotations::gone(db, app, &access_key_ids, now).await?;
                for id in access_key_ids {
                    let update = "UPDATE credentials SET gone_at = $1, sealed = NULL, \
                            secret = CASE secret WHEN 'unclaimed' THEN 'expired' ELSE secret END WHERE access_key_id = $2";
                    sqlx::query(update).bind(now.millis()).bind(id).execute(&mut *db).await?;
                }
                Ok(())
            })
        })
        .await?;
        self.signal(Signal::Destroyed);
        self.signal_here(Signal::Outbox);
        Ok(())
    }

    /// The records of an app's keys, oldest first, including deleted ones.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn credentials(&self, app: Ulid) -> Result<Vec<CredentialRow>, StoreError> {
        let query = sqlx::query(
            "SELECT id, app_id, access_key_id, encryption_key, secret, readiness, created_at, claimed_at, claimed_by, gone_at FROM credentials \
             WHERE app_id = $1 ORDER BY seq",
        );
        let rows = query
            .bind(app.to_string())
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        rows.iter().map(read).collect()
    }

    /// Keys with an unclaimed secret that AWS is not known to accept yet, with their sealed secrets.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn unverified_keys(&self) -> Result<Vec<(CredentialRow, Vec<u8>)>, StoreError> {
        let query = sqlx::query(
            "SELECT id, app_id, access_key_id, sealed, encryption_key, secret, readiness, created_at, claimed_at, claimed_by, gone_at FROM credentials \
             WHERE person IS NULL AND secret = 'unclaimed' AND sealed IS NOT NULL AND readiness = 'unverified' AND gone_at IS NULL ORDER BY seq",
        );
        let rows = query
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

    /// Records that AWS accepts a key.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn mark_key_ready(&self, id: Ulid) -> Result<(), StoreError> {
        self.writer
            .write(move |db| {
                Box::pin(async move {
                    sqlx::query("UPDATE credentials SET readiness = 'ready' WHERE id = $1")
                        .bind(id.to_string())
                        .execute(db)
                        .await?;
                    Ok(())
                })
            })
            .await
    }
}
