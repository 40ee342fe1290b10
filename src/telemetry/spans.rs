//! The spans of traces, and all that is exported of them. Names are those of OpenTelemetry's semantic conventions
//! (<https://opentelemetry.io/docs/specs/semconv/>), or begin with `slipway.`.
//!
//! Invariants:
//! - An attribute is named here. No secret and no body is among them.
//! - Spans of logs are others: what a log line shows is not exported.

use std::fmt::Display;

use http::{HeaderMap, Method, StatusCode};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{Status, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::{Span, debug_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::telemetry::trace_parent::TraceParent;

/// By this the exporter tells its spans from those of logs.
pub(super) const TARGET: &str = "slipway::trace";

/// A request to the service. It continues the caller's trace, if the caller names it.
pub fn request(method: &Method, route: Option<&str>, headers: &HeaderMap) -> Span {
    let name = match route {
        Some(route) => format!("{method} {route}"),
        None => method.to_string(),
    };
    let span = debug_span!(target: TARGET, "request", otel.name = name, otel.kind = "server");
    let caller = TraceContextPropagator::new()
        .extract_with_context(&Context::new(), &HeaderExtractor(headers));
    // Refused where nothing traces.
    let _ = span.set_parent(caller);
    span.set_attribute("http.request.method", method.to_string());
    if let Some(route) = route {
        span.set_attribute("http.route", route.to_owned());
    }
    span
}

/// Ends the span of a request.
pub fn responded(span: &Span, status: StatusCode) {
    span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.set_attribute("error.type", status.as_str().to_owned());
        span.set_status(Status::error(""));
    }
}

/// What an attempt of a job is about.
pub struct AttemptLabels<'a> {
    pub app: &'a str,
    pub account: &'a str,
    pub job: &'a dyn Display,
    pub kind: &'a dyn Display,
    pub attempt: u32,
}

/// An attempt of a job. The first one continues the trace of the request. A later one, which can be hours away and in
/// another process, is a trace of its own that is linked to it.
pub fn attempt(labels: &AttemptLabels<'_>, requested: Option<&TraceParent>) -> Span {
    let name = format!("job {}", labels.kind);
    let span = debug_span!(target: TARGET, "attempt", otel.name = name, otel.kind = "consumer");
    match requested {
        Some(requested) if labels.attempt <= 1 => {
            let request = Context::new().with_remote_span_context(requested.span_context());
            // Refused where nothing traces.
            let _ = span.set_parent(request);
        }
        Some(requested) => span.add_link(requested.span_context()),
        None => {}
    }
    span.set_attribute("slipway.app", labels.app.to_owned());
    span.set_attribute("slipway.account", labels.account.to_owned());
    span.set_attribute("slipway.job.id", labels.job.to_string());
    span.set_attribute("slipway.job.kind", labels.kind.to_string());
    span.set_attribute("slipway.job.attempt", i64::from(labels.attempt));
    span
}

/// Ends the span of an attempt.
pub fn attempt_ended(span: &Span, outcome: &'static str, is_failure: bool) {
    span.set_attribute("slipway.job.outcome", outcome);
    if is_failure {
        span.set_attribute("error.type", outcome);
        span.set_status(Status::error(""));
    }
}

/// A step of a job: one resource is observed and changed.
pub fn step(kind: &str, resource: &dyn Display) -> Span {
    let span = debug_span!(target: TARGET, "step", otel.name = format!("step {kind}"));
    span.set_attribute("slipway.resource", resource.to_string());
    span
}

/// Work that nobody has requested, such as a check for drift.
pub fn background(task: &'static str, app: &str) -> Span {
    let span = debug_span!(target: TARGET, "background", otel.name = task);
    span.set_attribute("slipway.app", app.to_owned());
    span
}

/// A call of AWS, with the attempts that it takes. Outside of any trace there is none.
pub fn aws_call(service: &str, operation: &'static str, account: &str) -> Span {
    if !Context::current().has_active_span() {
        return Span::none();
    }
    let name = format!("{}.{operation}", service.to_uppercase());
    let span = debug_span!(target: TARGET, "aws_call", otel.name = name, otel.kind = "client");
    span.set_attribute("rpc.system.name", "aws-api");
    span.set_attribute("rpc.service", service.to_owned());
    span.set_attribute("rpc.method", operation);
    span.set_attribute("slipway.account", account.to_owned());
    span
}

/// Ends the span of a call that AWS refused or did not answer, with the code of the error.
pub fn aws_failed(span: &Span, code: &str) {
    span.set_attribute("error.type", code.to_owned());
    span.set_status(Status::error(""));
}

/// What AWS answered to one attempt of the current call.
pub fn aws_attempt(region: Option<&str>, status: u16, request_id: Option<&str>, failure: bool) {
    let context = Context::current();
    let span = context.span();
    let mut attributes = vec![KeyValue::new(
        "http.response.status_code",
        i64::from(status),
    )];
    if let Some(id) = request_id {
        attributes.push(KeyValue::new("aws.request_id", id.to_owned()));
    }
    if failure {
        span.add_event("attempt failed", attributes.clone());
    }
    if let Some(region) = region {
        attributes.push(KeyValue::new("cloud.region", region.to_owned()));
    }
    span.set_attributes(attributes);
}
