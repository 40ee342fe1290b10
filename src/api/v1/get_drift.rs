//! `GET /v1/apps/{app}/drift`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::auth::Viewer;
use crate::api::params::Params;
use crate::api::path::AppPath;
use crate::api::problem::ApiError;
use crate::app::drift::last_report;
use crate::app::service::Service;
use crate::domain::drift::DriftReport;
use crate::domain::names::AppName;

/// Get the drift report of an app.
///
/// Returns the report of the last drift check: how AWS differed from the app's spec.
#[utoipa::path(
    get, path = "/v1/apps/{app}/drift", tag = "drift", operation_id = "getDrift",
    params(("app" = AppName, Path, description = "The name of the app.")),
    responses(
        (status = 200, description = "The report of the last drift check.", body = DriftReport),
        (status = 404, description = "No such app, or the app has not been checked for drift yet."),
    )
)]
pub async fn get_drift(
    State(service): State<Arc<Service>>,
    _: Viewer,
    AppPath(name): AppPath,
    params: Params,
) -> Result<Json<DriftReport>, ApiError> {
    params.finish()?;
    Ok(Json(last_report(&service, &name).await?))
}
