//! `/console/accounts/{account}/setup/people/{email}/claim`: shows the first console password of a person, once.
//!
//! Invariants:
//! - Only the answer to a POST holds the password. Whoever follows a link, and every program that previews links, gets none.
//! - Whoever claims has signed in a moment ago.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use secrecy::ExposeSecret as _;

use crate::api::auth::Admin;
use crate::api::path::PersonPath;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::app::sessions::require_recent_sign_in;
use crate::app::setup::claim::claim;
use crate::console::form::PageForm;
use crate::console::page::{Page, PageParams, Section, html};
use crate::console::respond::sign_in_path;
use crate::domain::caller::Caller;
use crate::domain::names::{AccountName, AppName};

#[derive(Template)]
#[template(path = "console/claim_password.html")]
struct ClaimPage {
    page: Page,
    account: AccountName,
    person: AppName,
    /// Where to sign in, if the caller has to do so first.
    sign_in: Option<String>,
}

#[derive(Template)]
#[template(path = "console/claimed_password.html")]
struct ClaimedPage {
    page: Page,
    account: AccountName,
    user: String,
    password: String,
    sign_in_url: String,
}

fn claim_page(
    service: &Service,
    caller: &Caller,
    title: &str,
    account: AccountName,
    person: AppName,
) -> ClaimPage {
    let path = format!("/console/accounts/{account}/setup/people/{person}/claim");
    let has_just_signed_in = require_recent_sign_in(service, caller).is_ok();
    let title = format!("{title} {person}");
    ClaimPage {
        page: Page::new(service, caller, Section::Accounts, title),
        account,
        person,
        sign_in: (!has_just_signed_in).then(|| sign_in_path(&path, true)),
    }
}

pub async fn get_claim(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    PersonPath(account, person): PersonPath,
    PageParams { params, .. }: PageParams,
) -> Result<Response, ApiError> {
    params.finish()?;
    let title = "Claim the first password of";
    html(&claim_page(&service, &caller, title, account, person))
}

pub async fn post_claim(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    PersonPath(account, person): PersonPath,
    form: PageForm,
) -> Result<Response, ApiError> {
    let asked = claim_page(&service, &caller, "First password of", account, person);
    if asked.sign_in.is_some() {
        return html(&asked);
    }
    let ClaimPage {
        page,
        account,
        person,
        ..
    } = asked;
    // With the key of the form, a page that was lost on its way can be asked for again for ten minutes.
    let repeat_key = form.get("idempotency_key");
    let claimed = claim(&service, &caller, &account, &person, repeat_key).await?;
    html(&ClaimedPage {
        page,
        account,
        user: claimed.user,
        password: claimed.password.expose_secret().to_owned(),
        sign_in_url: claimed.sign_in_url,
    })
}
