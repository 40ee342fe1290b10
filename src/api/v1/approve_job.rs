//! `POST /v1/jobs/{id}/approve`

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
use crate::domain::approval::PlanDigest;

/// The approval of a plan.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the body in the OpenAPI document")]
pub struct ApproveRequest {
    /// The `plan_digest` of the plan that you have read.
    plan_digest: PlanDigest,
    /// Why you approve. Required with `break_glass`.
    #[schema(
        min_length = 1,
        max_length = 500,
        nullable = false,
        pattern = r"^[^\x00-\x09\x0b-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x09\x0b-\x1f\x7f-\x9f]*$",
        example = "Agreed with the customer."
    )]
    comment: Option<String>,
    /// Approve without a second person, also your own request. Requires the role `admin` and a comment. The audit log
    /// shows it.
    #[serde(default)]
    break_glass: bool,
}

/// Approve a job.
///
/// Queues a job that awaits approval. The job makes its plan again when it runs: it goes on with the approved changes or
/// fewer, and otherwise awaits approval again. You cannot approve a job that you have requested.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/approve", tag = "approvals", operation_id = "approveJob",
    params(("id" = Id, Path, description = "The id of the job.")),
    request_body = ApproveRequest,
    responses(
        (status = 202, description = "The job."),
        (status = 403, description = "The role `approver` is required, or you have requested the job yourself."),
        (status = 404, description = "No such job, or it needs no approval."),
        (status = 409, description = "The plan has changed, or the job does not await approval."),
        (status = 422, description = "Fields are invalid."),
    )
)]
pub async fn approve_job(
    State(service): State<Arc<Service>>,
    Approver(caller): Approver,
    JobPath(id): JobPath,
    params: Params,
    body: JsonBody,
) -> Result<Response, ApiError> {
    params.finish()?;
    let job = approvals::approve(&service, &caller, id, body.required()?).await?;
    Ok(with_job(job))
}
