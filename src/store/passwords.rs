//! First console passwords of people: sealed rows of `credentials` that name a person.
//!
//! Invariants:
//! - A password is recorded before AWS is asked to set it, and can be claimed once AWS has confirmed it.
//! - Claims, expiry and re-encryption are those of access keys.

use sqlx::any::AnyRow;
use ulid::Ulid;

use crate::domain::access_key::SecretState;
use crate::domain::console_password::PasswordRecord;
use crate::domain::names::AppName;
use crate::store::connection::WithTimeout as _;
use crate::store::credentials::NewCredential;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::lease::{Lease, hold};
use crate::store::rows::RowReader;

impl Store {
    /// The records of the passwords of the people in a set-up, oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn password_records(&self, app: Ulid) -> Result<Vec<PasswordRecord>, StoreError> {
        let query = sqlx::query(
            "SELECT id, access_key_id, person, secret, readiness, created_at, gone_at FROM credentials \
             WHERE app_id = $1 AND person IS NOT NULL ORDER BY seq",
        );
        let rows = query
            .bind(app.to_string())
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        rows.iter().map(read).collect()
    }

    /// Records a sealed password that AWS is about to be asked to set.
    ///
    /// # Errors
    /// [`StoreError::LostLease`] when another worker has the job.
    pub async fn intend_password(
        &self,
        lease: Lease,
        person: AppName,
        new: NewCredential,
    ) -> Result<PasswordRecord, StoreError> {
        let now = self.clock.now();
        let record = PasswordRecord {
            id: new.id,
            credential: new.access_key_id.clone(),
            person: person.clone(),
            intended_at: now,
            is_set: false,
            is_unclaimed: true,
            gone_at: None,
        };
        self.write_with_lease(lease, move |db| {
            Box::pin(async move {
                let app = hold(db, lease).await?;
                let insert = "INSERT INTO credentials (id, app_id, job_id, access_key_id, sealed, encryption_key, secret, readiness, created_at, person) \
                    VALUES ($1, $2, $3, $4, $5, $6, 'unclaimed', 'unverified', $7, $8)";
                let insert = sqlx::query(insert)
                    .bind(new.id.to_string())
                    .bind(app.to_string())
                    .bind(lease.job.to_string())
                    .bind(new.access_key_id)
                    .bind(new.sealed)
                    .bind(new.encryption_key);
                let insert = insert.bind(now.millis()).bind(person.as_str());
                insert.execute(db).await?;
                Ok(())
            })
        })
        .await?;
        Ok(record)
    }

    /// Records that AWS is about to be asked again to set a password.
    ///
    /// # Errors
    /// [`StoreError::LostLease`] when another worker has the job.
    pub async fn intend_password_again(&self, lease: Lease, id: Ulid) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.write_with_lease(lease, move |db| {
            Box::pin(async move {
                hold(db, lease).await?;
                let update = sqlx::query("UPDATE credentials SET created_at = $1 WHERE id = $2");
                let update = update.bind(now.millis()).bind(id.to_string());
                update.execute(db).await?;
                Ok(())
            })
        })
        .await
    }

    /// Records that AWS has set a password, which can be claimed from then on.
    ///
    /// # Errors
    /// [`StoreError::LostLease`] when another worker has the job.
    pub async fn confirm_password(&self, lease: Lease, id: Ulid) -> Result<(), StoreError> {
        self.write_with_lease(lease, move |db| {
            Box::pin(async move {
                hold(db, lease).await?;
                let update = "UPDATE credentials SET readiness = 'ready' WHERE id = $1";
                sqlx::query(update).bind(id.to_string()).execute(db).await?;
                Ok(())
            })
        })
        .await
    }

    /// The sealed text of a password, and the ID of its encryption key. `None` once it is destroyed.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn sealed_password(&self, id: Ulid) -> Result<Option<(Vec<u8>, String)>, StoreError> {
        let query = sqlx::query("SELECT id, sealed, encryption_key FROM credentials WHERE id = $1");
        let row = query
            .bind(id.to_string())
            .fetch_optional(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        let Some(row) = row else { return Ok(None) };
        let row = RowReader::new(&row, "credentials", "id");
        let sealed: Option<Vec<u8>> = row.plain("sealed")?;
        let encryption_key = row.plain("encryption_key")?;
        Ok(sealed.map(|sealed| (sealed, encryption_key)))
    }
}

fn read(row: &AnyRow) -> Result<PasswordRecord, StoreError> {
    let row = RowReader::new(row, "credentials", "id");
    Ok(PasswordRecord {
        id: row.id("id")?,
        credential: row.plain("access_key_id")?,
        person: row.named("person", AppName::parse)?,
        intended_at: row.moment("created_at")?,
        is_set: row.plain::<String>("readiness")? == "ready",
        is_unclaimed: row.parsed::<SecretState>("secret")? == SecretState::Unclaimed,
        gone_at: row.moment_or_null("gone_at")?,
    })
}
