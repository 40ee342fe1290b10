//! `/console/accounts/{account}/setup/change`: the set-up as a text, whose plan appears while a person types.
//!
//! Invariants:
//! - A set-up is applied to the version that the form showed, or to an account that has none as the form showed.
//! - What deletes something from AWS takes the account's name as its confirmation.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;

use crate::api::auth::{Admin, Viewer};
use crate::api::path::AccountPath;
use crate::api::problem::ApiError;
use crate::app::error::UseCaseError;
use crate::app::service::Service;
use crate::app::setup::apply::{SetupRequest, apply, plan};
use crate::app::setup::find::find;
use crate::app::update::Precondition;
use crate::console::form::PageForm;
use crate::console::page::{Page, PageParams, Section, html};
use crate::console::pages::app_actions::to_job;
use crate::console::pages::new_app::PlanView;
use crate::domain::app::App;
use crate::domain::caller::Caller;
use crate::domain::names::AccountName;
use crate::domain::validation::FieldError;
use crate::store::Accepted;

/// A set-up of nothing, where a new one begins.
const EMPTY: &str = "{\n  \"groups\": [],\n  \"people\": []\n}";

#[derive(Template)]
#[template(path = "console/change_setup.html")]
struct ChangeSetupPage {
    page: Page,
    account: AccountName,
    spec: String,
    remove: bool,
    confirmed: bool,
    /// The version that is changed. Absent if the account has no set-up.
    version: Option<i64>,
    idempotency_key: String,
    view: PlanView,
}

fn title(version: Option<i64>, account: &AccountName) -> String {
    match version {
        Some(_) => format!("Change the set-up of account {account}"),
        None => format!("Set up account {account}"),
    }
}

pub async fn get_change(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    AccountPath(account): AccountPath,
    PageParams { params, .. }: PageParams,
) -> Result<Response, ApiError> {
    params.finish()?;
    let (_, record) = find(&service, &account).await?;
    let version = record.as_ref().map(|record| record.version);
    let setup = record.and_then(|record| record.spec.setup);
    let spec = setup.and_then(|setup| serde_json::to_string_pretty(&setup.spec).ok());
    let title = title(version, &account);
    let page = Page::new(&service, &caller, Section::Accounts, title);
    html(&ChangeSetupPage {
        idempotency_key: page.idempotency_key(),
        page,
        spec: spec.unwrap_or_else(|| EMPTY.to_owned()),
        remove: false,
        confirmed: false,
        version,
        view: PlanView::default(),
        account,
    })
}

/// Plans or applies the set-up. As in the API, everybody who may see the account may plan.
pub async fn post_change(
    State(service): State<Arc<Service>>,
    viewer: Viewer,
    AccountPath(account): AccountPath,
    headers: HeaderMap,
    form: PageForm,
) -> Result<Response, ApiError> {
    let is_applied = form.get("do") == Some("apply");
    let caller = if is_applied {
        viewer.admin()?
    } else {
        viewer.0
    };
    let body = document(&form);
    let view = match (body, is_applied) {
        (Err(error), _) => PlanView::failed(error),
        (Ok(body), false) => {
            let request = request(&account, &caller, &body, &form);
            PlanView::of(plan(&service, request, None).await)
        }
        (Ok(body), true) => {
            let request = request(&account, &caller, &body, &form);
            match apply_form(&service, request, &form).await {
                Ok(accepted) => return Ok(to_job(accepted)),
                Err(error @ UseCaseError::Fields(_)) => PlanView::failed(error),
                Err(error) => return Err(error.into()),
            }
        }
    };
    if headers.contains_key("hx-request") {
        return html(&view);
    }
    let page = html(&entered_page(&service, &caller, account, &form, view))?;
    let status = if is_applied {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::OK
    };
    Ok((status, page).into_response())
}

fn document(form: &PageForm) -> Result<Value, UseCaseError> {
    let text = form.get("spec").unwrap_or_default();
    serde_json::from_str(text).map_err(|error| {
        let why = format!("is not valid JSON: {error}.");
        UseCaseError::Fields(vec![FieldError::new("/spec", why)])
    })
}

fn request<'a>(
    account: &'a AccountName,
    caller: &'a Caller,
    body: &'a Value,
    form: &PageForm,
) -> SetupRequest<'a> {
    SetupRequest {
        account,
        caller,
        body,
        remove: form.has("remove"),
    }
}

fn version_of(form: &PageForm) -> Option<i64> {
    form.get("version").and_then(|text| text.parse().ok())
}

async fn apply_form(
    service: &Service,
    request: SetupRequest<'_>,
    form: &PageForm,
) -> Result<Accepted, UseCaseError> {
    let account = request.account;
    if request.remove && form.get("confirm") != Some(account.as_str()) {
        let why = format!("must be {account}, the account's name, to delete from AWS");
        return Err(UseCaseError::Fields(vec![FieldError::new("/confirm", why)]));
    }
    let version = version_of(form);
    let (_, record) = find(service, account).await?;
    let is_same = move |app: &App| version == Some(app.version);
    let is_still_new = version.is_none() && record.is_none();
    let precondition = (!is_still_new).then_some(&is_same as Precondition<'_>);
    let key = form.idempotency_key(request.caller);
    apply(service, request, precondition, key).await
}

/// The form as it was sent.
fn entered_page(
    service: &Service,
    caller: &Caller,
    account: AccountName,
    form: &PageForm,
    view: PlanView,
) -> ChangeSetupPage {
    let version = version_of(form);
    let page = Page::new(service, caller, Section::Accounts, title(version, &account));
    // A form that is shown again is the same request still.
    let key = form.get("idempotency_key").map(str::to_owned);
    ChangeSetupPage {
        idempotency_key: key.unwrap_or_else(|| page.idempotency_key()),
        page,
        spec: form.get("spec").unwrap_or_default().to_owned(),
        remove: form.has("remove"),
        confirmed: form.get("confirm") == Some(account.as_str()),
        version,
        view,
        account,
    }
}
