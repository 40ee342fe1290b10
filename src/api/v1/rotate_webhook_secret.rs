//! `POST /v1/webhooks/{id}/rotate-secret`

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};

use crate::api::auth::Admin;
use crate::api::params::Params;
use crate::api::path::{Id, IdPath};
use crate::api::problem::ApiError;
use crate::api::v1::create_webhook::once;
use crate::app::service::Service;
use crate::app::webhooks::{self, WebhookWithSecret};
use crate::domain::spec::parse_age;

/// How long the previous secret is used, too, unless the request says.
pub const DEFAULT_OVERLAP: Duration = Duration::from_secs(24 * 3600);
const MAX_OVERLAP: Duration = Duration::from_secs(30 * 24 * 3600);

/// Rotate the signing secret of a webhook.
///
/// Returns the new secret once. For the time of `overlap`, requests have two signatures, so that the receiver can take the
/// new secret at any moment. After a leak, use `overlap=0h`.
#[utoipa::path(
    post, path = "/v1/webhooks/{id}/rotate-secret", tag = "webhooks", operation_id = "rotateWebhookSecret",
    params(
        ("id" = Id, Path, description = "The id of the webhook."),
        ("overlap" = Option<String>, Query, description = "How long requests are signed with the previous secret, too: `0h`, or up to `30d`. The default is `24h`.", pattern = "^(0h|[1-9][0-9]*[hdw])$", example = "24h"),
    ),
    responses(
        (status = 200, description = "The webhook, with its new signing secret.", body = WebhookWithSecret),
        (status = 403, description = "The role `admin` is required."),
        (status = 404, description = "No such webhook."),
    )
)]
pub async fn rotate_webhook_secret(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    IdPath(id): IdPath,
    mut params: Params,
) -> Result<Response, ApiError> {
    let overlap = params.take("overlap", parse_overlap);
    params.finish()?;
    let overlap = overlap.unwrap_or(DEFAULT_OVERLAP);
    let rotated: WebhookWithSecret =
        webhooks::rotate_webhook_secret(&service, &caller, id, overlap).await?;
    Ok(once(Json(rotated).into_response()))
}

/// Parses how long the previous secret is used, too.
///
/// # Errors
/// When it is no duration, or too long.
pub fn parse_overlap(text: &str) -> Result<Duration, &'static str> {
    if text == "0h" {
        return Ok(Duration::ZERO);
    }
    let overlap = parse_age(text).ok().filter(|age| *age <= MAX_OVERLAP);
    overlap.ok_or("must be 0h, or a duration from 1h to 30d, such as 24h")
}
