//! `GET /v1/webhooks`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::auth::Admin;
use crate::api::page::Page;
use crate::api::params::Params;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::app::webhooks;
use crate::domain::webhook::Webhook;

/// List webhooks.
///
/// The oldest webhook comes first. A secret is never shown again.
#[utoipa::path(
    get, path = "/v1/webhooks", tag = "webhooks", operation_id = "listWebhooks",
    responses(
        (status = 200, description = "The webhooks.", body = Page<Webhook>),
        (status = 403, description = "The role `admin` is required."),
    )
)]
pub async fn list_webhooks(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    params: Params,
) -> Result<Json<Page<Webhook>>, ApiError> {
    params.finish()?;
    Ok(Json(Page {
        items: webhooks::list_webhooks(&service, &caller).await?,
        next_cursor: None,
    }))
}
