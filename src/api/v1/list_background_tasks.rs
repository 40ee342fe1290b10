//! `GET /v1/background`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::auth::Viewer;
use crate::api::params::Params;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::domain::background_task::BackgroundTask;

/// The background tasks of the replica that answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct BackgroundTaskList {
    /// One entry per task.
    tasks: Vec<BackgroundTask>,
}

/// List the background tasks.
///
/// Shows when each task last ran, how long that took and why it failed. Each replica runs its own tasks; the response
/// describes the replica that answers.
#[utoipa::path(
    get, path = "/v1/background", tag = "service", operation_id = "listBackgroundTasks",
    responses((status = 200, description = "The background tasks.", body = BackgroundTaskList))
)]
pub async fn list_background_tasks(
    State(service): State<Arc<Service>>,
    _: Viewer,
    params: Params,
) -> Result<Json<BackgroundTaskList>, ApiError> {
    params.finish()?;
    Ok(Json(BackgroundTaskList {
        tasks: service.background.list(),
    }))
}
