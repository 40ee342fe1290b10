//! `PUT /v1/apps/{app}`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};

use crate::api::auth::Viewer;
use crate::api::body::JsonBody;
use crate::api::etag::{Condition, ETag};
use crate::api::idempotency::{Idempotency, IdempotencyText};
use crate::api::params::Params;
use crate::api::path::AppPath;
use crate::api::problem::ApiError;
use crate::api::response;
use crate::app::find::live_app;
use crate::app::service::Service;
use crate::app::update::{Precondition, UpdateOptions, plan_update, update};
use crate::domain::app::App;
use crate::domain::names::AppName;
use crate::domain::plan::Plan;
use crate::domain::spec::AppRequest;

/// Update an app.
///
/// Replaces the app's spec. A field that the body omits gets its default, as at onboarding. What the new spec does
/// not name stays in AWS and is listed in `retained`, unless you set `remove=true`. With `dry_run=true`, returns the
/// plan and changes nothing.
#[utoipa::path(
    put, path = "/v1/apps/{app}", tag = "apps", operation_id = "updateApp",
    params(
        ("app" = AppName, Path, description = "The name of the app."),
        ("remove" = Option<bool>, Query, description = "Delete from AWS what the new spec does not name."),
        ("confirm" = Option<AppName>, Query, description = "The name of the app. Required if data is deleted."),
        ("force" = Option<bool>, Query, description = "Delete an access key even if it is in use."),
        ("accept_expiry" = Option<bool>, Query, description = "Allow the new lifecycle policy to expire images with protected tags."),
        ("dry_run" = Option<bool>, Query, description = "Return the plan and change nothing."),
        ("If-Match" = Option<String>, Header, description = "Update the app only if it still has this ETag.", nullable = false),
        ("Idempotency-Key" = Option<IdempotencyText>, Header, description = "Requests with the same key and body get the first response for 24 hours."),
    ),
    request_body(content = AppRequest, example = json!({"name": "acme-shop", "media_access": "scoped"})),
    responses(
        (status = 200, description = "The plan of a dry run.", body = Plan),
        (status = 202, description = "The update job."),
        (status = 403, description = "The role `operator` is required."),
        (status = 404, description = "No such app."),
        (status = 409, description = "A job is running for the app, the app is being removed, data would be deleted without `confirm`, or an access key that would be deleted is in use."),
        (status = 412, description = "The app has changed since the ETag in If-Match."),
        (status = 422, description = "Fields are invalid, or the Idempotency-Key was used with a different request."),
    )
)]
pub async fn update_app(
    State(service): State<Arc<Service>>,
    viewer: Viewer,
    AppPath(name): AppPath,
    mut params: Params,
    idempotency: Idempotency,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let options = update_options(&mut params, &name);
    let dry_run = params.flag("dry_run");
    params.finish()?;
    let condition = Condition::if_match(&headers)?;
    let key = idempotency.key(&viewer.0, &body.bytes);
    if dry_run {
        service.store.replay(key.as_ref()).await??;
        let app = live_app(&service, &name).await?;
        let plan = plan_update(&service, &app, options, body.required()?).await?;
        return Ok(Json(plan).into_response());
    }
    let caller = viewer.operator()?;
    let body = body.required()?;
    let holds = condition
        .map(|condition| move |app: &App| ETag::of(app).is_ok_and(|etag| condition.matches(&etag)));
    let precondition = holds.as_ref().map(|holds| holds as Precondition<'_>);
    Ok(response::accepted(
        update(&service, &caller, &name, options, precondition, body, key).await?,
    ))
}

/// Reads the options of an update or of its plan.
pub fn update_options(params: &mut Params, app: &AppName) -> UpdateOptions {
    UpdateOptions {
        remove: params.flag("remove"),
        confirmed: params.confirmed(app),
        force: params.flag("force"),
        accept_expiry: params.flag("accept_expiry"),
    }
}
