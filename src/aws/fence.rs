//! The fence of a job: the moment from which on it makes no AWS call, because another worker may have the job.
//!
//! Invariants:
//! - The moment is on the monotonic clock, which also counts while the process is stopped.
//! - A call is looked at each time that it goes on, not only when it begins: what the SDK tries again after the
//!   moment is not sent either. What its connection has taken before cannot be called back: a process that is stopped
//!   between that and the write sends it when it goes on.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use tokio::time::Instant;

tokio::task_local! {
    static FENCE: Arc<Fence>;
}

/// The moment from which on a job makes no AWS call.
#[derive(Debug)]
pub struct Fence(Mutex<Instant>);

impl Fence {
    /// A fence at this moment.
    pub fn at(moment: Instant) -> Arc<Self> {
        Arc::new(Self(Mutex::new(moment)))
    }

    /// Moves the fence after the lease was renewed.
    pub fn move_to(&self, moment: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = moment;
    }

    /// The moment.
    pub fn moment(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a job's work. The AWS calls in it stop at the fence.
    pub async fn around<T>(self: &Arc<Self>, work: impl Future<Output = T>) -> T {
        FENCE.scope(self.clone(), work).await
    }
}

/// The response of a call. `None` if the fence of its job stopped it. A call outside a job has no fence.
pub(super) async fn before_fence<T>(call: impl Future<Output = T>) -> Option<T> {
    let Ok(fence) = FENCE.try_with(Arc::clone) else {
        return Some(call.await);
    };
    let mut call = pin!(call);
    poll_fn(|cx| match fence.moment() <= Instant::now() {
        true => Poll::Ready(None),
        false => call.as_mut().poll(cx).map(Some),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;
    use tokio::time::{advance, sleep};

    const SECOND: Duration = Duration::from_secs(1);

    /// What the SDK does with a call that fails: it sends it again.
    async fn sent_again_and_again(sent: &AtomicU32) {
        loop {
            sent.fetch_add(1, Ordering::Relaxed);
            sleep(SECOND).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_sent_after_the_fence() {
        let (fence, sent) = (Fence::at(Instant::now() + SECOND * 10), AtomicU32::new(0));
        let worker = async {
            assert_eq!(before_fence(sent_again_and_again(&sent)).await, None);
            assert_eq!(
                before_fence(sent_again_and_again(&sent)).await,
                None,
                "nor does another call begin"
            );
        };
        let renewal = async {
            sleep(SECOND * 9 + SECOND / 2).await;
            fence.move_to(Instant::now() + SECOND);
        };
        tokio::join!(fence.around(worker), renewal);
        assert_eq!(
            sent.load(Ordering::Relaxed),
            11,
            "at seconds 0 to 10; the fence is at 10.5"
        );
        assert_eq!(
            before_fence(async { 1 }).await,
            Some(1),
            "who is no job has no fence"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_was_stopped_sends_nothing_when_it_goes_on() {
        let (fence, sent) = (Fence::at(Instant::now() + SECOND / 2), AtomicU32::new(0));
        let stopped = async {
            sleep(SECOND / 10).await;
            advance(SECOND * 60).await;
        };
        let (answer, ()) = tokio::join!(
            fence.around(before_fence(sent_again_and_again(&sent))),
            stopped
        );
        assert_eq!((answer, sent.load(Ordering::Relaxed)), (None, 1));
    }
}
