//! `POST /v1/jobs/{id}/reject`

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::auth::Approver;
use crate::api::body::JsonBody;
use crate::api::params::Params;
use crate::api::path::{Id, JobPath};
use crate::api::problem::ApiError;
use crate::api::response::with_job;
use crate::app::approvals;
use crate::app::service::Service;

/// The rejection of a plan.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the body in the OpenAPI document")]
pub struct RejectRequest {
    /// Why you reject the plan.
    #[schema(
        min_length = 1,
        max_length = 500,
        nullable = false,
        pattern = r"^[^\x00-\x09\x0b-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x09\x0b-\x1f\x7f-\x9f]*$",
        example = "The bucket is still in use."
    )]
    comment: Option<String>,
}

/// Reject a job.
///
/// Cancels a job that awaits approval. The app's spec stays as it was before the request.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/reject", tag = "approvals", operation_id = "rejectJob",
    params(("id" = Id, Path, description = "The id of the job.")),
    request_body = Option<RejectRequest>,
    responses(
        (status = 202, description = "The job."),
        (status = 403, description = "The role `approver` is required."),
        (status = 404, description = "No such job, or it needs no approval."),
        (status = 409, description = "The job does not await approval."),
        (status = 422, description = "Fields are invalid."),
    )
)]
pub async fn reject_job(
    State(service): State<Arc<Service>>,
    Approver(caller): Approver,
    JobPath(id): JobPath,
    params: Params,
    body: JsonBody,
) -> Result<Response, ApiError> {
    params.finish()?;
    let job = approvals::reject(&service, &caller, id, body.value.as_ref()).await?;
    Ok(with_job(job))
}
