//! `POST /v1/jobs/{id}/retry`

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use crate::api::auth::Operator;
use crate::api::params::Params;
use crate::api::path::{Id, JobPath};
use crate::api::problem::ApiError;
use crate::api::response::with_job;
use crate::app::service::Service;
use crate::domain::task::ImageExpiry;

/// Retry a job.
///
/// Queues a job that ended without success again. It continues from what exists in AWS.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/retry", tag = "jobs", operation_id = "retryJob",
    params(
        ("id" = Id, Path, description = "The id of the job."),
        ("accept_expiry" = Option<bool>, Query, description = "Allow the lifecycle policy to expire images with protected tags."),
    ),
    responses(
        (status = 202, description = "The job."),
        (status = 403, description = "The role `operator` is required."),
        (status = 404, description = "No such job."),
        (status = 409, description = "The job is running or has succeeded, or another job is running for its app."),
    )
)]
pub async fn retry_job(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    JobPath(id): JobPath,
    mut params: Params,
) -> Result<Response, ApiError> {
    let expiry = match params.flag("accept_expiry") {
        true => ImageExpiry::Accept,
        false => ImageExpiry::Refuse,
    };
    params.finish()?;
    let job = service.store.retry(id, caller.name, expiry).await??;
    Ok(with_job(job))
}
