//! Pace: how fast one account's calls to one service may go.
//!
//! Invariants:
//! - Throttling belongs to the account and service: when AWS throttles one call, all of them slow down.
//! - The pace falls by half on a throttle and rises a little on each success, without bound above,
//!   so an account that is not throttled is not held up.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Calls a second that the first throttle leaves.
const FIRST_RATE: f64 = 16.0;
/// The slowest pace, in calls a second.
const SLOWEST: f64 = 0.5;
/// Above this rate, in calls a second, the account is free again.
const FREE: f64 = 64.0;
/// What each success adds to the rate, in calls a second.
const RISE: f64 = 0.5;

/// The pace of one account at one service.
#[derive(Debug, Default)]
pub struct Pace {
    state: Mutex<Option<Slowed>>,
}

#[derive(Debug, Clone, Copy)]
struct Slowed {
    /// Calls a second.
    rate: f64,
    /// When the next call may go.
    next: Instant,
    /// When the rate last fell: throttles of calls that were under way then are one throttle.
    fell: Instant,
}

impl Pace {
    /// Waits until the next call may go; at once while AWS does not throttle.
    pub async fn turn(&self) {
        let at = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(slowed) = state.as_mut() else { return };
            let at = slowed.next.max(Instant::now());
            slowed.next = at + Duration::from_secs_f64(1.0 / slowed.rate);
            at
        };
        tokio::time::sleep_until(at).await;
    }

    /// Takes note that AWS throttled a call.
    pub fn throttled(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        *state = Some(match *state {
            None => Slowed { rate: FIRST_RATE, next: now, fell: now },
            Some(slowed) if now.duration_since(slowed.fell) < Duration::from_millis(500) => slowed,
            Some(slowed) => Slowed { rate: (slowed.rate / 2.0).max(SLOWEST), fell: now, ..slowed },
        });
    }

    /// Takes note that AWS took a call.
    pub fn taken(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slowed) = state.as_mut() {
            slowed.rate += RISE;
            if slowed.rate > FREE {
                *state = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_throttle_slows_all_and_successes_free_again() {
        let pace = Pace::default();
        let start = Instant::now();
        for _ in 0..100 {
            pace.turn().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO, "an account that is not throttled is not held up");

        pace.throttled();
        for _ in 0..16 {
            pace.turn().await;
        }
        assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());

        for _ in 0..200 {
            pace.taken();
        }
        let freed = Instant::now();
        for _ in 0..100 {
            pace.turn().await;
        }
        assert_eq!(freed.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn throttles_of_calls_under_way_together_are_one() {
        let pace = Pace::default();
        for _ in 0..50 {
            pace.throttled();
        }
        let rate = pace.state.lock().unwrap().unwrap().rate;
        assert!((rate - FIRST_RATE).abs() < f64::EPSILON);
    }
}
