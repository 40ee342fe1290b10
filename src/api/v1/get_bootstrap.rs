//! `GET /v1/accounts/{account}/bootstrap`

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};

use crate::api::auth::Viewer;
use crate::api::params::Params;
use crate::api::path::AccountPath;
use crate::api::problem::ApiError;
use crate::app::accounts;
use crate::app::service::Service;
use crate::domain::names::AccountName;
use crate::provision::render::bootstrap::BootstrapFormat;

/// Get the bootstrap document of an account.
///
/// What the owner of the account runs once: it creates the role that Slipway assumes, with its trust policy and its
/// policy.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/bootstrap", tag = "accounts", operation_id = "getBootstrap",
    params(
        ("account" = AccountName, Path, description = "The name of the account."),
        ("format" = BootstrapFormat, Query, description = "The format of the document."),
    ),
    responses(
        (status = 200, description = "The document: a CloudFormation template, a Terraform configuration or a shell script.",
            content((String = "text/plain"), (serde_json::Value = "application/json"))),
        (status = 404, description = "No account is registered by this name. `default` has no bootstrap document."),
    )
)]
pub async fn get_bootstrap(
    State(service): State<Arc<Service>>,
    _: Viewer,
    AccountPath(name): AccountPath,
    mut params: Params,
) -> Result<Response, ApiError> {
    let format = params.required("format", BootstrapFormat::parse);
    params.finish()?;
    let format = format.ok_or(ApiError::Defect)?;
    let mut response = accounts::bootstrap(&service, &name, format)
        .await?
        .into_response();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(format.media_type()),
    );
    Ok(response)
}
