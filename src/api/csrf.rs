//! Refuses requests that pages of other origins send with the cookie of a session (cross-site request forgery).
//!
//! Rejected: the layer of `tower-http` around all routes. A page of an allowed origin may call with a token, which no browser
//! sends by itself; so the layer decides on requests with a session's cookie alone.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{self, Response};
use axum::middleware::Next;
use axum::response::IntoResponse as _;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_http::csrf::{CsrfLayer, ProtectionError};

use crate::api::credential::Credential;
use crate::api::problem::ApiError;
use crate::app::service::Service;

/// Refuses a request that may write, has a session's cookie and comes from another origin.
pub async fn protect(
    State(service): State<Arc<Service>>,
    request: Request,
    next: Next,
) -> axum::response::Response {
    let doubtful = is_to_be_checked(&service, &request).then(|| head_of(&request));
    if let Some(head) = doubtful
        && is_cross_origin(&service, head).await
    {
        tracing::warn!(path = request.uri().path(), "cross-origin request refused");
        return ApiError::CrossOrigin.into_response();
    }
    next.run(request).await
}

/// Whether a request may write, and has a session's cookie.
fn is_to_be_checked(service: &Service, request: &Request) -> bool {
    let has_session = || {
        let credential = Credential::of(request.headers(), service);
        matches!(credential, Some(Credential::Session(_)))
    };
    !request.method().is_safe() && has_session()
}

fn head_of(request: &Request) -> http::Request<()> {
    let mut head = http::Request::new(());
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = request.uri().clone();
    *head.headers_mut() = request.headers().clone();
    head
}

async fn is_cross_origin(service: &Service, head: http::Request<()>) -> bool {
    let layer = CsrfLayer::new();
    let public_url = service.sign_in.as_ref().map(|sign_in| &sign_in.public_url);
    // A proxy may have changed the Host that an Origin is compared with.
    let layer = match public_url {
        Some(url) => layer.add_trusted_origin(url.origin()).unwrap_or_default(),
        None => layer,
    };
    let accept = service_fn(|_: http::Request<()>| ready(Ok::<_, Infallible>(Response::new(()))));
    let Ok(response) = layer.layer(accept).oneshot(head).await;
    response.extensions().get::<ProtectionError>().is_some()
}
