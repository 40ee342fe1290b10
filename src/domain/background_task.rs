//! Background tasks, as operators see them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;

/// A background task of the replica that serves the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BackgroundTask {
    /// The name of the task.
    #[schema(example = "prune_history")]
    pub name: String,
    /// The longest time between two runs, in milliseconds. A signal or remaining work starts a run sooner.
    #[schema(example = 3_600_000)]
    pub period_ms: u64,
    /// Whether the task is running now.
    #[schema(example = false)]
    pub running: bool,
    /// The number of runs that have ended since the process started.
    #[schema(example = 12)]
    pub runs: u64,
    /// When the last run started.
    pub last_started_at: Option<Timestamp>,
    /// The duration of the last completed run, in milliseconds.
    #[schema(example = 4)]
    pub last_duration_ms: Option<u64>,
    /// When a run last succeeded.
    pub last_succeeded_at: Option<Timestamp>,
    /// Why the last run failed. Absent if it succeeded.
    #[schema(example = "the database did not answer: the connection is silent")]
    pub last_error: Option<String>,
}
