//! `POST /v1/oauth/device_authorization`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};

use crate::api::params::Params;
use crate::api::problem::ApiError;
use crate::app::device_sign_in;
use crate::app::service::Service;
use crate::oidc::DeviceAuthorization;

/// Begin a sign-in at a terminal.
///
/// Returns a URL and a code for a person, who signs in there with any browser, and the code that the terminal then asks
/// `POST /v1/oauth/token` for a token with (RFC 8628). Needs no token and no body.
#[utoipa::path(
    post, path = "/v1/oauth/device_authorization", tag = "tokens", operation_id = "authorizeDevice", security(()),
    responses(
        (status = 200, description = "The codes, and where to sign in.", body = DeviceAuthorization),
        (status = 404, description = "Sign-in is not configured, or the identity provider has no device flow."),
        (status = 503, description = "The identity provider does not answer, or the service is overloaded."),
    )
)]
pub async fn authorize_device(
    State(service): State<Arc<Service>>,
    params: Params,
) -> Result<Response, ApiError> {
    params.finish()?;
    let begun = device_sign_in::begin(&service).await?;
    let mut response = Json(begun).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
