//! The spans of traces, and all that is exported of them. Names are those of OpenTelemetry's semantic conventions
//! (<https://opentelemetry.io/docs/specs/semconv/>), or begin with `slipway.`.
//!
//! Invariants:
//! - An attribute is named here. No secret and no body is among them.
//! - Spans of logs are others: what a log line shows is not exported.

use std::fmt::Display;

use http::{HeaderMap, Method, StatusCode};
use opentelemetry::trace::{Status, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};
use tracing::{Span, debug_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::telemetry::trace_parent::TraceParent;

/// By this the exporter tells its spans from those of logs.
pub(super) const TARGET: &str = "slipway::trace";

/// The methods by which requests are told apart, here and in metrics.
pub const KNOWN_METHODS: [Method; 7] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::PATCH,
    Method::HEAD,
    Method::OPTIONS,
];

/// A request to the service. It continues the caller's trace, if the caller names it.
pub fn request(method: &Method, route: Option<&str>, headers: &HeaderMap) -> Span {
    // A client can make methods up, of any length.
    let known = KNOWN_METHODS.contains(method).then_some(method.as_str());
    let name = match (known, route) {
        (Some(method), Some(route)) => format!("{method} {route}"),
        (method, _) => method.unwrap_or("HTTP").to_owned(),
    };
    let span = debug_span!(target: TARGET, "request", otel.name = name, otel.kind = "server");
    let caller = headers
        .get("traceparent")
        .and_then(|text| text.to_str().ok());
    if let Some(caller) = caller.and_then(TraceParent::parse) {
        set_parent(&span, &caller);
    }
    span.set_attribute("http.request.method", known.unwrap_or("_OTHER").to_owned());
    if let Some(route) = route {
        span.set_attribute("http.route", route.to_owned());
    }
    span
}

fn set_parent(span: &Span, parent: &TraceParent) {
    let parent = Context::new().with_remote_span_context(parent.span_context());
    // Refused where nothing traces.
    let _ = span.set_parent(parent);
}

fn fail(span: &Span, error: String) {
    span.set_attribute("error.type", error);
    span.set_status(Status::error(""));
}

/// Makes a span below one of the logs, whose field `trace_id` then names the trace.
pub fn below(log: &Span, make: impl FnOnce() -> Span) -> (Span, Option<TraceParent>) {
    let span = log.in_scope(make);
    let trace = span.in_scope(TraceParent::current);
    if let Some(trace) = &trace {
        log.record("trace_id", trace.trace_id().to_string());
    }
    (span, trace)
}

/// Ends the span of a request.
pub fn responded(span: &Span, status: StatusCode) {
    span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        fail(span, status.as_str().to_owned());
    }
}

/// What an attempt of a job is about.
pub struct AttemptLabels<'a> {
    pub app: &'a str,
    pub account: &'a str,
    pub job: &'a dyn Display,
    pub kind: &'a dyn Display,
    pub attempt: u32,
    pub needs_approval: bool,
}

/// An attempt of a job. The first one continues the trace of the request, unless it had to wait for an approval. A later
/// one, which can be hours away and in another process, is a trace of its own that is linked to it.
pub fn attempt(labels: &AttemptLabels<'_>, requested: Option<&TraceParent>) -> Span {
    let name = format!("job {}", labels.kind);
    let span = debug_span!(target: TARGET, "attempt", otel.name = name, otel.kind = "consumer");
    match requested {
        Some(requested) if labels.attempt <= 1 && !labels.needs_approval => {
            set_parent(&span, requested);
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

/// Ends the span of an attempt, with the code of the error if it failed.
pub fn attempt_ended(span: &Span, outcome: &'static str, error: Option<&dyn Display>) {
    span.set_attribute("slipway.job.outcome", outcome);
    if let Some(error) = error {
        fail(span, error.to_string());
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
    fail(span, code.to_owned());
}

/// An HTTP attempt of the current call failed, so that the call is tried again or fails.
pub fn aws_attempt_failed(answer: Option<AwsAnswer<'_>>) {
    let context = Context::current();
    if context.has_active_span() {
        let attributes = answer.map(AwsAnswer::attributes).unwrap_or_default();
        context.span().add_event("attempt failed", attributes);
    }
}

/// The last answer of AWS to the current call.
pub fn aws_answered(answer: AwsAnswer<'_>, region: Option<&str>) {
    let context = Context::current();
    if context.has_active_span() {
        let mut attributes = answer.attributes();
        attributes.extend(region.map(|region| KeyValue::new("cloud.region", region.to_owned())));
        context.span().set_attributes(attributes);
    }
}

/// An answer of AWS.
pub struct AwsAnswer<'a> {
    pub status: u16,
    pub request_id: Option<&'a str>,
}

impl AwsAnswer<'_> {
    fn attributes(self) -> Vec<KeyValue> {
        let status = i64::from(self.status);
        let id = self.request_id.map(str::to_owned);
        [KeyValue::new("http.response.status_code", status)]
            .into_iter()
            .chain(id.map(|id| KeyValue::new("aws.request_id", id)))
            .collect()
    }
}
