//! Where intents to create access keys and their secrets are recorded.
//!
//! Invariant: only a job that holds its lease writes. Plans and drift checks read.

use std::sync::Arc;

use futures::future::BoxFuture;
use secrecy::SecretString;
use ulid::Ulid;

use crate::domain::access_key::{Intent, KeyRecords};
use crate::domain::console_password::PasswordRecord;
use crate::domain::job::{JobError, JobErrorCode};
use crate::domain::names::AppName;
use crate::provision::fault::Fault;

/// Records the intents and secrets of an app's access keys. Each method is one commit, guarded by the job's lease.
pub trait AccessKeyStore: Send + Sync {
    /// What is recorded of the app's keys.
    fn records(&self) -> BoxFuture<'_, Result<KeyRecords, Fault>>;
    /// Records an intent with the ids of the keys that exist.
    fn intend(&self, known_keys: Vec<String>) -> BoxFuture<'_, Result<Intent, Fault>>;
    /// Closes an intent that created no key.
    fn close(&self, intent: Ulid) -> BoxFuture<'_, Result<(), Fault>>;
    /// Closes an intent whose key was deleted because its secret was lost. AWS may list the key for a while.
    fn close_deleted(
        &self,
        intent: Ulid,
        access_key_id: String,
    ) -> BoxFuture<'_, Result<(), Fault>>;
    /// Encrypts and records a secret, and closes its intent.
    fn seal(
        &self,
        intent: Ulid,
        access_key_id: String,
        secret: SecretString,
    ) -> BoxFuture<'_, Result<(), Fault>>;
    /// Records that keys do not exist any more.
    fn gone(&self, access_key_ids: Vec<String>) -> BoxFuture<'_, Result<(), Fault>>;
    /// Generates, encrypts and records the first console password of a person.
    fn intend_password(
        &self,
        person: AppName,
        length: u32,
    ) -> BoxFuture<'_, Result<PasswordRecord, Fault>>;
    /// Records that AWS is about to be asked again to set a recorded password.
    fn intend_password_again(&self, id: Ulid) -> BoxFuture<'_, Result<(), Fault>>;
    /// A recorded password. `None` once it is destroyed.
    fn password<'a>(
        &'a self,
        record: &'a PasswordRecord,
    ) -> BoxFuture<'a, Result<Option<SecretString>, Fault>>;
    /// Records that AWS has set a password.
    fn confirm_password(&self, id: Ulid) -> BoxFuture<'_, Result<(), Fault>>;
    /// Records keys that are about to be deactivated because the app is removed.
    fn deactivating(&self, access_key_ids: Vec<String>) -> BoxFuture<'_, Result<(), Fault>>;
}

/// The records of an app's access keys that a reconcile works with.
#[derive(Clone)]
pub enum AccessKeys {
    /// A copy for plans and drift checks.
    ReadOnly(KeyRecords),
    /// A job's store.
    Writable(Arc<dyn AccessKeyStore>),
}

impl AccessKeys {
    /// What is recorded of the app's keys.
    ///
    /// # Errors
    /// When the database does not answer, or the lease is lost.
    pub async fn records(&self) -> Result<KeyRecords, Fault> {
        match self {
            Self::ReadOnly(records) => Ok(records.clone()),
            Self::Writable(store) => store.records().await,
        }
    }

    /// The store to write to.
    ///
    /// # Errors
    /// In a plan, which writes nothing.
    pub fn store(&self) -> Result<&dyn AccessKeyStore, Fault> {
        match self {
            Self::Writable(store) => Ok(store.as_ref()),
            Self::ReadOnly(_) => Err(Fault::Rejected(JobError::new(
                JobErrorCode::Internal,
                "A plan attempted to modify access key records.",
                "This is a bug in Slipway. Report it with the job ID.",
            ))),
        }
    }
}
