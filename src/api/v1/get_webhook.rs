//! `GET /v1/webhooks/{id}`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::auth::Admin;
use crate::api::params::Params;
use crate::api::path::{Id, IdPath};
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::app::webhooks;
use crate::domain::webhook::Webhook;

/// Get a webhook.
#[utoipa::path(
    get, path = "/v1/webhooks/{id}", tag = "webhooks", operation_id = "getWebhook",
    params(("id" = Id, Path, description = "The id of the webhook.")),
    responses(
        (status = 200, description = "The webhook.", body = Webhook),
        (status = 403, description = "The role `admin` is required."),
        (status = 404, description = "No such webhook."),
    )
)]
pub async fn get_webhook(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    IdPath(id): IdPath,
    params: Params,
) -> Result<Json<Webhook>, ApiError> {
    params.finish()?;
    Ok(Json(webhooks::get_webhook(&service, &caller, id).await?))
}
