//! How long Slipway waits for AWS and for its database.

use std::time::Duration;

use serde::Deserialize;

/// Durations. They are the `[timing]` settings. AWS needs the defaults; a private cloud or an emulator may not.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timing {
    /// The first backoff. It doubles from there.
    #[serde(with = "humantime_serde")]
    pub backoff: Duration,
    /// The maximum backoff.
    #[serde(with = "humantime_serde")]
    pub backoff_cap: Duration,
    /// The delay between two requests while AWS propagates a change.
    #[serde(with = "humantime_serde")]
    pub poll_delay: Duration,
    /// How long after our own create "not found" means "not visible yet" (IAM is eventually consistent).
    #[serde(with = "humantime_serde")]
    pub propagation: Duration,
    /// How long after a lost answer a user's keys are listed, and listed again. AWS may act when its caller has given up
    /// already, and lists a new key some ten seconds later.
    #[serde(with = "humantime_serde")]
    pub key_list: Duration,
    /// The timeout of one AWS call.
    #[serde(with = "humantime_serde")]
    pub answer: Duration,
    /// The longest wait that keeps the lease. For a longer wait the worker is released.
    #[serde(with = "humantime_serde")]
    pub hold: Duration,
    /// A key that was used within this time is in use: `SLIPWAY_ROTATION_IDLE_PERIOD`.
    #[serde(skip)]
    pub idle_period: Duration,
    /// The longest wait of one call in the rate limiter while AWS throttles the account.
    #[serde(with = "humantime_serde")]
    pub turn: Duration,
    /// How long a new policy attachment gets to take effect before the attachment that it replaces is removed.
    #[serde(with = "humantime_serde")]
    pub attachment: Duration,
    /// The interval of database polls for due work that no signal announces.
    #[serde(with = "humantime_serde")]
    pub poll: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            backoff: Duration::from_secs(1),
            backoff_cap: Duration::from_secs(60),
            poll_delay: Duration::from_secs(1),
            propagation: Duration::from_secs(120),
            key_list: Duration::from_secs(20),
            answer: Duration::from_secs(15),
            hold: Duration::from_secs(5),
            idle_period: Duration::from_secs(24 * 3600),
            turn: Duration::from_secs(20),
            attachment: Duration::from_secs(10),
            poll: Duration::from_secs(1),
        }
    }
}
