//! `DELETE /v1/tokens/{id}`

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use crate::api::auth::Admin;
use crate::api::params::Params;
use crate::api::path::{Id, IdPath};
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::app::tokens;

/// Revoke a token.
///
/// Takes effect at once.
#[utoipa::path(
    delete, path = "/v1/tokens/{id}", tag = "tokens", operation_id = "revokeToken",
    params(("id" = Id, Path, description = "The id of the token.")),
    responses(
        (status = 204, description = "The token is revoked."),
        (status = 403, description = "The role `admin` is required."),
        (status = 404, description = "No such token."),
    )
)]
pub async fn revoke_token(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    IdPath(id): IdPath,
    params: Params,
) -> Result<StatusCode, ApiError> {
    params.finish()?;
    tokens::revoke_token(&service, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
