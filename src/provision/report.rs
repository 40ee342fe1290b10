//! What the kernel reports while it works on a resource, and how the work on it ended.

use std::time::Duration;

use crate::domain::event::EventPayload;
use crate::domain::job::JobError;
use crate::provision::fault::Fault;

/// Receives the progress of a job, and tells it whether to continue.
pub trait Report: Send + Sync {
    /// Reports an event. Does not wait until it is stored.
    fn tell(&self, payload: EventPayload);
    /// The reason to stop, if there is one.
    fn interrupted(&self) -> Option<Fault>;
}

/// The outcome of one step.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The resource matches its target.
    Done {
        /// The changes that were applied, in order.
        changes: Vec<String>,
        /// Warnings for people.
        warnings: Vec<String>,
    },
    /// The step is tried again later.
    Later {
        /// The reason.
        reason: String,
        /// The delay.
        after: Duration,
        /// The last error, if there was one.
        job_error: Option<JobError>,
    },
    /// The step failed.
    Failed(Fault),
    /// The step was skipped, because a resource that it depends on failed.
    Skipped,
}
