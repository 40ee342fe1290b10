//! A rate limiter for the calls of one account to one service.
//!
//! Invariants:
//! - Throttling belongs to the account and service: when AWS throttles one call, all of them slow down,
//!   and none of another account's or service's do.
//! - A throttle halves the rate, at most once a second and once for all calls that were in flight. The rate never
//!   falls below a minimum at which jobs still finish before their deadline. Each success raises it a little; above
//!   a maximum the limiter stops limiting.
//! - Calls proceed in first-in, first-out order. A call that is dropped, or that would wait longer than its
//!   `max_wait`, does not delay the others.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The rate is cut at most once in this time. AWS counts calls per second: a rate that was cut for each of many
/// concurrent throttles would fall far below what AWS accepts.
const MIN_TIME_BETWEEN_CUTS: Duration = Duration::from_secs(1);

/// The rates to use once AWS throttles.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    /// The rate after the first throttle, in calls a second.
    pub first: f64,
    /// The minimum rate, in calls a second.
    pub slowest: f64,
    /// Above this rate, in calls a second, the limiter stops limiting.
    pub free: f64,
    /// What each success adds to the rate, in calls a second.
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

/// So many calls are queued that another would wait too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull {
    /// Calls in the queue.
    pub waiting: u32,
}

/// The rate limiter of one account and one service.
#[derive(Debug, Default)]
pub struct RateLimiter {
    rates: Rates,
    state: Mutex<Option<Slowed>>,
    /// Held by the next call: tokio's mutex is fair, so calls proceed in order.
    next: tokio::sync::Mutex<()>,
    waiting: AtomicU32,
    /// Throttled calls so far.
    throttles: AtomicU64,
}

/// What a rate limiter does at the moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LimiterState {
    /// The rate in calls a second, if AWS throttles.
    pub rate: Option<f64>,
    /// Calls in the queue.
    pub waiting: u32,
    /// Throttled calls so far.
    pub throttles: u64,
}

#[derive(Debug, Clone, Copy)]
struct Slowed {
    /// Calls a second.
    rate: f64,
    /// When the last call proceeded.
    went: Instant,
    /// When the rate was last reduced. Throttles of calls that were in flight then count as one.
    fell: Instant,
}

impl Slowed {
    fn gap(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.rate)
    }

    /// When the next call may proceed.
    fn next(&self) -> Instant {
        self.went + self.gap()
    }
}

/// Counts a queued call until it is dropped.
struct Waiting<'a>(&'a AtomicU32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl RateLimiter {
    pub fn new(rates: Rates) -> Self {
        Self {
            rates,
            ..Self::default()
        }
    }

    /// Waits until the next call may proceed. Returns at once while AWS does not throttle.
    ///
    /// # Errors
    /// When the wait exceeds `max_wait`, or would at the current rate.
    pub async fn acquire(&self, max_wait: Duration) -> Result<(), QueueFull> {
        let Some(slowed) = self.slowed() else {
            return Ok(());
        };
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        let ahead = slowed.next().saturating_duration_since(Instant::now());
        if ahead.saturating_add(slowed.gap().saturating_mul(waiting)) > max_wait {
            return Err(QueueFull { waiting });
        }
        tokio::time::timeout(max_wait, self.acquire_in_order())
            .await
            .map_err(|_| QueueFull { waiting })
    }

    async fn acquire_in_order(&self) {
        let _next = self.next.lock().await;
        while let Some(at) = self.proceed_or_wait_until() {
            tokio::time::sleep_until(at).await;
        }
    }

    /// Lets the call proceed if it may, or returns when to try again. The rate can change in between.
    fn proceed_or_wait_until(&self) -> Option<Instant> {
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

    /// Records that AWS throttled a call that began at `began`.
    pub fn on_throttle(&self, began: Instant) {
        self.throttles.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let rate = match *state {
            None => self.rates.first,
            Some(slowed) if began <= slowed.fell || now < slowed.fell + MIN_TIME_BETWEEN_CUTS => {
                return;
            }
            Some(slowed) => (slowed.rate / 2.0).max(self.rates.slowest),
        };
        *state = Some(Slowed {
            rate,
            went: now,
            fell: now,
        });
    }

    /// What the limiter does at the moment.
    pub fn state(&self) -> LimiterState {
        LimiterState {
            rate: self.slowed().map(|slowed| slowed.rate),
            waiting: self.waiting.load(Ordering::Relaxed),
            throttles: self.throttles.load(Ordering::Relaxed),
        }
    }

    /// Records that AWS did not throttle a call.
    pub fn on_success(&self) {
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
            limiter.acquire(HOUR).await.unwrap();
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
        limiter.on_throttle(Instant::now());
        let slow = turns(&limiter, 16).await;
        assert!(
            (Duration::from_millis(900)..Duration::from_millis(1100)).contains(&slow),
            "{slow:?}"
        );
        for _ in 0..200 {
            limiter.on_success();
        }
        assert_eq!(turns(&limiter, 100).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn each_throttle_of_a_later_call_halves_the_pace_down_to_the_slowest() {
        let limiter = RateLimiter::default();
        let mut slow = Vec::new();
        for _ in 0..8 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            limiter.on_throttle(Instant::now());
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
            limiter.on_throttle(began);
        }
        let expected = LimiterState {
            rate: Some(Rates::default().first),
            waiting: 0,
            throttles: 50,
        };
        assert_eq!(limiter.state(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn one_account_does_not_hold_up_another() {
        let (throttled, other) = (Arc::new(RateLimiter::default()), RateLimiter::default());
        throttled.on_throttle(Instant::now());
        let held_up = throttled.clone();
        let waits = tokio::task::JoinSet::from_iter((0..160).map(|_| {
            let limiter = held_up.clone();
            async move { limiter.acquire(HOUR).await }
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
            limiter.on_throttle(Instant::now());
        }
        let start = Instant::now();
        let freed = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            (0..200).for_each(|_| limiter.on_success());
        };
        let (waited, ()) = tokio::join!(join_all((0..100).map(|_| limiter.acquire(HOUR))), freed);
        assert!(
            waited.iter().all(Result::is_ok) && start.elapsed() < Duration::from_secs(8),
            "{:?}",
            start.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_would_wait_too_long_is_told_at_once_and_who_gives_up_takes_no_time() {
        let limiter = RateLimiter::default();
        limiter.on_throttle(Instant::now());
        let start = Instant::now();
        let hurried = join_all((0..100).map(|_| limiter.acquire(Duration::from_secs(2)))).await;
        let refused = hurried.iter().filter(|turn| turn.is_err()).count();
        assert!(
            (60..70).contains(&refused) && start.elapsed() < Duration::from_millis(2200),
            "{refused} {:?}",
            start.elapsed()
        );

        let slower = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            for _ in 0..5 {
                limiter.on_throttle(Instant::now());
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let start = Instant::now();
        let (turns_by_then, ()) = tokio::join!(
            join_all((0..20).map(|_| limiter.acquire(Duration::from_secs(2)))),
            slower
        );
        assert!(
            turns_by_then.iter().any(Result::is_err) && start.elapsed() <= Duration::from_secs(2),
            "also when the pace falls"
        );

        let gave_up = tokio::time::timeout(
            Duration::from_millis(10),
            join_all((0..100).map(|_| limiter.acquire(HOUR))),
        )
        .await;
        assert!(gave_up.is_err());
        assert!(turns(&limiter, 1).await <= Duration::from_secs(2));
    }
}
