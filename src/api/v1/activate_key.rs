//! `POST /v1/apps/{app}/credentials/{access_key_id}/activate`

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

/// Activate an access key.
#[utoipa::path(
    post, path = "/v1/apps/{app}/credentials/{access_key_id}/activate", tag = "credentials", operation_id = "activateKey",
    params(
        ("app" = AppName, Path, description = "The name of the app."),
        ("access_key_id" = AccessKeyId, Path, description = "The id of the access key."),
        ("Idempotency-Key" = Option<IdempotencyText>, Header, description = "Requests with the same key get the first response for 24 hours."),
    ),
    responses(
        (status = 202, description = "The job that activates the key."),
        (status = 403, description = "The role `operator` is required."),
        (status = 404, description = "No such app, or its user has no such access key."),
        (status = 409, description = "A job is running for the app, or the app is being removed."),
        (status = 422, description = "The Idempotency-Key was used with a different request."),
        (status = 502, description = "AWS does not list the user's access keys."),
        (status = 503, description = "The database is not available, or AWS is throttling the account."),
    )
)]
pub async fn activate_key(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    KeyPath(app, access_key): KeyPath,
    params: Params,
    idempotency: Idempotency,
) -> Result<Response, ApiError> {
    params.finish()?;
    let key = idempotency.key(&caller, &[]);
    let access_key = (&app, &access_key);
    Ok(response::accepted(
        set_key_status(
            &service,
            caller,
            access_key,
            KeyStatus::Active,
            InUse::Allow,
            key,
        )
        .await?,
    ))
}
