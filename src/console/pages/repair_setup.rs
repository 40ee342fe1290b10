//! `/console/accounts/{account}/setup/repair`: what a repair of the set-up changes, and its request.
//!
//! Invariant: nobody is offered a repair before the page has shown what it changes. To remove resources, the account's name
//! is entered.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde_json::json;

use crate::api::auth::Admin;
use crate::api::form::invalid;
use crate::api::path::AccountPath;
use crate::api::problem::ApiError;
use crate::app::repair::repair;
use crate::app::service::Service;
use crate::app::setup::drift::check_setup;
use crate::app::setup::find::setup;
use crate::app::setup::view::SetupDriftReport;
use crate::console::form::PageForm;
use crate::console::page::{Page, PageParams, Section, html};
use crate::console::pages::app_actions::to_job;
use crate::console::pages::setup::{account_path, present_report};
use crate::console::view::{Ago as _, Pretty as _, Signed as _};
use crate::domain::names::AccountName;

#[derive(Template)]
#[template(path = "console/repair_setup.html")]
struct RepairSetupPage {
    page: Page,
    account: AccountName,
    report: Option<SetupDriftReport>,
}

pub async fn get_repair(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    AccountPath(account): AccountPath,
    PageParams { params, notice }: PageParams,
) -> Result<Response, ApiError> {
    params.finish()?;
    let title = format!("Repair the set-up of account {account}");
    html(&RepairSetupPage {
        page: Page::new(&service, &caller, Section::Accounts, title).with(notice),
        report: present_report(&service, &account).await?,
        account,
    })
}

/// Compares AWS with the set-up, or repairs it.
pub async fn post_repair(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    AccountPath(account): AccountPath,
    form: PageForm,
) -> Result<Response, ApiError> {
    if form.get("do") != Some("repair") {
        check_setup(&service, &account).await?;
        let path = format!("{}/setup/repair", account_path(&account));
        return Ok(Redirect::to(&path).into_response());
    }
    let remove: Vec<&str> = form.all("remove").collect();
    if !remove.is_empty() && form.get("confirm") != Some(account.as_str()) {
        let why = &format!("must be {account}, the account's name, to remove resources from AWS");
        return Err(invalid("confirm", why));
    }
    let body = (!remove.is_empty()).then(|| json!({ "remove": remove }));
    let key = form.idempotency_key(&caller);
    let name = setup(&service, &account).await?.record.spec.name;
    Ok(to_job(
        repair(&service, caller, &name, body.as_ref(), false, key).await?,
    ))
}
