//! `POST /v1/accounts`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::api::auth::Admin;
use crate::api::body::JsonBody;
use crate::api::params::Params;
use crate::api::problem::ApiError;
use crate::app::accounts::{self, AccountView};
use crate::app::scope::{require_account, require_all_apps};
use crate::app::service::Service;
use crate::domain::account::AccountRequest;

/// Register an account.
///
/// Apps can live in a registered account once it is verified. Slipway makes the external ID, which the trust policy of
/// the role has to require. Nothing is called in AWS.
#[utoipa::path(
    post, path = "/v1/accounts", tag = "accounts", operation_id = "registerAccount",
    request_body = AccountRequest,
    responses(
        (status = 201, description = "The account, in the state `pending`.", body = AccountView),
        (status = 403, description = "The role `admin` is required."),
        (status = 409, description = "The name or the AWS account is already registered."),
        (status = 422, description = "Fields are invalid."),
    )
)]
pub async fn register_account(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    params: Params,
    body: JsonBody,
) -> Result<(StatusCode, Json<AccountView>), ApiError> {
    params.finish()?;
    let body = body.required()?;
    require_all_apps(&caller.scope)?;
    require_account(&caller.scope, body.get("name"))?;
    let account = accounts::register_account(&service, &caller.name, body).await?;
    Ok((StatusCode::CREATED, Json(account)))
}
