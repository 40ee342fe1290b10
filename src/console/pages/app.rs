//! `/console/apps/{app}`: one app, as it is recorded. What AWS alone knows of its keys comes with `keys`.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use crate::api::auth::Viewer;
use crate::api::path::AppPath;
use crate::api::problem::ApiError;
use crate::app::find::any_app;
use crate::app::service::Service;
use crate::console::page::{Page, PageParams, Section, html};
use crate::console::pages::keys::{KeyRow, Keys};
use crate::console::view::{Ago as _, Named as _, Pretty as _, Shown as _, Signed as _};
use crate::domain::app::{App, AppState};
use crate::domain::drift::DriftReport;
use crate::domain::job::Job;
use crate::domain::plan::PlannedChange;
use crate::store::JobFilter;

/// Jobs on the page.
const RECENT_JOBS: u32 = 10;

#[derive(Template)]
#[template(path = "console/app.html")]
struct AppPage {
    page: Page,
    app: App,
    keys: Keys,
    drift: Option<DriftReport>,
    jobs: Vec<Job>,
    spec: String,
}

impl AppPage {
    fn is_removed(&self) -> bool {
        self.app.summary.state == AppState::Removed
    }

    /// Whether a removal goes on that can be stopped.
    fn can_restore(&self) -> bool {
        self.app.removal.is_some() && !self.is_removed()
    }

    fn changes(&self) -> &[PlannedChange] {
        self.drift.as_ref().map_or(&[], |report| &report.changes)
    }
}

pub async fn get_app(
    State(service): State<Arc<Service>>,
    Viewer(caller): Viewer,
    AppPath(name): AppPath,
    PageParams { params, notice }: PageParams,
) -> Result<Response, ApiError> {
    params.finish()?;
    let app = any_app(&service, &name).await?;
    let filter = JobFilter {
        scope: caller.scope.clone(),
        app: Some(name.clone()),
        limit: RECENT_JOBS,
        ..JobFilter::default()
    };
    let rows = service.store.credentials(app.id).await?;
    let keys = Keys {
        rows: rows
            .iter()
            .map(|row| KeyRow::recorded(row, &service))
            .collect(),
        rotation: service.store.rotation(app.id).await?,
        is_complete: false,
    };
    html(&AppPage {
        page: Page::new(&service, &caller, Section::Apps, &app.summary.name).with(notice),
        keys,
        drift: service.store.drift_report(app.id).await?,
        jobs: service.store.jobs(&filter).await?,
        spec: serde_json::to_string_pretty(&app.spec).unwrap_or_default(),
        app,
    })
}
