//! `PUT /v1/accounts/{account}`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::auth::Admin;
use crate::api::body::JsonBody;
use crate::api::params::Params;
use crate::api::path::AccountPath;
use crate::api::problem::ApiError;
use crate::app::accounts::{self, AccountView};
use crate::app::service::Service;
use crate::domain::account::AccountUpdate;
use crate::domain::names::AccountName;

/// Update an account.
///
/// Replaces the role, the region and the defaults. An account whose role changes has to be verified again. New defaults
/// apply to the apps that the account has already: their next jobs, plans and drift checks use the new names. If they
/// change the group, the path or the policy, the policy of the role has to change too: apply the bootstrap document again.
#[utoipa::path(
    put, path = "/v1/accounts/{account}", tag = "accounts", operation_id = "updateAccount",
    params(("account" = AccountName, Path, description = "The name of the account.")),
    request_body = AccountUpdate,
    responses(
        (status = 200, description = "The account.", body = AccountView),
        (status = 403, description = "The role `admin` is required."),
        (status = 404, description = "No account is registered by this name. `default` cannot be updated."),
        (status = 422, description = "Fields are invalid."),
    )
)]
pub async fn update_account(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    AccountPath(name): AccountPath,
    params: Params,
    body: JsonBody,
) -> Result<Json<AccountView>, ApiError> {
    params.finish()?;
    let account = accounts::update_account(&service, &caller.name, &name, body.required()?).await?;
    Ok(Json(account))
}
