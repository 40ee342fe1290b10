//! `/console/hooks`: the deliveries of incoming webhooks.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use strum::IntoEnumIterator as _;

use crate::api::auth::Admin;
use crate::api::page::Cursor;
use crate::api::params::Params;
use crate::api::problem::ApiError;
use crate::app::hooks::list::list_received;
use crate::app::service::Service;
use crate::console::page::{Page, PageParams, Section, html};
use crate::console::pages::jobs::options;
use crate::console::respond::query;
use crate::console::view::{Ago as _, Shown as _};
use crate::domain::hooks::delivery::HookDeliveryState;
use crate::domain::hooks::event::Source;
use crate::domain::hooks::rule::HookSettings;
use crate::store::{ReceivedDelivery, ReceivedFilter};

const MAX_SOURCE_LENGTH: usize = 64;

#[derive(Template)]
#[template(path = "console/hooks.html")]
struct HooksPage {
    page: Page,
    deliveries: Vec<ReceivedDelivery>,
    /// The sources in the settings.
    sources: Vec<String>,
    source: String,
    state: Option<HookDeliveryState>,
    /// The path of this page, and of the next.
    this: String,
    next: Option<String>,
}

impl HooksPage {
    fn states(&self) -> Vec<(String, String, bool)> {
        options(HookDeliveryState::iter(), self.state)
    }

    fn is_filtered(&self) -> bool {
        self.state.is_some() || !self.source.is_empty()
    }

    /// Where what the repository has requested is found.
    fn audit_path(&self, delivery: &ReceivedDelivery) -> Option<String> {
        let event = delivery.event.as_ref()?;
        let actor = format!("{}:{}", delivery.source, event.repository.full_name);
        Some(query("/console/audit", &[("actor", &actor)]))
    }
}

fn sources(settings: &HookSettings) -> Vec<String> {
    let forges = [
        (settings.github.is_some(), Source::GitHub),
        (settings.gitlab.is_some(), Source::GitLab),
    ];
    let forges = forges.into_iter().filter(|(is_on, _)| *is_on);
    let others = settings.standard.keys().cloned().map(Source::Standard);
    forges
        .map(|(_, forge)| forge)
        .chain(others)
        .map(|source| source.to_string())
        .collect()
}

/// Which deliveries are asked for.
struct HookQuery {
    cursor: Cursor<i64>,
    state: Option<HookDeliveryState>,
    source: String,
}

impl HookQuery {
    fn of(params: &mut Params) -> Self {
        let cursor = Cursor::parsed(params, |text| text.parse().ok());
        // An empty field of the form means no filter.
        let state = params.take("state", |text| match text {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| "is not a state"),
        });
        let source = params.take("source", |text| {
            let fits = text.len() <= MAX_SOURCE_LENGTH;
            fits.then(|| text.to_owned()).ok_or("is not a source")
        });
        Self {
            cursor,
            state: state.flatten(),
            source: source.unwrap_or_default(),
        }
    }

    fn filter(&self) -> ReceivedFilter {
        ReceivedFilter {
            state: self.state,
            source: Some(self.source.clone()).filter(|source| !source.is_empty()),
            since: None,
            before: self.cursor.from,
            limit: self.cursor.probe(),
        }
    }

    /// The path of the page that begins after the cursor.
    fn path(&self, cursor: Option<&str>) -> String {
        let state = self.state.map(|state| state.to_string());
        query(
            "/console/hooks",
            &[
                ("state", &state.unwrap_or_default()),
                ("source", &self.source),
                ("cursor", cursor.unwrap_or_default()),
            ],
        )
    }
}

pub async fn get_hooks(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    PageParams { mut params, notice }: PageParams,
) -> Result<Response, ApiError> {
    let asked = HookQuery::of(&mut params);
    params.finish()?;
    let found = list_received(&service, &caller, &asked.filter()).await?;
    let found = asked
        .cursor
        .page(found, |delivery| delivery.seq, |delivery| delivery);
    let from = asked.cursor.from.map(|from| from.to_string());
    let next = found.next_cursor.as_deref();
    let title = "Incoming webhooks";
    html(&HooksPage {
        page: Page::new(&service, &caller, Section::Webhooks, title).with(notice),
        this: asked.path(from.as_deref()),
        next: next.map(|next| asked.path(Some(next))),
        deliveries: found.items,
        sources: sources(&service.settings.hooks),
        state: asked.state,
        source: asked.source,
    })
}
