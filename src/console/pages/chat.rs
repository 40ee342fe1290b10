//! `/console/chat`: which chat users act as which person, and where a person links a chat user.
//!
//! Invariants:
//! - Following a URL links nobody. The page shows which chat user it is, and its form does it.
//! - A person has signed in a moment ago.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};

use crate::api::auth::Viewer;
use crate::api::path::IdPath;
use crate::api::problem::ApiError;
use crate::app::chat::links;
use crate::app::service::Service;
use crate::app::sessions::require_recent_sign_in;
use crate::clock::Timestamp;
use crate::console::form::PageForm;
use crate::console::page::{Notice, Page, PageParams, html};
use crate::console::respond::{query, sign_in_path};
use crate::console::view::Ago as _;
use crate::domain::caller::Caller;
use crate::domain::chat::ChatLink;
use crate::store::ChatCode;

#[derive(Template)]
#[template(path = "console/chat.html")]
struct ChatPage {
    page: Page,
    links: Vec<(ChatLink, Timestamp)>,
}

#[derive(Template)]
#[template(path = "console/link_chat.html")]
struct LinkPage {
    page: Page,
    code: String,
    asks: ChatCode,
    /// Where to sign in, if the person has to do so first.
    sign_in: Option<String>,
}

pub async fn get_chat(
    State(service): State<Arc<Service>>,
    Viewer(caller): Viewer,
    PageParams { mut params, notice }: PageParams,
) -> Result<Response, ApiError> {
    let code = params.take("code", |text| Ok::<_, &str>(text.to_owned()));
    params.finish()?;
    if let Some(code) = code {
        return link_page(&service, &caller, code).await;
    }
    let links = links::list(&service, &caller).await?;
    let with_expiry = |link: ChatLink| {
        let expires_at = links::expiry(&service, &link);
        (link, expires_at)
    };
    html(&ChatPage {
        page: Page::signed_in(&service, &caller, "Chat").with(notice),
        links: links.into_iter().map(with_expiry).collect(),
    })
}

async fn link_page(service: &Service, caller: &Caller, code: String) -> Result<Response, ApiError> {
    let asks = links::find_code(service, &code).await?;
    let path = query("/console/chat", &[("code", &code)]);
    let has_just_signed_in = require_recent_sign_in(service, caller).is_ok();
    html(&LinkPage {
        page: Page::signed_in(service, caller, "Link a chat user"),
        sign_in: (!has_just_signed_in).then(|| sign_in_path(&path, true)),
        code,
        asks,
    })
}

pub async fn post_link(
    State(service): State<Arc<Service>>,
    Viewer(caller): Viewer,
    form: PageForm,
) -> Result<Response, ApiError> {
    links::link(&service, &caller, form.get("code").unwrap_or_default()).await?;
    Ok(Redirect::to(&Notice::Linked.on("/console/chat")).into_response())
}

pub async fn post_unlink(
    State(service): State<Arc<Service>>,
    Viewer(caller): Viewer,
    IdPath(id): IdPath,
) -> Result<Response, ApiError> {
    links::unlink(&service, &caller, id).await?;
    Ok(Redirect::to(&Notice::Unlinked.on("/console/chat")).into_response())
}
