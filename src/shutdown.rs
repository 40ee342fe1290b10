//! Orderly ends: who is told to stop, and who is waited for.
//!
//! Invariants:
//! - Every task is spawned here, so shutdown waits for it; a task that panics is logged.
//! - First everybody is told to stop; tasks that must outlive the others (the database's writer) end when
//!   nobody can ask them for anything any more.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The process's tasks and the word to stop.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    last: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Runs a task that shutdown waits for.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
        tokio::spawn(self.tracker.track_future(task));
    }

    /// Runs a task that ends by itself when all others have ended.
    pub fn spawn_to_the_end(&self, task: impl Future<Output = ()> + Send + 'static) {
        #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
        tokio::spawn(self.last.track_future(task));
    }

    /// Tells everybody to stop.
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
    #[expect(clippy::disallowed_methods, reason = "nobody waits for this one: it ends with the process")]
    tokio::spawn(async {
        next_signal().await;
        std::process::exit(130);
    });
}

async fn next_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        // Without handlers the default action ends the process, which loses nothing that was accepted.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
}
