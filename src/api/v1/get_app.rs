//! `GET /v1/apps/{app}`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use crate::api::auth::Viewer;
use crate::api::etag::{Condition, ETag};
use crate::api::params::Params;
use crate::api::path::AppPath;
use crate::api::problem::ApiError;
use crate::app::find::any_app;
use crate::app::service::Service;
use crate::domain::app::App;
use crate::domain::names::AppName;

/// Get an app.
///
/// Returns the app's spec, state, resources and active job.
#[utoipa::path(
    get, path = "/v1/apps/{app}", tag = "apps", operation_id = "getApp",
    params(
        ("app" = AppName, Path, description = "The name of the app."),
        ("If-None-Match" = Option<String>, Header, description = "Return 304 if the app still has this ETag.", nullable = false),
    ),
    responses(
        (status = 200, description = "The app.", body = App, headers(("ETag" = String, description = "Changes with everything that the response shows."))),
        (status = 304, description = "The app has not changed since the ETag in If-None-Match."),
        (status = 404, description = "No such app."),
    )
)]
pub async fn get_app(
    State(service): State<Arc<Service>>,
    _: Viewer,
    AppPath(name): AppPath,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    params.finish()?;
    let condition = Condition::if_none_match(&headers)?;
    let app = any_app(&service, &name).await?;
    let etag = ETag::of(&app)?;
    let mut response = match condition {
        Some(condition) if condition.matches_weakly(&etag) => {
            StatusCode::NOT_MODIFIED.into_response()
        }
        _ => Json(app).into_response(),
    };
    response.headers_mut().insert(header::ETAG, etag.header()?);
    Ok(response)
}
