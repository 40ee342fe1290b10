//! `/console/apps`: the list of apps.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use crate::api::auth::Viewer;
use crate::api::page::Cursor;
use crate::api::problem::ApiError;
use crate::app::accounts::list_accounts;
use crate::app::service::Service;
use crate::console::page::{Page, PageParams, Section, html};
use crate::console::respond::query;
use crate::console::view::{Ago as _, Shown as _};
use crate::domain::app::{App, AppState};
use crate::domain::names::AccountName;
use crate::store::AppFilter;

const MAX_QUERY_LENGTH: usize = 64;

/// The states that the filter offers.
const STATES: [(AppState, &str); 7] = [
    (AppState::Ready, "Ready"),
    (AppState::Pending, "Pending"),
    (AppState::NeedsAttention, "Needs attention"),
    (AppState::Failed, "Failed"),
    (AppState::Canceled, "Canceled"),
    (AppState::Quarantined, "Quarantined"),
    (AppState::Removed, "Removed"),
];

#[derive(Template)]
#[template(path = "console/apps.html")]
struct AppsPage {
    page: Page,
    apps: Vec<App>,
    accounts: Vec<AccountName>,
    q: String,
    account: String,
    state: Option<AppState>,
    drifted: bool,
    /// The path of this page, and of the next.
    this: String,
    next: Option<String>,
}

impl AppsPage {
    fn states(&self) -> impl Iterator<Item = (String, &'static str, bool)> + '_ {
        STATES
            .into_iter()
            .map(|(state, name)| (state.to_string(), name, self.state == Some(state)))
    }

    fn is_filtered(&self) -> bool {
        !self.q.is_empty() || !self.account.is_empty() || self.state.is_some() || self.drifted
    }
}

pub async fn list_apps(
    State(service): State<Arc<Service>>,
    Viewer(caller): Viewer,
    PageParams { mut params, notice }: PageParams,
) -> Result<Response, ApiError> {
    let cursor = Cursor::of(&mut params);
    // An empty field of the form means no filter.
    let text = |text: &str| {
        if text.chars().count() <= MAX_QUERY_LENGTH {
            Ok(text.trim().to_owned())
        } else {
            Err(format!("must be at most {MAX_QUERY_LENGTH} characters"))
        }
    };
    let q = params.take("q", text).unwrap_or_default();
    let account = params.take("account", text).unwrap_or_default();
    let state = params.take("state", |text| match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| "is not an app state"),
    });
    let state: Option<AppState> = state.flatten();
    let drifted = params.flag("drifted");
    params.finish()?;
    let filter = AppFilter {
        scope: caller.scope.clone(),
        account: Some(account.clone()).filter(|name| !name.is_empty()),
        state,
        drifted: drifted.then_some(true),
        query: Some(q.clone()).filter(|text| !text.is_empty()),
        after: cursor.from,
        limit: cursor.probe(),
    };
    let found = service.store.apps(&filter).await?;
    let found = cursor.page(found, |app| app.id, |app| app);
    let path = |cursor: Option<&str>| {
        let state = state.map(|state| state.to_string()).unwrap_or_default();
        query(
            "/console/apps",
            &[
                ("q", &q),
                ("account", &account),
                ("state", &state),
                ("drifted", if drifted { "true" } else { "" }),
                ("cursor", cursor.unwrap_or_default()),
            ],
        )
    };
    let from = cursor.from.map(|id| id.to_string());
    let (this, next) = (
        path(from.as_deref()),
        found.next_cursor.as_deref().map(|next| path(Some(next))),
    );
    let accounts = list_accounts(&service).await?.into_iter();
    let accounts = accounts
        .map(|account| account.name)
        .filter(|name| caller.scope.allows_account(name))
        .collect();
    html(&AppsPage {
        page: Page::new(&service, &caller, Section::Apps, "Apps").with(notice),
        apps: found.items,
        accounts,
        q,
        account,
        state,
        drifted,
        this,
        next,
    })
}
