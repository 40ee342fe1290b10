//! `GET /v1/accounts/{account}/setup/drift`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::auth::Viewer;
use crate::api::params::Params;
use crate::api::path::AccountPath;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::app::setup::drift::last_report;
use crate::app::setup::view::SetupDriftReport;
use crate::domain::names::AccountName;

/// Get the drift report of an account's set-up.
///
/// Returns the report of the last drift check: how AWS differed from the set-up.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/setup/drift", tag = "drift", operation_id = "getSetupDrift",
    params(("account" = AccountName, Path, description = "The name of the account.")),
    responses(
        (status = 200, description = "The report of the last drift check.", body = SetupDriftReport),
        (status = 404, description = "No account is registered by this name, it has no set-up, or that has not been checked for drift yet."),
    )
)]
pub async fn get_setup_drift(
    State(service): State<Arc<Service>>,
    _: Viewer,
    AccountPath(account): AccountPath,
    params: Params,
) -> Result<Json<SetupDriftReport>, ApiError> {
    params.finish()?;
    Ok(Json(last_report(&service, &account).await?))
}
