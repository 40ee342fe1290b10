//! Finds out whether AWS accepts new access keys.
//!
//! Invariant: a key is called ready only after several successes in a row. IAM is eventually consistent, and its
//! answers can alternate before they settle.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use ulid::Ulid;

use crate::app::service::Service;
use crate::aws::ErrorKind;
use crate::background::driver::{BackgroundTask, NextRun};
use crate::store::{CredentialRow, Signal, StoreError};

const REQUIRED_SUCCESSES: u32 = 3;
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// A key that AWS does not accept for this long stays unverified.
const VERIFICATION_TIMEOUT: Duration = Duration::from_secs(120);

/// Starts one check for each new key.
#[derive(Default)]
pub struct VerifyKeys {
    /// Rows whose check was started.
    started: HashSet<Ulid>,
}

impl BackgroundTask for VerifyKeys {
    fn name(&self) -> &'static str {
        "verify_keys"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(30)
    }

    fn activate<'a>(
        &'a mut self,
        service: &'a Arc<Service>,
    ) -> BoxFuture<'a, Result<NextRun, StoreError>> {
        async {
            let unverified = service.store.unverified_keys().await?;
            self.started
                .retain(|id| unverified.iter().any(|(key, _)| key.id == *id));
            for (key, sealed) in unverified {
                let age = service.clock.now().since(key.created_at);
                if self.started.insert(key.id) && age < VERIFICATION_TIMEOUT {
                    let worker = service.clone();
                    service
                        .tasks
                        .spawn(async move { verify(&worker, key, sealed).await });
                }
            }
            Ok(NextRun::AfterPeriod)
        }
        .boxed()
    }

    fn activated_by(&self) -> Option<Signal> {
        Some(Signal::Sealed)
    }

    /// Keys that are created together are read together.
    fn activation_delay(&self) -> Duration {
        Duration::from_millis(100)
    }
}

/// Uses a new key until AWS has accepted it several times in a row.
async fn verify(service: &Service, key: CredentialRow, sealed: Vec<u8>) {
    // The task `reencrypt` reports secrets that cannot be opened.
    let Ok(secret) = key.open(&service.vault, &sealed) else {
        return;
    };
    // Any account can ask STS about a key.
    let account = service.own_account();
    let mut successes = 0;
    while successes < REQUIRED_SUCCESSES
        && service.clock.now().since(key.created_at) < VERIFICATION_TIMEOUT
    {
        successes = match account.check_key(&key.access_key_id, &secret).await {
            Ok(()) => successes + 1,
            // A throttle says nothing about the key.
            Err(error) if error.kind == ErrorKind::Throttled => successes,
            Err(_) => 0,
        };
        if successes < REQUIRED_SUCCESSES {
            tokio::select! {
                () = tokio::time::sleep(CHECK_INTERVAL) => {}
                () = service.tasks.stopping() => return,
            }
        }
    }
    if successes >= REQUIRED_SUCCESSES
        && let Err(error) = service.store.mark_key_ready(key.id).await
    {
        tracing::warn!(access_key_id = key.access_key_id, %error, "cannot record that the access key is ready");
    }
}
