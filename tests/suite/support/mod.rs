//! What the tests share: emulators, an independent client, a service of their own, a faulty way to AWS.

pub mod api;
pub mod aws;
pub mod aws_inspector;
pub mod browser;
pub mod database;
pub mod fake_server;
pub mod issuer;
pub mod process;
pub mod proxy;
pub mod script;
pub mod server;
pub mod sign_in;
pub mod simulated;
pub mod wire;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use slipway::provision::timing::Timing;

/// Tests that keep the whole machine busy take turns: at once they would meet each other's time-outs.
pub async fn alone() -> tokio::sync::MutexGuard<'static, ()> {
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    TURN.lock().await
}

/// Goes through the items, so many at a time.
pub fn for_each_of<'t, T: Sync>(items: &'t [T], at_once: usize, run: impl Fn(&'t T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    run(item);
                }
            });
        }
    });
}

/// A name that no other test has.
pub fn unique(prefix: &str) -> String {
    format!(
        "{prefix}-{}",
        ulid::Ulid::generate()
            .to_string()
            .to_lowercase()
            .split_off(12)
    )
}

/// What chance starts from; one of one's own repeats a run: `SLIPWAY_TEST_SEED=…`.
pub fn seed() -> u64 {
    std::env::var("SLIPWAY_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20_250_101)
}

/// The same waits, much shorter.
pub fn fast() -> Timing {
    Timing {
        backoff: Duration::from_millis(10),
        backoff_cap: Duration::from_millis(100),
        poll_delay: Duration::from_millis(20),
        propagation: Duration::from_secs(120),
        key_list: Duration::from_millis(150),
        answer: Duration::from_secs(3),
        hold: Duration::from_millis(200),
        idle_period: Duration::from_secs(3600),
        turn: Duration::from_secs(15),
        attachment: Duration::ZERO,
        poll: Duration::from_secs(1),
    }
}
