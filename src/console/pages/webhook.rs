//! `/console/webhooks/{id}`: one webhook, its deliveries, and its actions.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde_json::{Map, Value, json};
use strum::IntoEnumIterator as _;
use ulid::Ulid;

use crate::api::auth::Admin;
use crate::api::form::invalid;
use crate::api::page::Cursor;
use crate::api::params::Params;
use crate::api::path::IdPath;
use crate::api::problem::ApiError;
use crate::api::v1::rotate_webhook_secret::{DEFAULT_OVERLAP, parse_overlap};
use crate::app::error::UseCaseError;
use crate::app::service::Service;
use crate::app::webhooks::{
    WebhookDelivery, delete_webhook, get_webhook, list_deliveries, parse_event_type,
    replay_webhook, rotate_webhook_secret, test_webhook, update_webhook,
};
use crate::console::form::PageForm;
use crate::console::page::{Notice, Page, PageParams, Section, html};
use crate::console::pages::audit::parse_time;
use crate::console::pages::jobs::options;
use crate::console::pages::webhooks::{WebhookFields, patch_of, secret_page};
use crate::console::respond::query;
use crate::console::view::{Ago as _, Shown as _};
use crate::domain::caller::Caller;
use crate::domain::validation::FieldError;
use crate::domain::webhook::{DeliveryState, EventType, Webhook, WebhookState};
use crate::store::DeliveryFilter;

/// Deliveries on the page of a form that is shown again.
const FEW: u32 = 10;

#[derive(Template)]
#[template(path = "console/webhook.html")]
struct WebhookPage {
    page: Page,
    webhook: Webhook,
    fields: WebhookFields,
    errors: Vec<FieldError>,
    deliveries: Vec<WebhookDelivery>,
    state: Option<DeliveryState>,
    kind: Option<EventType>,
    /// The path of this page, and of the next.
    this: String,
    next: Option<String>,
}

impl WebhookPage {
    fn is_active(&self) -> bool {
        self.webhook.state == WebhookState::Active
    }

    /// The last rotation that the page knows of.
    fn rotation(&self) -> String {
        rotation_of(&self.webhook)
    }

    fn states(&self) -> Vec<(String, String, bool)> {
        options(DeliveryState::iter(), self.state)
    }

    fn kinds(&self) -> Vec<(String, bool)> {
        let kinds = EventType::iter();
        kinds
            .map(|kind| (kind.to_string(), self.kind == Some(kind)))
            .collect()
    }

    fn is_filtered(&self) -> bool {
        self.state.is_some() || self.kind.is_some()
    }

    fn can_replay(&self, delivery: &WebhookDelivery) -> bool {
        self.is_active() && delivery.state != DeliveryState::Pending
    }

    fn payload(&self, delivery: &WebhookDelivery) -> String {
        serde_json::to_string_pretty(&delivery.payload).unwrap_or_default()
    }
}

/// Which deliveries the page lists.
struct DeliveryQuery {
    cursor: Cursor,
    state: Option<DeliveryState>,
    kind: Option<EventType>,
}

impl DeliveryQuery {
    fn newest() -> Self {
        Self {
            cursor: Cursor {
                from: None,
                limit: FEW,
            },
            state: None,
            kind: None,
        }
    }

    fn of(params: &mut Params) -> Self {
        let cursor = Cursor::of(params);
        // An empty field of the form means no filter.
        let state = params.take("state", |text| match text {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| "is not a state"),
        });
        let kind = params.take("type", |text| match text {
            "" => Ok(None),
            text => parse_event_type(text).map(Some),
        });
        Self {
            cursor,
            state: state.flatten(),
            kind: kind.flatten(),
        }
    }

    /// The path of the page that begins after the cursor.
    fn path(&self, webhook: Ulid, cursor: Option<&str>) -> String {
        let state = self.state.map(|state| state.to_string());
        let kind = self.kind.map(|kind| kind.to_string());
        query(
            &path_of(webhook),
            &[
                ("state", &state.unwrap_or_default()),
                ("type", &kind.unwrap_or_default()),
                ("cursor", cursor.unwrap_or_default()),
            ],
        )
    }
}

fn path_of(webhook: Ulid) -> String {
    format!("/console/webhooks/{webhook}")
}

fn back(webhook: Ulid, notice: Notice) -> Response {
    Redirect::to(&notice.on(&path_of(webhook))).into_response()
}

async fn webhook_page(
    service: &Service,
    caller: &Caller,
    webhook: Webhook,
    asked: DeliveryQuery,
    entered: Option<(WebhookFields, Vec<FieldError>)>,
) -> Result<WebhookPage, ApiError> {
    let filter = DeliveryFilter {
        webhook: webhook.id,
        state: asked.state,
        kind: asked.kind,
        before: asked.cursor.from,
        limit: asked.cursor.probe(),
    };
    let found = list_deliveries(service, caller, &filter).await?;
    let id_of = |delivery: &crate::store::Delivery| delivery.event.id;
    let found = asked.cursor.page(found, id_of, WebhookDelivery::from);
    let from = asked.cursor.from.map(|id| id.to_string());
    let next = found.next_cursor.as_deref();
    let (fields, errors) =
        entered.unwrap_or_else(|| (WebhookFields::of(&webhook.spec), Vec::new()));
    Ok(WebhookPage {
        page: Page::new(service, caller, Section::Webhooks, webhook.spec.title()),
        fields,
        errors,
        state: asked.state,
        kind: asked.kind,
        this: asked.path(webhook.id, from.as_deref()),
        next: next.map(|next| asked.path(webhook.id, Some(next))),
        deliveries: found.items,
        webhook,
    })
}

pub async fn get_one(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    IdPath(id): IdPath,
    PageParams { mut params, notice }: PageParams,
) -> Result<Response, ApiError> {
    let asked = DeliveryQuery::of(&mut params);
    params.finish()?;
    let webhook = get_webhook(&service, &caller, id).await?;
    let mut shown = webhook_page(&service, &caller, webhook, asked, None).await?;
    shown.page = shown.page.with(notice);
    html(&shown)
}

pub async fn post_edit(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    IdPath(id): IdPath,
    form: PageForm,
) -> Result<Response, ApiError> {
    let patch = Value::Object(patch_of(&form));
    match update_webhook(&service, &caller, id, &patch).await {
        Ok(_) => Ok(back(id, Notice::Saved)),
        Err(UseCaseError::Fields(errors)) => {
            let webhook = get_webhook(&service, &caller, id).await?;
            let entered = Some((WebhookFields::entered(&form), errors));
            let asked = DeliveryQuery::newest();
            let page = webhook_page(&service, &caller, webhook, asked, entered).await?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, html(&page)?).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

pub async fn post_state(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    IdPath(id): IdPath,
    form: PageForm,
) -> Result<Response, ApiError> {
    let to = form.get("to").and_then(|to| to.parse().ok());
    let to: WebhookState = to.ok_or_else(|| invalid("to", "must be active or disabled"))?;
    update_webhook(&service, &caller, id, &json!({ "state": to })).await?;
    Ok(match to {
        WebhookState::Active => back(id, Notice::Enabled),
        WebhookState::Disabled => back(id, Notice::Disabled),
    })
}

pub async fn post_test(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    IdPath(id): IdPath,
) -> Result<Response, ApiError> {
    test_webhook(&service, &caller, id).await?;
    Ok(back(id, Notice::TestSent))
}

/// Makes one delivery again, or those of a time.
pub async fn post_replay(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    IdPath(id): IdPath,
    form: PageForm,
) -> Result<Response, ApiError> {
    let mut body = Map::new();
    if let Some(delivery) = form.get("delivery") {
        body.insert("delivery".into(), json!(delivery));
    }
    for name in ["since", "until"] {
        if let Some(text) = form.get(name) {
            let time = parse_time(text).map_err(|why| invalid(name, why))?;
            body.insert(name.into(), json!(time));
        }
    }
    let replayed = replay_webhook(&service, &caller, id, &Value::Object(body)).await?;
    Ok(match replayed.deliveries {
        0 => back(id, Notice::NothingToReplay),
        _ => back(id, Notice::Replayed),
    })
}

/// What tells the last rotation of a webhook's secret from others.
fn rotation_of(webhook: &Webhook) -> String {
    let until = webhook.previous_secret_expires_at;
    until.map(|until| until.to_string()).unwrap_or_default()
}

pub async fn post_rotate(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    IdPath(id): IdPath,
    form: PageForm,
) -> Result<Response, ApiError> {
    let overlap = form.get("overlap").map(parse_overlap).transpose();
    let overlap = overlap.map_err(|why| invalid("overlap", why))?;
    let overlap = overlap.unwrap_or(DEFAULT_OVERLAP);
    // A form that is sent again, as by a reload, would end the signatures by the secret that the receiver has.
    let webhook = get_webhook(&service, &caller, id).await?;
    if form.get("rotation").unwrap_or_default() != rotation_of(&webhook) {
        let why = "was rotated meanwhile. Open the webhook again to rotate it once more";
        return Err(invalid("secret", why));
    }
    let rotated = rotate_webhook_secret(&service, &caller, id, overlap).await?;
    secret_page(&service, &caller, rotated)
}

pub async fn post_delete(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    IdPath(id): IdPath,
    form: PageForm,
) -> Result<Response, ApiError> {
    if !form.has("confirm") {
        return Err(invalid("confirm", "is required to delete the webhook"));
    }
    delete_webhook(&service, &caller, id).await?;
    Ok(Redirect::to(&Notice::Deleted.on("/console/webhooks")).into_response())
}
