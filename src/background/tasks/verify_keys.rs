//! Starts the verification of new access keys whose secrets nobody has claimed yet. A claim starts that of its own key.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use ulid::Ulid;

use crate::app::service::Service;
use crate::app::verify_key::start_verification;
use crate::background::driver::{BackgroundTask, NextRun};
use crate::store::{Signal, StoreError};

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
                // The task `reencrypt` reports secrets that cannot be opened.
                if self.started.insert(key.id)
                    && let Ok(secret) = key.open(&service.vault, &sealed)
                {
                    start_verification(service, key, secret);
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
