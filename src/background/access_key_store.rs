//! Records intents and secrets of access keys, under the job's lease.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use secrecy::SecretString;
use ulid::Ulid;

use crate::app::service::Service;
use crate::app::setup::password::generate;
use crate::domain::access_key::{Intent, KeyRecords};
use crate::domain::app::App;
use crate::domain::console_password::PasswordRecord;
use crate::domain::job::{JobError, JobErrorCode};
use crate::domain::names::AppName;
use crate::provision::access_key_store::AccessKeyStore;
use crate::provision::fault::Fault;
use crate::store::{Lease, NewCredential, StoreError};
use crate::vault::SecretOwner;

/// The access key store of a running job.
pub struct LeasedKeyStore {
    service: Arc<Service>,
    app: Ulid,
    lease: Lease,
    /// Whether the job is of an account's set-up, which has passwords.
    is_of_setup: bool,
}

impl LeasedKeyStore {
    pub fn new(service: Arc<Service>, app: &App, lease: Lease) -> Self {
        Self {
            service,
            app: app.id,
            lease,
            is_of_setup: app.spec.setup.is_some(),
        }
    }
}

impl AccessKeyStore for LeasedKeyStore {
    fn records(&self) -> BoxFuture<'_, Result<KeyRecords, Fault>> {
        async {
            let records = self.service.key_records(self.app).await;
            let mut records = records.map_err(fault)?;
            if self.is_of_setup {
                let passwords = self.service.store.password_records(self.app).await;
                records.passwords = passwords.map_err(fault)?;
            }
            Ok(records)
        }
        .boxed()
    }

    fn intend(&self, known_keys: Vec<String>) -> BoxFuture<'_, Result<Intent, Fault>> {
        async {
            let intent = self
                .service
                .store
                .intend_key(self.lease, known_keys)
                .await
                .map_err(fault)?;
            self.service.met(&intent);
            Ok(intent)
        }
        .boxed()
    }

    fn close(&self, intent: Ulid) -> BoxFuture<'_, Result<(), Fault>> {
        async move {
            self.service
                .store
                .close_intent(self.lease, intent)
                .await
                .map_err(fault)?;
            self.service.settled(intent);
            Ok(())
        }
        .boxed()
    }

    fn close_deleted(
        &self,
        intent: Ulid,
        access_key_id: String,
    ) -> BoxFuture<'_, Result<(), Fault>> {
        async move {
            self.service
                .store
                .close_deleted_intent(self.lease, intent, access_key_id)
                .await
                .map_err(fault)?;
            self.service.settled(intent);
            Ok(())
        }
        .boxed()
    }

    fn seal(
        &self,
        intent: Ulid,
        access_key_id: String,
        secret: SecretString,
    ) -> BoxFuture<'_, Result<(), Fault>> {
        async move {
            let new = NewCredential::seal(&self.service.vault, access_key_id, &secret)
                .map_err(|error| Fault::of_store(&error))?;
            self.service
                .store
                .record_key(self.lease, intent, new)
                .await
                .map_err(fault)?;
            self.service.settled(intent);
            Ok(())
        }
        .boxed()
    }

    fn gone(&self, access_key_ids: Vec<String>) -> BoxFuture<'_, Result<(), Fault>> {
        async move {
            self.service
                .store
                .record_keys_gone(self.lease, access_key_ids)
                .await
                .map_err(fault)
        }
        .boxed()
    }

    fn intend_password(
        &self,
        person: AppName,
        length: u32,
    ) -> BoxFuture<'_, Result<PasswordRecord, Fault>> {
        async move {
            let password = generate(length).map_err(fault)?;
            let name = format!("console-password/{}", Ulid::generate());
            let new = NewCredential::seal(&self.service.vault, name, &password)
                .map_err(|error| Fault::of_store(&error))?;
            let store = &self.service.store;
            let intended = store.intend_password(self.lease, person, new).await;
            intended.map_err(fault)
        }
        .boxed()
    }

    fn intend_password_again(&self, id: Ulid) -> BoxFuture<'_, Result<(), Fault>> {
        async move {
            let store = &self.service.store;
            let intended = store.intend_password_again(self.lease, id).await;
            intended.map_err(fault)
        }
        .boxed()
    }

    fn password<'a>(
        &'a self,
        record: &'a PasswordRecord,
    ) -> BoxFuture<'a, Result<Option<SecretString>, Fault>> {
        async move {
            let sealed = self.service.store.sealed_password(record.id).await;
            let Some((sealed, encryption_key)) = sealed.map_err(fault)? else {
                return Ok(None);
            };
            let owner = SecretOwner {
                credential: record.id,
                access_key_id: &record.credential,
            };
            let opened = self.service.vault.open(&encryption_key, &sealed, owner);
            opened
                .map(Some)
                .map_err(|error| cannot_open(&error.to_string()))
        }
        .boxed()
    }

    fn confirm_password(&self, id: Ulid) -> BoxFuture<'_, Result<(), Fault>> {
        async move {
            let store = &self.service.store;
            let confirmed = store.confirm_password(self.lease, id).await;
            confirmed.map_err(fault)
        }
        .boxed()
    }

    fn deactivating(&self, access_key_ids: Vec<String>) -> BoxFuture<'_, Result<(), Fault>> {
        let ids = access_key_ids.into_iter().collect();
        async move {
            self.service
                .store
                .note_switched_off(self.lease, ids)
                .await
                .map_err(fault)
        }
        .boxed()
    }
}

fn cannot_open(why: &str) -> Fault {
    Fault::Blocked(JobError::new(
        JobErrorCode::Internal,
        format!("A sealed password cannot be decrypted: {why}"),
        "Add the encryption key to SLIPWAY_PREVIOUS_ENCRYPTION_KEYS, then retry the job.",
    ))
}

fn fault(error: StoreError) -> Fault {
    match error {
        StoreError::LostLease => Fault::LostLease,
        error => Fault::of_store(&error),
    }
}
