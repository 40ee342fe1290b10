//! `GET /v1/trust-rules/{id}`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::auth::Admin;
use crate::api::params::Params;
use crate::api::path::{Id, IdPath};
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::app::trust_rules;
use crate::domain::trust_rule::TrustRule;

/// Get a trust rule.
#[utoipa::path(
    get, path = "/v1/trust-rules/{id}", tag = "tokens", operation_id = "getTrustRule",
    params(("id" = Id, Path, description = "The id of the trust rule.")),
    responses(
        (status = 200, description = "The trust rule.", body = TrustRule),
        (status = 403, description = "The role `admin` is required."),
        (status = 404, description = "No such trust rule."),
    )
)]
pub async fn get_trust_rule(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    IdPath(id): IdPath,
    params: Params,
) -> Result<Json<TrustRule>, ApiError> {
    params.finish()?;
    Ok(Json(
        trust_rules::get_trust_rule(&service, &caller, id).await?,
    ))
}
