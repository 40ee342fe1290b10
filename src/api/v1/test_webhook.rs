//! `POST /v1/webhooks/{id}/test`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::auth::Admin;
use crate::api::params::Params;
use crate::api::path::{Id, IdPath};
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::app::webhooks::{self, WebhookDelivery};

/// Test a webhook.
///
/// Sends an event of type `webhook.test`, after those that wait for the webhook, which are tried at once. To see what has
/// become of it, list the deliveries.
#[utoipa::path(
    post, path = "/v1/webhooks/{id}/test", tag = "webhooks", operation_id = "testWebhook",
    params(("id" = Id, Path, description = "The id of the webhook.")),
    responses(
        (status = 200, description = "The delivery that is to be made.", body = WebhookDelivery),
        (status = 403, description = "The role `admin` is required."),
        (status = 404, description = "No such webhook."),
        (status = 409, description = "The webhook is disabled."),
    )
)]
pub async fn test_webhook(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    IdPath(id): IdPath,
    params: Params,
) -> Result<Json<WebhookDelivery>, ApiError> {
    params.finish()?;
    Ok(Json(webhooks::test_webhook(&service, &caller, id).await?))
}
