//! Forgets requests of chat users.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::app::service::Service;
use crate::background::driver::{BackgroundTask, NextRun};
use crate::store::StoreError;

/// How long a request that has ended is known, so that it is not done again when it is delivered again.
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);

pub struct PruneChatRequests;

impl BackgroundTask for PruneChatRequests {
    fn name(&self) -> &'static str {
        "prune_chat_requests"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(3600)
    }

    fn activate<'a>(
        &'a mut self,
        service: &'a Arc<Service>,
    ) -> BoxFuture<'a, Result<NextRun, StoreError>> {
        async {
            let before = service.clock.now().before(REMEMBERED);
            service.store.prune_chat_requests(before).await?;
            Ok(NextRun::AfterPeriod)
        }
        .boxed()
    }
}
