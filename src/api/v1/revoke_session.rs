//! `DELETE /v1/sessions/{id}`

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use crate::api::auth::Viewer;
use crate::api::params::Params;
use crate::api::path::{Id, IdPath};
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::app::sessions;

/// Revoke a session.
///
/// Signs the browser out at once. You can revoke your own sessions, and with the role `admin` also those of others within
/// your role and scope.
#[utoipa::path(
    delete, path = "/v1/sessions/{id}", tag = "tokens", operation_id = "revokeSession",
    params(("id" = Id, Path, description = "The id of the session.")),
    responses(
        (status = 204, description = "The session is revoked."),
        (status = 404, description = "No such session."),
    )
)]
pub async fn revoke_session(
    State(service): State<Arc<Service>>,
    Viewer(caller): Viewer,
    IdPath(id): IdPath,
    params: Params,
) -> Result<StatusCode, ApiError> {
    params.finish()?;
    sessions::revoke_session(&service, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
