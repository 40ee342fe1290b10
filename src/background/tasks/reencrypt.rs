//! Moves sealed secrets from previous encryption keys to the present one.
//!
//! Invariants:
//! - A sealed secret is replaced by the same secret alone, and only where it still is: a claim, or its expiry, wins.
//! - It can be interrupted at any instant and run again; what was moved stays moved.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::app::service::Service;
use crate::background::driver::{BackgroundTask, NextRun};
use crate::store::{Store, StoreError};
use crate::vault::Vault;

/// Rows in one read.
const READ_BATCH: u32 = 100;
/// Access keys that a line of the log names.
const MAX_LOGGED_KEYS: usize = 20;

/// Runs again and again, not at the start alone: another process of the service can still use a previous key.
#[derive(Default)]
pub struct Reencrypt {
    /// What the last run could not open.
    unopened: BTreeMap<String, Vec<String>>,
}

impl BackgroundTask for Reencrypt {
    fn name(&self) -> &'static str {
        "reencrypt"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(30)
    }

    fn activate<'a>(
        &'a mut self,
        service: &'a Arc<Service>,
    ) -> BoxFuture<'a, Result<NextRun, StoreError>> {
        async {
            let done = reencrypt(&service.store, &service.vault).await?;
            if done.moved > 0 {
                tracing::info!(
                    secrets = done.moved,
                    encryption_key = service.vault.id(),
                    "secrets re-encrypted with the current encryption key"
                );
            }
            let unopened = done.unopened.values().map(Vec::len).sum::<usize>();
            metrics::gauge!("slipway_unopenable_secrets")
                .set(u32::try_from(unopened).unwrap_or(u32::MAX));
            if done.unopened != self.unopened {
                log_unopened(&service.vault, &done.unopened);
            }
            self.unopened = done.unopened;
            Ok(NextRun::AfterPeriod)
        }
        .boxed()
    }
}

fn log_unopened(vault: &Vault, unopened: &BTreeMap<String, Vec<String>>) {
    for (encryption_key, access_key_ids) in unopened {
        let some = access_key_ids
            .iter()
            .take(MAX_LOGGED_KEYS)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(",");
        let remedy = if vault.has(encryption_key) {
            "the database rows were modified; rotate these access keys"
        } else {
            "add the encryption key to SLIPWAY_PREVIOUS_ENCRYPTION_KEYS"
        };
        tracing::warn!(
            encryption_key,
            secrets = access_key_ids.len(),
            access_key_ids = some,
            remedy,
            "secrets cannot be decrypted"
        );
    }
}

/// The outcome of moving secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reencrypted {
    /// How many secrets were moved.
    pub moved: u64,
    /// Access keys and webhooks whose secret cannot be opened, by the id of the encryption key that their row names.
    pub unopened: BTreeMap<String, Vec<String>>,
}

/// Moves every sealed secret that can be opened to the present encryption key.
///
/// # Errors
/// When the database does not answer; what was moved until then stays moved.
pub async fn reencrypt(store: &Store, vault: &Vault) -> Result<Reencrypted, StoreError> {
    let (mut done, mut after) = (Reencrypted::default(), None);
    loop {
        let batch = store
            .sealed_with_other_keys(vault.id(), after, READ_BATCH)
            .await?;
        let Some((last, _)) = batch.last() else {
            return reencrypt_webhooks(store, vault, done).await;
        };
        after = Some(last.id);
        for (row, was) in batch {
            match row.reencrypt(vault, &was) {
                Ok(sealed) => {
                    let key = vault.id().to_owned();
                    let moved = store
                        .replace_sealed_secret(row.id, was, sealed, key)
                        .await?;
                    done.moved += u64::from(moved);
                }
                Err(_) => done
                    .unopened
                    .entry(row.encryption_key)
                    .or_default()
                    .push(row.access_key_id),
            }
        }
    }
}

async fn reencrypt_webhooks(
    store: &Store,
    vault: &Vault,
    mut done: Reencrypted,
) -> Result<Reencrypted, StoreError> {
    for was in store.webhook_secrets_with_other_keys(vault.id()).await? {
        match was.reencrypt(vault) {
            Ok(new) => {
                let moved = store.replace_webhook_secret(was, new).await?;
                done.moved += u64::from(moved);
            }
            Err(_) => done
                .unopened
                .entry(was.encryption_key)
                .or_default()
                .push(format!("webhook {}", was.webhook)),
        }
    }
    Ok(done)
}
