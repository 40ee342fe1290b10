//! `GET /v1/apps/{app}/export`

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};

use crate::api::auth::Viewer;
use crate::api::params::Params;
use crate::api::path::AppPath;
use crate::api::problem::ApiError;
use crate::app::export::export;
use crate::app::service::Service;
use crate::domain::names::{AppName, Region};
use crate::provision::export::Format;

/// Export an app.
///
/// Terraform and CloudFormation exports describe what exists in AWS now, with the import of each resource. The AWS
/// CLI script creates what the spec describes. The dotenv export is the app's environment without the secret.
#[utoipa::path(
    get, path = "/v1/apps/{app}/export", tag = "apps", operation_id = "exportApp",
    params(
        ("app" = AppName, Path, description = "The name of the app."),
        ("format" = Format, Query, description = "The format of the export."),
        ("region" = Option<Region>, Query, description = "The region of the CloudFormation stack. Default: the app's region."),
    ),
    responses(
        (status = 200, description = "The file: main.tf, template.json, setup.sh or .env.",
            content((String = "text/plain"), (serde_json::Value = "application/json")),
            headers(("Content-Disposition" = String, description = "The name of the file."))),
        (status = 404, description = "No such app."),
        (status = 502, description = "AWS does not return one of the app's resources."),
    )
)]
pub async fn export_app(
    State(service): State<Arc<Service>>,
    _: Viewer,
    AppPath(name): AppPath,
    mut params: Params,
) -> Result<Response, ApiError> {
    let format = params.required("format", Format::parse);
    let region = if format == Some(Format::Cloudformation) {
        params.take("region", Region::parse)
    } else {
        None
    };
    params.finish()?;
    let format = format.ok_or(ApiError::Defect)?;
    let file = export(&service, &name, format, region.as_ref()).await?;
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
