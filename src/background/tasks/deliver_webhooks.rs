//! Delivers events to webhooks.
//!
//! Invariants:
//! - Webhooks are sent to independently: a slow receiver delays no other.
//! - Replicas do this side by side, each for the webhooks whose leases it takes.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::app::service::Service;
use crate::background::driver::{BackgroundTask, NextRun, Timer};
use crate::background::webhook_sender::send_pending;
use crate::clock::Timestamp;
use crate::outbound::{HttpClient, client};
use crate::store::{Signal, StoreError};

const PERIOD: Duration = Duration::from_secs(10);
/// How often what waits is counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct DeliverWebhooks {
    /// Made when it is first needed: most installations have no webhook.
    client: Option<Option<HttpClient>>,
    counted_at: Option<Instant>,
}

impl BackgroundTask for DeliverWebhooks {
    fn name(&self) -> &'static str {
        "deliver_webhooks"
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    fn activate<'a>(
        &'a mut self,
        service: &'a Arc<Service>,
    ) -> BoxFuture<'a, Result<NextRun, StoreError>> {
        async {
            while service.store.has_new_webhook_events().await?
                && service.store.distribute_webhook_events().await?
            {}
            let due = service.store.webhooks_due().await?;
            let now = service.clock.now();
            if due.iter().any(|due| *due <= now) {
                self.send(service).await?;
            }
            self.count(service).await?;
            let later: Option<Timestamp> = due.into_iter().filter(|due| *due > now).min();
            Ok(later.map_or(NextRun::AfterPeriod, |later| {
                NextRun::After(later.since(now).min(PERIOD))
            }))
        }
        .boxed()
    }

    fn activated_by(&self) -> Option<Signal> {
        Some(Signal::Outbox)
    }

    /// Events that are recorded together are distributed together.
    fn activation_delay(&self) -> Duration {
        Duration::from_millis(20)
    }

    fn timer(&self) -> Timer {
        Timer::ServiceClock
    }
}

impl DeliverWebhooks {
    async fn send(&mut self, service: &Arc<Service>) -> Result<(), StoreError> {
        let make = || client(service.webhook_connector.clone());
        let client = self.client.get_or_insert_with(make).clone();
        // The leases count from before their commit.
        let claimed = Instant::now();
        let span = service.settings.lease_duration;
        for lease in service.store.claim_webhooks(span).await? {
            let sending = send_pending(service.clone(), client.clone(), lease, claimed);
            service.tasks.spawn(sending);
        }
        Ok(())
    }

    async fn count(&mut self, service: &Service) -> Result<(), StoreError> {
        let is_due = self
            .counted_at
            .is_none_or(|at| at.elapsed() >= COUNT_INTERVAL);
        if is_due {
            let depth = service.store.outbox_depth().await?;
            metrics::gauge!("slipway_webhook_outbox").set(depth);
            self.counted_at = Some(Instant::now());
        }
        Ok(())
    }
}
