//! `X-Request-Id`: taken from the request or made, written to the log, and sent back.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;

const HEADER: &str = "x-request-id";
/// Longer ones are replaced.
const LONGEST: usize = 128;

/// Gives the request its id, logs its end and counts it.
pub async fn carry(request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(HEADER)
        .and_then(|value| value.to_str().ok());
    let fits = |id: &&str| {
        !id.is_empty() && id.len() <= LONGEST && id.chars().all(|c| c.is_ascii_graphic())
    };
    let id = given
        .filter(fits)
        .map_or_else(|| ulid::Ulid::generate().to_string(), str::to_owned);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unmatched".to_owned(), |route| route.as_str().to_owned());
    let span = tracing::info_span!("request", request_id = id);
    let began = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let (status, took) = (response.status().as_u16(), began.elapsed());
    span.in_scope(|| tracing::debug!(%method, path, status, ms = took.as_millis(), "request"));
    // Methods are the client's text: made-up ones must not make new metrics.
    let known = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
        Method::HEAD,
        Method::OPTIONS,
    ]
    .contains(&method);
    let method = if known {
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
    response
}
