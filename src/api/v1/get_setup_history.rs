//! `GET /v1/accounts/{account}/setup/history`

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::HeaderMap;
use axum::response::Response;

use crate::api::audit_page::{AuditQuery, response};
use crate::api::auth::Viewer;
use crate::api::page::Page;
use crate::api::params::Params;
use crate::api::path::{AccountPath, Id};
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::app::setup::find::setup;
use crate::domain::audit::{Action, AuditEntry};
use crate::domain::names::AccountName;
use crate::store::AuditFilter;

/// Get the history of an account's set-up.
///
/// Returns what was requested for the set-up and what was changed in AWS. The newest entry comes first. With
/// `Accept: application/x-ndjson`, returns one JSON entry per line, and the next page in `Link`.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/setup/history", tag = "history", operation_id = "getSetupHistory",
    params(
        ("account" = AccountName, Path, description = "The name of the account."),
        ("job" = Option<Id>, Query, description = "Return entries of this job only."),
        ("action" = Option<Action>, Query, description = "Return entries with this action only."),
        ("limit" = Option<u32>, Query, description = "The maximum number of items.", minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the previous page.", pattern = "^(0|[1-9][0-9]{0,17})-(0|[1-9][0-9]{0,17})$"),
    ),
    responses(
        (status = 200, description = "A page of audit entries.", content((Page<AuditEntry> = "application/json"), (String = "application/x-ndjson"), (String = "application/jsonl")), headers(("Link" = Option<String>, description = "For JSON lines: the next page, with `rel=\"next\"`. Absent on the last page."))),
        (status = 404, description = "No account is registered by this name, or it has no set-up."),
    )
)]
pub async fn get_setup_history(
    State(service): State<Arc<Service>>,
    _: Viewer,
    AccountPath(account): AccountPath,
    OriginalUri(uri): OriginalUri,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = AuditQuery::of(&mut params);
    params.finish()?;
    let name = setup(&service, &account).await?.record.spec.name;
    let filter = AuditFilter {
        app: Some(name),
        ..query.filter
    };
    let found = service.store.audit(&filter).await?;
    Ok(response(query.cursor, found, &uri, &headers))
}
