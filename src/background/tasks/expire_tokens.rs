//! Removes tokens that have expired, and forgets ID tokens that nobody can exchange again.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::app::service::Service;
use crate::background::driver::{BackgroundTask, NextRun};
use crate::store::StoreError;

pub struct ExpireTokens;

impl BackgroundTask for ExpireTokens {
    fn name(&self) -> &'static str {
        "expire_tokens"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn activate<'a>(
        &'a mut self,
        service: &'a Arc<Service>,
    ) -> BoxFuture<'a, Result<NextRun, StoreError>> {
        async {
            service.store.expire_tokens().await?;
            Ok(NextRun::AfterPeriod)
        }
        .boxed()
    }
}
