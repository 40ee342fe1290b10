//! `DELETE /v1/accounts/{account}`

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use crate::api::auth::Admin;
use crate::api::params::Params;
use crate::api::path::AccountPath;
use crate::api::problem::ApiError;
use crate::app::accounts;
use crate::app::service::Service;
use crate::domain::names::AccountName;

/// Delete an account.
///
/// Deletes the registration of an account without apps. Nothing is changed in AWS: the owner of the account deletes the
/// role.
#[utoipa::path(
    delete, path = "/v1/accounts/{account}", tag = "accounts", operation_id = "deleteAccount",
    params(("account" = AccountName, Path, description = "The name of the account.")),
    responses(
        (status = 204, description = "The registration is deleted."),
        (status = 403, description = "The role `admin` is required."),
        (status = 404, description = "No account is registered by this name. `default` cannot be deleted."),
        (status = 409, description = "Apps live in the account."),
    )
)]
pub async fn delete_account(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    AccountPath(name): AccountPath,
    params: Params,
) -> Result<StatusCode, ApiError> {
    params.finish()?;
    accounts::delete_account(&service, &caller.name, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
