//! `POST /v1/apps/{app}/credentials/rotate`

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use crate::api::auth::Operator;
use crate::api::idempotency::{Idempotency, IdempotencyText};
use crate::api::params::Params;
use crate::api::path::AppPath;
use crate::api::problem::ApiError;
use crate::api::response;
use crate::app::rotate::{RotateOptions, rotate};
use crate::app::service::Service;
use crate::domain::names::{AccessKeyId, AppName};

/// Rotate the access key of an app.
///
/// Creates a new access key. After the new key is claimed, the old one is deactivated once it is unused, and deleted
/// later. A key that is in use is kept unless you set `force=true`. To see the stage of the rotation, list the app's
/// credentials. Until the old key is deleted, you can roll the rotation back.
#[utoipa::path(
    post, path = "/v1/apps/{app}/credentials/rotate", tag = "credentials", operation_id = "rotateCredential",
    params(
        ("app" = AppName, Path, description = "The name of the app."),
        ("replace" = Option<AccessKeyId>, Query, description = "The access key to delete first if the user already has two."),
        ("force" = Option<bool>, Query, description = "Deactivate the old key, and delete the key in `replace`, even if they are in use."),
        ("Idempotency-Key" = Option<IdempotencyText>, Header, description = "Requests with the same key get the first response for 24 hours."),
    ),
    responses(
        (status = 202, description = "The job that creates the new key."),
        (status = 403, description = "The role `operator` is required."),
        (status = 404, description = "No such app."),
        (status = 409, description = "A rotation or a job is running for the app, the user already has two access keys, or the key in `replace` is in use."),
        (status = 422, description = "The Idempotency-Key was used with a different request."),
        (status = 502, description = "AWS does not list the user's access keys."),
        (status = 503, description = "The database is not available, or AWS is throttling the account."),
    )
)]
pub async fn rotate_credential(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    AppPath(name): AppPath,
    mut params: Params,
    idempotency: Idempotency,
) -> Result<Response, ApiError> {
    let options = RotateOptions {
        replace: params.take("replace", AccessKeyId::parse),
        force: params.flag("force"),
    };
    params.finish()?;
    let key = idempotency.key(&caller, &[]);
    Ok(response::accepted(
        rotate(&service, caller, &name, options, key).await?,
    ))
}
