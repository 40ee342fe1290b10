//! The set-up of an account, on the account's page, with its actions.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde_json::Value;

use crate::api::auth::{Operator, Viewer};
use crate::api::path::AccountPath;
use crate::api::problem::ApiError;
use crate::app::error::UseCaseError;
use crate::app::export::export;
use crate::app::service::Service;
use crate::app::setup::drift::{check_setup, last_report};
use crate::app::setup::find::{FoundSetup, find, setup};
use crate::app::setup::view::{SetupDriftReport, SetupView, view};
use crate::console::page::{Notice, PageParams};
use crate::console::pages::app_actions::download;
use crate::console::pages::jobs::capitalized;
use crate::console::view::Pretty as _;
use crate::domain::access_key::{CLAIM_DEADLINE, SecretState};
use crate::domain::account_setup::Person;
use crate::domain::console_password::newest;
use crate::domain::job::StepState;
use crate::domain::names::AccountName;
use crate::domain::resource_id::ResourceId;
use crate::provision::export::Format;
use crate::provision::render::bootstrap::BootstrapFormat;

/// The set-up of an account, for the template that shows it.
pub struct SetupSection {
    pub view: SetupView,
    pub people: Vec<PersonRow>,
    pub drift: Option<SetupDriftReport>,
    pub spec: String,
}

/// A person, with the user and the first password.
pub struct PersonRow {
    pub person: Person,
    /// The state in which the last job left the user. `None` if no job has handled it yet.
    pub user: Option<StepState>,
    /// `None` if AWS has not set a password.
    pub password: Option<SecretState>,
    pub claimed_by: Option<String>,
}

impl PersonRow {
    pub fn groups(&self) -> String {
        let names: Vec<&str> = self.person.groups.iter().map(AsRef::as_ref).collect();
        names.join(", ")
    }

    pub fn is_claimable(&self) -> bool {
        self.password == Some(SecretState::Unclaimed)
    }
}

impl SetupSection {
    /// The set-up of an account, if it has one.
    ///
    /// # Errors
    /// When no account is registered under the name, or the database is not available.
    pub async fn of(service: &Service, name: &AccountName) -> Result<Option<Self>, UseCaseError> {
        let (account, record) = find(service, name).await?;
        let Some(record) = record else {
            return Ok(None);
        };
        let found = FoundSetup { account, record };
        let people = people(service, &found).await?;
        let view = view(service, found).await?;
        Ok(Some(Self {
            people,
            drift: present_report(service, name).await?,
            spec: serde_json::to_string_pretty(&view.spec).unwrap_or_default(),
            view,
        }))
    }

    /// The password policy, as names and values.
    pub fn policy(&self) -> Vec<(String, String)> {
        let Ok(Value::Object(policy)) = serde_json::to_value(self.view.spec.password_policy) else {
            return Vec::new();
        };
        let told = |value: &Value| match value {
            Value::Bool(true) => "yes".to_owned(),
            Value::Bool(false) => "no".to_owned(),
            other => other.pretty(),
        };
        let fields = policy.iter();
        fields
            .map(|(name, value)| (capitalized(name), told(value)))
            .collect()
    }
}

/// The last drift report of a set-up, if there is one.
///
/// # Errors
/// When the account has no set-up, or the database is not available.
pub async fn present_report(
    service: &Service,
    name: &AccountName,
) -> Result<Option<SetupDriftReport>, UseCaseError> {
    match last_report(service, name).await {
        Ok(report) => Ok(Some(report)),
        Err(UseCaseError::NoSetupReport(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn people(service: &Service, found: &FoundSetup) -> Result<Vec<PersonRow>, UseCaseError> {
    let record = &found.record;
    let passwords = service.store.password_records(record.id).await?;
    let secrets = service.store.credentials(record.id).await?;
    let now = service.clock.now();
    let row = |person: &Person| {
        let user = ResourceId::new("iam:user", &person.email);
        let mut resources = record.resources.iter();
        let user = resources.find(|it| it.resource.is_same_in_iam(&user));
        let password = newest(&passwords, &person.email);
        let secret = password.and_then(|password| {
            let mut secrets = secrets.iter();
            secrets.find(|secret| secret.access_key_id == password.credential)
        });
        PersonRow {
            person: person.clone(),
            user: user.map(|it| it.state),
            password: secret.map(|secret| match secret.secret {
                SecretState::Unclaimed if now.since(secret.created_at) >= CLAIM_DEADLINE => {
                    SecretState::Expired
                }
                state => state,
            }),
            claimed_by: secret.and_then(|secret| secret.claimed_by.clone()),
        }
    };
    let people = found.setup().map(|setup| setup.spec.people.as_slice());
    Ok(people.unwrap_or_default().iter().map(row).collect())
}

/// The path of an account's page.
pub fn account_path(name: &AccountName) -> String {
    format!("/console/accounts/{name}")
}

pub async fn post_drift(
    State(service): State<Arc<Service>>,
    Operator(_): Operator,
    AccountPath(name): AccountPath,
) -> Result<Response, ApiError> {
    check_setup(&service, &name).await?;
    let path = format!("{}#drift", Notice::Checked.on(&account_path(&name)));
    Ok(Redirect::to(&path).into_response())
}

pub async fn get_export(
    State(service): State<Arc<Service>>,
    Viewer(_): Viewer,
    AccountPath(account): AccountPath,
    PageParams { mut params, .. }: PageParams,
) -> Result<Response, ApiError> {
    let format = params.required("format", BootstrapFormat::parse);
    params.finish()?;
    let format = Format::from(format.ok_or(ApiError::Defect)?);
    let name = setup(&service, &account).await?.record.spec.name;
    Ok(download(
        format,
        export(&service, &name, format, None).await?,
    ))
}
