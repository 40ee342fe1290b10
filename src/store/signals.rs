//! Signals of commits.
//!
//! Invariant: jobs' progress has a channel of its own, so it wakes nobody who waits for rarer signals.

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{Receiver, Sender, channel};
use ulid::Ulid;

const SIGNAL_BUFFER: usize = 4096;

/// What was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// A job can be claimed.
    Queued,
    /// A job has new events.
    Progress(Ulid),
    /// A job's cancellation was requested.
    CancelAsked(Ulid),
    /// A secret was sealed.
    Sealed,
    /// A sealed secret was destroyed.
    Destroyed,
    /// There may be something to send to webhooks.
    Outbox,
    /// There may be something to do for chat users.
    Chat,
    /// A delivery of an incoming webhook can be handled.
    Received,
}

/// The channels to the listeners in this process.
#[derive(Clone)]
pub(super) struct Signals {
    /// Jobs' progress, which is most of the signals.
    progress: Sender<Signal>,
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
