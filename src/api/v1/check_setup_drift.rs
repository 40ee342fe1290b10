//! `POST /v1/accounts/{account}/setup/drift`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::auth::Operator;
use crate::api::params::Params;
use crate::api::path::AccountPath;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::app::setup::drift::check_setup;
use crate::app::setup::view::SetupDriftReport;
use crate::domain::names::AccountName;

/// Check an account's set-up for drift.
///
/// Compares AWS with the set-up now and stores the report. Changes nothing in AWS.
#[utoipa::path(
    post, path = "/v1/accounts/{account}/setup/drift", tag = "drift", operation_id = "checkSetupDrift",
    params(("account" = AccountName, Path, description = "The name of the account.")),
    responses(
        (status = 200, description = "The report.", body = SetupDriftReport),
        (status = 403, description = "The role `operator` is required."),
        (status = 404, description = "No account is registered by this name, or it has no set-up."),
        (status = 409, description = "A job of the set-up is running."),
    )
)]
pub async fn check_setup_drift(
    State(service): State<Arc<Service>>,
    _: Operator,
    AccountPath(account): AccountPath,
    params: Params,
) -> Result<Json<SetupDriftReport>, ApiError> {
    params.finish()?;
    Ok(Json(check_setup(&service, &account).await?))
}
