//! Completes problem documents on their way out, and makes them of what no handler answers.

use axum::extract::Request;
use axum::http::{StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::document::Problem;
use super::error::ApiError;
use crate::telemetry::TraceParent;

/// Sets `instance` in problem documents, and turns the framework's own errors into problem documents.
pub async fn complete(request: Request, next: Next) -> Response {
    let instance = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let problem = problem.for_endpoint(instance);
        return with_headers_of(&response, problem);
    }
    if is_page(&response) {
        return response;
    }
    let error = match response.status() {
        StatusCode::NOT_FOUND => ApiError::NotFound,
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::TooLarge,
        StatusCode::METHOD_NOT_ALLOWED => ApiError::MethodNotAllowed,
        _ => return response,
    };
    with_headers_of(
        &response,
        Problem {
            instance,
            ..error.problem()
        },
    )
}

/// A page for people tells them of an error itself.
fn is_page(response: &Response) -> bool {
    let media_type = response.headers().get(header::CONTENT_TYPE);
    media_type.is_some_and(|media_type| media_type.as_bytes().starts_with(b"text/html"))
}

fn with_headers_of(earlier: &Response, mut problem: Problem) -> Response {
    problem.trace_id = TraceParent::current().map(|trace| trace.trace_id().to_string());
    let mut response = problem.into_response();
    response.extensions_mut().remove::<Problem>();
    if let Some(allow) = earlier.headers().get(header::ALLOW) {
        response.headers_mut().insert(header::ALLOW, allow.clone());
    }
    response
}

/// No such route.
pub async fn not_found(_uri: Uri) -> ApiError {
    ApiError::NotFound
}

/// The route does not know the method.
pub async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}

/// A handler panicked: only its request fails.
pub fn of_panic(_panic: Box<dyn std::any::Any + Send>) -> Response {
    ApiError::Defect.into_response()
}
