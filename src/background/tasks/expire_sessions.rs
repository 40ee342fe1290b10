//! Removes sessions that have ended.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::app::service::Service;
use crate::app::sessions::idle_timeout;
use crate::background::driver::{BackgroundTask, NextRun};
use crate::store::StoreError;

pub struct ExpireSessions;

impl BackgroundTask for ExpireSessions {
    fn name(&self) -> &'static str {
        "expire_sessions"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn activate<'a>(
        &'a mut self,
        service: &'a Arc<Service>,
    ) -> BoxFuture<'a, Result<NextRun, StoreError>> {
        async {
            service.store.expire_sessions(idle_timeout(service)).await?;
            Ok(NextRun::AfterPeriod)
        }
        .boxed()
    }
}
