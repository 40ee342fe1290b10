//! `DELETE /v1/trust-rules/{id}`

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use crate::api::auth::Admin;
use crate::api::params::Params;
use crate::api::path::{Id, IdPath};
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::app::trust_rules;

/// Delete a trust rule.
///
/// The API tokens that were exchanged by the rule are revoked with it.
#[utoipa::path(
    delete, path = "/v1/trust-rules/{id}", tag = "tokens", operation_id = "deleteTrustRule",
    params(("id" = Id, Path, description = "The id of the trust rule.")),
    responses(
        (status = 204, description = "The trust rule is deleted, and its tokens are revoked."),
        (status = 403, description = "The role `admin` is required."),
        (status = 404, description = "No such trust rule."),
    )
)]
pub async fn delete_trust_rule(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    IdPath(id): IdPath,
    params: Params,
) -> Result<StatusCode, ApiError> {
    params.finish()?;
    trust_rules::delete_trust_rule(&service, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
