//! `POST /v1/webhooks/{id}/replay`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::auth::Admin;
use crate::api::body::JsonBody;
use crate::api::params::Params;
use crate::api::path::{Id, IdPath};
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::app::webhooks::{self, Replayed};
use crate::clock::Timestamp;

/// Which deliveries to make again: one, or those of a time.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the body in the OpenAPI document")]
pub struct ReplayRequest {
    /// The ID of a delivery.
    #[schema(value_type = Option<String>, nullable = false, example = "01M7ZZKNCN0FX83X9J2XV56WYP")]
    delivery: Option<String>,
    /// Make the deliveries again of events at or after this time.
    #[schema(nullable = false)]
    since: Option<Timestamp>,
    /// Make the deliveries again of events before this time. The default is now.
    #[schema(nullable = false)]
    until: Option<Timestamp>,
}

/// Replay deliveries of a webhook.
///
/// Makes one delivery again, or those of events within a time, with the ids that they had. Deliveries that are still to be
/// made are not made twice. Name either `delivery`, or `since` and optionally `until`.
#[utoipa::path(
    post, path = "/v1/webhooks/{id}/replay", tag = "webhooks", operation_id = "replayWebhook",
    params(("id" = Id, Path, description = "The id of the webhook.")),
    request_body = ReplayRequest,
    responses(
        (status = 200, description = "How many deliveries are made again.", body = Replayed),
        (status = 403, description = "The role `admin` is required."),
        (status = 404, description = "No such webhook or delivery."),
        (status = 409, description = "The webhook is disabled."),
        (status = 422, description = "Fields are invalid."),
    )
)]
pub async fn replay_webhook(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    IdPath(id): IdPath,
    params: Params,
    body: JsonBody,
) -> Result<Json<Replayed>, ApiError> {
    params.finish()?;
    let replayed = webhooks::replay_webhook(&service, &caller, id, body.required()?).await?;
    Ok(Json(replayed))
}
