//! `POST /v1/apps/{app}/repair`

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use crate::api::auth::Operator;
use crate::api::body::JsonBody;
use crate::api::idempotency::{Idempotency, IdempotencyText};
use crate::api::params::Params;
use crate::api::path::AppPath;
use crate::api::problem::ApiError;
use crate::api::response;
use crate::app::repair::repair;
use crate::app::service::Service;
use crate::domain::names::AppName;
use crate::domain::retained::RepairRequest;

/// Repair an app.
///
/// Brings AWS back to the app's spec. Also deletes the retained and unmanaged resources that the body names.
#[utoipa::path(
    post, path = "/v1/apps/{app}/repair", tag = "apps", operation_id = "repairApp",
    params(
        ("app" = AppName, Path, description = "The name of the app."),
        ("accept_expiry" = Option<bool>, Query, description = "Allow the lifecycle policy to expire images with protected tags."),
        ("Idempotency-Key" = Option<IdempotencyText>, Header, description = "Requests with the same key and body get the first response for 24 hours."),
    ),
    request_body(content = Option<RepairRequest>, description = "The resources to delete. If absent, none."),
    responses(
        (status = 202, description = "The repair job."),
        (status = 403, description = "The role `operator` is required."),
        (status = 404, description = "No such app."),
        (status = 409, description = "A job is running for the app."),
        (status = 422, description = "Fields are invalid, or the Idempotency-Key was used with a different request."),
    )
)]
pub async fn repair_app(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    AppPath(name): AppPath,
    mut params: Params,
    idempotency: Idempotency,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let accept_expiry = params.flag("accept_expiry");
    params.finish()?;
    let key = idempotency.key(&caller, &body.bytes);
    let remove = body.value.as_ref();
    Ok(response::accepted(
        repair(&service, caller, &name, remove, accept_expiry, key).await?,
    ))
}
