//! `/console/jobs`: the list of jobs, and actions on several of them.

use std::fmt::Display;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use strum::IntoEnumIterator as _;

use crate::api::auth::{Operator, Viewer};
use crate::api::form::invalid;
use crate::api::page::Cursor;
use crate::api::path::{parse_id, require_job_to_change};
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::console::form::PageForm;
use crate::console::page::{Notice, Page, PageParams, Section, html};
use crate::console::respond::query;
use crate::console::view::{Ago as _, Named as _, OfSubject as _, Shown as _};
use crate::domain::job::{Job, JobState};
use crate::domain::job_kind::JobKind;
use crate::domain::names::AppName;
use crate::domain::task::ImageExpiry;
use crate::store::JobFilter;

/// Jobs of one bulk action.
const MAX_BULK: usize = 200;

#[derive(Template)]
#[template(path = "console/jobs.html")]
struct JobsPage {
    page: Page,
    jobs: Vec<Job>,
    app: String,
    state: Option<JobState>,
    kind: Option<JobKind>,
    this: String,
    next: Option<String>,
}

impl JobsPage {
    fn states(&self) -> Vec<(String, String, bool)> {
        options(JobState::iter(), self.state)
    }

    fn kinds(&self) -> Vec<(String, &'static str, bool)> {
        JobKind::iter()
            .map(|kind| (kind.to_string(), kind.label(), self.kind == Some(kind)))
            .collect()
    }
}

/// The options of a filter: the value, its name, and whether it is selected.
pub fn options<T: Display + PartialEq>(
    all: impl IntoIterator<Item = T>,
    selected: Option<T>,
) -> Vec<(String, String, bool)> {
    let option = |value: T| {
        let is_selected = selected.as_ref() == Some(&value);
        let value = value.to_string();
        (value.clone(), capitalized(&value), is_selected)
    };
    all.into_iter().map(option).collect()
}

/// `needs_attention` as `Needs attention`
pub fn capitalized(name: &str) -> String {
    let text = name.replace('_', " ");
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

pub async fn list_jobs(
    State(service): State<Arc<Service>>,
    Viewer(caller): Viewer,
    PageParams { mut params, notice }: PageParams,
) -> Result<Response, ApiError> {
    let cursor = Cursor::of(&mut params);
    // An empty field of the form means no filter.
    let app = params.take("app", |text| match text.trim() {
        "" => Ok(None),
        text => AppName::parse(text).map(Some),
    });
    let state = params.take("state", |text| match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| "is not a job state"),
    });
    let kind = params.take("kind", |text| match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| "is not a job kind"),
    });
    params.finish()?;
    let filter = JobFilter {
        scope: caller.scope.clone(),
        app: app.flatten(),
        state: state.flatten(),
        kind: kind.flatten(),
        before: cursor.from,
        limit: cursor.probe(),
    };
    let found = service.store.jobs(&filter).await?;
    let found = cursor.page(found, |job| job.id, |job| job);
    let app = filter.app.map(|name| name.to_string()).unwrap_or_default();
    let (state, kind) = (filter.state, filter.kind);
    let path = |cursor: &str| {
        let state = state.map(|it| it.to_string()).unwrap_or_default();
        let kind = kind.map(|it| it.to_string()).unwrap_or_default();
        let parameters = [
            ("app", app.as_str()),
            ("state", &state),
            ("kind", &kind),
            ("cursor", cursor),
        ];
        query("/console/jobs", &parameters)
    };
    let this = path(&cursor.from.map(|id| id.to_string()).unwrap_or_default());
    let next = found.next_cursor.as_deref().map(path);
    html(&JobsPage {
        page: Page::new(&service, &caller, Section::Jobs, "Jobs").with(notice),
        jobs: found.items,
        app,
        state,
        kind,
        this,
        next,
    })
}

/// Retries or cancels the selected jobs. A job whose state does not allow it stays as it is.
pub async fn post_bulk(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    form: PageForm,
) -> Result<Response, ApiError> {
    let retries = match form.get("do") {
        Some("retry") => true,
        Some("cancel") => false,
        _ => return Err(invalid("do", "must be retry or cancel")),
    };
    let mut refused = 0_usize;
    for id in form.all("job").filter_map(parse_id).take(MAX_BULK) {
        require_job_to_change(&service, &caller.scope, id).await?;
        let by = caller.name.clone();
        let done = if retries {
            service.store.retry(id, by, ImageExpiry::Refuse).await?
        } else {
            service.store.cancel(id, by).await?
        };
        refused += usize::from(done.is_err());
    }
    let notice = match refused {
        0 => Notice::BulkDone,
        _ => Notice::BulkPartly,
    };
    Ok(Redirect::to(&notice.on("/console/jobs")).into_response())
}
