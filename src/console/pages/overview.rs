//! `/console`: what needs a person, what runs, and figures.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use crate::api::auth::Viewer;
use crate::api::problem::ApiError;
use crate::app::overview::{Overview, overview};
use crate::app::service::Service;
use crate::console::page::{Page, PageParams, Section, html};
use crate::console::view::{Ago as _, Named as _, OfSubject as _, Shown as _};
use crate::domain::access_key::CLAIM_DEADLINE;
use crate::domain::app::AppState;
use crate::domain::job::JobState;

#[derive(Template)]
#[template(path = "console/overview.html")]
struct OverviewPage {
    page: Page,
    overview: Overview,
}

pub async fn get_overview(
    State(service): State<Arc<Service>>,
    Viewer(caller): Viewer,
    PageParams { params, notice }: PageParams,
) -> Result<Response, ApiError> {
    params.finish()?;
    let page = Page::new(&service, &caller, Section::Overview, "Overview").with(notice);
    let overview = overview(&service, &caller).await?;
    html(&OverviewPage { page, overview })
}
