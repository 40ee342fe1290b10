//! `GET /v1/trust-rules`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::auth::Admin;
use crate::api::page::Page;
use crate::api::params::Params;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::app::trust_rules;
use crate::domain::trust_rule::TrustRule;

/// List trust rules.
///
/// The oldest rule comes first. If several accept an ID token, the oldest of them does.
#[utoipa::path(
    get, path = "/v1/trust-rules", tag = "tokens", operation_id = "listTrustRules",
    responses(
        (status = 200, description = "The trust rules.", body = Page<TrustRule>),
        (status = 403, description = "The role `admin` is required."),
    )
)]
pub async fn list_trust_rules(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    params: Params,
) -> Result<Json<Page<TrustRule>>, ApiError> {
    params.finish()?;
    Ok(Json(Page {
        items: trust_rules::list_trust_rules(&service, &caller).await?,
        next_cursor: None,
    }))
}
