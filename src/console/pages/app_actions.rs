//! The actions of an app's page. Each leads to the job that it starts.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde_json::json;

use crate::api::auth::{Operator, Viewer};
use crate::api::form::invalid;
use crate::api::path::{AppPath, KeyPath};
use crate::api::problem::ApiError;
use crate::app::drift::check_app;
use crate::app::export::export;
use crate::app::repair::repair;
use crate::app::restore::restore;
use crate::app::rotate::{RotateOptions, roll_back, rotate};
use crate::app::service::Service;
use crate::app::set_key_status::set_key_status;
use crate::console::form::PageForm;
use crate::console::page::{Notice, PageParams};
use crate::domain::access_key::InUse;
use crate::domain::names::{AccessKeyId, AppName};
use crate::domain::task::KeyStatus;
use crate::provision::export::Format;
use crate::store::Accepted;

/// Leads to the page of an accepted job.
pub fn to_job(accepted: Accepted) -> Response {
    let (Accepted::Fresh(job) | Accepted::Replay(job)) = accepted;
    Redirect::to(&format!("/console/jobs/{}", job.id)).into_response()
}

/// The path of an app's page.
pub fn app_path(name: &AppName) -> String {
    format!("/console/apps/{name}")
}

pub async fn post_repair(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    AppPath(name): AppPath,
    form: PageForm,
) -> Result<Response, ApiError> {
    let remove: Vec<&str> = form.all("remove").collect();
    let body = (!remove.is_empty()).then(|| json!({ "remove": remove }));
    let key = form.idempotency_key(&caller);
    let accept_expiry = form.has("accept_expiry");
    Ok(to_job(
        repair(&service, caller, &name, body.as_ref(), accept_expiry, key).await?,
    ))
}

pub async fn post_drift(
    State(service): State<Arc<Service>>,
    Operator(_): Operator,
    AppPath(name): AppPath,
) -> Result<Response, ApiError> {
    check_app(&service, &name).await?;
    let path = format!("{}#drift", Notice::Checked.on(&app_path(&name)));
    Ok(Redirect::to(&path).into_response())
}

pub async fn post_restore(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    AppPath(name): AppPath,
    form: PageForm,
) -> Result<Response, ApiError> {
    let key = form.idempotency_key(&caller);
    Ok(to_job(restore(&service, caller, &name, false, key).await?))
}

pub async fn post_rotate(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    AppPath(name): AppPath,
    form: PageForm,
) -> Result<Response, ApiError> {
    let replace = form.get("replace").map(AccessKeyId::parse).transpose();
    let options = RotateOptions {
        replace: replace.map_err(|why| invalid("replace", &why.to_string()))?,
        force: form.has("force"),
    };
    let key = form.idempotency_key(&caller);
    Ok(to_job(rotate(&service, caller, &name, options, key).await?))
}

pub async fn post_rollback(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    AppPath(name): AppPath,
    form: PageForm,
) -> Result<Response, ApiError> {
    let key = form.idempotency_key(&caller);
    Ok(to_job(roll_back(&service, caller, &name, key).await?))
}

pub async fn post_key_status(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    KeyPath(app, access_key): KeyPath,
    form: PageForm,
) -> Result<Response, ApiError> {
    let to = form.get("to").and_then(|to| to.parse::<KeyStatus>().ok());
    let to = to.ok_or_else(|| invalid("to", "must be active, inactive or deleted"))?;
    let key = form.idempotency_key(&caller);
    let in_use = InUse::forced(form.has("force"));
    let access_key = (&app, &access_key);
    Ok(to_job(
        set_key_status(&service, caller, access_key, to, in_use, key).await?,
    ))
}

pub async fn get_export(
    State(service): State<Arc<Service>>,
    Viewer(_): Viewer,
    AppPath(name): AppPath,
    PageParams { mut params, .. }: PageParams,
) -> Result<Response, ApiError> {
    let format = params.required("format", Format::parse);
    params.finish()?;
    let format = format.ok_or(ApiError::Defect)?;
    Ok(download(
        format,
        export(&service, &name, format, None).await?,
    ))
}

/// An export, as a file that the browser saves.
pub fn download(format: Format, text: String) -> Response {
    let disposition = format!("attachment; filename=\"{}\"", format.file_name());
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(format.media_type()),
    );
    headers.extend(
        HeaderValue::from_str(&disposition).map(|value| (header::CONTENT_DISPOSITION, value)),
    );
    response
}
