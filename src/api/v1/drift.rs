//! Drift: the last report, and a look now.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::auth::{Operator, Viewer};
use crate::api::body::{AppPath, Params};
use crate::api::problem::{ApiError, Problem};
use crate::app::find::live_app;
use crate::app::service::Service;
use crate::domain::drift::DriftReport;
use crate::domain::names::AppName;
use crate::store::Refusal;

/// Get the last drift report of an app
///
/// Shows how AWS differed from the app's spec at the last check.
#[utoipa::path(
    get, path = "/v1/apps/{app}/drift", tag = "apps", operation_id = "getDrift",
    params(("app" = AppName, Path, description = "The app's name")),
    responses(
        (status = 200, description = "The report of the last look", body = DriftReport),
        (status = 400, description = "Wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such app, or nobody has looked yet", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    State(service): State<Arc<Service>>,
    _: Viewer,
    AppPath(name): AppPath,
    params: Params,
) -> Result<Json<DriftReport>, ApiError> {
    params.finish()?;
    let app = live_app(&service, &name).await?;
    let report = service.store.drift_report(app.id).await?;
    report.map(Json).ok_or(ApiError::NoReport(app.spec.name))
}

/// Check an app for drift
///
/// Compares AWS with the app's spec now, and keeps the report. Changes nothing in AWS.
#[utoipa::path(
    post, path = "/v1/apps/{app}/drift", tag = "apps", operation_id = "checkDrift",
    params(("app" = AppName, Path, description = "The app's name")),
    responses(
        (status = 200, description = "The report", body = DriftReport),
        (status = 400, description = "Wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Takes the role operator", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such app", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "A job is at work on the app, or it is being removed", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn look(
    State(service): State<Arc<Service>>,
    _: Operator,
    AppPath(name): AppPath,
    params: Params,
) -> Result<Json<DriftReport>, ApiError> {
    params.finish()?;
    let app = live_app(&service, &name).await?;
    if let Some(job) = app.summary.active_job {
        return Err(Refusal::Active(job).into());
    }
    if app.removal.is_some() {
        return Err(Refusal::BeingRemoved(app.spec.name).into());
    }
    Ok(Json(crate::app::drift::check(&service, &app).await??))
}
