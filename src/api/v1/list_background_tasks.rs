//! `GET /v1/background`: what the background tasks do.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::auth::Viewer;
use crate::api::body::Params;
use crate::api::problem::{ApiError, Problem};
use crate::app::service::Service;
use crate::domain::background_task::BackgroundTask;

/// The background tasks of the replica that answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct BackgroundTaskList {
    /// One entry per task.
    tasks: Vec<BackgroundTask>,
}

/// List the background tasks
///
/// Shows when each task last ran, how long that took and why it failed. Each replica runs its own tasks; the response
/// describes the replica that answers.
#[utoipa::path(
    get, path = "/v1/background", tag = "service", operation_id = "listBackgroundTasks",
    responses(
        (status = 200, description = "The background tasks", body = BackgroundTaskList),
        (status = 400, description = "Wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(service): State<Arc<Service>>,
    _: Viewer,
    params: Params,
) -> Result<Json<BackgroundTaskList>, ApiError> {
    params.finish()?;
    Ok(Json(BackgroundTaskList {
        tasks: service.background.list(),
    }))
}
