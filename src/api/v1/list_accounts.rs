//! `GET /v1/accounts`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::auth::Viewer;
use crate::api::page::Page;
use crate::api::params::Params;
use crate::api::problem::ApiError;
use crate::app::accounts::{self, AccountView};
use crate::app::service::Service;

/// List accounts.
///
/// Returns the account of the service itself, `default`, and then the registered accounts by name.
#[utoipa::path(
    get, path = "/v1/accounts", tag = "accounts", operation_id = "listAccounts",
    responses((status = 200, description = "The accounts.", body = Page<AccountView>))
)]
pub async fn list_accounts(
    State(service): State<Arc<Service>>,
    Viewer(caller): Viewer,
    params: Params,
) -> Result<Json<Page<AccountView>>, ApiError> {
    params.finish()?;
    let mut items = accounts::list_accounts(&service).await?;
    items.retain(|account| caller.scope.allows_account(&account.name));
    Ok(Json(Page {
        items,
        next_cursor: None,
    }))
}
