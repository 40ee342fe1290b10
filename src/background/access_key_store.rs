//! Records intents and secrets of access keys, under the job's lease.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use secrecy::SecretString;
use ulid::Ulid;

use crate::app::service::Service;
use crate::domain::access_key::{Intent, KeyRecords};
use crate::provision::access_key_store::AccessKeyStore;
use crate::provision::fault::Fault;
use crate::store::{Lease, NewCredential, StoreError};

/// The access key store of a running job.
pub struct LeasedKeyStore {
    service: Arc<Service>,
    app: Ulid,
    lease: Lease,
}

impl LeasedKeyStore {
    pub fn new(service: Arc<Service>, app: Ulid, lease: Lease) -> Self {
        Self {
            service,
            app,
            lease,
        }
    }
}

impl AccessKeyStore for LeasedKeyStore {
    fn records(&self) -> BoxFuture<'_, Result<KeyRecords, Fault>> {
        async { self.service.key_records(self.app).await.map_err(fault) }.boxed()
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

fn fault(error: StoreError) -> Fault {
    match error {
        StoreError::LostLease => Fault::LostLease,
        error => Fault::of_store(&error),
    }
}
