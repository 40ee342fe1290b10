//! Logs and metrics.
//!
//! Invariant: no filter makes the AWS SDK or the HTTP stack log a body, which can hold a secret. Only their warnings and
//! errors are logged.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Crates that could log the bodies that they send or receive.
const CAPPED: [&str; 7] = [
    "aws_config",
    "aws_credential",
    "aws_runtime",
    "aws_s",
    "hyper",
    "h2",
    "sqlx",
];

/// The histogram buckets of durations, in seconds.
const BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Those of jobs: from a step on an emulator to a day in the queue.
const JOB_BUCKETS: [f64; 12] = [
    0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 86400.0,
];

/// Those of the database: a commit is one write to a disk.
const DATABASE_BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0,
];

/// Checks a log filter.
///
/// # Errors
/// When the filter is invalid. Says why.
pub fn check_filter(filter: &str) -> Result<(), String> {
    EnvFilter::try_new(filter)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Writes logs to standard error: text if that is a terminal, else JSON lines.
pub fn start_logs(filter: &str) {
    let directives = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let capped = filter_fn(|meta| {
        *meta.level() <= Level::WARN || !CAPPED.iter().any(|name| meta.target().starts_with(name))
    });
    let registry = tracing_subscriber::registry().with(directives).with(capped);
    let started = if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        registry
            .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr))
            .try_init()
    } else {
        registry
            .with(
                tracing_subscriber::fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_writer(std::io::stderr),
            )
            .try_init()
    };
    // Fails on the second start in a process, which tests do. The first subscriber stays.
    drop(started);
}

/// The metrics of the process, for `/metrics`.
pub fn metrics() -> Option<&'static PrometheusHandle> {
    static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let builder = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &BUCKETS)
                .ok()?
                .set_buckets_for_metric(Matcher::Prefix("slipway_job_".into()), &JOB_BUCKETS)
                .ok()?
                .set_buckets_for_metric(
                    Matcher::Prefix("slipway_database_".into()),
                    &DATABASE_BUCKETS,
                )
                .ok()?;
            builder.install_recorder().ok()
        })
        .as_ref()
}
