//! Orderly shutdown: which tasks are told to stop, and which are waited for.
//!
//! Invariants:
//! - Every task is spawned here, so shutdown waits for it.
//! - First every task is told to stop. Tasks that must outlive the others (the database's writer) end when their last
//!   user is gone.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The process's tasks and their signal to stop.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    last: TaskTracker,
    stop: CancellationToken,
    process: Option<SimulatedProcess>,
}

/// A process that a test can lose or freeze, with every task of it, at any of their steps.
#[derive(Clone, Default)]
pub struct SimulatedProcess(Arc<Mutex<ProcessState>>);

impl fmt::Debug for SimulatedProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedProcess").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct ProcessState {
    /// Called before each step with its number.
    watcher: Option<Box<dyn FnMut(u64) + Send>>,
    killed: bool,
    frozen: bool,
    /// Steps of tasks so far, and the one before which the process is lost.
    steps: u64,
    kill_before: Option<u64>,
    tasks: u64,
    wakers: HashMap<u64, Waker>,
}

impl SimulatedProcess {
    /// Loses the process: its tasks end where they stand.
    pub fn kill(&self) {
        let mut state = self.state();
        state.killed = true;
        state.wake_all();
    }

    /// Loses it before step `step`, counted from its start.
    pub fn kill_before(&self, step: u64) {
        self.state().kill_before = Some(step);
    }

    /// Calls `watcher` before each step from now on, with the step's number.
    pub fn watch(&self, watcher: impl FnMut(u64) + Send + 'static) {
        self.state().watcher = Some(Box::new(watcher));
    }

    /// Stops it from running, as SIGSTOP does.
    pub fn freeze(&self) {
        let mut state = self.state();
        state.frozen = true;
        state.wake_all();
    }

    /// Lets it run again, as SIGCONT does.
    pub fn thaw(&self) {
        let mut state = self.state();
        state.frozen = false;
        state.wake_all();
    }

    /// Whether it is lost.
    pub fn is_killed(&self) -> bool {
        self.state().killed
    }

    /// Steps of its tasks so far.
    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    fn state(&self) -> MutexGuard<'_, ProcessState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn task<F: Future<Output = ()>>(&self, task: F) -> SimulatedTask<F> {
        let mut state = self.state();
        state.tasks += 1;
        SimulatedTask {
            process: self.clone(),
            id: state.tasks,
            task: Some(Box::pin(task)),
        }
    }
}

impl ProcessState {
    fn wake_all(&mut self) {
        self.wakers.drain().for_each(|(_, waker)| waker.wake());
    }
}

/// A task of a simulated process.
struct SimulatedTask<F> {
    process: SimulatedProcess,
    id: u64,
    task: Option<Pin<Box<F>>>,
}

impl<F: Future<Output = ()>> Future for SimulatedTask<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let process = self.process.clone();
        let killed = {
            let mut state = process.state();
            let is_still = state.killed || state.frozen;
            state.steps += u64::from(!is_still);
            let step = state.steps;
            if let (Some(watcher), false) = (&mut state.watcher, is_still) {
                watcher(step);
            }
            if state.kill_before.is_some_and(|step| state.steps >= step) && !state.killed {
                state.killed = true;
                state.wake_all();
            }
            if !state.killed {
                state.wakers.insert(self.id, context.waker().clone());
                if state.frozen {
                    return Poll::Pending;
                }
            }
            state.killed
        };
        let step = match &mut self.task {
            Some(task) if !killed => task.as_mut().poll(context),
            _ => Poll::Ready(()),
        };
        if step.is_ready() {
            self.task = None;
            process.state().wakers.remove(&self.id);
        }
        step
    }
}

impl Tasks {
    /// The tasks of a process that a test can lose.
    pub fn of_process(process: SimulatedProcess) -> Self {
        Self {
            process: Some(process),
            ..Self::default()
        }
    }

    /// Runs a task that shutdown waits for.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_on(&self.tracker, task);
    }

    /// Runs a task that ends by itself after all others.
    pub fn spawn_to_the_end(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_on(&self.last, task);
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    fn spawn_on(&self, tracker: &TaskTracker, task: impl Future<Output = ()> + Send + 'static) {
        match &self.process {
            None => tokio::spawn(tracker.track_future(task)),
            Some(process) => tokio::spawn(tracker.track_future(process.task(task))),
        };
    }

    /// Tells every task to stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Whether it is time to stop.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Returns when it is time to stop.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Returns when every task has ended, but for those that end last.
    pub async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Returns when the last tasks have ended too; whoever holds on to the store holds this up.
    pub async fn all_ended(&self) {
        self.last.close();
        self.last.wait().await;
    }
}

/// Returns at the first signal to stop (SIGTERM or SIGINT); a second one ends the process at once.
pub async fn signalled() {
    next_signal().await;
    #[expect(
        clippy::disallowed_methods,
        reason = "nobody waits for this one: it ends with the process"
    )]
    tokio::spawn(async {
        next_signal().await;
        std::process::exit(130);
    });
}

async fn next_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        // Without handlers the default action ends the process, which loses nothing that was accepted.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_lost_process_drops_its_tasks_and_a_frozen_one_goes_on_later() {
        let process = SimulatedProcess::default();
        let tasks = Tasks::of_process(process.clone());
        let count = Arc::new(AtomicU32::new(0));
        let counter = count.clone();
        tasks.spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert_eq!(count.load(Ordering::Relaxed), 2);
        process.freeze();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(count.load(Ordering::Relaxed), 2);
        process.thaw();
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(count.load(Ordering::Relaxed), 3);
        assert_eq!(Arc::strong_count(&count), 2);
        process.kill();
        tasks.ended().await;
        assert_eq!(Arc::strong_count(&count), 1, "what it held is dropped");
    }
}
