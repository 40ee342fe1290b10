//! Exports: an app in the terms of other tools.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::api::auth::Viewer;
use crate::api::body::{AppPath, Params};
use crate::api::problem::{ApiError, Problem};
use crate::app::drift::repair_task;
use crate::app::inspect::read_only_context;
use crate::app::service::Service;
use crate::domain::access_key::SecretState;
use crate::domain::app::App;
use crate::domain::names::{AppName, Region};
use crate::domain::validation::FieldError;
use crate::provision::export::{Format, Inventory, script};
use crate::provision::render::dotenv::{Environment, Secret};

/// Export an app
///
/// Describes the app for Terraform or CloudFormation as it is in AWS now, with what imports it; as a script of AWS CLI
/// commands that creates it from nothing; or as an environment file. Changes nothing and contains no secret.
#[utoipa::path(
    get, path = "/v1/apps/{app}/export", tag = "apps", operation_id = "exportApp",
    params(
        ("app" = AppName, Path, description = "The app's name"),
        ("format" = Format, Query, description = "In whose terms"),
        ("region" = Option<Region>, Query, description = "Of a CloudFormation stack, which has one; the app's when absent"),
    ),
    responses(
        (status = 200, description = "The file: main.tf, template.json, setup.sh or .env",
            content((String = "text/plain"), (serde_json::Value = "application/json")),
            headers(("Content-Disposition" = String, description = "The file's name"))),
        (status = 400, description = "Not a format, not a region of the app, or wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such app", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "AWS does not show something of the app", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn export(
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
    let app = service
        .store
        .app(&name)
        .await?
        .ok_or(ApiError::NoSuch("such app"))?;
    let file = match format {
        Format::Terraform => inventory(&service, &app)
            .await?
            .terraform()
            .map_err(|_| ApiError::Defect)?,
        Format::Cloudformation => template(&service, &app, region.as_ref()).await?,
        Format::AwsCli => {
            let account = service
                .account(&app.spec.account)
                .ok_or(ApiError::NoSuch("such account"))?;
            script(&app.spec, &service.conventions(&account))?
        }
        Format::Dotenv => environment(&service, &app).await?,
    };
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

async fn inventory(service: &Service, app: &App) -> Result<Inventory, ApiError> {
    let account = service
        .account(&app.spec.account)
        .ok_or(ApiError::NoSuch("such account"))?;
    let cx = read_only_context(service, account, &repair_task(), &app.spec, Some(app)).await?;
    Ok(Inventory::look(&app.spec, &service.conventions(&cx.account), &cx).await?)
}

async fn template(
    service: &Service,
    app: &App,
    region: Option<&Region>,
) -> Result<String, ApiError> {
    let nothing_there = || {
        let buckets = app.spec.buckets.iter().map(|bucket| &bucket.region);
        let all = buckets
            .chain(
                app.spec
                    .repositories
                    .iter()
                    .map(|repository| &repository.region),
            )
            .chain([&app.spec.region]);
        let all: std::collections::BTreeSet<&str> = all.map(Region::as_str).collect();
        let known = all.into_iter().collect::<Vec<_>>().join(", ");
        ApiError::Parameters(vec![FieldError::new(
            "region",
            format!("the app has nothing there; its regions are {known}"),
        )])
    };
    let inventory = inventory(service, app).await?;
    let template = inventory
        .cloudformation(region.unwrap_or(&app.spec.region))
        .ok_or_else(nothing_there)?;
    Ok(format!("{template:#}\n"))
}

async fn environment(service: &Service, app: &App) -> Result<String, ApiError> {
    let account = service
        .account(&app.spec.account)
        .ok_or(ApiError::NoSuch("such account"))?;
    let live = service.store.key_records(app.id).await?;
    let rows = service.store.credentials(app.id).await?;
    let key = rows
        .iter()
        .filter(|row| live.keys.iter().any(|(id, _)| *id == row.access_key_id))
        .max_by_key(|row| row.created_at);
    let how = match key {
        None => "The app has no access key of Slipway's.".to_owned(),
        Some(row) if row.secret == SecretState::Unclaimed => {
            format!(
                "Shown once, by POST /v1/apps/{}/credentials/{}/claim",
                app.spec.name, row.access_key_id
            )
        }
        Some(_) => {
            "Not with Slipway any more: whoever claimed it has it. If nobody has, replace the key."
                .to_owned()
        }
    };
    let identity = account.identity();
    let buckets: Vec<String> = app
        .spec
        .buckets
        .iter()
        .map(|bucket| bucket.name.to_string())
        .collect();
    let repositories: Vec<String> = app
        .spec
        .repositories
        .iter()
        .map(|repository| identity.repository_uri(&repository.region, &repository.name))
        .collect();
    let environment = Environment {
        access_key_id: key.map(|row| row.access_key_id.as_str()),
        secret: Secret::Withheld(&how),
        region: app.spec.region.as_str(),
        buckets: &buckets,
        repositories: &repositories,
    };
    Ok(environment.dotenv())
}
