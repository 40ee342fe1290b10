//! Logs and metrics.
//!
//! Invariant: the SDK and the HTTP stack log no bodies whatever the filter says: their own logs are
//! capped at warnings, for a body of theirs can hold a secret.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Crates that could log what they send or receive.
const CAPPED: [&str; 7] = [
    "aws_config",
    "aws_credential",
    "aws_runtime",
    "aws_s",
    "hyper",
    "h2",
    "sqlx",
];

/// Seconds: an AWS call, a request, a claim.
const BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Whether `filter` is one.
///
/// # Errors
/// What is wrong with it.
pub fn check_filter(filter: &str) -> Result<(), String> {
    EnvFilter::try_new(filter)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Sends logs to standard error: JSON lines, or text for a person at a terminal.
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
    // A second start in one process (tests) keeps the first.
    drop(started);
}

/// The process's metrics, for `/metrics`.
pub fn metrics() -> Option<&'static PrometheusHandle> {
    static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let builder = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &BUCKETS)
                .ok()?;
            builder.install_recorder().ok()
        })
        .as_ref()
}
