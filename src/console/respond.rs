//! The responses of the console: problem documents become pages, and every response gets the headers of a page.
//!
//! Invariants:
//! - A page is never stored by a browser or a proxy.
//! - Scripts, styles and connections come from the service itself. Nothing is inline.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::api::problem::{ApiError, Problem};
use crate::app::service::Service;
use crate::console::page::{Page, html};
use crate::telemetry::TraceParent;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
    form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
/// What needs no encoding in a query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.');

#[derive(Template)]
#[template(path = "console/problem.html")]
struct ProblemPage {
    page: Page,
    problem: Problem,
}

#[derive(Template)]
#[template(path = "console/session_ended.html")]
struct SessionEndedPage {
    page: Page,
}

#[derive(Template)]
#[template(path = "console/no_sign_in.html")]
struct NoSignInPage {
    page: Page,
}

/// Turns problem documents into pages, sends those who are not signed in to the sign-in, and sets the headers.
pub async fn complete(
    State(service): State<Arc<Service>>,
    request: Request,
    next: Next,
) -> Response {
    let asked = Asked::of(&request);
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = asked
            .page_of(&service, problem)
            .unwrap_or_else(ApiError::into_response);
    }
    set_headers(response.headers_mut());
    response
}

/// What was asked for.
struct Asked {
    is_read: bool,
    is_htmx: bool,
    path: String,
}

impl Asked {
    fn of(request: &Request) -> Self {
        let uri = request.uri();
        Self {
            is_read: matches!(*request.method(), Method::GET | Method::HEAD),
            is_htmx: request.headers().contains_key("hx-request"),
            path: uri
                .path_and_query()
                .map_or(uri.path(), |path| path.as_str())
                .to_owned(),
        }
    }

    fn page_of(self, service: &Service, mut problem: Problem) -> Result<Response, ApiError> {
        if problem.status == StatusCode::UNAUTHORIZED.as_u16() {
            return self.sign_in(service);
        }
        let status =
            StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        problem.trace_id = TraceParent::current().map(|trace| trace.trace_id().to_string());
        let page = Page::plain(service, problem.title.clone());
        let page = html(&ProblemPage { page, problem })?;
        Ok((status, page).into_response())
    }

    fn sign_in(self, service: &Service) -> Result<Response, ApiError> {
        if service.sign_in.is_none() {
            let page = Page::plain(service, "Sign-in is not configured");
            let page = html(&NoSignInPage { page })?;
            return Ok((StatusCode::SERVICE_UNAVAILABLE, page).into_response());
        }
        if self.is_htmx {
            // The browser loads the page again, which leads to the sign-in and back.
            let refresh = [(
                HeaderName::from_static("hx-refresh"),
                HeaderValue::from_static("true"),
            )];
            return Ok((StatusCode::UNAUTHORIZED, refresh).into_response());
        }
        if !self.is_read {
            // A browser would follow the answer to a form to this service alone, and not on to the identity provider.
            let page = Page::plain(service, "Your session has ended");
            let page = html(&SessionEndedPage { page })?;
            return Ok((StatusCode::UNAUTHORIZED, page).into_response());
        }
        Ok(Redirect::to(&sign_in_path(&self.path, false)).into_response())
    }
}

/// The path of the sign-in that leads back to a page. A `fresh` one has the person prove anew who they are.
pub fn sign_in_path(return_to: &str, fresh: bool) -> String {
    let fresh = if fresh { "true" } else { "" };
    query("/auth/login", &[("return_to", return_to), ("fresh", fresh)])
}

fn set_headers(headers: &mut HeaderMap) {
    let defaults = [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "same-origin"),
    ];
    for (name, value) in defaults {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    headers.insert(
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    );
}

/// A path with those query parameters that are not empty.
pub fn query(path: &str, parameters: &[(&str, &str)]) -> String {
    let given: Vec<String> = parameters
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, QUERY)))
        .collect();
    if given.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", given.join("&"))
    }
}
