//! Removes idempotency records that are too old to be replayed.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::app::service::Service;
use crate::background::driver::{BackgroundTask, NextRun};
use crate::store::StoreError;

pub struct PruneIdempotency;

impl BackgroundTask for PruneIdempotency {
    fn name(&self) -> &'static str {
        "prune_idempotency"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(30)
    }

    fn activate<'a>(
        &'a mut self,
        service: &'a Arc<Service>,
    ) -> BoxFuture<'a, Result<NextRun, StoreError>> {
        async {
            service.store.prune_idempotency().await?;
            Ok(NextRun::AfterPeriod)
        }
        .boxed()
    }
}
