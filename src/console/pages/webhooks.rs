//! `/console/webhooks`: the webhooks, and the creation of another.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};
use strum::IntoEnumIterator as _;

use crate::api::auth::Admin;
use crate::api::problem::ApiError;
use crate::app::error::UseCaseError;
use crate::app::hooks::list::may_list;
use crate::app::service::Service;
use crate::app::webhooks::{WebhookWithSecret, create_webhook, list_with_last_delivery};
use crate::console::form::PageForm;
use crate::console::page::{Notice, Page, PageParams, Section, html};
use crate::console::pages::access::scope_of;
use crate::console::view::{Ago as _, Shown as _};
use crate::domain::caller::Caller;
use crate::domain::names::AccountName;
use crate::domain::scope::AppPattern;
use crate::domain::validation::FieldError;
use crate::domain::webhook::{EventType, Webhook, WebhookSpec};
use crate::store::Delivery;

#[derive(Template)]
#[template(path = "console/webhooks.html")]
struct WebhooksPage {
    page: Page,
    webhooks: Vec<(Webhook, Option<Delivery>)>,
    fields: WebhookFields,
    errors: Vec<FieldError>,
    sees_incoming: bool,
}

#[derive(Template)]
#[template(path = "console/webhook_secret.html")]
struct WebhookSecretPage {
    page: Page,
    webhook: Webhook,
    secret: String,
}

/// What the form of a webhook holds.
#[derive(Default)]
pub struct WebhookFields {
    pub url: String,
    pub description: String,
    /// The selected types of events. None for all.
    pub events: Vec<String>,
    pub apps: String,
    pub accounts: String,
}

impl WebhookFields {
    /// What a webhook is.
    pub fn of(spec: &WebhookSpec) -> Self {
        let events = spec.events.iter().flatten().map(ToString::to_string);
        let patterns = spec.scope.apps().unwrap_or_default().iter();
        let patterns: Vec<String> = patterns.cloned().map(AppPattern::into).collect();
        let accounts = spec.scope.accounts().unwrap_or_default().iter();
        let accounts: Vec<&str> = accounts.map(AccountName::as_str).collect();
        Self {
            url: spec.url.clone(),
            description: spec.description.clone().unwrap_or_default(),
            events: events.collect(),
            apps: patterns.join(", "),
            accounts: accounts.join(", "),
        }
    }

    /// What a person has entered.
    pub fn entered(form: &PageForm) -> Self {
        let text = |name: &str| form.get(name).unwrap_or_default().to_owned();
        Self {
            url: text("url"),
            description: text("description"),
            events: form.all("events").map(str::to_owned).collect(),
            apps: text("scope_apps"),
            accounts: text("scope_accounts"),
        }
    }

    /// The types of events, each with whether it is selected. A test goes to the tested webhook, whatever it selects.
    pub fn event_types(&self) -> Vec<(String, bool)> {
        EventType::iter()
            .filter(|kind| *kind != EventType::WebhookTest)
            .map(|kind| kind.to_string())
            .map(|name| {
                let is_selected = self.events.contains(&name);
                (name, is_selected)
            })
            .collect()
    }
}

/// The merge patch that a form describes: an empty field is the default.
pub fn patch_of(form: &PageForm) -> Map<String, Value> {
    let events: Vec<&str> = form.all("events").collect();
    let fields = [
        ("url", form.get("url").map(Value::from)),
        ("description", form.get("description").map(Value::from)),
        ("events", (!events.is_empty()).then(|| json!(events))),
        ("scope", scope_of(form)),
    ];
    let fields = fields.into_iter();
    fields
        .map(|(name, value)| (name.to_owned(), value.unwrap_or_default()))
        .collect()
}

/// The only page that shows the secret of a webhook: the answer to the form that made it.
pub fn secret_page(
    service: &Service,
    caller: &Caller,
    made: WebhookWithSecret,
) -> Result<Response, ApiError> {
    let title = format!("Secret of {}", made.webhook.spec.title());
    html(&WebhookSecretPage {
        page: Page::new(service, caller, Section::Webhooks, title),
        webhook: made.webhook,
        secret: made.secret,
    })
}

async fn webhooks_page(
    service: &Service,
    caller: &Caller,
    notice: Option<Notice>,
    fields: WebhookFields,
    errors: Vec<FieldError>,
) -> Result<Response, ApiError> {
    html(&WebhooksPage {
        page: Page::new(service, caller, Section::Webhooks, "Webhooks").with(notice),
        webhooks: list_with_last_delivery(service, caller).await?,
        fields,
        errors,
        sees_incoming: may_list(caller),
    })
}

pub async fn get_webhooks(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    PageParams { params, notice }: PageParams,
) -> Result<Response, ApiError> {
    params.finish()?;
    let fields = WebhookFields::default();
    webhooks_page(&service, &caller, notice, fields, Vec::new()).await
}

pub async fn post_webhook(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    form: PageForm,
) -> Result<Response, ApiError> {
    let mut body = patch_of(&form);
    body.retain(|_, value| !value.is_null());
    match create_webhook(&service, &caller, &Value::Object(body)).await {
        Ok(created) => secret_page(&service, &caller, created),
        Err(UseCaseError::Fields(errors)) => {
            let fields = WebhookFields::entered(&form);
            let page = webhooks_page(&service, &caller, None, fields, errors).await?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
        Err(error) => Err(error.into()),
    }
}
