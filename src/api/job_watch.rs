//! Wakes long polls and event streams when their job progresses.
//!
//! Invariant: a subscriber that subscribed before a commit is woken by it, or by its next poll.
//!
//! One listener serves all subscribers. With a listener each, the progress of one job would wake every stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use ulid::Ulid;

use crate::app::service::Service;
use crate::store::Signal;

const PRUNE_INTERVAL: Duration = Duration::from_secs(60);
/// How often a subscriber polls on average, in case it missed a signal. An event stream of a revoked token ends then.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// The time until the next poll, with jitter so that subscribers do not all poll at once.
pub fn poll_delay() -> Duration {
    POLL_INTERVAL.mul_f64(0.5 + fastrand::f64())
}

/// The jobs that are being watched.
#[derive(Clone, Default)]
pub struct JobWatch {
    jobs: Arc<Mutex<HashMap<Ulid, watch::Sender<()>>>>,
}

impl JobWatch {
    /// Listens until the service stops.
    pub fn start(service: &Arc<Service>) -> Self {
        let watch = Self::default();
        let (listening, signals, tasks) = (
            watch.clone(),
            service.store.progress_signals(),
            service.tasks.clone(),
        );
        service.tasks.spawn(async move {
            tokio::select! {
                () = listening.listen(signals) => {}
                () = tasks.stopping() => {}
            }
        });
        watch
    }

    /// A receiver that changes when the job may have progressed.
    pub fn subscribe(&self, job: Ulid) -> watch::Receiver<()> {
        self.jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(job)
            .or_default()
            .subscribe()
    }

    async fn listen(&self, mut signals: Receiver<Signal>) {
        let mut interval = tokio::time::interval(PRUNE_INTERVAL);
        loop {
            tokio::select! {
                signal = signals.recv() => match signal {
                    Ok(Signal::Progress(job)) => self.wake(Some(job)),
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => self.wake(None),
                    Err(RecvError::Closed) => return,
                },
                _ = interval.tick() => self.prune(),
            }
        }
    }

    /// Wakes the subscribers of a job, or of all jobs.
    fn wake(&self, job: Option<Ulid>) {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        match job {
            Some(job) => jobs
                .get(&job)
                .into_iter()
                .for_each(|followed| followed.send_replace(())),
            None => jobs.values().for_each(|followed| followed.send_replace(())),
        }
    }

    fn prune(&self) {
        self.jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, followed| followed.receiver_count() > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::broadcast;

    #[tokio::test]
    async fn a_signal_wakes_those_whom_it_is_for() {
        let (send, signals) = broadcast::channel(2);
        let watch = JobWatch::default();
        let (one, other) = (Ulid::generate(), Ulid::generate());
        let (mut first, mut second, mut another) = (
            watch.subscribe(one),
            watch.subscribe(one),
            watch.subscribe(other),
        );
        send.send(Signal::Progress(one)).unwrap();
        let listening = async {
            tokio::time::timeout(Duration::from_millis(50), watch.listen(signals))
                .await
                .unwrap_err();
        };
        let ((), woken, also) = tokio::join!(listening, first.changed(), second.changed());
        assert!(woken.is_ok() && also.is_ok() && !another.has_changed().unwrap());
        let signals = send.subscribe();
        for _ in 0..9 {
            send.send(Signal::Queued).unwrap();
        }
        let listening = tokio::time::timeout(Duration::from_millis(50), watch.listen(signals));
        assert!(listening.await.is_err());
        assert!(
            another.has_changed().unwrap(),
            "after missed signals, every subscriber is woken"
        );
        drop((first, second));
        watch.prune();
        assert_eq!(
            watch.jobs.lock().unwrap().keys().collect::<Vec<_>>(),
            [&other]
        );
        another.borrow_and_update();
    }
}
