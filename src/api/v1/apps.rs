//! Apps: onboard, list, show, plan, repair.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::api::auth::{Operator, Viewer};
use crate::api::body::{AppPath, Id, IdempotencyText, JsonBody, Params, idempotency_key};
use crate::api::etag::etag;
use crate::api::page::{Cursor, Page};
use crate::api::problem::{ApiError, Problem};
use crate::api::response;
use crate::api::v1::update_app::{Options, parse_change, plan_of_change};
use crate::app::find::live_app;
use crate::app::onboard::parse_spec;
use crate::app::plan::{plan_of, steps_of};
use crate::app::service::Service;
use crate::domain::app::{App, AppState, AppSummary};
use crate::domain::drift::RepairRequest;
use crate::domain::job::Job;
use crate::domain::names::{AccountName, AppName};
use crate::domain::plan::Plan;
use crate::domain::spec::AppRequest;
use crate::domain::task::Task;
use crate::domain::validation::{self, FieldError, Fields};
use crate::provision::resource::Conventions;
use crate::provision::retained::is_retained;
use crate::provision::unmanaged;
use crate::store::{AppFilter, JobRequest, NewApp, Refusal};

/// Things that one repair can remove.
const MAX_REMOVED: usize = 50;

/// Onboard an app
///
/// Creates its IAM user, access key, media policy, buckets and repositories. Returns the job that does it. With
/// `dry_run=true` it returns the plan and changes nothing.
#[utoipa::path(
    post, path = "/v1/apps", tag = "apps", operation_id = "onboardApp",
    params(
        ("dry_run" = Option<bool>, Query, description = "Answer the plan, write nothing"),
        ("accept_expiry" = Option<bool>, Query, description = "Let images with protected tags expire by the lifecycle policy"),
        ("Idempotency-Key" = Option<IdempotencyText>, Header, description = "The same key and body give the same answer for 24 hours"),
    ),
    request_body(content = AppRequest, example = json!({"name": "acme-shop"})),
    responses(
        (status = 200, description = "The plan of a dry run", body = Plan),
        (status = 202, description = "The job", body = Job, headers(("Location" = String, description = "The job's address"), ("Retry-After" = u32, description = "Seconds"))),
        (status = 400, description = "Not JSON, or wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Takes the role operator", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "There is an app by this name", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "More than 64 KiB", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "Not application/json", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Fields that will not do, or a reused Idempotency-Key", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn onboard(
    State(service): State<Arc<Service>>,
    viewer: Viewer,
    mut params: Params,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let (dry_run, accept_expiry) = (params.flag("dry_run"), params.flag("accept_expiry"));
    params.finish()?;
    let task = Task::Onboard { accept_expiry };
    let key = idempotency_key(&headers, &viewer.0, &Method::POST, &uri, &body.bytes)?;
    if dry_run {
        service.store.replay(key.as_ref()).await??;
        return dry_run_of(&service, &task, body.required()?)
            .await
            .map(IntoResponse::into_response);
    }
    let caller = viewer.operator()?;
    let spec = parse_spec(&service, body.required()?)?;
    let resources = steps_of(&service, &task, None, &spec)?;
    let new = NewApp {
        spec,
        resources,
        accept_expiry,
        requested_by: caller.name,
    };
    response::accepted(service.store.onboard(new, key).await??)
}

async fn dry_run_of(
    service: &Service,
    task: &Task,
    body: &serde_json::Value,
) -> Result<Json<Plan>, ApiError> {
    let spec = parse_spec(service, body)?;
    if service.store.is_taken(&spec.name).await? {
        return Err(Refusal::AppExists(spec.name).into());
    }
    let app = service.app(&spec.name).await?;
    Ok(Json(plan_of(service, task, &spec, app.as_ref()).await?))
}

/// List apps
///
/// Oldest first.
#[utoipa::path(
    get, path = "/v1/apps", tag = "apps", operation_id = "listApps",
    params(
        ("limit" = Option<u32>, Query, description = "Items at most", minimum = 1, maximum = 200),
        ("cursor" = Option<Id>, Query, description = "The next_cursor of the page before"),
        ("account" = Option<AccountName>, Query, description = "Apps of this account"),
        ("state" = Option<AppState>, Query, description = "Apps in this state"),
        ("drifted" = Option<bool>, Query, description = "Apps whose last look for drift found some, or found none"),
        ("q" = Option<String>, Query, description = "Apps with this text in their name", max_length = 64, pattern = "^[^\\x00]*$"),
    ),
    responses(
        (status = 200, description = "A page", body = Page<AppSummary>),
        (status = 400, description = "Wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(service): State<Arc<Service>>,
    _: Viewer,
    mut params: Params,
) -> Result<Json<Page<AppSummary>>, ApiError> {
    let cursor = Cursor::of(&mut params);
    let account = params
        .take("account", AccountName::parse)
        .map(|name| name.to_string());
    let state = params.take("state", |text| {
        text.parse::<AppState>()
            .map_err(|_| "is not a state of an app")
    });
    let drifted = params.take("drifted", |text| {
        text.parse::<bool>().map_err(|_| "must be true or false")
    });
    let query = params.take("q", |text| {
        if text.chars().count() <= 64 {
            Ok(text.to_owned())
        } else {
            Err("must be at most 64 characters")
        }
    });
    params.finish()?;
    let filter = AppFilter {
        account,
        state,
        drifted,
        query,
        after: cursor.from,
        limit: cursor.probe(),
    };
    let found = service.store.apps(&filter).await?;
    Ok(Json(cursor.page(found, |app| app.id, |app| app.summary)))
}

/// Get an app
///
/// Shows its spec, its state, its resources and its active job.
#[utoipa::path(
    get, path = "/v1/apps/{app}", tag = "apps", operation_id = "getApp",
    params(
        ("app" = AppName, Path, description = "The app's name"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of an earlier answer", nullable = false),
    ),
    responses(
        (status = 200, description = "The app", body = App, headers(("ETag" = String, description = "Changes with everything that is shown"))),
        (status = 304, description = "Unchanged since the ETag of If-None-Match"),
        (status = 400, description = "Wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such app", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    State(service): State<Arc<Service>>,
    _: Viewer,
    AppPath(name): AppPath,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    params.finish()?;
    let app = service
        .app(&name)
        .await?
        .ok_or(ApiError::NoSuch("such app"))?;
    let tag = etag(&app)?;
    let unchanged = headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|seen| seen.as_bytes() == tag.as_bytes());
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Json(app).into_response()
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// Plan a change of an app
///
/// Shows what a job with the spec in the body would do now; without a body, with the current spec. Changes nothing.
#[utoipa::path(
    post, path = "/v1/apps/{app}/plan", tag = "apps", operation_id = "planApp",
    params(
        ("app" = AppName, Path, description = "The app's name"),
        ("remove" = Option<bool>, Query, description = "As a change that removes what the spec does not name any more"),
        ("confirm" = Option<AppName>, Query, description = "The app's name: as one by which data may be deleted"),
        ("force" = Option<bool>, Query, description = "As one by which an access key goes even if it is in use"),
        ("accept_expiry" = Option<bool>, Query, description = "As one by which images with protected tags may expire"),
    ),
    request_body(content = Option<AppRequest>, description = "Absent: the present spec"),
    responses(
        (status = 200, description = "The plan", body = Plan),
        (status = 400, description = "Not JSON, or wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such app", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "More than 64 KiB", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "Not application/json", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Fields that will not do", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn plan(
    State(service): State<Arc<Service>>,
    _: Viewer,
    AppPath(name): AppPath,
    mut params: Params,
    body: JsonBody,
) -> Result<Json<Plan>, ApiError> {
    let options = Options::of(&mut params, &name);
    params.finish()?;
    let app = live_app(&service, &name).await?;
    Ok(Json(match &body.value {
        None => {
            plan_of(
                &service,
                &Task::Repair {
                    remove: BTreeSet::new(),
                    accept_expiry: options.accept_expiry,
                },
                &app.spec,
                Some(&app),
            )
            .await?
        }
        Some(body) => {
            plan_of_change(
                &service,
                &app,
                &parse_change(&service, &app, body)?,
                options,
            )
            .await?
        }
    }))
}

/// Repair an app
///
/// Brings AWS back to the app's spec. Removes unexpected and retained resources only if you name them.
#[utoipa::path(
    post, path = "/v1/apps/{app}/repair", tag = "apps", operation_id = "repairApp",
    params(
        ("app" = AppName, Path, description = "The app's name"),
        ("accept_expiry" = Option<bool>, Query, description = "Let images with protected tags expire by the lifecycle policy"),
        ("Idempotency-Key" = Option<IdempotencyText>, Header, description = "The same key and body give the same answer for 24 hours"),
    ),
    request_body(content = Option<RepairRequest>, description = "Absent: nothing is removed"),
    responses(
        (status = 202, description = "The job", body = Job, headers(("Location" = String, description = "The job's address"), ("Retry-After" = u32, description = "Seconds"))),
        (status = 400, description = "Not JSON, or wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Takes the role operator", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such app", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "A job is at work on the app", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "More than 64 KiB", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "Not application/json", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Fields that will not do, or a reused Idempotency-Key", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn repair(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    AppPath(name): AppPath,
    mut params: Params,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let accept_expiry = params.flag("accept_expiry");
    params.finish()?;
    let app = live_app(&service, &name).await?;
    let key = idempotency_key(&headers, &caller, &Method::POST, &uri, &body.bytes)?;
    let task = Task::Repair {
        remove: removed_by(&service, &app, &body)?,
        accept_expiry,
    };
    let steps = steps_of(&service, &task, Some(&app), &app.spec)?;
    response::accepted(
        service
            .store
            .enqueue(
                JobRequest::new(app.spec.name, task, steps, caller.name),
                key,
            )
            .await??,
    )
}

/// What a repair with this body removes.
fn removed_by(service: &Service, app: &App, body: &JsonBody) -> Result<BTreeSet<String>, ApiError> {
    let Some(body) = &body.value else {
        return Ok(BTreeSet::new());
    };
    let account = service
        .account(&app.spec.account)
        .ok_or(ApiError::NoSuch("such account"))?;
    parse_repair(body, app, &service.conventions(&account))
}

/// The ids that the body of a repair asks to remove.
///
/// # Errors
/// Every field's error: what is neither retained nor a stray of this app's user cannot be removed by a repair.
fn parse_repair(
    body: &serde_json::Value,
    app: &App,
    conventions: &Conventions,
) -> Result<BTreeSet<String>, ApiError> {
    let mut f = Fields::of(body, "");
    let remove = f.list("remove", MAX_REMOVED, |item, at, errors| {
        let id = validation::text(item, &at, errors)?;
        let spec = &app.spec;
        if is_retained(id, app, conventions) || unmanaged::node(id, spec, conventions).is_some() {
            return Some(id.to_owned());
        }
        let why = match unmanaged::is_asked_for(id, spec, conventions) {
            true => "is what the spec asks for; change the spec, or remove the app",
            false => "is nothing of this app's that a repair could remove; a drift report (removal_request) and the app (retained) name what there is",
        };
        errors.push(FieldError::new(at, why));
        None
    });
    let errors = f.finish();
    if errors.is_empty() {
        Ok(remove.unwrap_or_default().into_iter().collect())
    } else {
        Err(ApiError::Fields(errors))
    }
}
