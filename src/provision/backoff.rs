//! Exponential back-off with full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter").

use std::time::Duration;

/// A random wait from zero to `first` doubled `attempt - 1` times, at most `cap`.
pub fn full_jitter(first: Duration, cap: Duration, attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1).min(30);
    let ceiling = first.saturating_mul(1 << doublings).min(cap);
    ceiling.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_more_than_the_doubled_first_nor_the_cap(attempt in 0_u32..100) {
            let (first, cap) = (Duration::from_secs(1), Duration::from_secs(60));
            let wait = full_jitter(first, cap, attempt);
            let doubled = first * 2_u32.pow(attempt.saturating_sub(1).min(6));
            prop_assert!(wait <= cap && wait <= doubled);
        }
    }

    #[test]
    fn spreads_over_the_whole_span() {
        let waits: Vec<Duration> = (0..200)
            .map(|_| full_jitter(Duration::from_secs(1), Duration::from_secs(60), 4))
            .collect();
        assert!(
            waits.iter().any(|wait| *wait < Duration::from_secs(2))
                && waits.iter().any(|wait| *wait > Duration::from_secs(6))
        );
    }
}
