//! Renews the lease of a job while it is worked on.
//!
//! Invariant: a worker that cannot renew its lease stops before the lease runs out, also when it could not watch the
//! time: the process was stopped, or the claim was answered late.

use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::app::service::Service;
use crate::aws::Fence;
use crate::background::reporter::Reporter;
use crate::store::{Lease, Signal, StoreError};

/// When the work under a lease has to end. Another worker can claim the job when the lease runs out.
pub fn work_deadline(asked: Instant, lease: Duration) -> Instant {
    asked + lease.mul_f64(0.8)
}

/// Renews the lease and watches for cancellation. Returns when the lease is lost. `signals` were subscribed to before the
/// claim, so none is missed.
pub async fn renew_until_lost(
    service: &Service,
    lease: Lease,
    fence: &Fence,
    reporter: &Reporter,
    mut signals: Receiver<Signal>,
) {
    let span = service.settings.lease_duration;
    loop {
        let renewal = async {
            tokio::select! {
                () = tokio::time::sleep(span / 3) => {}
                () = cancel_requested(&mut signals, lease) => {}
                () = service.tasks.stopping(), if !reporter.is_stopping() => reporter.stop(),
            }
            // The lease counts at least from here: the write reads the clock later.
            (Instant::now(), service.store.renew_lease(lease, span).await)
        };
        let (asked, answer) = tokio::select! {
            answer = renewal => answer,
            () = tokio::time::sleep_until(fence.moment()) => return,
        };
        match answer {
            Ok(true) => reporter.cancel(),
            Ok(false) => {}
            Err(StoreError::LostLease) => return,
            Err(_) => continue,
        }
        fence.move_to(work_deadline(asked, span));
    }
}

async fn cancel_requested(signals: &mut Receiver<Signal>, lease: Lease) {
    loop {
        match signals.recv().await {
            Ok(Signal::CancelAsked(job)) if job == lease.job => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}
