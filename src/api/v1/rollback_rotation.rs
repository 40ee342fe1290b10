//! `POST /v1/apps/{app}/credentials/rollback`

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use crate::api::auth::Operator;
use crate::api::idempotency::{Idempotency, IdempotencyText};
use crate::api::params::Params;
use crate::api::path::AppPath;
use crate::api::problem::ApiError;
use crate::api::response;
use crate::app::rotate::roll_back;
use crate::app::service::Service;
use crate::domain::names::AppName;

/// Roll back the rotation of an app's access key.
///
/// Activates the old access key again and ends the rotation. The new key stays.
#[utoipa::path(
    post, path = "/v1/apps/{app}/credentials/rollback", tag = "credentials", operation_id = "rollbackRotation",
    params(
        ("app" = AppName, Path, description = "The name of the app."),
        ("Idempotency-Key" = Option<IdempotencyText>, Header, description = "Requests with the same key get the first response for 24 hours."),
    ),
    responses(
        (status = 202, description = "The job that activates the old key."),
        (status = 403, description = "The role `operator` is required."),
        (status = 404, description = "No such app."),
        (status = 409, description = "The app has no rotation to roll back, the old key is already deleted, or a job is running for the app."),
        (status = 422, description = "The Idempotency-Key was used with a different request."),
    )
)]
pub async fn rollback_rotation(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    AppPath(name): AppPath,
    params: Params,
    idempotency: Idempotency,
) -> Result<Response, ApiError> {
    params.finish()?;
    let key = idempotency.key(&caller, &[]);
    Ok(response::accepted(
        roll_back(&service, caller, &name, key).await?,
    ))
}
