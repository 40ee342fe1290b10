//! `POST /v1/apps`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};

use crate::api::auth::Viewer;
use crate::api::body::JsonBody;
use crate::api::idempotency::{Idempotency, IdempotencyText};
use crate::api::params::Params;
use crate::api::problem::ApiError;
use crate::api::response;
use crate::app::onboard;
use crate::app::service::Service;
use crate::domain::plan::Plan;
use crate::domain::spec::AppRequest;

/// Onboard an app.
///
/// Creates the app's IAM user, access key, media policy, S3 buckets and ECR repositories. Returns a job. With
/// `dry_run=true`, returns the plan and changes nothing.
#[utoipa::path(
    post, path = "/v1/apps", tag = "apps", operation_id = "onboardApp",
    params(
        ("dry_run" = Option<bool>, Query, description = "Return the plan and change nothing."),
        ("accept_expiry" = Option<bool>, Query, description = "Allow the lifecycle policy to expire images with protected tags."),
        ("Idempotency-Key" = Option<IdempotencyText>, Header, description = "Requests with the same key and body get the first response for 24 hours."),
    ),
    request_body(content = AppRequest, example = json!({"name": "acme-shop"})),
    responses(
        (status = 200, description = "The plan of a dry run.", body = Plan),
        (status = 202, description = "The onboarding job."),
        (status = 403, description = "The role `operator` is required."),
        (status = 409, description = "An app with this name already exists, or the account is not ready."),
        (status = 422, description = "Fields are invalid, or the Idempotency-Key was used with a different request."),
    )
)]
pub async fn onboard_app(
    State(service): State<Arc<Service>>,
    viewer: Viewer,
    mut params: Params,
    idempotency: Idempotency,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let dry_run = params.flag("dry_run");
    let accept_expiry = params.flag("accept_expiry");
    params.finish()?;
    let key = idempotency.key(&viewer.0, &body.bytes);
    if dry_run {
        let body = body.required()?;
        let plan = onboard::plan_onboarding(&service, &viewer.0, body, accept_expiry, key.as_ref())
            .await?;
        return Ok(Json(plan).into_response());
    }
    let caller = viewer.operator()?;
    let body = body.required()?;
    Ok(response::accepted(
        onboard::onboard(&service, caller, body, accept_expiry, key).await?,
    ))
}
