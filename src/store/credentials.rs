//! Access keys: intents, sealed secrets and claims. The database never holds an opened secret.

use std::collections::BTreeSet;

use secrecy::SecretString;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Executor as _};
use tokio::time::Instant;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::access_key::{
    CLAIM_DEADLINE, CLAIM_REPLAY_WINDOW, Intent, KeyRecords, Readiness, SecretState,
};
use crate::domain::audit::AuditEvent;
use crate::domain::caller::Caller;
use crate::domain::webhook::EventType;
use crate::store::audit;
use crate::store::audit::Subject;
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::lease::{Lease, held, hold, run_held};
use crate::store::outbox::{Announcement, announce};
use crate::store::rotations;
use crate::store::rows::{RowReader, to_json};
use crate::store::signals::Signal;
use crate::store::sql::{Sql, for_update};
use crate::vault::{SecretOwner, Vault, VaultError};

/// A new access key with its sealed secret.
#[derive(Debug, Clone)]
pub struct NewCredential {
    /// Its row's id, which is bound into the sealed secret.
    pub id: Ulid,
    /// The access key's id.
    pub access_key_id: String,
    /// The sealed secret.
    pub sealed: Vec<u8>,
    /// The encryption key's id.
    pub encryption_key: String,
}

/// The record of an access key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialRow {
    /// Its row's id.
    pub id: Ulid,
    /// The app.
    pub app: Ulid,
    /// AWS's id of the key.
    pub access_key_id: String,
    /// The encryption key's id.
    pub encryption_key: String,
    /// Where its secret is.
    pub secret: SecretState,
    /// Whether AWS is known to accept it.
    pub readiness: Readiness,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was claimed.
    pub claimed_at: Option<Timestamp>,
    /// Who claimed it.
    pub claimed_by: Option<String>,
    /// When it was found to be deleted in AWS.
    pub gone_at: Option<Timestamp>,
}

impl CredentialRow {
    /// Opens its sealed secret.
    ///
    /// # Errors
    /// When the vault does not have the encryption key, or the row was changed.
    pub fn open(&self, vault: &Vault, sealed: &[u8]) -> Result<SecretString, VaultError> {
        vault.open(&self.encryption_key, sealed, self.owner())
    }

    /// Opens its sealed secret and seals it with the present encryption key.
    ///
    /// # Errors
    /// When the secret cannot be opened.
    pub fn reencrypt(&self, vault: &Vault, sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        vault.seal(&self.open(vault, sealed)?, self.owner())
    }

    fn owner(&self) -> SecretOwner<'_> {
        SecretOwner {
            credential: self.id,
            access_key_id: &self.access_key_id,
        }
    }
}

impl NewCredential {
    /// Seals the secret of a new access key.
    ///
    /// # Errors
    /// When the cipher fails, which it does not.
    pub fn seal(
        vault: &Vault,
        access_key_id: String,
        secret: &SecretString,
    ) -> Result<Self, VaultError> {
        let id = Ulid::generate();
        let owner = SecretOwner {
            credential: id,
            access_key_id: &access_key_id,
        };
        Ok(Self {
            id,
            sealed: vault.seal(secret, owner)?,
            encryption_key: vault.id().to_owned(),
            access_key_id,
        })
    }
}

/// The answer to a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimAnswer {
    /// The sealed secret, to be opened and shown.
    Sealed(Box<CredentialRow>, Vec<u8>),
    /// There is no such key.
    NoKey,
    /// It was claimed before.
    Claimed(Box<CredentialRow>),
    /// Nobody claimed it in time.
    Expired,
    /// The key was deleted before anybody claimed it.
    Gone,
}

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

    /// The answer that a claim would get, without claiming.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn sealed_secret(
        &self,
        app: Ulid,
        access_key_id: &str,
        caller: &Caller,
        claim_key: Option<String>,
    ) -> Result<ClaimAnswer, StoreError> {
        let mut db = self.reader().await?;
        claimable(
            &mut db,
            app,
            access_key_id,
            caller,
            claim_key.as_deref(),
            self.clock.now(),
        )
        .with_timeout()
        .await
    }

    /// Claims a sealed secret. With a `claim_key` the same caller can repeat the claim for [`CLAIM_REPLAY_WINDOW`]; without
    /// one the secret is destroyed in the same commit.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn claim_secret(
        &self,
        app: Ulid,
        access_key_id: &str,
        caller: &Caller,
        claim_key: Option<String>,
    ) -> Result<ClaimAnswer, StoreError> {
        let (now, key, caller, for_good) = (
            self.clock.now(),
            access_key_id.to_owned(),
            caller.clone(),
            claim_key.is_none(),
        );
        let answer = self
            .writer
            .write(move |db| Box::pin(claim_secret(db, app, key, caller, claim_key, now)))
            .await?;
        if for_good && matches!(answer, ClaimAnswer::Sealed(..)) {
            self.signal(Signal::Destroyed);
        }
        Ok(answer)
    }

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

fn close(
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

async fn claim_secret(
    db: &mut AnyConnection,
    app: Ulid,
    access_key_id: String,
    caller: Caller,
    claim_key: Option<String>,
    now: Timestamp,
) -> Result<ClaimAnswer, StoreError> {
    // Of several who ask at once one gets it: the row is locked before it is read.
    let mut sql = Sql::new("SELECT id, person FROM credentials WHERE access_key_id = ");
    sql.bind(&access_key_id)?.push(for_update(db));
    let locked = sql.query().fetch_optional(&mut *db).await?;
    let person: Option<String> = match &locked {
        Some(row) => RowReader::new(row, "credentials", "id").plain("person")?,
        None => None,
    };
    let answer = claimable(db, app, &access_key_id, &caller, claim_key.as_deref(), now).await?;
    let ClaimAnswer::Sealed(credential, sealed) = answer else {
        return Ok(answer);
    };
    let again = credential.secret == SecretState::Claimed;
    let event = match person {
        Some(person) => AuditEvent::PasswordClaimed { person, again },
        None => AuditEvent::SecretClaimed {
            access_key_id: credential.access_key_id.clone(),
            again,
        },
    };
    let mut sql = Sql::default();
    audit::record(
        db,
        &mut sql,
        Subject::App(app),
        Some(&caller.name),
        &[(now, event)],
    )?;
    sql.run(db).await?;
    if again {
        return Ok(ClaimAnswer::Sealed(credential, sealed));
    }
    let update = "UPDATE credentials SET secret = 'claimed', claimed_at = $1, claimed_by = $2, claim_key = $3, \
                  sealed = CASE WHEN $3 IS NULL THEN NULL ELSE sealed END WHERE id = $4";
    let update = sqlx::query(update)
        .bind(now.millis())
        .bind(&caller.name)
        .bind(&claim_key);
    update
        .bind(credential.id.to_string())
        .execute(&mut *db)
        .await?;
    rotations::claimed(db, app, &access_key_id, now).await?;
    let claimed = CredentialRow {
        secret: SecretState::Claimed,
        claimed_at: Some(now),
        claimed_by: Some(caller.name),
        ..*credential
    };
    Ok(ClaimAnswer::Sealed(Box::new(claimed), sealed))
}

/// The answer to a claim: an unclaimed secret, or the same again for the caller and key of the first claim.
async fn claimable(
    db: &mut AnyConnection,
    app: Ulid,
    access_key_id: &str,
    caller: &Caller,
    claim_key: Option<&str>,
    now: Timestamp,
) -> Result<ClaimAnswer, StoreError> {
    let query = sqlx::query(
        "SELECT id, app_id, access_key_id, sealed, encryption_key, secret, readiness, created_at, claimed_at, claimed_by, gone_at, claim_key \
         FROM credentials WHERE app_id = $1 AND access_key_id = $2",
    );
    let Some(found) = query
        .bind(app.to_string())
        .bind(access_key_id)
        .fetch_optional(db)
        .await?
    else {
        return Ok(ClaimAnswer::NoKey);
    };
    let row = RowReader::new(&found, "credentials", "id");
    let (credential, sealed) = (read(&found)?, row.plain::<Option<Vec<u8>>>("sealed")?);
    let earlier_key = row.plain::<Option<String>>("claim_key")?;
    Ok(match (credential.secret, sealed) {
        (SecretState::Unclaimed, Some(sealed))
            if now.since(credential.created_at) < CLAIM_DEADLINE =>
        {
            ClaimAnswer::Sealed(Box::new(credential), sealed)
        }
        (SecretState::Claimed, Some(sealed)) => {
            let same = claim_key.is_some()
                && earlier_key.as_deref() == claim_key
                && credential.claimed_by.as_ref() == Some(&caller.name);
            let young = credential
                .claimed_at
                .is_some_and(|at| now.since(at) < CLAIM_REPLAY_WINDOW);
            if same && young {
                ClaimAnswer::Sealed(Box::new(credential), sealed)
            } else {
                ClaimAnswer::Claimed(Box::new(credential))
            }
        }
        (SecretState::Claimed, None) => ClaimAnswer::Claimed(Box::new(credential)),
        (SecretState::Unclaimed | SecretState::Expired, _) if credential.gone_at.is_some() => {
            ClaimAnswer::Gone
        }
        (SecretState::Unclaimed | SecretState::Expired, _) => ClaimAnswer::Expired,
    })
}

fn read(row: &AnyRow) -> Result<CredentialRow, StoreError> {
    let row = RowReader::new(row, "credentials", "id");
    Ok(CredentialRow {
        id: row.id("id")?,
        app: row.id("app_id")?,
        access_key_id: row.plain("access_key_id")?,
        encryption_key: row.plain("encryption_key")?,
        secret: row.parsed("secret")?,
        readiness: row.parsed("readiness")?,
        created_at: row.moment("created_at")?,
        claimed_at: row.moment_or_null("claimed_at")?,
        claimed_by: row.plain("claimed_by")?,
        gone_at: row.moment_or_null("gone_at")?,
    })
}
