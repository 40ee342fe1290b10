//! `GET /v1/apps/{app}/credentials`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::auth::Viewer;
use crate::api::params::Params;
use crate::api::path::AppPath;
use crate::api::problem::ApiError;
use crate::app::credentials;
use crate::app::service::Service;
use crate::domain::access_key::Credential;
use crate::domain::names::AppName;
use crate::domain::rotation::Rotation;

/// The access keys of an app's user, and the rotation of its key.
#[derive(Serialize, ToSchema)]
pub struct CredentialPage {
    /// The access keys, also those that are deleted. A user has at most two at a time.
    items: Vec<Credential>,
    /// Always null: all items are on one page.
    next_cursor: Option<String>,
    /// The last rotation, also one that has ended.
    rotation: Option<Rotation>,
}

/// List the credentials of an app.
///
/// Returns the access keys on the app's user with their status, age and last use. Never returns a secret.
#[utoipa::path(
    get, path = "/v1/apps/{app}/credentials", tag = "credentials", operation_id = "listCredentials",
    params(("app" = AppName, Path, description = "The name of the app.")),
    responses(
        (status = 200, description = "The access keys.", body = CredentialPage),
        (status = 404, description = "No such app."),
        (status = 502, description = "AWS does not list the user's access keys."),
        (status = 503, description = "The database is not available, or AWS is throttling the account."),
    )
)]
pub async fn list_credentials(
    State(service): State<Arc<Service>>,
    _: Viewer,
    AppPath(name): AppPath,
    params: Params,
) -> Result<Json<CredentialPage>, ApiError> {
    params.finish()?;
    let found = credentials::list(&service, &name).await?;
    Ok(Json(CredentialPage {
        items: found.items,
        next_cursor: None,
        rotation: found.rotation,
    }))
}
