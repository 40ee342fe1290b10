//! `GET /v1/jobs/{id}/approval`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::auth::Viewer;
use crate::api::params::Params;
use crate::api::path::{Id, JobPath};
use crate::api::problem::ApiError;
use crate::app::approvals;
use crate::app::service::Service;
use crate::domain::approval::Approval;

/// Get the approval of a job.
///
/// Returns the plan to approve and its digest, or what was decided.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/approval", tag = "approvals", operation_id = "getApproval",
    params(("id" = Id, Path, description = "The id of the job.")),
    responses(
        (status = 200, description = "The approval.", body = Approval),
        (status = 404, description = "No such job, or it needs no approval."),
    )
)]
pub async fn get_approval(
    State(service): State<Arc<Service>>,
    _: Viewer,
    JobPath(id): JobPath,
    params: Params,
) -> Result<Json<Approval>, ApiError> {
    params.finish()?;
    Ok(Json(approvals::get_approval(&service, id).await?))
}
