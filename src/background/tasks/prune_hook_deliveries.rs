//! Forgets deliveries of incoming webhooks that came long ago.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::app::service::Service;
use crate::background::driver::{BackgroundTask, NextRun};
use crate::store::StoreError;

pub struct PruneHookDeliveries;

impl BackgroundTask for PruneHookDeliveries {
    fn name(&self) -> &'static str {
        "prune_hook_deliveries"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(600)
    }

    fn activate<'a>(
        &'a mut self,
        service: &'a Arc<Service>,
    ) -> BoxFuture<'a, Result<NextRun, StoreError>> {
        async {
            while service.store.prune_hook_deliveries().await? > 0 {}
            Ok(NextRun::AfterPeriod)
        }
        .boxed()
    }
}
