//! Claims of secrets.
//!
//! Invariants:
//! - Of several callers who claim a secret at once, one gets it.
//! - A claim, its audit entry and what it changes of the app's rotation are one commit.

use sqlx::AnyConnection;
use ulid::Ulid;

use super::row::{CredentialRow, read};
use crate::clock::Timestamp;
use crate::domain::access_key::{CLAIM_DEADLINE, CLAIM_REPLAY_WINDOW, SecretState};
use crate::domain::audit::AuditEvent;
use crate::domain::caller::Caller;
use crate::store::audit;
use crate::store::audit::Subject;
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::rotations;
use crate::store::rows::RowReader;
use crate::store::signals::Signal;
use crate::store::sql::{Sql, for_update};

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
