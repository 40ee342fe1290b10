//! Cancels jobs that nobody has approved in time.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::app::service::Service;
use crate::background::driver::{BackgroundTask, NextRun};
use crate::store::StoreError;

pub struct ExpireApprovals;

impl BackgroundTask for ExpireApprovals {
    fn name(&self) -> &'static str {
        "expire_approvals"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(30)
    }

    fn activate<'a>(
        &'a mut self,
        service: &'a Arc<Service>,
    ) -> BoxFuture<'a, Result<NextRun, StoreError>> {
        async {
            while service.store.expire_approvals().await? > 0 {}
            Ok(NextRun::AfterPeriod)
        }
        .boxed()
    }
}
