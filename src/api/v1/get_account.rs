//! `GET /v1/accounts/{account}`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::auth::Viewer;
use crate::api::params::Params;
use crate::api::path::AccountPath;
use crate::api::problem::ApiError;
use crate::app::accounts::{self, AccountView};
use crate::app::service::Service;
use crate::domain::names::AccountName;

/// Get an account.
#[utoipa::path(
    get, path = "/v1/accounts/{account}", tag = "accounts", operation_id = "getAccount",
    params(("account" = AccountName, Path, description = "The name of the account.")),
    responses(
        (status = 200, description = "The account.", body = AccountView),
        (status = 404, description = "No such account."),
    )
)]
pub async fn get_account(
    State(service): State<Arc<Service>>,
    _: Viewer,
    AccountPath(name): AccountPath,
    params: Params,
) -> Result<Json<AccountView>, ApiError> {
    params.finish()?;
    Ok(Json(accounts::get_account(&service, &name).await?))
}
