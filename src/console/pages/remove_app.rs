//! `/console/apps/{app}/remove`: what a removal deletes and keeps, and its confirmation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use crate::api::auth::Operator;
use crate::api::form::invalid;
use crate::api::path::AppPath;
use crate::api::problem::ApiError;
use crate::app::find::live_app;
use crate::app::remove::{RemoveOptions, plan_removal, remove};
use crate::app::service::Service;
use crate::console::form::PageForm;
use crate::console::page::{Page, PageParams, Section, html};
use crate::console::pages::app_actions::to_job;
use crate::console::pages::new_app::PlanView;
use crate::domain::app::App;
use crate::domain::caller::Caller;
use crate::domain::spec::parse_age;
use crate::provision::kinds::list_holds_data;

#[derive(Template)]
#[template(path = "console/remove_app.html")]
struct RemovePage {
    page: Page,
    app: App,
    /// What holds data: the field of the form, its name, and whether it is selected.
    data: Vec<(String, String, bool)>,
    quarantine: String,
    adopted: bool,
    view: PlanView,
}

/// What of an app holds data: the field of the removal, and its name there.
fn data_of(app: &App) -> Vec<(String, String)> {
    let spec = &app.spec;
    let buckets = spec.buckets.iter().chain(&app.retained.buckets);
    let repositories = spec.repositories.iter().chain(&app.retained.repositories);
    let lists = spec
        .lists
        .iter()
        .filter(|(field, _)| list_holds_data(field))
        .map(|(field, entry)| (field.to_string(), entry.place()));
    buckets
        .map(|bucket| ("buckets".to_owned(), bucket.name.to_string()))
        .chain(repositories.map(|it| ("repositories".to_owned(), it.place())))
        .chain(lists)
        .collect()
}

fn options_of(app: &App, form: Option<&PageForm>) -> Result<RemoveOptions, ApiError> {
    let named = |field: &str| -> BTreeSet<String> {
        let Some(form) = form else {
            return BTreeSet::new();
        };
        form.all(field).map(str::to_owned).collect()
    };
    let quarantine = form.and_then(|form| form.get("quarantine"));
    let quarantine = quarantine.map(parse_age).transpose();
    let lists = data_of(app)
        .into_iter()
        .map(|(field, _)| field)
        .filter(|field| !matches!(field.as_str(), "buckets" | "repositories"))
        .map(|field| (field.clone(), named(&field)))
        .filter(|(_, names)| !names.is_empty());
    Ok(RemoveOptions {
        buckets: named("buckets"),
        repositories: named("repositories"),
        lists: lists.collect::<BTreeMap<_, _>>(),
        adopted: form.is_some_and(|form| form.has("adopted")),
        quarantine: quarantine.map_err(|why| invalid("quarantine", why))?,
        confirmed: true,
    })
}

async fn remove_page(
    service: &Service,
    caller: &Caller,
    app: App,
    form: Option<&PageForm>,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let options = options_of(&app, form)?;
    let plan = plan_removal(service, caller, &app.spec.name, &options, None).await;
    let view = PlanView::of(plan);
    if headers.contains_key("hx-request") {
        return html(&view);
    }
    let data = data_of(&app).into_iter().map(|(field, name)| {
        let is_selected = form.is_some_and(|form| form.all(&field).any(|value| value == name));
        (field, name, is_selected)
    });
    let title = format!("Remove {}", app.summary.name);
    html(&RemovePage {
        page: Page::new(service, caller, Section::Apps, title),
        data: data.collect(),
        quarantine: form
            .and_then(|form| form.get("quarantine"))
            .unwrap_or_default()
            .to_owned(),
        adopted: options.adopted,
        view,
        app,
    })
}

pub async fn get_remove(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    AppPath(name): AppPath,
    PageParams { params, .. }: PageParams,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    params.finish()?;
    let app = live_app(&service, &name).await?;
    remove_page(&service, &caller, app, None, &headers).await
}

/// Plans or requests the removal, which takes the app's name as its confirmation.
pub async fn post_remove(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    AppPath(name): AppPath,
    headers: HeaderMap,
    form: PageForm,
) -> Result<Response, ApiError> {
    let app = live_app(&service, &name).await?;
    if form.get("do") != Some("remove") {
        return remove_page(&service, &caller, app, Some(&form), &headers).await;
    }
    if form.get("confirm") != Some(app.spec.name.as_str()) {
        let why = format!("must be {}, the app's name", app.spec.name);
        return Err(invalid("confirm", &why));
    }
    let options = options_of(&app, Some(&form))?;
    let key = form.idempotency_key(&caller);
    Ok(to_job(
        remove(&service, &caller, &name, &options, key).await?,
    ))
}
