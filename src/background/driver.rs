//! Runs the background tasks: each when its period is over, when it has more to do, or when a signal activates it.
//!
//! Invariants:
//! - A task never runs twice at a time in one process. Replicas run the same tasks side by side.
//! - A task that fails or panics runs again.
//! - A signal that arrives while a task runs activates it once more.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::app::service::Service;
use crate::store::{Signal, StoreError};

/// The longest wait after a run that failed.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(30);
/// The outcome of a run that panicked, as operators see it.
const PANICKED: &str = "The task panicked. See the log.";

/// A duty of the service that no request asks for.
pub trait BackgroundTask: Send + Sync + 'static {
    /// Names the task in the API, in metrics and in the log.
    fn name(&self) -> &'static str;

    /// The longest time between two runs.
    fn period(&self) -> Duration;

    /// Does what is due now.
    fn activate<'a>(
        &'a mut self,
        service: &'a Arc<Service>,
    ) -> BoxFuture<'a, Result<NextRun, StoreError>>;

    /// The signal of the store that starts the next run at once.
    fn activated_by(&self) -> Option<Signal> {
        None
    }

    /// The wait between a signal and the run, so that signals that come together are one run.
    fn activation_delay(&self) -> Duration {
        Duration::ZERO
    }

    /// The wait after a run that failed.
    fn retry_delay(&self) -> Duration {
        self.period().min(MAX_RETRY_DELAY)
    }

    /// What the period is measured by.
    fn timer(&self) -> Timer {
        Timer::Elapsed
    }
}

/// When a task runs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextRun {
    /// After its period.
    AfterPeriod,
    /// After another time: there is more to do, or something to try again.
    After(Duration),
    /// When a signal activates it.
    OnSignal,
}

/// What a task's period is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// The time that this process was running.
    Elapsed,
    /// Also the service's clock: when that moves ahead, the task runs sooner.
    ServiceClock,
}

/// Starts a task, which runs until the service stops.
pub fn start(service: &Arc<Service>, task: impl BackgroundTask) {
    service.background.register(task.name(), task.period());
    service.tasks.spawn(run(service.clone(), task));
}

async fn run(service: Arc<Service>, mut task: impl BackgroundTask) {
    // Before the first run, so that no signal falls between it and the wait.
    let mut signals = service.store.signals();
    while !service.tasks.is_stopping() {
        let next = run_once(&service, &mut task).await;
        let delay = match next {
            NextRun::AfterPeriod => Some(task.period()),
            NextRun::After(delay) => Some(delay),
            NextRun::OnSignal => None,
        };
        tokio::select! {
            () = activated(task.activated_by(), &mut signals) => tokio::time::sleep(task.activation_delay()).await,
            () = passed(&service, task.timer(), delay) => {}
            () = service.tasks.stopping() => return,
        }
    }
}

async fn run_once(service: &Arc<Service>, task: &mut impl BackgroundTask) -> NextRun {
    let (name, began) = (task.name(), Instant::now());
    service.background.started(name, service.clock.now());
    let ended = AssertUnwindSafe(task.activate(service))
        .catch_unwind()
        .await;
    let (next, error) = match ended {
        Ok(Ok(next)) => (next, None),
        Ok(Err(error)) => (NextRun::After(task.retry_delay()), Some(error.to_string())),
        Err(_) => (
            NextRun::After(task.retry_delay()),
            Some(PANICKED.to_owned()),
        ),
    };
    if let Some(error) = &error {
        tracing::warn!(
            task = name,
            error,
            "background task failed; it will run again"
        );
    }
    let (now, took) = (service.clock.now(), began.elapsed());
    let outcome = if error.is_some() { "error" } else { "success" };
    metrics::counter!("slipway_background_runs_total", "task" => name, "outcome" => outcome)
        .increment(1);
    metrics::histogram!("slipway_background_run_seconds", "task" => name)
        .record(took.as_secs_f64());
    if error.is_none() {
        let seconds = Duration::from_millis(u64::try_from(now.millis()).unwrap_or(0));
        metrics::gauge!("slipway_background_last_success_timestamp_seconds", "task" => name)
            .set(seconds.as_secs_f64());
    }
    service.background.finished(name, now, took, error);
    next
}

async fn passed(service: &Service, timer: Timer, delay: Option<Duration>) {
    let Some(delay) = delay else {
        return std::future::pending().await;
    };
    let (elapsed, clock) = (Instant::now() + delay, service.clock.now().after(delay));
    match timer {
        Timer::Elapsed => tokio::time::sleep_until(elapsed).await,
        Timer::ServiceClock => {
            while Instant::now() < elapsed && service.clock.now() < clock {
                let step = Instant::now() + service.timing.poll;
                tokio::time::sleep_until(step.min(elapsed)).await;
            }
        }
    }
}

/// Returns when the signal arrives. Signals that were missed count.
async fn activated(by: Option<Signal>, signals: &mut Receiver<Signal>) {
    let Some(by) = by else {
        return std::future::pending().await;
    };
    loop {
        match signals.recv().await {
            Ok(signal) if signal == by => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}
