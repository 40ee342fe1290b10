//! The clock.
//!
//! Invariants:
//! - No other file reads the wall clock, so tests can move it.
//! - Times are kept as integer milliseconds since the Unix epoch and shown as RFC 3339 in UTC.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use tokio::time::Instant;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::{Generator, Ulid};

/// A duration as text, such as `7 days 12h`.
pub fn duration_text(duration: Duration) -> String {
    let mut text = humantime::format_duration(duration).to_string();
    for unit in ["year", "month", "day"] {
        text = text.replace(unit, &format!(" {unit}"));
    }
    text
}

/// A moment: milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `millis` milliseconds after the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// This much later.
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis_of(span)))
    }

    /// This much earlier.
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis_of(span)))
    }

    /// The span from `earlier` to this; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn millis_of(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = jiff::Timestamp::from_millisecond(self.0).map_err(|_| fmt::Error)?;
        write!(f, "{moment:.3}")
    }
}

impl FromStr for Timestamp {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.parse::<jiff::Timestamp>()?.as_millisecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let moment = jiff::Timestamp::deserialize(deserializer)?;
        Ok(Self(moment.as_millisecond()))
    }
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("RFC 3339, UTC"))
            .into()
    }
}

impl utoipa::ToSchema for Timestamp {}

/// The clock: the system's, moved to follow another and by what a test adds.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    ahead: Arc<AtomicI64>,
    /// What the clock that this one follows is ahead of the system's.
    followed: Arc<AtomicI64>,
    ids: Arc<Mutex<Generator>>,
    simulation: Option<Arc<Simulation>>,
}

/// Time that passes only while a runtime with paused time has nothing to do.
#[derive(Debug)]
struct Simulation {
    epoch: Timestamp,
    started: Instant,
    /// What waits for threads that the runtime does not know of: how many, and the task that keeps time from passing.
    outside: Mutex<(usize, Option<mpsc::Sender<()>>)>,
}

/// Keeps simulated time from passing while a thread outside the runtime, such as SQLite's, is at work.
#[derive(Debug)]
pub struct TimeHold(Option<Arc<Simulation>>);

impl Drop for TimeHold {
    fn drop(&mut self) {
        let Some(simulation) = &self.0 else { return };
        let mut outside = simulation
            .outside
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        outside.0 -= 1;
        if outside.0 == 0 {
            outside.1 = None;
        }
    }
}

impl Clock {
    /// A clock that begins at `epoch` and follows the time of the present runtime, which tests pause.
    pub fn simulated(epoch: Timestamp) -> Self {
        let simulation = Simulation {
            epoch,
            started: Instant::now(),
            outside: Mutex::default(),
        };
        Self {
            simulation: Some(Arc::new(simulation)),
            ..Self::default()
        }
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        let moved = self
            .ahead
            .load(Ordering::Relaxed)
            .saturating_add(self.followed.load(Ordering::Relaxed));
        let now = match &self.simulation {
            Some(simulation) => simulation.epoch.after(simulation.started.elapsed()),
            None => system_time(),
        };
        Timestamp(now.0.saturating_add(moved))
    }

    /// Keeps simulated time from passing until the answer is dropped. Tokio's paused time passes whenever the runtime has
    /// nothing to do, also while it waits for a thread of SQLite's.
    pub fn hold(&self) -> TimeHold {
        if let Some(simulation) = &self.simulation {
            let mut outside = simulation
                .outside
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            outside.0 += 1;
            if outside.1.is_none() {
                let (release, released) = mpsc::channel();
                outside.1 = Some(release);
                // Tokio does not let paused time pass while a blocking task runs.
                tokio::task::spawn_blocking(move || released.recv());
            }
        }
        TimeHold(self.simulation.clone())
    }

    /// A new id. Ids of one clock rise in the order they are made; those of several replicas, or of a process before a
    /// restart, need not: what is latest is for the database to say.
    pub fn new_id(&self) -> Ulid {
        let now =
            std::time::UNIX_EPOCH + Duration::from_millis(u64::try_from(self.now().0).unwrap_or(0));
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.generate_from_datetime(now)
            .unwrap_or_else(|_| Ulid::from_datetime(now))
    }

    /// Follows a clock elsewhere: it showed `there` when the system's showed `here`.
    pub fn follow(&self, there: Timestamp, here: Timestamp) {
        self.followed
            .store(there.0.saturating_sub(here.0), Ordering::Relaxed);
    }

    /// Sets this clock and its clones back: a step of the wall clock.
    pub fn step_back(&self, span: Duration) {
        self.ahead.fetch_sub(millis_of(span), Ordering::Relaxed);
    }

    /// Moves this clock and its clones forward: days pass at once in tests.
    pub fn advance(&self, span: Duration) {
        self.ahead.fetch_add(millis_of(span), Ordering::Relaxed);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock"
)]
fn system_time() -> Timestamp {
    let since_epoch = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(millis_of(since_epoch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_as_rfc_3339_and_read_back() {
        let moment = Timestamp::from_millis(1_700_000_000_123);
        let text = serde_json::to_string(&moment).unwrap();
        assert_eq!(text, "\"2023-11-14T22:13:20.123Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>(&text).unwrap(), moment);
    }

    #[test]
    fn a_duration_is_written_with_a_space_before_a_unit_that_is_a_word() {
        let hours = |hours: u64| duration_text(Duration::from_secs(hours * 3600));
        assert_eq!(hours(24), "1 day");
        assert_eq!(hours(7 * 24 + 12), "7 days 12h");
    }

    #[test]
    fn follows_another_clock_whatever_was_added() {
        let clock = Clock::default();
        clock.advance(Duration::from_secs(60));
        let here = Clock::default().now();
        clock.follow(here.after(Duration::from_secs(3600)), here);
        let ahead = clock.clone().now().since(Clock::default().now());
        assert!(
            ahead > Duration::from_secs(3650) && ahead <= Duration::from_secs(3660),
            "{ahead:?}"
        );
        clock.follow(here.before(Duration::from_secs(60)), here);
        assert!(
            clock.now().since(here) < Duration::from_secs(30),
            "the last difference counts"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn simulated_time_stands_still_while_it_is_held() {
        let clock = Clock::simulated(Timestamp::from_millis(1_700_000_000_000));
        let before = clock.now();
        let hold = clock.hold();
        let (tell, told) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            tell.send(()).unwrap();
        });
        tokio::select! {
            _ = told => {}
            () = tokio::time::sleep(Duration::from_secs(3600)) => panic!("time has passed"),
        }
        assert_eq!(clock.now(), before);
        drop(hold);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(clock.now(), before.after(Duration::from_secs(3600)));
    }

    #[test]
    fn moves_forward_for_every_clone() {
        let clock = Clock::default();
        let before = clock.clone().now();
        clock.advance(Duration::from_secs(3600));
        assert!(clock.clone().now().since(before) >= Duration::from_secs(3600));
    }
}
