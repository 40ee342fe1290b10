//! `GET /v1/accounts/{account}/setup`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use crate::api::auth::Viewer;
use crate::api::etag::{Condition, ETag};
use crate::api::params::Params;
use crate::api::path::AccountPath;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::app::setup::find::setup;
use crate::app::setup::view::{SetupView, view};
use crate::domain::names::AccountName;

/// Get the set-up of an account.
///
/// Returns its spec, state, resources, warnings and the first passwords that can be claimed.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/setup", tag = "accounts", operation_id = "getSetup",
    params(
        ("account" = AccountName, Path, description = "The name of the account."),
        ("If-None-Match" = Option<String>, Header, description = "Return 304 if the set-up still has this ETag.", nullable = false),
    ),
    responses(
        (status = 200, description = "The set-up.", body = SetupView, headers(("ETag" = String, description = "Changes with the spec, the state and the resources."))),
        (status = 304, description = "The set-up has not changed since the ETag in If-None-Match."),
        (status = 404, description = "No account is registered by this name, or it has no set-up."),
    )
)]
pub async fn get_setup(
    State(service): State<Arc<Service>>,
    _: Viewer,
    AccountPath(account): AccountPath,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    params.finish()?;
    let condition = Condition::if_none_match(&headers)?;
    let found = setup(&service, &account).await?;
    let etag = ETag::of(&found.record)?;
    let mut response = match condition {
        Some(condition) if condition.matches_weakly(&etag) => {
            StatusCode::NOT_MODIFIED.into_response()
        }
        _ => Json(view(&service, found).await?).into_response(),
    };
    response.headers_mut().insert(header::ETAG, etag.header()?);
    Ok(response)
}
