//! `POST /v1/apps/{app}/plan`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::auth::Viewer;
use crate::api::body::JsonBody;
use crate::api::params::Params;
use crate::api::path::AppPath;
use crate::api::problem::ApiError;
use crate::api::v1::update_app::update_options;
use crate::app::service::Service;
use crate::domain::names::AppName;
use crate::domain::plan::Plan;
use crate::domain::spec::AppRequest;

/// Plan an app.
///
/// Returns what an update to the spec in the body would do now or, without a body, what a repair would do. Changes
/// nothing.
#[utoipa::path(
    post, path = "/v1/apps/{app}/plan", tag = "apps", operation_id = "planApp",
    params(
        ("app" = AppName, Path, description = "The name of the app."),
        ("remove" = Option<bool>, Query, description = "Plan an update that deletes from AWS what the spec does not name."),
        ("confirm" = Option<AppName>, Query, description = "The name of the app. Plan an update that may delete data."),
        ("force" = Option<bool>, Query, description = "Plan an update that deletes an access key even if it is in use."),
        ("accept_expiry" = Option<bool>, Query, description = "Plan an update that may expire images with protected tags."),
    ),
    request_body(content = Option<AppRequest>, description = "The new spec. If absent, the app's present spec.", example = json!({"name": "acme-shop", "media_access": "scoped"})),
    responses(
        (status = 200, description = "The plan.", body = Plan),
        (status = 404, description = "No such app."),
        (status = 422, description = "Fields are invalid."),
    )
)]
pub async fn plan_app(
    State(service): State<Arc<Service>>,
    _: Viewer,
    AppPath(name): AppPath,
    mut params: Params,
    body: JsonBody,
) -> Result<Json<Plan>, ApiError> {
    let options = update_options(&mut params, &name);
    params.finish()?;
    let body = body.value.as_ref();
    Ok(Json(
        crate::app::plan::plan_app(&service, &name, options, body).await?,
    ))
}
