//! Empties SQLite's write-ahead log after secrets were destroyed: its old pages still hold them, sealed.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::app::service::Service;
use crate::background::driver::{BackgroundTask, NextRun};
use crate::store::{Signal, StoreError};

pub struct Checkpoint;

impl BackgroundTask for Checkpoint {
    fn name(&self) -> &'static str {
        "checkpoint"
    }

    /// While a reader holds up the checkpoint; otherwise a signal activates it.
    fn period(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn activate<'a>(
        &'a mut self,
        service: &'a Arc<Service>,
    ) -> BoxFuture<'a, Result<NextRun, StoreError>> {
        async {
            Ok(if service.store.truncate_log().await {
                NextRun::OnSignal
            } else {
                NextRun::AfterPeriod
            })
        }
        .boxed()
    }

    fn activated_by(&self) -> Option<Signal> {
        Some(Signal::Destroyed)
    }
}
