//! `GET /v1/apps`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::auth::Viewer;
use crate::api::page::{Cursor, Page};
use crate::api::params::Params;
use crate::api::path::Id;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::domain::app::{AppState, AppSummary};
use crate::domain::names::AccountName;
use crate::store::AppFilter;

const MAX_QUERY_LENGTH: usize = 64;

/// List apps.
///
/// The oldest app comes first.
#[utoipa::path(
    get, path = "/v1/apps", tag = "apps", operation_id = "listApps",
    params(
        ("limit" = Option<u32>, Query, description = "The maximum number of items.", minimum = 1, maximum = 200),
        ("cursor" = Option<Id>, Query, description = "The `next_cursor` of the previous page."),
        ("account" = Option<AccountName>, Query, description = "Return apps in this account only."),
        ("state" = Option<AppState>, Query, description = "Return apps in this state only."),
        ("drifted" = Option<bool>, Query, description = "Return only apps whose last drift check found drift (`true`) or found none (`false`)."),
        ("q" = Option<String>, Query, description = "Return only apps whose name contains this text.", max_length = 64, pattern = "^[^\\x00]*$"),
    ),
    responses((status = 200, description = "A page of apps.", body = Page<AppSummary>))
)]
pub async fn list_apps(
    State(service): State<Arc<Service>>,
    Viewer(caller): Viewer,
    mut params: Params,
) -> Result<Json<Page<AppSummary>>, ApiError> {
    let cursor = Cursor::of(&mut params);
    let account = params.take("account", AccountName::parse);
    let state = params.take("state", |text| {
        text.parse::<AppState>().map_err(|_| "is not an app state")
    });
    let drifted = params.take("drifted", |text| {
        text.parse::<bool>().map_err(|_| "must be true or false")
    });
    let query = params.take("q", parse_query);
    params.finish()?;
    let filter = AppFilter {
        scope: caller.scope,
        account: account.map(|name| name.to_string()),
        state,
        drifted,
        query,
        after: cursor.from,
        limit: cursor.probe(),
    };
    let found = service.store.apps(&filter).await?;
    Ok(Json(cursor.page(found, |app| app.id, |app| app.summary)))
}

fn parse_query(text: &str) -> Result<String, String> {
    if text.chars().count() <= MAX_QUERY_LENGTH {
        Ok(text.to_owned())
    } else {
        Err(format!("must be at most {MAX_QUERY_LENGTH} characters"))
    }
}
