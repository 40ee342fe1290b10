//! Removes jobs that ended longer ago than `SLIPWAY_RETENTION`, and audit entries and webhook events of that age.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::app::service::Service;
use crate::background::driver::{BackgroundTask, NextRun};
use crate::store::StoreError;

/// Between two commits, so that others can write.
const BATCH_PAUSE: Duration = Duration::from_millis(50);

pub struct PruneHistory;

impl BackgroundTask for PruneHistory {
    fn name(&self) -> &'static str {
        "prune_history"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(3600)
    }

    fn activate<'a>(
        &'a mut self,
        service: &'a Arc<Service>,
    ) -> BoxFuture<'a, Result<NextRun, StoreError>> {
        async {
            let age = service.settings.retention;
            let jobs = service.store.prune_history(age).await?;
            let entries = service.store.prune_audit(age).await?;
            service.store.prune_actors(age).await?;
            let events = service.store.prune_webhook_events(age).await?;
            if (jobs, entries, events) == (0, 0, 0) {
                return Ok(NextRun::AfterPeriod);
            }
            tracing::debug!(
                jobs,
                entries,
                events,
                "old jobs, audit entries and webhook events removed"
            );
            Ok(NextRun::After(BATCH_PAUSE))
        }
        .boxed()
    }
}
