//! Change of an app: another spec in the place of the present one.
//!
//! Invariant: a change is decided on one version of the app's record and accepted for that one alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};

use crate::api::auth::Viewer;
use crate::api::body::{AppPath, IdempotencyText, JsonBody, Params, idempotency_key};
use crate::api::etag::etag;
use crate::api::problem::{ApiError, Problem};
use crate::api::response;
use crate::app::credentials::keys_of;
use crate::app::find::live_app;
use crate::app::onboard::parse_spec;
use crate::app::plan::{plan_of, plan_of_removals, steps_of};
use crate::app::service::Service;
use crate::domain::app::App;
use crate::domain::job::{Job, JobErrorCode};
use crate::domain::names::AppName;
use crate::domain::plan::Plan;
use crate::domain::role::Caller;
use crate::domain::spec::{AppRequest, AppSpec};
use crate::domain::task::Task;
use crate::domain::validation::FieldError;
use crate::provision::rotation_rules::{is_in_use, told};
use crate::store::{Accepted, AppChange, IdempotencyKey, JobRequest, Refusal};

/// How often a change is decided anew because the app has changed meanwhile.
pub(crate) const TRIES: u32 = 5;

/// What a request asks for besides the spec.
#[derive(Clone, Copy)]
pub(crate) struct Options {
    remove: bool,
    confirmed: bool,
    force: bool,
    /// Whether images with protected tags may expire.
    pub(crate) accept_expiry: bool,
}

/// Change an app
///
/// Replaces its spec. A field that you leave out gets its default, as in an onboarding. What the new spec no longer names
/// stays in AWS and is listed as `retained`, unless `remove=true`.
#[utoipa::path(
    put, path = "/v1/apps/{app}", tag = "apps", operation_id = "updateApp",
    params(
        ("app" = AppName, Path, description = "The app's name"),
        ("remove" = Option<bool>, Query, description = "Remove from AWS what the spec does not name any more"),
        ("confirm" = Option<AppName>, Query, description = "The app's name, where what is removed holds data"),
        ("force" = Option<bool>, Query, description = "Delete an access key that is removed even if it is in use"),
        ("accept_expiry" = Option<bool>, Query, description = "Let images with protected tags expire by the new lifecycle policy"),
        ("dry_run" = Option<bool>, Query, description = "Answer the plan, write nothing"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the app that the change was decided on", nullable = false),
        ("Idempotency-Key" = Option<IdempotencyText>, Header, description = "The same key and body give the same answer for 24 hours"),
    ),
    request_body(content = AppRequest, example = json!({"name": "acme-shop", "media_access": "scoped"})),
    responses(
        (status = 200, description = "The plan of a dry run", body = Plan),
        (status = 202, description = "The job", body = Job, headers(("Location" = String, description = "The job's address"), ("Retry-After" = u32, description = "Seconds"))),
        (status = 400, description = "Not JSON, or wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Takes the role operator", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such app", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "A job is at work on the app, it is being removed, data would go without confirm, or a key that would go is in use", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "The app has changed since the ETag of If-Match", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "More than 64 KiB", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "Not application/json", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Fields that will not do, or a reused Idempotency-Key", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn change(
    State(service): State<Arc<Service>>,
    viewer: Viewer,
    AppPath(name): AppPath,
    mut params: Params,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let options = Options::of(&mut params, &name);
    let dry_run = params.flag("dry_run");
    params.finish()?;
    let key = idempotency_key(&headers, &viewer.0, &Method::PUT, &uri, &body.bytes)?;
    if dry_run {
        service.store.replay(key.as_ref()).await??;
        let app = live_app(&service, &name).await?;
        let spec = parse_change(&service, &app, body.required()?)?;
        return Ok(Json(plan_of_change(&service, &app, &spec, options).await?).into_response());
    }
    let caller = viewer.operator()?;
    if service.store.replay(key.as_ref()).await??.is_none() {
        refuse_unconfirmed(&service, &name, options, body.required()?).await?;
        refuse_key_in_use(&service, &name, options, body.required()?).await?;
    }
    accept(
        &service,
        &name,
        &caller,
        options,
        &headers,
        body.required()?,
        key,
    )
    .await
}

async fn accept(
    service: &Service,
    name: &AppName,
    caller: &Caller,
    options: Options,
    headers: &HeaderMap,
    body: &serde_json::Value,
    key: Option<IdempotencyKey>,
) -> Result<Response, ApiError> {
    let is_conditional = headers.contains_key(header::IF_MATCH);
    let mut tries = 0;
    loop {
        let app = live_app(service, name).await?;
        let ask = match ask_for(service, &app, caller, options, body) {
            Ok(ask) if matches(headers, &app)? => ask,
            // A repeated request gets its first answer, whatever the app has become since.
            stale => match service.store.replay(key.as_ref()).await?? {
                Some(answer) => return response::accepted(Accepted::Replay(answer)),
                None => return Err(stale.err().unwrap_or(Refusal::Changed.into())),
            },
        };
        tries += 1;
        match service.store.enqueue(ask, key.clone()).await? {
            Err(Refusal::Changed) if !is_conditional && tries < TRIES => {}
            accepted => return response::accepted(accepted?),
        }
    }
}

fn ask_for(
    service: &Service,
    app: &App,
    caller: &Caller,
    options: Options,
    body: &serde_json::Value,
) -> Result<JobRequest, ApiError> {
    let spec = parse_change(service, app, body)?;
    let task = task(app, &spec, options);
    let steps = steps_of(service, &task, Some(app), &spec)?;
    let dropped = app.dropped.after(&app.spec, &spec);
    Ok(JobRequest {
        if_version: Some(app.version),
        change: Some(AppChange::Spec(Box::new(spec), dropped)),
        ..JobRequest::new(app.spec.name.clone(), task, steps, &caller.name)
    })
}

/// Whether the app is one that If-Match names; it is, when there is none.
fn matches(headers: &HeaderMap, app: &App) -> Result<bool, ApiError> {
    let mut named = headers.get_all(header::IF_MATCH).iter().peekable();
    if named.peek().is_none() {
        return Ok(true);
    }
    let tag = etag(app)?;
    let all = named
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim);
    Ok(all.into_iter().any(|given| given == "*" || given == tag))
}

impl Options {
    /// Those of a request about an app by this name.
    pub(crate) fn of(params: &mut Params, app: &AppName) -> Self {
        let confirm = params.take("confirm", |text| {
            if text == app.as_str() {
                Ok(())
            } else {
                Err("must be the app's name")
            }
        });
        let (remove, force, accept_expiry) = (
            params.flag("remove"),
            params.flag("force"),
            params.flag("accept_expiry"),
        );
        Self {
            remove,
            confirmed: confirm.is_some(),
            force,
            accept_expiry,
        }
    }
}

/// Fails where what would be removed holds data, and nobody has confirmed that: with how much.
async fn refuse_unconfirmed(
    service: &Service,
    name: &AppName,
    options: Options,
    body: &serde_json::Value,
) -> Result<(), ApiError> {
    if !options.remove || options.confirmed {
        return Ok(());
    }
    let app = live_app(service, name).await?;
    let spec = parse_change(service, &app, body)?;
    let plan = plan_of_removals(service, &task(&app, &spec, options), &spec, Some(&app)).await?;
    let errors = plan
        .changes
        .iter()
        .filter_map(|change| change.error.as_ref());
    let deletes_data = errors
        .into_iter()
        .any(|error| error.code == JobErrorCode::WouldDeleteData);
    if deletes_data {
        Err(ApiError::Unconfirmed(plan.warnings))
    } else {
        Ok(())
    }
}

/// Fails where an access key would be removed that is in use, as its own deletion does.
async fn refuse_key_in_use(
    service: &Service,
    name: &AppName,
    options: Options,
    body: &serde_json::Value,
) -> Result<(), ApiError> {
    let app = live_app(service, name).await?;
    let Task::Update {
        drop_key: true,
        force: false,
        ..
    } = task(&app, &parse_change(service, &app, body)?, options)
    else {
        return Ok(());
    };
    let ours: Vec<String> = service
        .store
        .key_records(app.id)
        .await?
        .keys
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    let (now, keys) = (service.clock.now(), keys_of(service, &app).await?);
    let in_use = keys.iter().find(|key| {
        ours.contains(&key.access_key_id) && is_in_use(key, now, service.timing.idle_period)
    });
    in_use.map_or(Ok(()), |key| Err(ApiError::KeyInUse(told(key, now))))
}

fn task(
    app: &App,
    spec: &AppSpec,
    Options {
        remove,
        confirmed,
        force,
        accept_expiry,
    }: Options,
) -> Task {
    let dropped_tags: BTreeSet<String> = app
        .spec
        .tags
        .keys()
        .filter(|key| !spec.tags.contains_key(*key))
        .cloned()
        .collect();
    let drop_key = remove && !spec.access_key && (app.spec.access_key || !app.keys.is_empty());
    Task::Update {
        remove,
        dropped_tags,
        drop_key,
        force,
        confirmed,
        accept_expiry,
    }
}

/// The spec that a body asks for in the place of the app's.
pub(crate) fn parse_change(
    service: &Service,
    app: &App,
    body: &serde_json::Value,
) -> Result<AppSpec, ApiError> {
    let spec = parse_spec(service, body)?;
    let fixed = [
        (
            "/name",
            spec.name != app.spec.name,
            "must be the app's name: an app cannot be renamed",
        ),
        (
            "/account",
            spec.account != app.spec.account,
            "must be the app's account: an app cannot be moved",
        ),
    ];
    let errors: Vec<FieldError> = fixed
        .into_iter()
        .filter(|(_, differs, _)| *differs)
        .map(|(pointer, _, why)| FieldError::new(pointer, why))
        .collect();
    if errors.is_empty() {
        Ok(spec)
    } else {
        Err(ApiError::Fields(errors))
    }
}

/// What a change to `spec` would do now.
pub(crate) async fn plan_of_change(
    service: &Service,
    app: &App,
    spec: &AppSpec,
    options: Options,
) -> Result<Plan, ApiError> {
    Ok(plan_of(service, &task(app, spec, options), spec, Some(app)).await?)
}
