//! `POST /v1/apps/{app}/restore`

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use crate::api::auth::Operator;
use crate::api::idempotency::{Idempotency, IdempotencyText};
use crate::api::params::Params;
use crate::api::path::AppPath;
use crate::api::problem::ApiError;
use crate::api::response;
use crate::app::restore::restore;
use crate::app::service::Service;
use crate::domain::names::AppName;

/// Restore an app.
///
/// Stops the removal of an app in quarantine: activates its access keys again and brings AWS back to its spec.
///
/// The app is not removed after this, even if the job fails. If it fails, retry it, or change the spec with
/// `PUT /v1/apps/{app}`, which also restores the app.
#[utoipa::path(
    post, path = "/v1/apps/{app}/restore", tag = "apps", operation_id = "restoreApp",
    params(
        ("app" = AppName, Path, description = "The name of the app."),
        ("accept_expiry" = Option<bool>, Query, description = "Allow the lifecycle policy to expire images with protected tags."),
        ("Idempotency-Key" = Option<IdempotencyText>, Header, description = "Requests with the same key get the first response for 24 hours."),
    ),
    responses(
        (status = 202, description = "The job that restores the app."),
        (status = 403, description = "The role `operator` is required."),
        (status = 404, description = "No such app."),
        (status = 409, description = "The app is not being removed, its resources are already being deleted, or a job is running for it."),
        (status = 422, description = "The Idempotency-Key was used with a different request."),
    )
)]
pub async fn restore_app(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    AppPath(name): AppPath,
    mut params: Params,
    idempotency: Idempotency,
) -> Result<Response, ApiError> {
    let accept_expiry = params.flag("accept_expiry");
    params.finish()?;
    let key = idempotency.key(&caller, &[]);
    Ok(response::accepted(
        restore(&service, caller, &name, accept_expiry, key).await?,
    ))
}
