//! What the background tasks of this process do: written by their driver, read by the API.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::domain::background_task::BackgroundTask;

/// The state of each background task.
#[derive(Debug, Default)]
pub struct BackgroundStatus(Mutex<Vec<BackgroundTask>>);

impl BackgroundStatus {
    /// Adds a task that has not run yet.
    pub fn register(&self, name: &str, period: Duration) {
        self.tasks().push(BackgroundTask {
            name: name.to_owned(),
            period_ms: millis(period),
            running: false,
            runs: 0,
            last_started_at: None,
            last_duration_ms: None,
            last_succeeded_at: None,
            last_error: None,
        });
    }

    /// Records that a run has started.
    pub fn started(&self, name: &str, at: Timestamp) {
        self.update(name, |task| {
            task.running = true;
            task.last_started_at = Some(at);
        });
    }

    /// Records that a run has ended, and why it failed if it did.
    pub fn finished(&self, name: &str, at: Timestamp, took: Duration, error: Option<String>) {
        self.update(name, |task| {
            task.running = false;
            task.runs += 1;
            task.last_duration_ms = Some(millis(took));
            if error.is_none() {
                task.last_succeeded_at = Some(at);
            }
            task.last_error = error;
        });
    }

    /// All tasks, in the order that they were started in.
    pub fn list(&self) -> Vec<BackgroundTask> {
        self.tasks().clone()
    }

    fn update(&self, name: &str, change: impl FnOnce(&mut BackgroundTask)) {
        if let Some(task) = self.tasks().iter_mut().find(|task| task.name == name) {
            change(task);
        }
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<BackgroundTask>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
