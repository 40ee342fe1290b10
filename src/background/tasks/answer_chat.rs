//! Works on the requests of chat users, and keeps the messages of their jobs up to date.
//!
//! Invariants:
//! - Requests are worked on independently: a slow platform, or an AWS that is slow, delays no other request.
//! - Replicas do this side by side, each for the requests whose leases it takes.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;

use crate::app::service::Service;
use crate::background::chat::worker::{LEASE, work};
use crate::background::driver::{BackgroundTask, NextRun, Timer};
use crate::outbound::{AddressPolicy, Connector, HttpClient, client};
use crate::store::{Signal, StoreError};

const PERIOD: Duration = Duration::from_secs(10);
/// Requests that one process works on at once.
const MAX_AT_WORK: usize = 16;

pub struct AnswerChat {
    at_work: Arc<Semaphore>,
    /// `None` without certificates of authorities on this machine.
    client: Option<HttpClient>,
}

impl Default for AnswerChat {
    fn default() -> Self {
        Self {
            at_work: Arc::new(Semaphore::new(MAX_AT_WORK)),
            // The platforms' URLs are settings: their administrator decides where they lead.
            client: client(Connector::new(AddressPolicy::any(), None)),
        }
    }
}

impl BackgroundTask for AnswerChat {
    fn name(&self) -> &'static str {
        "answer_chat"
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    fn activate<'a>(
        &'a mut self,
        service: &'a Arc<Service>,
    ) -> BoxFuture<'a, Result<NextRun, StoreError>> {
        async {
            let now = service.clock.now();
            let due = service.store.chat_due().await?;
            if due.is_some_and(|due| due <= now) {
                self.start_due(service).await?;
            }
            let due = service.store.chat_due().await?;
            let free = self.at_work.available_permits() > 0;
            // Who ends its work tells so.
            Ok(match due {
                Some(due) if free => NextRun::After(due.since(service.clock.now()).min(PERIOD)),
                _ => NextRun::AfterPeriod,
            })
        }
        .boxed()
    }

    fn activated_by(&self) -> Option<Signal> {
        Some(Signal::Chat)
    }

    fn timer(&self) -> Timer {
        Timer::ServiceClock
    }
}

impl AnswerChat {
    async fn start_due(&self, service: &Arc<Service>) -> Result<(), StoreError> {
        let free = self.at_work.available_permits();
        if free == 0 {
            return Ok(());
        }
        for request in service.store.claim_chat_requests(free, LEASE).await? {
            // Only this task takes permits, so there is one.
            let Ok(permit) = self.at_work.clone().try_acquire_owned() else {
                return Ok(());
            };
            let told = service.clone();
            let working = work(service.clone(), self.client.clone(), request);
            service.tasks.spawn(async move {
                working.await;
                drop(permit);
                told.store.note_chat();
            });
        }
        Ok(())
    }
}
