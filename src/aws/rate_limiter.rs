//! RateLimiter: how fast one account's calls to one service may go.
//!
//! Invariants:
//! - Throttling belongs to the account and service: when AWS throttles one call, all of them slow down,
//!   and none of another account's or service's do.
//! - The pace falls by half on a throttle, once for all calls that were under way and once in a second at
//!   most, down to a slowest one at which jobs still end before their deadline; it rises a little on
//!   each answer, without bound above, so an account that is not throttled is not held up.
//! - Calls go in the order in which they came. One that gives up its turn, or that would wait longer than
//!   it may, takes nobody else's time; nobody waits by a pace that is over.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The pace falls once in this time at most. AWS counts calls by the second, and a pace that fell with each
/// of many throttles would be far below what AWS takes before the first of its answers came.
const FALL: Duration = Duration::from_secs(1);

/// How fast calls go when AWS throttles.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    /// Calls a second that the first throttle leaves.
    pub first: f64,
    /// The slowest pace, in calls a second.
    pub slowest: f64,
    /// Above this rate, in calls a second, the account is free again.
    pub free: f64,
    /// What each answer adds to the rate, in calls a second.
    pub rise: f64,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            first: 16.0,
            slowest: 4.0,
            free: 64.0,
            rise: 0.5,
        }
    }
}

/// So many calls are waiting that another would wait too long for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull {
    /// How many.
    pub waiting: u32,
}

/// The pace of one account at one service.
#[derive(Debug, Default)]
pub struct RateLimiter {
    rates: Rates,
    state: Mutex<Option<Slowed>>,
    /// Held by the one whose turn is next: tokio's mutex is fair, so turns come in order.
    next: tokio::sync::Mutex<()>,
    waiting: AtomicU32,
}

#[derive(Debug, Clone, Copy)]
struct Slowed {
    /// Calls a second.
    rate: f64,
    /// When the last call went.
    went: Instant,
    /// When the rate last fell: throttles of calls that were under way then are one throttle.
    fell: Instant,
}

impl Slowed {
    fn gap(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.rate)
    }

    /// When the next call may go.
    fn next(&self) -> Instant {
        self.went + self.gap()
    }
}

/// One that waits, until it is dropped.
struct Waiting<'a>(&'a AtomicU32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl RateLimiter {
    /// A pace by these rates.
    pub fn new(rates: Rates) -> Self {
        Self {
            rates,
            ..Self::default()
        }
    }

    /// Waits until the next call may go; at once while AWS does not throttle.
    ///
    /// # Errors
    /// When that takes longer than `patience`; at once, when it would by the present rate.
    pub async fn turn(&self, patience: Duration) -> Result<(), QueueFull> {
        let Some(slowed) = self.slowed() else {
            return Ok(());
        };
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        let ahead = slowed.next().saturating_duration_since(Instant::now());
        if ahead.saturating_add(slowed.gap().saturating_mul(waiting)) > patience {
            return Err(QueueFull { waiting });
        }
        tokio::time::timeout(patience, self.turn_in_order())
            .await
            .map_err(|_| QueueFull { waiting })
    }

    async fn turn_in_order(&self) {
        let _next = self.next.lock().await;
        while let Some(at) = self.go_or_when() {
            tokio::time::sleep_until(at).await;
        }
    }

    /// Goes, if the time has come; otherwise says when it comes. The rate may change meanwhile.
    fn go_or_when(&self) -> Option<Instant> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (slowed, now) = (state.as_mut()?, Instant::now());
        if now < slowed.next() {
            return Some(slowed.next());
        }
        slowed.went = now;
        None
    }

    fn slowed(&self) -> Option<Slowed> {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note that AWS throttled a call that was begun at `began`.
    pub fn throttled(&self, began: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let rate = match *state {
            None => self.rates.first,
            Some(slowed) if began <= slowed.fell || now < slowed.fell + FALL => return,
            Some(slowed) => (slowed.rate / 2.0).max(self.rates.slowest),
        };
        *state = Some(Slowed {
            rate,
            went: now,
            fell: now,
        });
    }

    /// Takes note that AWS answered a call.
    pub fn taken(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slowed) = state.as_mut() {
            slowed.rate += self.rates.rise;
            if slowed.rate > self.rates.free {
                *state = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::future::join_all;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    async fn turns(limiter: &RateLimiter, count: usize) -> Duration {
        let start = Instant::now();
        for _ in 0..count {
            limiter.turn(HOUR).await.unwrap();
        }
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttle_slows_all_and_successes_free_again() {
        let limiter = RateLimiter::default();
        assert_eq!(
            turns(&limiter, 100).await,
            Duration::ZERO,
            "an account that is not throttled is not held up"
        );
        limiter.throttled(Instant::now());
        let slow = turns(&limiter, 16).await;
        assert!(
            (Duration::from_millis(900)..Duration::from_millis(1100)).contains(&slow),
            "{slow:?}"
        );
        for _ in 0..200 {
            limiter.taken();
        }
        assert_eq!(turns(&limiter, 100).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn each_throttle_of_a_later_call_halves_the_pace_down_to_the_slowest() {
        let limiter = RateLimiter::default();
        let mut slow = Vec::new();
        for _ in 0..8 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            limiter.throttled(Instant::now());
            slow.push(turns(&limiter, 1).await.as_millis());
        }
        assert_eq!(
            slow,
            [62, 125, 250, 250, 250, 250, 250, 250].map(|ms| ms + u128::from(ms == 62))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn throttles_of_calls_under_way_together_are_one() {
        let limiter = RateLimiter::default();
        let began = Instant::now();
        tokio::time::sleep(Duration::from_secs(3)).await;
        for _ in 0..50 {
            limiter.throttled(began);
        }
        assert!((limiter.slowed().unwrap().rate - Rates::default().first).abs() < f64::EPSILON);
    }

    #[tokio::test(start_paused = true)]
    async fn one_account_does_not_hold_up_another() {
        let (throttled, other) = (Arc::new(RateLimiter::default()), RateLimiter::default());
        throttled.throttled(Instant::now());
        let held_up = throttled.clone();
        let waits = tokio::task::JoinSet::from_iter((0..160).map(|_| {
            let limiter = held_up.clone();
            async move { limiter.turn(HOUR).await }
        }));
        tokio::task::yield_now().await;
        assert_eq!(turns(&other, 1000).await, Duration::ZERO);
        let began = Instant::now();
        waits.join_all().await;
        assert!(
            began.elapsed() > Duration::from_secs(9),
            "{:?}",
            began.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_goes_sooner_when_the_pace_rises() {
        let limiter = RateLimiter::default();
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            limiter.throttled(Instant::now());
        }
        let start = Instant::now();
        let freed = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            (0..200).for_each(|_| limiter.taken());
        };
        let (waited, ()) = tokio::join!(join_all((0..100).map(|_| limiter.turn(HOUR))), freed);
        assert!(
            waited.iter().all(Result::is_ok) && start.elapsed() < Duration::from_secs(8),
            "{:?}",
            start.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_would_wait_too_long_is_told_at_once_and_who_gives_up_takes_no_time() {
        let limiter = RateLimiter::default();
        limiter.throttled(Instant::now());
        let start = Instant::now();
        let hurried = join_all((0..100).map(|_| limiter.turn(Duration::from_secs(2)))).await;
        let refused = hurried.iter().filter(|turn| turn.is_err()).count();
        assert!(
            (60..70).contains(&refused) && start.elapsed() < Duration::from_millis(2200),
            "{refused} {:?}",
            start.elapsed()
        );

        let slower = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            for _ in 0..5 {
                limiter.throttled(Instant::now());
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let start = Instant::now();
        let (turns_by_then, ()) = tokio::join!(
            join_all((0..20).map(|_| limiter.turn(Duration::from_secs(2)))),
            slower
        );
        assert!(
            turns_by_then.iter().any(Result::is_err) && start.elapsed() <= Duration::from_secs(2),
            "also when the pace falls"
        );

        let gave_up = tokio::time::timeout(
            Duration::from_millis(10),
            join_all((0..100).map(|_| limiter.turn(HOUR))),
        )
        .await;
        assert!(gave_up.is_err());
        assert!(turns(&limiter, 1).await <= Duration::from_secs(2));
    }
}
