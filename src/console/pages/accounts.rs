//! `/console/accounts`: the accounts that apps live in, and the registration of another.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde_json::Value;

use crate::api::auth::{Admin, Viewer};
use crate::api::problem::ApiError;
use crate::app::accounts::{AccountView, list_accounts, register_account};
use crate::app::error::UseCaseError;
use crate::app::scope::{require_account, require_all_apps};
use crate::app::service::Service;
use crate::console::form::PageForm;
use crate::console::page::{Notice, Page, PageParams, Section, html};
use crate::console::view::{Ago as _, Shown as _};
use crate::domain::caller::Caller;
use crate::domain::validation::FieldError;

const FIELDS: [&str; 4] = ["name", "account_id", "role_arn", "region"];

#[derive(Template)]
#[template(path = "console/accounts.html")]
struct AccountsPage {
    page: Page,
    accounts: Vec<AccountView>,
    entered: Vec<(&'static str, String)>,
    errors: Vec<FieldError>,
}

impl AccountsPage {
    fn value(&self, name: &str) -> &str {
        let found = self.entered.iter().find(|(field, _)| *field == name);
        found.map_or("", |(_, value)| value)
    }
}

async fn accounts_page(
    service: &Service,
    caller: &Caller,
    page: Page,
    form: Option<&PageForm>,
    errors: Vec<FieldError>,
) -> Result<Response, ApiError> {
    let mut accounts = list_accounts(service).await?;
    accounts.retain(|account| caller.scope.allows_account(&account.name));
    let entered = |name: &'static str| {
        let value = form.and_then(|form| form.get(name));
        (name, value.unwrap_or_default().to_owned())
    };
    html(&AccountsPage {
        page,
        accounts,
        entered: FIELDS.map(entered).to_vec(),
        errors,
    })
}

pub async fn get_accounts(
    State(service): State<Arc<Service>>,
    Viewer(caller): Viewer,
    PageParams { params, notice }: PageParams,
) -> Result<Response, ApiError> {
    params.finish()?;
    let page = Page::new(&service, &caller, Section::Accounts, "Accounts").with(notice);
    accounts_page(&service, &caller, page, None, Vec::new()).await
}

pub async fn post_account(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    form: PageForm,
) -> Result<Response, ApiError> {
    let body = Value::Object(form.object(&FIELDS));
    require_all_apps(&caller.scope)?;
    require_account(&caller.scope, body.get("name"))?;
    match register_account(&service, &caller.name, &body).await {
        Ok(account) => {
            let path = Notice::Registered.on(&format!("/console/accounts/{}", account.name));
            Ok(Redirect::to(&path).into_response())
        }
        Err(UseCaseError::Fields(errors)) => {
            let page = Page::new(&service, &caller, Section::Accounts, "Accounts");
            let page = accounts_page(&service, &caller, page, Some(&form), errors).await?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
        Err(error) => Err(error.into()),
    }
}
