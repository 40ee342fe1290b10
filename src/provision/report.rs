//! What the kernel reports while it works on a resource, and how the work on it ended.

use std::time::Duration;

use crate::domain::event::EventPayload;
use crate::domain::job::JobError;
use crate::provision::fault::Fault;

/// Where a walk tells what it does, and learns whether to go on.
pub trait Report: Send + Sync {
    /// Tells what happened. Does not wait for the record to be written.
    fn tell(&self, payload: EventPayload);
    /// Why to stop, if so.
    fn interrupted(&self) -> Option<Fault>;
}

/// How one resource's turn ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// As wanted.
    Done {
        /// What was changed, in order.
        changes: Vec<String>,
        /// What a person should know.
        warnings: Vec<String>,
    },
    /// To be tried again after a while.
    Later {
        /// Why.
        reason: String,
        /// How long.
        after: Duration,
        /// The last error, if it was one.
        job_error: Option<JobError>,
    },
    /// It did not work.
    Failed(Fault),
    /// It was not tried, because what it needs is not there.
    Skipped,
}
