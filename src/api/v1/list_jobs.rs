//! `GET /v1/jobs`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::auth::Viewer;
use crate::api::job::JobResponse;
use crate::api::page::{Cursor, Page};
use crate::api::params::Params;
use crate::api::path::Id;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::domain::job::JobState;
use crate::domain::job_kind::JobKind;
use crate::domain::names::AppName;
use crate::store::JobFilter;

/// List jobs.
///
/// The newest job comes first.
#[utoipa::path(
    get, path = "/v1/jobs", tag = "jobs", operation_id = "listJobs",
    params(
        ("app" = Option<AppName>, Query, description = "Return jobs of this app only."),
        ("state" = Option<JobState>, Query, description = "Return jobs in this state only."),
        ("kind" = Option<JobKind>, Query, description = "Return jobs of this kind only."),
        ("limit" = Option<u32>, Query, description = "The maximum number of items.", minimum = 1, maximum = 200),
        ("cursor" = Option<Id>, Query, description = "The `next_cursor` of the previous page."),
    ),
    responses((status = 200, description = "A page of jobs.", body = Page<JobResponse>))
)]
pub async fn list_jobs(
    State(service): State<Arc<Service>>,
    Viewer(caller): Viewer,
    mut params: Params,
) -> Result<Json<Page<JobResponse>>, ApiError> {
    let cursor = Cursor::of(&mut params);
    let filter = JobFilter {
        scope: caller.scope,
        app: params.take("app", AppName::parse),
        state: params.take("state", |text| {
            text.parse::<JobState>().map_err(|_| "is not a job state")
        }),
        kind: params.take("kind", |text| {
            text.parse::<JobKind>().map_err(|_| "is not a job kind")
        }),
        before: cursor.from,
        limit: cursor.probe(),
    };
    params.finish()?;
    let found = service.store.jobs(&filter).await?;
    Ok(Json(cursor.page(found, |job| job.id, JobResponse::from)))
}
