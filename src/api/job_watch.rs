//! Who follows which job: one listener to the database's signals wakes those whom a signal is for.
//!
//! Invariant: a follower that asked before a commit is woken by it, or by the next look that it takes by
//! itself. With a listener of its own, each of a thousand streams would be woken by every job's progress.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use ulid::Ulid;

use crate::app::service::Service;
use crate::store::Signal;

/// Between two rounds of forgetting jobs that nobody follows.
const TIDY: Duration = Duration::from_secs(60);

/// The followed jobs.
#[derive(Clone, Default)]
pub struct Followers {
    jobs: Arc<Mutex<HashMap<Ulid, watch::Sender<()>>>>,
}

impl Followers {
    /// Listens until the service stops.
    pub fn start(service: &Arc<Service>) -> Self {
        let followers = Self::default();
        let (listening, signals, tasks) = (
            followers.clone(),
            service.store.progress_signals(),
            service.tasks.clone(),
        );
        service.tasks.spawn(async move {
            tokio::select! {
                () = listening.listen(signals) => {}
                () = tasks.stopping() => {}
            }
        });
        followers
    }

    /// Changes when something happened to the job, or may have.
    pub fn follow(&self, job: Ulid) -> watch::Receiver<()> {
        self.jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(job)
            .or_default()
            .subscribe()
    }

    async fn listen(&self, mut signals: Receiver<Signal>) {
        let mut tidy = tokio::time::interval(TIDY);
        loop {
            tokio::select! {
                signal = signals.recv() => match signal {
                    Ok(Signal::Progress(job)) => self.wake(Some(job)),
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => self.wake(None),
                    Err(RecvError::Closed) => return,
                },
                _ = tidy.tick() => self.forget(),
            }
        }
    }

    /// Wakes the followers of a job, or of all.
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

    fn forget(&self) {
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
        let followers = Followers::default();
        let (one, other) = (Ulid::generate(), Ulid::generate());
        let (mut first, mut second, mut another) = (
            followers.follow(one),
            followers.follow(one),
            followers.follow(other),
        );
        send.send(Signal::Progress(one)).unwrap();
        let listening = async {
            tokio::time::timeout(Duration::from_millis(50), followers.listen(signals))
                .await
                .unwrap_err();
        };
        let ((), woken, also) = tokio::join!(listening, first.changed(), second.changed());
        assert!(woken.is_ok() && also.is_ok() && !another.has_changed().unwrap());
        let signals = send.subscribe();
        for _ in 0..9 {
            send.send(Signal::Queued).unwrap();
        }
        let listening = tokio::time::timeout(Duration::from_millis(50), followers.listen(signals));
        assert!(listening.await.is_err());
        assert!(
            another.has_changed().unwrap(),
            "signals were missed, so everybody looks"
        );
        drop((first, second));
        followers.forget();
        assert_eq!(
            followers.jobs.lock().unwrap().keys().collect::<Vec<_>>(),
            [&other]
        );
        another.borrow_and_update();
    }
}
