//! `/console/onboard` and `/console/apps/{app}/change`: forms whose plan appears while a person types.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

use crate::api::auth::{Operator, Viewer};
use crate::api::path::AppPath;
use crate::api::problem::{ApiError, Problem};
use crate::app::accounts::list_accounts;
use crate::app::error::UseCaseError;
use crate::app::find::live_app;
use crate::app::onboard::{onboard, plan_onboarding};
use crate::app::plan::plan_app;
use crate::app::service::Service;
use crate::app::setup::view::SetupPlan;
use crate::app::update::{UpdateOptions, update};
use crate::console::form::PageForm;
use crate::console::page::{Page, PageParams, Section, html};
use crate::console::pages::app_actions::to_job;
use crate::console::view::{Pretty as _, Signed as _};
use crate::domain::app::App;
use crate::domain::caller::Caller;
use crate::domain::names::{AccountName, AppName};
use crate::domain::plan::{Action, Plan, PlannedChange};
use crate::domain::validation::FieldError;

/// What is shown of a plan.
pub struct ShownPlan {
    changes: Vec<PlannedChange>,
    warnings: Vec<String>,
    calls: usize,
}

impl From<Plan> for ShownPlan {
    fn from(plan: Plan) -> Self {
        Self {
            changes: plan.changes,
            warnings: plan.warnings,
            calls: plan.calls,
        }
    }
}

impl From<SetupPlan> for ShownPlan {
    fn from(plan: SetupPlan) -> Self {
        Self {
            changes: plan.changes,
            warnings: plan.warnings,
            calls: plan.calls,
        }
    }
}

/// A plan, or why there is none.
#[derive(Default, Template)]
#[template(path = "console/_plan.html")]
pub struct PlanView {
    plan: Option<ShownPlan>,
    errors: Vec<FieldError>,
    problem: Option<Problem>,
}

impl PlanView {
    /// The outcome of planning.
    pub fn of(planned: Result<impl Into<ShownPlan>, UseCaseError>) -> Self {
        match planned {
            Ok(plan) => Self {
                plan: Some(plan.into()),
                ..Self::default()
            },
            Err(error) => Self::failed(error),
        }
    }

    /// Why there is no plan.
    pub fn failed(error: UseCaseError) -> Self {
        match error {
            UseCaseError::Fields(errors) => Self {
                errors,
                ..Self::default()
            },
            error => Self {
                problem: Some(ApiError::from(error).problem()),
                ..Self::default()
            },
        }
    }

    fn count(&self, action: Action) -> usize {
        let changes = self.plan.iter().flat_map(|plan| &plan.changes);
        changes.filter(|change| change.action == action).count()
    }

    /// `7 to create, 1 to change`
    fn summary(&self) -> String {
        let counts = [
            (Action::Create, "to create"),
            (Action::Update, "to change"),
            (Action::Delete, "to delete"),
            (Action::None, "without a change"),
            (Action::Conflict, "in conflict"),
            (Action::Blocked, "blocked"),
        ];
        let counts: Vec<String> = counts
            .into_iter()
            .map(|(action, text)| (self.count(action), text))
            .filter(|(count, _)| *count > 0)
            .map(|(count, text)| format!("{count} {text}"))
            .collect();
        counts.join(", ")
    }

    /// Every AWS CLI command of the plan, in order.
    fn commands(&self) -> String {
        let changes = self.plan.iter().flat_map(|plan| &plan.changes);
        let commands: Vec<&str> = changes
            .filter_map(|change| change.aws_cli.as_deref())
            .collect();
        commands.join("\n")
    }

    /// The errors of a field and of what is inside it.
    fn errors_of(&self, field: &str) -> Vec<&str> {
        let errors = self.errors.iter().filter(|error| {
            let pointer = error.pointer.trim_start_matches('/');
            pointer.split('/').next() == Some(field)
        });
        errors.map(|error| error.message.as_str()).collect()
    }

    /// Whether nothing was asked for.
    pub fn is_blank(&self) -> bool {
        self.plan.is_none() && self.errors.is_empty() && self.problem.is_none()
    }
}

/// What a person has entered.
#[derive(Default)]
struct Entered {
    name: String,
    account: String,
    region: String,
    media_access: String,
    buckets: String,
    no_bucket: bool,
    upload_origins: String,
    repositories: String,
    no_repository: bool,
    no_access_key: bool,
    on_existing: String,
    rotate_after: String,
    protected: bool,
    tags: String,
    more: String,
}

impl Entered {
    fn of(form: &PageForm) -> Self {
        let text = |name: &str| form.get(name).unwrap_or_default().to_owned();
        Self {
            name: text("name"),
            account: text("account"),
            region: text("region"),
            media_access: text("media_access"),
            buckets: text("buckets"),
            no_bucket: form.has("no_bucket"),
            upload_origins: text("upload_origins"),
            repositories: text("repositories"),
            no_repository: form.has("no_repository"),
            no_access_key: form.has("no_access_key"),
            on_existing: text("on_existing"),
            rotate_after: text("rotate_after"),
            protected: form.has("protected"),
            tags: text("tags"),
            more: text("more"),
        }
    }
}

/// The request that a form describes: as `POST /v1/apps` takes it.
fn request_of(form: &PageForm) -> Result<Value, UseCaseError> {
    let mut body = match form.get("more") {
        Some(text) => match serde_json::from_str::<Value>(text) {
            Ok(Value::Object(object)) => object,
            _ => {
                let why = "must be a JSON object, such as {\"drift\": \"repair\"}.";
                return Err(UseCaseError::Fields(vec![FieldError::new("/more", why)]));
            }
        },
        None => Map::new(),
    };
    let fields = [
        "name",
        "account",
        "region",
        "media_access",
        "on_existing",
        "rotate_after",
    ];
    body.extend(form.object(&fields));
    if let Some(buckets) = buckets_of(form) {
        body.insert("buckets".into(), buckets);
    }
    if form.has("no_repository") {
        body.insert("repositories".into(), json!([]));
    } else if form.has("repositories") {
        let named = form.items("repositories").into_iter();
        let named: Vec<Value> = named.map(|name| json!({ "name": name })).collect();
        body.insert("repositories".into(), named.into());
    }
    if form.has("no_access_key") {
        body.insert("access_key".into(), json!(false));
    }
    if form.has("protected") {
        body.insert("protected".into(), json!(true));
    }
    if form.has("tags") {
        let tags = form.items("tags").into_iter().map(|tag| {
            let (key, value) = tag.split_once('=').unwrap_or((&tag, ""));
            (key.trim().to_owned(), json!(value.trim()))
        });
        body.insert("tags".into(), Value::Object(tags.collect()));
    }
    Ok(Value::Object(body))
}

fn buckets_of(form: &PageForm) -> Option<Value> {
    if form.has("no_bucket") {
        return Some(json!([]));
    }
    let origins = form.items("upload_origins");
    let with_origins = |mut bucket: Map<String, Value>| {
        if !origins.is_empty() {
            bucket.insert("upload_origins".into(), json!(origins));
        }
        Value::Object(bucket)
    };
    let named = form.items("buckets");
    if named.is_empty() {
        // One bucket with the default name.
        return (!origins.is_empty()).then(|| json!([with_origins(Map::new())]));
    }
    let named = named
        .into_iter()
        .map(|name| with_origins(Map::from_iter([("name".to_owned(), json!(name))])));
    Some(named.collect())
}

#[derive(Template)]
#[template(path = "console/new_app.html")]
struct NewAppPage {
    page: Page,
    accounts: Vec<AccountName>,
    entered: Entered,
    view: PlanView,
    idempotency_key: String,
}

async fn new_app_page(
    service: &Service,
    caller: &Caller,
    form: Option<&PageForm>,
    view: PlanView,
) -> Result<Response, ApiError> {
    let page = Page::new(service, caller, Section::Apps, "Onboard an app");
    let accounts = list_accounts(service).await?.into_iter();
    let accounts = accounts
        .map(|account| account.name)
        .filter(|name| caller.scope.allows_account(name))
        .collect();
    // A form that is shown again is the same request still.
    let key = form.and_then(|form| form.get("idempotency_key"));
    html(&NewAppPage {
        idempotency_key: key.map_or_else(|| page.idempotency_key(), str::to_owned),
        page,
        accounts,
        entered: form.map(Entered::of).unwrap_or_default(),
        view,
    })
}

pub async fn get_new_app(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    PageParams { params, .. }: PageParams,
) -> Result<Response, ApiError> {
    params.finish()?;
    new_app_page(&service, &caller, None, PlanView::default()).await
}

/// The plan of what was entered: alone for the page's script, and otherwise with the form.
pub async fn post_plan(
    State(service): State<Arc<Service>>,
    Viewer(caller): Viewer,
    headers: HeaderMap,
    form: PageForm,
) -> Result<Response, ApiError> {
    let view = if form.has("name") {
        let planned = match request_of(&form) {
            Ok(body) => {
                plan_onboarding(&service, &caller, &body, form.has("accept_expiry"), None).await
            }
            Err(error) => Err(error),
        };
        PlanView::of(planned)
    } else {
        PlanView::default()
    };
    if headers.contains_key("hx-request") {
        html(&view)
    } else {
        new_app_page(&service, &caller, Some(&form), view).await
    }
}

pub async fn post_app(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    form: PageForm,
) -> Result<Response, ApiError> {
    let key = form.idempotency_key(&caller);
    let accepted = match request_of(&form) {
        Ok(body) => {
            let accept_expiry = form.has("accept_expiry");
            onboard(&service, caller.clone(), &body, accept_expiry, key).await
        }
        Err(error) => Err(error),
    };
    match accepted {
        Ok(accepted) => Ok(to_job(accepted)),
        Err(UseCaseError::Fields(errors)) => {
            let view = PlanView {
                errors,
                ..PlanView::default()
            };
            let page = new_app_page(&service, &caller, Some(&form), view).await?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

#[derive(Template)]
#[template(path = "console/change_app.html")]
struct ChangePage {
    page: Page,
    app: App,
    spec: String,
    remove: bool,
    force: bool,
    confirmed: bool,
    version: i64,
    view: PlanView,
}

pub async fn get_change(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    AppPath(name): AppPath,
    PageParams { params, .. }: PageParams,
) -> Result<Response, ApiError> {
    params.finish()?;
    let app = live_app(&service, &name).await?;
    let title = format!("Change {}", app.summary.name);
    html(&ChangePage {
        page: Page::new(&service, &caller, Section::Apps, title),
        spec: serde_json::to_string_pretty(&app.spec).unwrap_or_default(),
        remove: false,
        force: false,
        confirmed: false,
        version: app.version,
        view: PlanView::default(),
        app,
    })
}

/// Plans or requests the change. A change is requested for the version of the app that the form showed.
pub async fn post_change(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    AppPath(name): AppPath,
    headers: HeaderMap,
    form: PageForm,
) -> Result<Response, ApiError> {
    let options = UpdateOptions {
        remove: form.has("remove"),
        confirmed: form.get("confirm") == Some(name.as_str()),
        force: form.has("force"),
        accept_expiry: form.has("accept_expiry"),
    };
    let spec = form.get("spec").unwrap_or_default();
    let body: Result<Value, UseCaseError> = serde_json::from_str(spec).map_err(|error| {
        let why = format!("is not valid JSON: {error}.");
        UseCaseError::Fields(vec![FieldError::new("/spec", why)])
    });
    let is_plan = form.get("do") != Some("change");
    let failed = match (body, is_plan) {
        (Err(error), _) => error,
        (Ok(body), true) => {
            let view = PlanView::of(plan_app(&service, &name, options, Some(&body)).await);
            return change_answer(&service, &caller, &name, &headers, &form, options, view).await;
        }
        (Ok(body), false) => {
            let version: Option<i64> = form.get("version").and_then(|text| text.parse().ok());
            let is_same = move |app: &App| version == Some(app.version);
            let key = form.idempotency_key(&caller);
            let accepted = update(
                &service,
                &caller,
                &name,
                options,
                Some(&is_same),
                &body,
                key,
            )
            .await;
            match accepted {
                Ok(accepted) => return Ok(to_job(accepted)),
                Err(error @ (UseCaseError::Fields(_) | UseCaseError::ConfirmationRequired(_))) => {
                    error
                }
                Err(error) => return Err(error.into()),
            }
        }
    };
    let view = PlanView::failed(failed);
    change_answer(&service, &caller, &name, &headers, &form, options, view).await
}

async fn change_answer(
    service: &Service,
    caller: &Caller,
    name: &AppName,
    headers: &HeaderMap,
    form: &PageForm,
    options: UpdateOptions,
    view: PlanView,
) -> Result<Response, ApiError> {
    if headers.contains_key("hx-request") {
        return html(&view);
    }
    let app = live_app(service, name).await?;
    let title = format!("Change {}", app.summary.name);
    let version = form.get("version").and_then(|text| text.parse().ok());
    html(&ChangePage {
        page: Page::new(service, caller, Section::Apps, title),
        spec: form.get("spec").unwrap_or_default().to_owned(),
        remove: options.remove,
        force: options.force,
        confirmed: options.confirmed,
        version: version.unwrap_or(app.version),
        view,
        app,
    })
}
