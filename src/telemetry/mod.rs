//! Logs, metrics and traces.
//!
//! Invariants:
//! - No filter makes the AWS SDK or the HTTP stack log a body, which can hold a secret.
//! - Only the spans of [`spans`] are exported, with the attributes that are named there.
//! - A collector that does not answer delays nothing. What it does not get is counted.

mod collector;
mod logs;
mod metrics;
pub mod spans;
mod trace_parent;
mod traces;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use logs::check_filter;
pub use metrics::metrics;
pub use trace_parent::TraceParent;
pub use traces::{TracesError, end_traces};

/// Starts logs and traces. `filter` is that of the logs.
///
/// # Errors
/// When the variables of OpenTelemetry are invalid.
pub fn start(filter: &str) -> Result<(), TracesError> {
    let started = tracing_subscriber::registry()
        .with(logs::logs(filter))
        .with(traces::traces()?)
        .try_init();
    // Fails on the second start in a process, which tests do. The first subscriber stays.
    drop(started);
    Ok(())
}
