//! The row of an access key, and how its secret is sealed.
//!
//! Invariant: the row's id and the access key's id are bound into the sealed secret, so it opens in its own row alone.

use secrecy::SecretString;
use sqlx::any::AnyRow;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::access_key::{Readiness, SecretState};
use crate::store::error::StoreError;
use crate::store::rows::RowReader;
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

pub(super) fn read(row: &AnyRow) -> Result<CredentialRow, StoreError> {
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
