//! `POST /v1/apps/{app}/drift`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::auth::Operator;
use crate::api::params::Params;
use crate::api::path::AppPath;
use crate::api::problem::ApiError;
use crate::app::drift::check_app;
use crate::app::service::Service;
use crate::domain::drift::DriftReport;
use crate::domain::names::AppName;

/// Check an app for drift.
///
/// Compares AWS with the app's spec now and stores the report. Changes nothing in AWS.
#[utoipa::path(
    post, path = "/v1/apps/{app}/drift", tag = "drift", operation_id = "checkDrift",
    params(("app" = AppName, Path, description = "The name of the app.")),
    responses(
        (status = 200, description = "The report.", body = DriftReport),
        (status = 403, description = "The role `operator` is required."),
        (status = 404, description = "No such app."),
        (status = 409, description = "A job is running for the app, or the app is being removed."),
    )
)]
pub async fn check_drift(
    State(service): State<Arc<Service>>,
    _: Operator,
    AppPath(name): AppPath,
    params: Params,
) -> Result<Json<DriftReport>, ApiError> {
    params.finish()?;
    Ok(Json(check_app(&service, &name).await?))
}
