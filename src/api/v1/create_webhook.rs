//! `POST /v1/webhooks`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use crate::api::auth::Admin;
use crate::api::body::JsonBody;
use crate::api::params::Params;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::app::webhooks::{self, WebhookWithSecret};
use crate::domain::webhook::WebhookSpec;

/// Create a webhook.
///
/// Slipway posts events to the URL, signed as Standard Webhooks describes, in the order in which they happen. Returns the
/// signing secret once. The webhook is told of nothing outside its scope, and nobody can give it a scope beyond his own.
#[utoipa::path(
    post, path = "/v1/webhooks", tag = "webhooks", operation_id = "createWebhook",
    request_body = WebhookSpec,
    responses(
        (status = 201, description = "The webhook, with its signing secret.", body = WebhookWithSecret),
        (status = 403, description = "The role `admin` is required, or the webhook would be told more than you may see."),
        (status = 422, description = "Fields are invalid, or the address in the URL is not public."),
    )
)]
pub async fn create_webhook(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    params: Params,
    body: JsonBody,
) -> Result<Response, ApiError> {
    params.finish()?;
    let webhook = webhooks::create_webhook(&service, &caller, body.required()?).await?;
    Ok(once((StatusCode::CREATED, Json(webhook)).into_response()))
}

/// A response with a secret, which nobody stores.
pub fn once(mut response: Response) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    response
}
