//! `/console/apps/{app}/keys/{access_key_id}/claim`: shows the secret of an access key, once.
//!
//! Invariants:
//! - Only the answer to a POST holds the secret. Whoever follows a link, and every program that previews links, gets none.
//! - A person has signed in a moment ago.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use crate::api::auth::Operator;
use crate::api::path::KeyPath;
use crate::api::problem::ApiError;
use crate::app::claim::claim;
use crate::app::service::Service;
use crate::app::sessions::require_recent_sign_in;
use crate::console::form::PageForm;
use crate::console::page::{Page, PageParams, Section, html};
use crate::console::respond::sign_in_path;
use crate::domain::access_key::Readiness;
use crate::domain::caller::Caller;
use crate::domain::names::{AccessKeyId, AppName};

#[derive(Template)]
#[template(path = "console/claim.html")]
struct ClaimPage {
    page: Page,
    app: AppName,
    key: AccessKeyId,
    /// Where to sign in, if the person has to do so first.
    sign_in: Option<String>,
}

#[derive(Template)]
#[template(path = "console/claimed.html")]
struct ClaimedPage {
    page: Page,
    app: AppName,
    key: AccessKeyId,
    dotenv: String,
    is_ready: bool,
}

fn claim_page(
    service: &Service,
    caller: &Caller,
    title: &str,
    app: AppName,
    key: AccessKeyId,
) -> ClaimPage {
    let path = format!("/console/apps/{app}/keys/{key}/claim");
    let has_just_signed_in = require_recent_sign_in(service, caller).is_ok();
    ClaimPage {
        page: Page::new(service, caller, Section::Apps, format!("{title} {key}")),
        app,
        key,
        sign_in: (!has_just_signed_in).then(|| sign_in_path(&path, true)),
    }
}

pub async fn get_claim(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    KeyPath(app, key): KeyPath,
    PageParams { params, .. }: PageParams,
) -> Result<Response, ApiError> {
    params.finish()?;
    let title = "Claim the secret of";
    html(&claim_page(&service, &caller, title, app, key))
}

pub async fn post_claim(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    KeyPath(app, key): KeyPath,
    form: PageForm,
) -> Result<Response, ApiError> {
    let asked = claim_page(&service, &caller, "Secret of", app, key);
    if asked.sign_in.is_some() {
        return html(&asked);
    }
    let ClaimPage { page, app, key, .. } = asked;
    // With the key of the form, a page that was lost on its way can be asked for again for ten minutes.
    let repeat_key = form.get("idempotency_key");
    let claimed = claim(&service, &caller, &app, &key, repeat_key).await?;
    html(&ClaimedPage {
        page,
        app,
        key,
        dotenv: claimed.dotenv(),
        is_ready: claimed.readiness == Readiness::Ready,
    })
}
