//! `/console/sessions`: where people are signed in.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};

use crate::api::auth::Viewer;
use crate::api::path::IdPath;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::app::sessions::{list_sessions, revoke_session};
use crate::console::page::{Notice, Page, PageParams, html};
use crate::console::view::Ago as _;
use crate::domain::session::Session;

#[derive(Template)]
#[template(path = "console/sessions.html")]
struct SessionsPage {
    page: Page,
    sessions: Vec<Session>,
}

impl SessionsPage {
    /// Whether it is the session of this browser.
    fn is_this(&self, session: &Session) -> bool {
        let caller = self.page.caller.as_ref();
        let own = caller.and_then(|caller| caller.session.as_ref());
        own.is_some_and(|own| own.id == session.id)
    }
}

pub async fn get_sessions(
    State(service): State<Arc<Service>>,
    Viewer(caller): Viewer,
    PageParams { params, notice }: PageParams,
) -> Result<Response, ApiError> {
    params.finish()?;
    html(&SessionsPage {
        page: Page::signed_in(&service, &caller, "Sessions").with(notice),
        sessions: list_sessions(&service, &caller).await?,
    })
}

pub async fn post_revoke(
    State(service): State<Arc<Service>>,
    Viewer(caller): Viewer,
    IdPath(id): IdPath,
) -> Result<Response, ApiError> {
    revoke_session(&service, &caller, id).await?;
    Ok(Redirect::to(&Notice::SignedOut.on("/console/sessions")).into_response())
}
