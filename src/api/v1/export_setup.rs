//! `GET /v1/accounts/{account}/setup/export`

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};

use crate::api::auth::Viewer;
use crate::api::params::Params;
use crate::api::path::AccountPath;
use crate::api::problem::ApiError;
use crate::app::export::export;
use crate::app::service::Service;
use crate::app::setup::find::setup;
use crate::domain::names::AccountName;
use crate::provision::export::Format;
use crate::provision::render::bootstrap::BootstrapFormat;

/// Export the set-up of an account.
///
/// Terraform and CloudFormation exports describe what exists in AWS now, with the import of each resource. The AWS
/// CLI script creates what the set-up describes. No export shows a password.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/setup/export", tag = "accounts", operation_id = "exportSetup",
    params(
        ("account" = AccountName, Path, description = "The name of the account."),
        ("format" = BootstrapFormat, Query, description = "The format of the export."),
    ),
    responses(
        (status = 200, description = "The file: main.tf, template.json or setup.sh.",
            content((String = "text/plain"), (serde_json::Value = "application/json")),
            headers(("Content-Disposition" = String, description = "The name of the file."))),
        (status = 404, description = "No account is registered by this name, or it has no set-up."),
        (status = 502, description = "AWS does not return one of the resources."),
    )
)]
pub async fn export_setup(
    State(service): State<Arc<Service>>,
    _: Viewer,
    AccountPath(account): AccountPath,
    mut params: Params,
) -> Result<Response, ApiError> {
    let format = params.required("format", BootstrapFormat::parse);
    params.finish()?;
    let format = Format::from(format.ok_or(ApiError::Defect)?);
    let name = setup(&service, &account).await?.record.spec.name;
    let file = export(&service, &name, format, None).await?;
    let disposition = format!("attachment; filename=\"{}\"", format.file_name());
    let mut response = file.into_response();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(format.media_type()),
    );
    response.headers_mut().extend(
        HeaderValue::from_str(&disposition).map(|value| (header::CONTENT_DISPOSITION, value)),
    );
    Ok(response)
}
