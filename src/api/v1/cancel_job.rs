//! `POST /v1/jobs/{id}/cancel`

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use crate::api::auth::Operator;
use crate::api::params::Params;
use crate::api::path::{Id, JobPath};
use crate::api::problem::ApiError;
use crate::api::response::with_job;
use crate::app::service::Service;

/// Cancel a job.
///
/// A running job stops after its current change. Changes that it has made are kept.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/cancel", tag = "jobs", operation_id = "cancelJob",
    params(("id" = Id, Path, description = "The id of the job.")),
    responses(
        (status = 202, description = "The job."),
        (status = 403, description = "The role `operator` is required."),
        (status = 404, description = "No such job."),
        (status = 409, description = "The job has ended."),
    )
)]
pub async fn cancel_job(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    JobPath(id): JobPath,
    params: Params,
) -> Result<Response, ApiError> {
    params.finish()?;
    let job = service.store.cancel(id, caller.name).await??;
    Ok(with_job(job))
}
