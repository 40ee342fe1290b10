//! Keeps secrets no longer than they may be kept and under no older seal key than needed, and finds out
//! whether AWS accepts new keys.
//!
//! Invariant: a key is called ready only after several successes in a row, for IAM is eventually
//! consistent and can flap before it settles.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use ulid::Ulid;

use crate::app::service::Service;
use crate::aws::ErrorKind;
use crate::background::reencrypt::{Reencrypted, reencrypt};
use crate::domain::spec::default_account;
use crate::store::{CredentialRow, Signal, StoreError};

/// Successes in a row that make a key ready.
const IN_A_ROW: u32 = 3;
/// Between two tries of a key.
const BETWEEN: Duration = Duration::from_secs(1);
/// A key that AWS does not accept for this long stays unverified.
const PATIENCE: Duration = Duration::from_secs(120);
/// Keys that are made within this time are looked at together.
const TOGETHER: Duration = Duration::from_millis(100);
/// Between two rounds of destroying what is over.
const ROUND: Duration = Duration::from_secs(30);
/// Between two looks for history that is over.
const HISTORY_ROUND: Duration = Duration::from_secs(3600);
/// Between two commits that remove history, for others to write in.
const BREATH: Duration = Duration::from_millis(50);
/// Access keys that a line of the log names.
const SHOWN: usize = 20;

/// Runs until the service stops.
pub async fn keep(service: Arc<Service>) {
    let mut signals = service.store.signals();
    let mut tried = HashSet::new();
    let mut resealing = Resealing::default();
    // Whether no page of a destroyed secret can be left in the database's log; not known at the start.
    let mut emptied = false;
    loop {
        clean(&service).await;
        resealing.round(&service).await;
        verify_new(&service, &mut tried).await;
        emptied = emptied || service.store.truncate_log().await;
        let round = if emptied { ROUND } else { BETWEEN };
        tokio::select! {
            destroyed = sealed(&mut signals) => {
                emptied &= !destroyed;
                if !destroyed {
                    tokio::time::sleep(TOGETHER).await;
                }
            }
            () = tokio::time::sleep(round) => {}
            () = service.tasks.stopping() => return,
        }
    }
}

/// Removes history that is over, until the service stops.
pub async fn forget(service: Arc<Service>) {
    loop {
        let age = service.settings.retention;
        let pruned = async {
            Ok::<_, StoreError>((
                service.store.prune_history(age).await?,
                service.store.prune_audit(age).await?,
            ))
        };
        let pause = match pruned.await {
            Ok((0, 0)) => HISTORY_ROUND,
            Ok((jobs, entries)) => {
                tracing::debug!(
                    jobs,
                    entries,
                    "jobs that ended long ago and old entries of the audit are removed"
                );
                BREATH
            }
            Err(error) => {
                tracing::warn!(%error, "history could not be removed; trying again");
                ROUND
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = service.tasks.stopping() => return,
        }
    }
}

async fn clean(service: &Service) {
    match service.store.expire_secrets().await {
        Ok(0) => {}
        Ok(destroyed) => tracing::info!(
            destroyed,
            "secrets that were claimed or that nobody claimed are destroyed"
        ),
        Err(error) => {
            tracing::warn!(%error, "secrets that are over could not be destroyed; trying again")
        }
    }
    if let Err(error) = service.store.prune_idempotency().await {
        tracing::warn!(%error, "old idempotency records could not be removed; trying again");
    }
}

/// When secrets were last moved to the key that seals, and what could not be.
#[derive(Default)]
struct Resealing {
    last: Option<Instant>,
    unopened: Reencrypted,
}

impl Resealing {
    /// In every round, not at the start alone: another process of the service can still seal with an older key.
    async fn round(&mut self, service: &Service) {
        if self.last.is_some_and(|last| last.elapsed() < ROUND) {
            return;
        }
        self.last = Some(Instant::now());
        let done = match reencrypt(&service.store, &service.vault).await {
            Ok(done) => done,
            Err(error) => {
                return tracing::warn!(%error, "secrets could not be moved to the seal key; trying again");
            }
        };
        if done.moved > 0 {
            tracing::info!(
                moved = done.moved,
                encryption_key = service.vault.id(),
                "secrets of older seal keys are under the new one"
            );
        }
        let unopened = done.unopened.values().map(Vec::len).sum::<usize>();
        metrics::gauge!("slipway_unopenable_secrets")
            .set(u32::try_from(unopened).unwrap_or(u32::MAX));
        if done.unopened != self.unopened.unopened {
            for (encryption_key, access_key_ids) in &done.unopened {
                let some = access_key_ids
                    .iter()
                    .take(SHOWN)
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(",");
                let remedy = if service.vault.has(encryption_key) {
                    "their rows were changed"
                } else {
                    "add it to SLIPWAY_PREVIOUS_ENCRYPTION_KEYS"
                };
                tracing::warn!(
                    encryption_key,
                    secrets = access_key_ids.len(),
                    access_key_ids = some,
                    remedy,
                    "sealed secrets cannot be opened"
                );
            }
        }
        self.unopened = done;
    }
}

async fn verify_new(service: &Arc<Service>, tried: &mut HashSet<Ulid>) {
    let Ok(unverified) = service.store.unverified_keys().await else {
        return;
    };
    for (key, sealed) in unverified {
        if tried.insert(key.id) && service.clock.now().since(key.created_at) < PATIENCE {
            let worker = service.clone();
            service
                .tasks
                .spawn(async move { verify(&worker, key, sealed).await });
        }
    }
}

/// Uses a new key until AWS has accepted it several times in a row.
async fn verify(service: &Service, key: CredentialRow, sealed: Vec<u8>) {
    // The rounds above tell of those that cannot be opened.
    let Ok(secret) = key.open(&service.vault, &sealed) else {
        return;
    };
    let Some(account) = service.account(&default_account()) else {
        return;
    };
    let mut in_a_row = 0;
    while in_a_row < IN_A_ROW && service.clock.now().since(key.created_at) < PATIENCE {
        in_a_row = match account.check_key(&key.access_key_id, &secret).await {
            Ok(()) => in_a_row + 1,
            // A throttle says nothing about the key.
            Err(error) if error.kind == ErrorKind::Throttled => in_a_row,
            Err(_) => 0,
        };
        if in_a_row < IN_A_ROW {
            tokio::select! {
                () = tokio::time::sleep(BETWEEN) => {}
                () = service.tasks.stopping() => return,
            }
        }
    }
    if in_a_row >= IN_A_ROW
        && let Err(error) = service.store.mark_key_ready(key.id).await
    {
        tracing::warn!(%error, "that a key is ready could not be written");
    }
}

/// Returns when a secret was sealed, or destroyed: which of the two.
async fn sealed(signals: &mut tokio::sync::broadcast::Receiver<Signal>) -> bool {
    loop {
        match signals.recv().await {
            Ok(Signal::Sealed) => return false,
            Ok(Signal::Destroyed) | Err(RecvError::Lagged(_)) => return true,
            Ok(_) => {}
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}
