//! `POST /v1/accounts/{account}/verify`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::auth::Admin;
use crate::api::params::Params;
use crate::api::path::AccountPath;
use crate::api::problem::ApiError;
use crate::app::accounts;
use crate::app::service::Service;
use crate::domain::account::VerificationReport;
use crate::domain::names::AccountName;

/// Verify an account.
///
/// Checks that the role can be assumed with the external ID, and cannot be without it or with another one; that it is in
/// the registered AWS account; and that its policy allows what Slipway needs. Changes nothing in AWS.
#[utoipa::path(
    post, path = "/v1/accounts/{account}/verify", tag = "accounts", operation_id = "verifyAccount",
    params(("account" = AccountName, Path, description = "The name of the account.")),
    responses(
        (status = 200, description = "What was found, whether or not the account is ready.", body = VerificationReport),
        (status = 403, description = "The role `admin` is required."),
        (status = 404, description = "No account is registered by this name. `default` is not verified."),
        (status = 502, description = "AWS could not be reached."),
    )
)]
pub async fn verify_account(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    AccountPath(name): AccountPath,
    params: Params,
) -> Result<Json<VerificationReport>, ApiError> {
    params.finish()?;
    Ok(Json(
        accounts::verify_account(&service, &caller.name, &name).await?,
    ))
}
