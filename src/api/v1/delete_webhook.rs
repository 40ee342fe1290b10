//! `DELETE /v1/webhooks/{id}`

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use crate::api::auth::Admin;
use crate::api::params::Params;
use crate::api::path::{Id, IdPath};
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::app::webhooks;

/// Delete a webhook.
///
/// Its deliveries are deleted with it, also those that are still to be made.
#[utoipa::path(
    delete, path = "/v1/webhooks/{id}", tag = "webhooks", operation_id = "deleteWebhook",
    params(("id" = Id, Path, description = "The id of the webhook.")),
    responses(
        (status = 204, description = "The webhook is deleted."),
        (status = 403, description = "The role `admin` is required."),
        (status = 404, description = "No such webhook."),
    )
)]
pub async fn delete_webhook(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    IdPath(id): IdPath,
    params: Params,
) -> Result<StatusCode, ApiError> {
    params.finish()?;
    webhooks::delete_webhook(&service, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
