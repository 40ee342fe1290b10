//! Traces, for OpenTelemetry. Its own variables configure them (docs/tracing.md).
//!
//! Invariant: without a collector, spans have ids and are not kept.

use std::env;
use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SdkTracerProvider};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use crate::telemetry::collector::{Client, CountingExporter, CountingProcessor};
use crate::telemetry::spans::TARGET;

/// How long the last spans may take when the service stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
const SERVICE_NAME: &str = "slipway";

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Why traces cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The variables of OpenTelemetry are invalid.
    #[error(
        "the OTEL_EXPORTER_OTLP_* variables are invalid: {0}. Correct them, or unset OTEL_EXPORTER_OTLP_ENDPOINT to export no traces"
    )]
    Settings(String),
    /// There is no HTTP client.
    #[error(
        "traces cannot be exported: this machine has no certificates of authorities. Install them, or unset OTEL_EXPORTER_OTLP_ENDPOINT"
    )]
    NoClient,
}

/// Makes spans, and exports them if there is a collector.
pub(super) fn traces<S>() -> Result<impl Layer<S> + Send + Sync, TracesError>
where
    S: Subscriber + for<'s> LookupSpan<'s> + Send + Sync,
{
    let mut provider = SdkTracerProvider::builder().with_resource(resource());
    if has_collector() {
        let batches = BatchSpanProcessor::builder(CountingExporter::new(exporter()?)).build();
        provider = provider.with_span_processor(CountingProcessor(batches));
    }
    let provider = PROVIDER.get_or_init(|| provider.build());
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(SERVICE_NAME))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false);
    Ok(layer.with_filter(filter_fn(|meta| meta.is_span() && meta.target() == TARGET)))
}

/// Exports what is left, for at most two seconds.
pub async fn end_traces() {
    let Some(provider) = PROVIDER.get() else {
        return;
    };
    // It waits for its own thread, whose requests need this runtime.
    let flushed = tokio::task::spawn_blocking(|| provider.shutdown_with_timeout(FLUSH_TIMEOUT));
    if let Ok(Err(error)) = flushed.await {
        tracing::warn!(%error, "the last traces are not exported");
    }
}

/// <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>
fn has_collector() -> bool {
    let is = |name: &str, value: &str| {
        env::var(name).is_ok_and(|given| given.eq_ignore_ascii_case(value))
    };
    let names = [
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    ];
    let has_endpoint = names
        .into_iter()
        .any(|name| env::var(name).is_ok_and(|url| !url.trim().is_empty()));
    has_endpoint && !is("OTEL_SDK_DISABLED", "true") && !is("OTEL_TRACES_EXPORTER", "none")
}

fn exporter() -> Result<SpanExporter, TracesError> {
    SpanExporter::builder()
        .with_http()
        .with_http_client(Client::new().ok_or(TracesError::NoClient)?)
        .with_protocol(Protocol::HttpBinary)
        .build()
        .map_err(|error| TracesError::Settings(error.to_string()))
}

/// What the process is. The operator's names win.
fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let named = Resource::builder().build();
    let name = named.get(&Key::from_static_str("service.name"));
    let is_named = name.is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let builder = Resource::builder().with_attribute(version);
    if is_named {
        builder.build()
    } else {
        builder.with_service_name(SERVICE_NAME).build()
    }
}
