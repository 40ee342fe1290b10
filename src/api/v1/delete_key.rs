//! `POST /v1/apps/{app}/credentials/{access_key_id}/delete`

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use crate::api::auth::Operator;
use crate::api::idempotency::{Idempotency, IdempotencyText};
use crate::api::params::Params;
use crate::api::path::KeyPath;
use crate::api::problem::ApiError;
use crate::api::response;
use crate::app::service::Service;
use crate::app::set_key_status::set_key_status;
use crate::domain::access_key::InUse;
use crate::domain::names::{AccessKeyId, AppName};
use crate::domain::task::KeyStatus;

/// Delete an access key.
///
/// A key that is in use is kept unless you set `force=true`.
#[utoipa::path(
    post, path = "/v1/apps/{app}/credentials/{access_key_id}/delete", tag = "credentials", operation_id = "deleteKey",
    params(
        ("app" = AppName, Path, description = "The name of the app."),
        ("access_key_id" = AccessKeyId, Path, description = "The id of the access key."),
        ("force" = Option<bool>, Query, description = "Delete the key even if it is in use."),
        ("Idempotency-Key" = Option<IdempotencyText>, Header, description = "Requests with the same key get the first response for 24 hours."),
    ),
    responses(
        (status = 202, description = "The job that deletes the key."),
        (status = 403, description = "The role `operator` is required."),
        (status = 404, description = "No such app, or its user has no such access key."),
        (status = 409, description = "The access key is in use, a job is running for the app, or the app is being removed."),
        (status = 422, description = "The Idempotency-Key was used with a different request."),
        (status = 502, description = "AWS does not list the user's access keys."),
        (status = 503, description = "The database is not available, or AWS is throttling the account."),
    )
)]
pub async fn delete_key(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    KeyPath(app, access_key): KeyPath,
    mut params: Params,
    idempotency: Idempotency,
) -> Result<Response, ApiError> {
    let in_use = InUse::forced(params.flag("force"));
    params.finish()?;
    let key = idempotency.key(&caller, &[]);
    let access_key = (&app, &access_key);
    Ok(response::accepted(
        set_key_status(
            &service,
            caller,
            access_key,
            KeyStatus::Deleted,
            in_use,
            key,
        )
        .await?,
    ))
}
