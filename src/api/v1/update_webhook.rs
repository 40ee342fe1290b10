//! `PATCH /v1/webhooks/{id}`

use std::collections::BTreeSet;
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
use crate::app::webhooks;
use crate::domain::scope::Scope;
use crate::domain::webhook::{EventType, Webhook, WebhookState};

/// A change of a webhook: what is absent stays, and `null` is the default.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the body in the OpenAPI document")]
pub struct WebhookUpdate {
    /// Where events are posted to.
    #[schema(
        nullable = false,
        example = "https://hooks.example.com/slipway",
        max_length = 2048,
        pattern = "^https?://[!-\"$-~]+$"
    )]
    url: Option<String>,
    /// What it is for.
    #[schema(
        min_length = 1,
        max_length = 256,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"
    )]
    description: Option<String>,
    /// The types of events. `null` for all.
    #[schema(min_items = 1, max_items = 32)]
    events: Option<BTreeSet<EventType>>,
    /// The apps and accounts whose events it gets. `null` for all that you may see.
    scope: Option<Scope>,
    /// `active` enables the webhook again; what waits for it is sent at once.
    #[schema(nullable = false)]
    state: Option<WebhookState>,
}

/// Update a webhook.
///
/// The body is a JSON merge patch (RFC 7396). Deliveries that wait are tried at once.
#[utoipa::path(
    patch, path = "/v1/webhooks/{id}", tag = "webhooks", operation_id = "updateWebhook",
    params(("id" = Id, Path, description = "The id of the webhook.")),
    request_body = WebhookUpdate,
    responses(
        (status = 200, description = "The webhook.", body = Webhook),
        (status = 403, description = "The role `admin` is required, or the webhook would be told more than you may see."),
        (status = 404, description = "No such webhook."),
        (status = 422, description = "Fields are invalid, or the address in the URL is not public."),
    )
)]
pub async fn update_webhook(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    IdPath(id): IdPath,
    params: Params,
    body: JsonBody,
) -> Result<Json<Webhook>, ApiError> {
    params.finish()?;
    let webhook = webhooks::update_webhook(&service, &caller, id, body.required()?).await?;
    Ok(Json(webhook))
}
