//! What identifies a request: `X-Request-Id`, taken from the request or generated, and its trace, which continues that of
//! the caller. Both are logged and returned.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;
use tracing::field::Empty;

use crate::telemetry::spans;

const HEADER: &str = "x-request-id";
/// W3C Trace Context, Level 2 (<https://w3c.github.io/trace-context/#traceresponse-header>)
const TRACE_HEADER: &str = "traceresponse";
/// The route of a request to none.
const UNMATCHED: &str = "unmatched";
/// The maximum length in bytes. Longer ids are replaced.
const MAX_LENGTH: usize = 128;

/// Sets the request's id, logs the request and counts it.
pub async fn carry(request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(HEADER)
        .and_then(|value| value.to_str().ok());
    let fits = |id: &&str| {
        !id.is_empty() && id.len() <= MAX_LENGTH && id.chars().all(|c| c.is_ascii_graphic())
    };
    let id = given
        .filter(fits)
        .map_or_else(|| ulid::Ulid::generate().to_string(), str::to_owned);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or(UNMATCHED.to_owned(), |route| route.as_str().to_owned());
    let span = tracing::info_span!("request", request_id = id, trace_id = Empty);
    let (traced, trace) = spans::below(&span, || {
        spans::request(&method, known_route(&route), request.headers())
    });
    let began = Instant::now();
    let mut response = next.run(request).instrument(traced.clone()).await;
    spans::responded(&traced, response.status());
    let (status, took) = (response.status().as_u16(), began.elapsed());
    span.in_scope(|| tracing::debug!(%method, path, status, ms = took.as_millis(), "request"));
    // A client can make methods up. They must not create new time series.
    let method = if spans::KNOWN_METHODS.contains(&method) {
        method.to_string()
    } else {
        "other".to_owned()
    };
    let labels = [
        ("method", method),
        ("route", route),
        ("status", status.to_string()),
    ];
    metrics::counter!("slipway_http_requests_total", &labels).increment(1);
    metrics::histogram!("slipway_http_request_seconds", &labels[..2]).record(took.as_secs_f64());
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HEADER, id);
    }
    if let Some(Ok(trace)) = trace.map(|trace| HeaderValue::from_str(&trace.to_string())) {
        response.headers_mut().insert(TRACE_HEADER, trace);
    }
    response
}

fn known_route(route: &str) -> Option<&str> {
    (route != UNMATCHED).then_some(route)
}
