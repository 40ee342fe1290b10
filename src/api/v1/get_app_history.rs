//! `GET /v1/apps/{app}/history`

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::HeaderMap;
use axum::response::Response;

use crate::api::audit_page::{AuditQuery, response};
use crate::api::auth::Viewer;
use crate::api::page::Page;
use crate::api::params::Params;
use crate::api::path::{AppPath, Id};
use crate::api::problem::ApiError;
use crate::app::find::any_app;
use crate::app::service::Service;
use crate::domain::audit::{Action, AuditEntry};
use crate::domain::names::AppName;
use crate::store::AuditFilter;

/// Get the history of an app.
///
/// Returns what was requested for the app and what was changed in AWS, also for an app that was removed. The newest
/// entry comes first. With `Accept: application/x-ndjson`, returns one JSON entry per line, and the next page in
/// `Link`.
#[utoipa::path(
    get, path = "/v1/apps/{app}/history", tag = "history", operation_id = "getAppHistory",
    params(
        ("app" = AppName, Path, description = "The name of the app."),
        ("job" = Option<Id>, Query, description = "Return entries of this job only."),
        ("action" = Option<Action>, Query, description = "Return entries with this action only."),
        ("limit" = Option<u32>, Query, description = "The maximum number of items.", minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the previous page.", pattern = "^(0|[1-9][0-9]{0,17})-(0|[1-9][0-9]{0,17})$"),
    ),
    responses(
        (status = 200, description = "A page of audit entries.", content((Page<AuditEntry> = "application/json"), (String = "application/x-ndjson"), (String = "application/jsonl")), headers(("Link" = Option<String>, description = "For JSON lines: the next page, with `rel=\"next\"`. Absent on the last page."))),
        (status = 404, description = "No such app."),
    )
)]
pub async fn get_app_history(
    State(service): State<Arc<Service>>,
    Viewer(caller): Viewer,
    AppPath(app): AppPath,
    OriginalUri(uri): OriginalUri,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = AuditQuery::of(&mut params);
    params.finish()?;
    any_app(&service, &app).await?;
    let filter = AuditFilter {
        scope: caller.scope,
        app: Some(app),
        ..query.filter
    };
    let found = service.store.audit(&filter).await?;
    Ok(response(query.cursor, found, &uri, &headers))
}
