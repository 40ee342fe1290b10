//! `GET /v1/webhooks/{id}/deliveries`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::auth::Admin;
use crate::api::page::{Cursor, Page};
use crate::api::params::Params;
use crate::api::path::{Id, IdPath};
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::app::webhooks::{self, WebhookDelivery};
use crate::domain::webhook::{DeliveryState, EventType};
use crate::store::DeliveryFilter;

/// List the deliveries of a webhook.
///
/// The newest comes first. A delivery is kept as long as jobs are.
#[utoipa::path(
    get, path = "/v1/webhooks/{id}/deliveries", tag = "webhooks", operation_id = "listWebhookDeliveries",
    params(
        ("id" = Id, Path, description = "The id of the webhook."),
        ("state" = Option<DeliveryState>, Query, description = "Return deliveries in this state only."),
        ("type" = Option<EventType>, Query, description = "Return deliveries of events of this type only."),
        ("limit" = Option<u32>, Query, description = "The maximum number of items.", minimum = 1, maximum = 200),
        ("cursor" = Option<Id>, Query, description = "The `next_cursor` of the previous page."),
    ),
    responses(
        (status = 200, description = "A page of deliveries.", body = Page<WebhookDelivery>),
        (status = 403, description = "The role `admin` is required."),
        (status = 404, description = "No such webhook."),
    )
)]
pub async fn list_webhook_deliveries(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    IdPath(webhook): IdPath,
    mut params: Params,
) -> Result<Json<Page<WebhookDelivery>>, ApiError> {
    let cursor = Cursor::of(&mut params);
    let filter = DeliveryFilter {
        webhook,
        state: params.take("state", |text| {
            text.parse::<DeliveryState>()
                .map_err(|_| "must be pending, delivered or failed")
        }),
        kind: params.take("type", webhooks::parse_event_type),
        before: cursor.from,
        limit: cursor.probe(),
    };
    params.finish()?;
    let found = webhooks::list_deliveries(&service, &caller, &filter).await?;
    Ok(Json(cursor.page(
        found,
        |delivery| delivery.event.id,
        WebhookDelivery::from,
    )))
}
