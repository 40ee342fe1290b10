//! Handles deliveries of incoming webhooks.
//!
//! Invariants:
//! - A delivery is handled under a lease. One that a lost process had is handled again, and requests nothing twice.
//! - Deliveries of one repository are handled in order; those of several, at the same time.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use tokio::time::timeout;

use crate::app::hooks::handle::handle;
use crate::app::service::Service;
use crate::background::driver::{BackgroundTask, NextRun, Timer};
use crate::store::{HookDelivery, HookOutcome, Signal, StoreError};

const PERIOD: Duration = Duration::from_secs(10);
/// Deliveries at once.
const BATCH: u32 = 8;
/// The longest that handling a delivery takes: a few requests to the forge, and a plan.
const HANDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Longer than that, so nobody else handles it at the same time.
const LEASE: Duration = Duration::from_secs(180);
const RETRY_DELAY: Duration = Duration::from_secs(60);

pub struct HandleHooks;

impl BackgroundTask for HandleHooks {
    fn name(&self) -> &'static str {
        "handle_hooks"
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    fn activate<'a>(
        &'a mut self,
        service: &'a Arc<Service>,
    ) -> BoxFuture<'a, Result<NextRun, StoreError>> {
        async {
            loop {
                let claimed = service.store.claim_hook_deliveries(LEASE, BATCH).await?;
                if claimed.is_empty() {
                    break;
                }
                let all = futures::stream::iter(&claimed);
                all.for_each_concurrent(None, |delivery| handle_one(service, delivery))
                    .await;
            }
            let now = service.clock.now();
            let next = service.store.next_hook_delivery().await?;
            let later = next.map(|next| next.since(now).min(PERIOD));
            Ok(later.map_or(NextRun::AfterPeriod, |later| {
                NextRun::After(later.max(Duration::from_millis(100)))
            }))
        }
        .boxed()
    }

    fn activated_by(&self) -> Option<Signal> {
        Some(Signal::Received)
    }

    fn timer(&self) -> Timer {
        Timer::ServiceClock
    }
}

async fn handle_one(service: &Service, delivery: &HookDelivery) {
    let outcome = timeout(HANDLE_TIMEOUT, handle(service, delivery)).await;
    let outcome = outcome.unwrap_or_else(|_| {
        let later = service.clock.now().after(RETRY_DELAY);
        HookOutcome::Retry("It took too long.".into(), later)
    });
    let (source, id) = (&delivery.source, &delivery.delivery_id);
    let (repository, event) = (&delivery.event.repository.full_name, delivery.event.kind);
    let label = match &outcome {
        HookOutcome::Done(text, _) => {
            tracing::info!(source, id, repository, %event, text, "delivery handled");
            "done"
        }
        HookOutcome::Failed(text) => {
            tracing::warn!(source, id, repository, %event, text, "delivery refused");
            "failed"
        }
        HookOutcome::Retry(text, _) => {
            tracing::info!(source, id, repository, %event, text, "delivery is tried again");
            "retry"
        }
    };
    metrics::counter!("slipway_hooks_handled_total", "outcome" => label).increment(1);
    if let Err(error) = service.store.finish_hook_delivery(delivery, outcome).await {
        tracing::warn!(source, id, %error, "the outcome cannot be recorded; the delivery is handled again");
    }
}
