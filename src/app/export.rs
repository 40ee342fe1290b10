//! Exports an app for other tools: Terraform, CloudFormation, the AWS CLI, its environment.

use std::collections::BTreeSet;

use crate::app::claim::claim_path;
use crate::app::error::UseCaseError;
use crate::app::find::{account, any_app};
use crate::app::inspect::read_only_context;
use crate::app::repair::repair_task;
use crate::app::service::Service;
use crate::domain::access_key::SecretState;
use crate::domain::app::App;
use crate::domain::names::{AppName, Region};
use crate::domain::validation::FieldError;
use crate::provision::environment;
use crate::provision::export::{Format, Inventory, script};
use crate::provision::render::dotenv::{Environment, Secret};
use crate::store::CredentialRow;

/// The text of an app's export. `region` selects the CloudFormation stack; the app's own region when absent.
///
/// # Errors
/// When there is no such app, the app has nothing in `region`, or AWS does not show one of its resources.
pub async fn export(
    service: &Service,
    name: &AppName,
    format: Format,
    region: Option<&Region>,
) -> Result<String, UseCaseError> {
    let app = any_app(service, name).await?;
    match format {
        Format::Terraform => inventory(service, &app)
            .await?
            .terraform()
            .map_err(|_| UseCaseError::Defect),
        Format::Cloudformation => template(service, &app, region).await,
        Format::AwsCli => {
            let account = account(service, &app.spec.account).await?;
            Ok(script(&app.spec, &service.conventions(&account))?)
        }
        Format::Dotenv => environment(service, &app).await,
    }
}

async fn inventory(service: &Service, app: &App) -> Result<Inventory, UseCaseError> {
    let account = account(service, &app.spec.account).await?;
    let cx = read_only_context(service, account, &repair_task(), &app.spec, Some(app)).await?;
    Ok(Inventory::look(&app.spec, &service.conventions(&cx.account), &cx).await?)
}

async fn template(
    service: &Service,
    app: &App,
    region: Option<&Region>,
) -> Result<String, UseCaseError> {
    let inventory = inventory(service, app).await?;
    let template = inventory
        .cloudformation(region.unwrap_or(&app.spec.region))
        .ok_or_else(|| nothing_in_region(app))?;
    Ok(format!("{template:#}\n"))
}

fn nothing_in_region(app: &App) -> UseCaseError {
    let spec = &app.spec;
    let buckets = spec.buckets.iter().map(|bucket| &bucket.region);
    let repositories = spec.repositories.iter().map(|it| &it.region);
    let lists = spec.lists.iter().map(|(_, entry)| &entry.region);
    let regions: BTreeSet<&str> = buckets
        .chain(repositories)
        .chain(lists)
        .chain([&spec.region])
        .map(Region::as_str)
        .collect();
    let regions = regions.into_iter().collect::<Vec<_>>().join(", ");
    UseCaseError::Options(vec![FieldError::new(
        "region",
        format!("must be a region of the app: {regions}"),
    )])
}

async fn environment(service: &Service, app: &App) -> Result<String, UseCaseError> {
    let account = account(service, &app.spec.account).await?;
    let live = service.store.key_records(app.id).await?;
    let rows = service.store.credentials(app.id).await?;
    let key = rows
        .iter()
        .filter(|row| live.keys.iter().any(|(id, _)| *id == row.access_key_id))
        .max_by_key(|row| row.created_at);
    let where_secret = where_secret(app, key);
    let resources = environment::environment(&app.spec, &service.conventions(&account));
    let environment = Environment {
        access_key_id: key.map(|row| row.access_key_id.as_str()),
        secret: Secret::Withheld(&where_secret),
        region: app.spec.region.as_str(),
        resources: &resources,
    };
    Ok(environment.dotenv())
}

/// Where the secret of the app's key can be found.
fn where_secret(app: &App, key: Option<&CredentialRow>) -> String {
    match key {
        None => "The app has no access key that Slipway created.".to_owned(),
        Some(row) if row.secret == SecretState::Unclaimed => format!(
            "Claim the secret once with POST {}",
            claim_path(&app.spec.name, &row.access_key_id)
        ),
        Some(_) => {
            "The secret was claimed and Slipway no longer has it. If it is lost, rotate the app's credentials.".to_owned()
        }
    }
}
