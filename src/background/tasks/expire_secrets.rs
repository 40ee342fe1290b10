//! Destroys secrets that were claimed a while ago, those that nobody claimed in time, and webhooks' previous ones.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::app::service::Service;
use crate::background::driver::{BackgroundTask, NextRun};
use crate::store::StoreError;

pub struct ExpireSecrets;

impl BackgroundTask for ExpireSecrets {
    fn name(&self) -> &'static str {
        "expire_secrets"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(30)
    }

    fn activate<'a>(
        &'a mut self,
        service: &'a Arc<Service>,
    ) -> BoxFuture<'a, Result<NextRun, StoreError>> {
        async {
            let mut secrets = service.store.expire_secrets().await?;
            secrets += service.store.expire_webhook_secrets().await?;
            if secrets > 0 {
                tracing::info!(secrets, "expired secrets destroyed");
            }
            Ok(NextRun::AfterPeriod)
        }
        .boxed()
    }
}
