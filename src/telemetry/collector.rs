//! Sends spans to a collector, over OTLP by HTTP.
//!
//! Invariant: the exporter runs on a thread of its own. Its requests run on the service's runtime.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response};
use hyper::body::Bytes;
use opentelemetry::Context;
use opentelemetry_http::{HttpClient as OtlpClient, HttpError};
use opentelemetry_otlp::SpanExporter as OtlpExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor};
use tokio::runtime::Handle;

use crate::outbound::{AddressPolicy, Connector, HttpClient, client, send};

/// The longest that a collector may take to answer. The default of OpenTelemetry.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The service's own HTTP client, for OpenTelemetry.
pub struct Client {
    client: HttpClient,
    runtime: Handle,
}

impl Client {
    /// A client on the current runtime. `None` without certificates of authorities on this machine.
    pub fn new() -> Option<Self> {
        Some(Self {
            // The operator has chosen the address, so it may be a private one.
            client: client(Connector::new(AddressPolicy::any(), None))?,
            runtime: Handle::try_current().ok()?,
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

#[async_trait]
impl OtlpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let mut headers = Vec::new();
        for (name, value) in &head.headers {
            headers.push((name.clone(), value.to_str()?.to_owned()));
        }
        let client = self.client.clone();
        let exchange =
            async move { send(&client, head.method, &head.uri, headers, body, TIMEOUT).await };
        let reply = self.runtime.spawn(exchange).await??;
        let mut response = Response::builder().status(reply.head.status);
        if let Some(wait) = reply.head.retry_after {
            response = response.header("retry-after", wait);
        }
        Ok(response.body(reply.body)?)
    }
}

/// Counts the spans that a collector gets and those that it does not.
#[derive(Debug)]
pub struct CountingExporter {
    exporter: OtlpExporter,
    is_failing: AtomicBool,
}

impl CountingExporter {
    pub fn new(exporter: OtlpExporter) -> Self {
        Self {
            exporter,
            is_failing: AtomicBool::new(false),
        }
    }

    /// One line when it begins to fail, and one when it goes well again.
    fn note(&self, result: &OTelSdkResult) {
        let was_failing = self.is_failing.swap(result.is_err(), Ordering::Relaxed);
        match result {
            Err(error) if !was_failing => {
                tracing::warn!(%error, "traces cannot be exported; the spans that are lost are counted in slipway_span_exports_total")
            }
            Ok(()) if was_failing => tracing::info!("traces are exported again"),
            _ => {}
        }
    }
}

impl SpanExporter for CountingExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let result = self.exporter.export(batch).await;
        self.note(&result);
        let outcome = if result.is_ok() {
            "succeeded"
        } else {
            "failed"
        };
        metrics::counter!("slipway_span_exports_total", "outcome" => outcome).increment(spans);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Counts the spans that end. What the queue has no room for is among them, and not among the exported ones.
#[derive(Debug)]
pub struct CountingProcessor(pub BatchSpanProcessor);

impl SpanProcessor for CountingProcessor {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.0.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        metrics::counter!("slipway_spans_ended_total").increment(1);
        self.0.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}
