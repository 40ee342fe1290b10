//! What was committed, told to those who wait for it.
//!
//! Invariant: nobody who waits for something rare is woken by every step of every job.

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{Receiver, Sender, channel};
use ulid::Ulid;

/// Signals that a listener may be behind.
const SIGNAL_BUFFER: usize = 4096;

/// Something that was committed, for those who wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// A job can be claimed.
    Queued,
    /// A job's events grew.
    Progress(Ulid),
    /// Somebody asked to end a job.
    CancelAsked(Ulid),
    /// A secret was sealed.
    Sealed,
    /// A sealed secret was destroyed.
    Destroyed,
}

/// The ways to those who listen in this process.
#[derive(Clone)]
pub(super) struct Signals {
    /// For jobs' progress alone, which is most of all.
    progress: Sender<Signal>,
    /// For all else.
    rest: Sender<Signal>,
}

impl Default for Signals {
    fn default() -> Self {
        Self {
            progress: channel(SIGNAL_BUFFER).0,
            rest: channel(SIGNAL_BUFFER).0,
        }
    }
}

impl Signals {
    pub(super) fn send(&self, signal: Signal) {
        let way = if matches!(signal, Signal::Progress(_)) {
            &self.progress
        } else {
            &self.rest
        };
        // Nobody listening is fine.
        let _ = way.send(signal);
    }

    pub(super) fn progress(&self) -> Receiver<Signal> {
        self.progress.subscribe()
    }

    pub(super) fn rest(&self) -> Receiver<Signal> {
        self.rest.subscribe()
    }
}
