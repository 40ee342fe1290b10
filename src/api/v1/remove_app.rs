//! `DELETE /v1/apps/{app}`

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};

use crate::api::auth::Viewer;
use crate::api::idempotency::{Idempotency, IdempotencyText};
use crate::api::params::Params;
use crate::api::path::AppPath;
use crate::api::problem::ApiError;
use crate::api::response;
use crate::app::remove::{RemoveOptions, plan_removal, remove};
use crate::app::service::Service;
use crate::domain::names::AppName;
use crate::domain::plan::Plan;
use crate::domain::spec::{RotateAfter, parse_age};
use crate::provision::kinds::data_lists;

/// Remove an app.
///
/// Deactivates the app's access keys at once and deletes its IAM user after a quarantine. Until then you can restore
/// the app. Buckets and repositories stay in AWS unless you name them; then they are deleted with all their data,
/// which requires `confirm`. If the app is already being removed, returns the running job. A request that deletes
/// more extends the removal, and changes its time only if it sets `quarantine`. With `dry_run=true`, returns the plan
/// and changes nothing.
#[utoipa::path(
    delete, path = "/v1/apps/{app}", tag = "apps", operation_id = "removeApp",
    params(
        ("app" = AppName, Path, description = "The name of the app."),
        ("buckets" = Option<String>, Query, description = "Buckets to delete with all their objects, separated by commas.", pattern = r"^[^\x00]*[^,\s\x00][^\x00]*$", example = "acme-shop-media"),
        ("repositories" = Option<String>, Query, description = "Repositories to delete with all their images, as `name` or `region/name`, separated by commas.", pattern = r"^[^\x00]*[^,\s\x00][^\x00]*$", example = "acme-shop"),
        ("confirm" = Option<AppName>, Query, description = "The name of the app. Required if data is deleted."),
        ("adopted" = Option<bool>, Query, description = "Also delete a user and a policy that existed before the app."),
        ("quarantine" = Option<RotateAfter>, Query, description = "How long the app can be restored. Default: SLIPWAY_QUARANTINE. During a quarantine, starts a new one."),
        ("dry_run" = Option<bool>, Query, description = "Return the plan and change nothing."),
        ("Idempotency-Key" = Option<IdempotencyText>, Header, description = "Requests with the same key get the first response for 24 hours."),
    ),
    responses(
        (status = 200, description = "The plan of a dry run.", body = Plan),
        (status = 202, description = "The job that deactivates the access keys, or the job that already removes the app."),
        (status = 403, description = "The role `operator` is required."),
        (status = 404, description = "No such app."),
        (status = 409, description = "The app is protected, data would be deleted without `confirm`, or a job is running for the app."),
        (status = 422, description = "The Idempotency-Key was used with a different request."),
    )
)]
pub async fn remove_app(
    State(service): State<Arc<Service>>,
    viewer: Viewer,
    AppPath(name): AppPath,
    mut params: Params,
    idempotency: Idempotency,
) -> Result<Response, ApiError> {
    let options = RemoveOptions {
        buckets: params.take("buckets", names).unwrap_or_default(),
        repositories: params.take("repositories", names).unwrap_or_default(),
        confirmed: params.confirmed(&name),
        adopted: params.flag("adopted"),
        quarantine: params.take("quarantine", parse_age),
        lists: data_lists()
            .filter_map(|list| Some((list.field.to_owned(), params.take(list.field, names)?)))
            .collect(),
    };
    let dry_run = params.flag("dry_run");
    params.finish()?;
    let key = idempotency.key(&viewer.0, &[]);
    if dry_run {
        let plan = plan_removal(&service, &viewer.0, &name, &options, key.as_ref()).await?;
        return Ok(Json(plan).into_response());
    }
    let caller = viewer.operator()?;
    Ok(response::accepted(
        remove(&service, &caller, &name, &options, key).await?,
    ))
}

fn names(text: &str) -> Result<BTreeSet<String>, &'static str> {
    let names: BTreeSet<String> = text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    if names.is_empty() {
        Err("must be one or more names, separated by commas")
    } else {
        Ok(names)
    }
}
