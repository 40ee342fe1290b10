//! Claims due jobs and starts an attempt of each, as many at once as there are workers.
//!
//! Invariant: the dispatcher subscribes to signals before it queries, so it misses no job that is queued in between.
//!
//! Rejected: a queue crate. Those that were measured restart a job from its start, leave the jobs of a killed worker for
//! minutes, or lose retries (docs/decisions/0001-job-table-of-our-own.md).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::app::service::Service;
use crate::store::{Claimed, MAX_CLAIM_BATCH, Signal, StoreError};

/// Claims jobs and runs them until the service stops.
pub async fn dispatch(service: Arc<Service>) {
    let owner = ulid::Ulid::generate().to_string();
    let permits = Arc::new(Semaphore::new(service.settings.workers));
    let poll = service.timing.poll;
    while !service.tasks.is_stopping() {
        service.note_dispatch();
        let permit = tokio::select! {
            permit = permits.clone().acquire_owned() => permit,
            () = service.tasks.stopping() => break,
            () = tokio::time::sleep(poll) => continue,
        };
        let Ok(permit) = permit else { break };
        let mut signals = service.store.signals();
        let mut free = vec![(permit, service.store.signals())];
        while free.len() < MAX_CLAIM_BATCH
            && let Ok(permit) = permits.clone().try_acquire_owned()
        {
            free.push((permit, service.store.signals()));
        }
        // Leases last from when they are asked for: the answer can be late.
        let asked = Instant::now();
        match claim(&service, free.len(), &owner).await {
            Ok(claimed) => {
                let all_are_busy = claimed.len() == free.len();
                for (claimed, (permit, signals)) in claimed.into_iter().zip(free) {
                    let worker = service.clone();
                    service.tasks.spawn(async move {
                        crate::background::attempt::run(&worker, claimed, asked, signals, permit)
                            .await
                    });
                }
                if all_are_busy {
                    continue;
                }
                let wait = until_due(&service).await;
                tokio::select! {
                    () = queued(&mut signals) => {}
                    () = tokio::time::sleep(wait) => {}
                    () = service.tasks.stopping() => break,
                }
            }
            Err(error) => {
                tracing::error!(%error, "cannot claim jobs; trying again");
                tokio::time::sleep(poll).await;
            }
        }
    }
}

/// Claims jobs for all free workers in one commit: one by one, the last would wait for the commits of all others.
/// The duration is measured with jobs and without.
async fn claim(service: &Service, most: usize, owner: &str) -> Result<Vec<Claimed>, StoreError> {
    let began = Instant::now();
    let claimed = service
        .store
        .claim_up_to(
            most,
            owner,
            service.settings.lease_duration,
            service.settings.job_deadline,
        )
        .await;
    metrics::histogram!("slipway_claim_seconds").record(began.elapsed().as_secs_f64());
    claimed
}

async fn until_due(service: &Service) -> Duration {
    let poll = service.timing.poll;
    match service.store.next_due().await {
        Ok(Some(due)) => due
            .since(service.clock.now())
            .clamp(Duration::from_millis(5), poll),
        Ok(None) | Err(_) => poll,
    }
}

async fn queued(signals: &mut tokio::sync::broadcast::Receiver<Signal>) {
    loop {
        match signals.recv().await {
            Ok(Signal::Queued) | Err(RecvError::Lagged(_)) => return,
            Ok(_) => {}
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}
