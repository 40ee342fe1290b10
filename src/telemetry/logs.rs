//! Logs to standard error.
//!
//! Invariant: no filter makes the AWS SDK or the HTTP stack log a body, which can hold a secret. Only their warnings and
//! errors are logged.

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::Filter;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

use crate::telemetry::spans::TARGET;

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

/// Checks a log filter.
///
/// # Errors
/// When the filter is invalid. Says why.
pub fn check_filter(filter: &str) -> Result<(), String> {
    EnvFilter::try_new(filter)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Writes what passes a filter: text if standard error is a terminal, else JSON lines.
pub(super) fn logs<S>(filter: &str) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    use tracing_subscriber::filter::FilterExt as _;
    let directives = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let filter = directives.and(filter_fn(is_loggable));
    if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        text(filter)
    } else {
        json(filter)
    }
}

fn is_loggable(meta: &Metadata<'_>) -> bool {
    let is_capped = || CAPPED.iter().any(|name| meta.target().starts_with(name));
    meta.target() != TARGET && (*meta.level() <= Level::WARN || !is_capped())
}

fn text<S>(filter: impl Filter<S> + Send + Sync + 'static) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    Box::new(layer().with_writer(std::io::stderr).with_filter(filter))
}

fn json<S>(filter: impl Filter<S> + Send + Sync + 'static) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    let lines = layer().json().flatten_event(true);
    Box::new(lines.with_writer(std::io::stderr).with_filter(filter))
}
