//! Removal of an app, and its restoring while it is in quarantine.
//!
//! Invariants:
//! - Data goes only where it is asked for by name and confirmed, and what would go is said before.
//! - A protected app is not removed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};

use crate::api::auth::{Operator, Viewer};
use crate::api::body::{AppPath, IdempotencyText, Params, idempotency_key};
use crate::api::problem::{ApiError, Problem};
use crate::api::response;
use crate::api::v1::update_app::TRIES;
use crate::app::find::live_app;
use crate::app::plan::{plan_of, plan_of_removals, steps_of};
use crate::app::service::Service;
use crate::clock::Timestamp;
use crate::domain::app::{App, AppState};
use crate::domain::job::{Job, JobKind, JobState};
use crate::domain::names::AppName;
use crate::domain::plan::Plan;
use crate::domain::role::Caller;
use crate::domain::spec::{RotateAfter, parse_age};
use crate::domain::task::{Dropped, KeyStatus, Removal, Task};
use crate::domain::validation::FieldError;
use crate::provision::retained::given_back_or_left;
use crate::store::{Accepted, AppChange, JobFilter, JobRequest, Refusal};

/// Remove an app
///
/// Deactivates its access keys at once, and deletes its user after a quarantine. Until then you can restore the app.
/// Buckets and repositories stay in AWS, except those that you name; they are deleted with everything in them, which
/// needs `confirm`. For an app that is already being removed, returns the job that does it. A request that names more
/// changes what is deleted, not when, unless it sets `quarantine`.
#[utoipa::path(
    delete, path = "/v1/apps/{app}", tag = "apps", operation_id = "removeApp",
    params(
        ("app" = AppName, Path, description = "The app's name"),
        ("buckets" = Option<String>, Query, description = "Buckets to delete with all objects in them, separated by commas", pattern = r"^[^\x00]*[^,\s\x00][^\x00]*$"),
        ("repositories" = Option<String>, Query, description = "Repositories to delete with all images in them, by name or region/name, separated by commas", pattern = r"^[^\x00]*[^,\s\x00][^\x00]*$"),
        ("confirm" = Option<AppName>, Query, description = "The app's name, where data is to be deleted"),
        ("adopted" = Option<bool>, Query, description = "Also remove a user and policy that were there before the app"),
        ("quarantine" = Option<RotateAfter>, Query, description = "How long the app can be restored; SLIPWAY_QUARANTINE when absent. In a quarantine: it begins anew"),
        ("dry_run" = Option<bool>, Query, description = "Answer the plan, write nothing"),
        ("Idempotency-Key" = Option<IdempotencyText>, Header, description = "The same key gives the same answer for 24 hours"),
    ),
    responses(
        (status = 200, description = "The plan of a dry run", body = Plan),
        (status = 202, description = "The job that switches the keys off, or that takes the app apart already", body = Job, headers(("Location" = String, description = "The job's address"), ("Retry-After" = u32, description = "Seconds"))),
        (status = 400, description = "Wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Takes the role operator", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such app", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The app is protected, data would go without confirm, or a job is at work", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A reused Idempotency-Key", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn remove(
    State(service): State<Arc<Service>>,
    viewer: Viewer,
    AppPath(name): AppPath,
    mut params: Params,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let buckets = params.take("buckets", names).unwrap_or_default();
    let repositories = params.take("repositories", names).unwrap_or_default();
    let confirm = params.take("confirm", |text| {
        if text == name.as_str() {
            Ok(())
        } else {
            Err("must be the app's name")
        }
    });
    let (adopted, dry_run) = (params.flag("adopted"), params.flag("dry_run"));
    let quarantine = params.take("quarantine", parse_age);
    params.finish()?;
    let going = Going {
        buckets,
        repositories,
        adopted,
        quarantine,
        confirmed: confirm.is_some(),
    };
    let key = idempotency_key(&headers, &viewer.0, &Method::DELETE, &uri, &[])?;
    if dry_run {
        service.store.replay(key.as_ref()).await??;
        let app = live_app(&service, &name).await?;
        let removal = going.removal(&service, &app, &viewer.0)?;
        return Ok(Json(plan(&service, &app, removal).await?).into_response());
    }
    let caller = viewer.operator()?;
    if let Some(answer) = service.store.replay(key.as_ref()).await?? {
        return response::accepted(Accepted::Replay(answer));
    }
    if let Some(job) = under_way(&service, &name, &going).await? {
        return response::accepted(service.store.join(job, key).await??);
    }
    let mut tries = 0;
    loop {
        let ask = ask_for(&service, &name, &caller, &going).await?;
        tries += 1;
        match service.store.enqueue(ask, key.clone()).await? {
            // Decided anew: what is protected, what there is, and which keys are off already, may be other by now.
            Err(Refusal::Changed) if tries < TRIES => {}
            accepted => return response::accepted(accepted?),
        }
    }
}

/// What a request for a removal names.
struct Going {
    buckets: BTreeSet<String>,
    repositories: BTreeSet<String>,
    adopted: bool,
    quarantine: Option<Duration>,
    confirmed: bool,
}

impl Going {
    /// Whether a removal does all of this already.
    fn is_part_of(&self, app: &App, removal: &Removal) -> bool {
        self.quarantine.is_none()
            && self.buckets.is_subset(&removal.buckets)
            && places(app, &self.repositories).is_subset(&removal.repositories)
            && (removal.adopted || !self.adopted)
    }

    /// When the app is to be taken apart. A quarantine that has begun goes on, unless another is asked for.
    fn remove_at(&self, service: &Service, app: &App, now: Timestamp) -> Timestamp {
        match (self.quarantine, quarantined(app)) {
            (Some(quarantine), _) => now.after(quarantine),
            (None, Some(removal)) => removal.remove_at.max(now),
            (None, None) => now.after(service.settings.quarantine),
        }
    }

    /// The removal of the app as it is.
    fn removal(&self, service: &Service, app: &App, caller: &Caller) -> Result<Removal, ApiError> {
        let now = service.clock.now();
        let removal = Removal {
            buckets: self.buckets.clone(),
            repositories: places(app, &self.repositories),
            adopted: self.adopted,
            requested_by: caller.name.clone(),
            requested_at: now,
            remove_at: self.remove_at(service, app, now),
            switched_off: switched_off(app),
            restoring: false,
        };
        refuse_unknown(app, &removal, &self.repositories)?;
        Ok(removal)
    }
}

/// The removal of an app that is in quarantine.
fn quarantined(app: &App) -> Option<&Removal> {
    app.removal
        .as_ref()
        .filter(|_| app.summary.state == AppState::Quarantined)
}

/// The job by which an app is removed already, if it does all that is asked for.
async fn under_way(
    service: &Service,
    name: &AppName,
    going: &Going,
) -> Result<Option<Job>, ApiError> {
    let app = live_app(service, name).await?;
    let Some(removal) = app
        .removal
        .as_ref()
        .filter(|removal| going.is_part_of(&app, removal))
    else {
        return Ok(None);
    };
    refuse_unknown(&app, removal, &going.repositories)?;
    let is_removal = |job: &Job| matches!(job.kind, JobKind::Offboard | JobKind::Remove);
    if let Some(active) = app.summary.active_job {
        return Ok(service.store.job(active).await?.filter(is_removal));
    }
    if quarantined(&app).is_none() {
        return Ok(None);
    }
    let offboarding = JobFilter {
        app: Some(app.spec.name),
        kind: Some(JobKind::Offboard),
        limit: 1,
        ..JobFilter::default()
    };
    Ok(service.store.jobs(&offboarding).await?.pop())
}

/// The keys that were switched off for the removal under way.
fn switched_off(app: &App) -> BTreeSet<String> {
    app.removal
        .as_ref()
        .map(|removal| removal.switched_off.clone())
        .unwrap_or_default()
}

/// Keys that a restore has switched on so short a time ago that AWS may still list them as inactive, but for those that were
/// switched off by themselves since.
async fn restored_lately(service: &Service, name: &AppName) -> Result<BTreeSet<String>, ApiError> {
    let latest = JobFilter {
        app: Some(name.clone()),
        limit: 20,
        ..JobFilter::default()
    };
    let now = service.clock.now();
    let mut off = BTreeSet::new();
    for job in service.store.jobs(&latest).await? {
        let is_recent = |at: Timestamp| now.since(at) < service.timing.propagation;
        match job.task {
            Task::SetKeyStatus {
                access_key_id, to, ..
            } if to != KeyStatus::Active => {
                off.insert(access_key_id);
            }
            Task::Restore { switched_off, .. } if job.state == JobState::Succeeded => {
                let on = switched_off.difference(&off).cloned();
                return Ok(on
                    .filter(|_| job.finished_at.is_some_and(is_recent))
                    .collect());
            }
            _ => {}
        }
    }
    Ok(BTreeSet::new())
}

async fn ask_for(
    service: &Service,
    name: &AppName,
    caller: &Caller,
    going: &Going,
) -> Result<JobRequest, ApiError> {
    let app = live_app(service, name).await?;
    let mut removal = going.removal(service, &app, caller)?;
    removal
        .switched_off
        .extend(restored_lately(service, name).await?);
    if app.spec.protected {
        return Err(ApiError::Protected(app.spec.name));
    }
    let deletes_data = !removal.buckets.is_empty() || !removal.repositories.is_empty();
    if deletes_data && !going.confirmed {
        return Err(ApiError::Unconfirmed(
            plan_of_removals(
                service,
                &Task::Remove,
                &app.spec,
                Some(&with(&app, removal)),
            )
            .await?
            .warnings,
        ));
    }
    let steps = steps_of(service, &Task::Offboard, Some(&app), &app.spec)?;
    let ask = JobRequest::new(app.spec.name, Task::Offboard, steps, &caller.name);
    Ok(JobRequest {
        if_version: Some(app.version),
        change: Some(AppChange::Removal(removal)),
        ..ask
    })
}

/// Restore an app
///
/// Cancels the removal of an app in quarantine: activates its keys again and brings AWS back to its spec.
///
/// The app is not removed after this, even if the job fails. If it fails, retry it; or, where the spec asks for what cannot be had,
/// change the spec with `PUT /v1/apps/{app}`: the update also restores the app.
#[utoipa::path(
    post, path = "/v1/apps/{app}/restore", tag = "apps", operation_id = "restoreApp",
    params(
        ("app" = AppName, Path, description = "The app's name"),
        ("accept_expiry" = Option<bool>, Query, description = "Let images with protected tags expire by the lifecycle policy"),
        ("Idempotency-Key" = Option<IdempotencyText>, Header, description = "The same key gives the same answer for 24 hours"),
    ),
    responses(
        (status = 202, description = "The job", body = Job, headers(("Location" = String, description = "The job's address"), ("Retry-After" = u32, description = "Seconds"))),
        (status = 400, description = "Wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Takes the role operator", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such app", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The app is not being removed, or a job is at work", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A reused Idempotency-Key", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn restore(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    AppPath(name): AppPath,
    mut params: Params,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let accept_expiry = params.flag("accept_expiry");
    params.finish()?;
    let app = live_app(&service, &name).await?;
    let task = Task::Restore {
        accept_expiry,
        switched_off: switched_off(&app),
    };
    let key = idempotency_key(&headers, &caller, &Method::POST, &uri, &[])?;
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

fn names(text: &str) -> Result<BTreeSet<String>, &'static str> {
    let names: BTreeSet<String> = text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    if names.is_empty() {
        Err("must be names, separated by commas")
    } else {
        Ok(names)
    }
}

/// Everything of the app's that holds data.
fn data_of(app: &App) -> Dropped {
    app.dropped
        .after(&app.spec, &Dropped::default().as_spec(&app.spec))
}

/// The repositories by these names, each as `region/name`; a name alone is that of all regions.
fn places(app: &App, named: &BTreeSet<String>) -> BTreeSet<String> {
    let all = data_of(app).repositories;
    let is_named = |place: &str, name: &str| named.contains(place) || named.contains(name);
    all.iter()
        .filter(|it| is_named(&it.place(), it.name.as_str()))
        .map(|it| it.place())
        .collect()
}

fn refuse_unknown(
    app: &App,
    removal: &Removal,
    repositories: &BTreeSet<String>,
) -> Result<(), ApiError> {
    let data = data_of(app);
    let has_bucket = |name: &String| {
        data.buckets
            .iter()
            .any(|bucket| bucket.name.as_str() == name)
    };
    let has_repository = |name: &String| {
        data.repositories
            .iter()
            .any(|it| it.name.as_str() == name || it.place() == *name)
    };
    let wrong = |parameter: &str, name: &String| {
        FieldError::new(parameter, format!("the app has no {name}"))
    };
    let buckets = removal
        .buckets
        .iter()
        .filter(|name| !has_bucket(name))
        .map(|name| wrong("buckets", name));
    let repositories = repositories
        .iter()
        .filter(|name| !has_repository(name))
        .map(|name| wrong("repositories", name));
    let errors: Vec<FieldError> = buckets.chain(repositories).collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ApiError::Parameters(errors))
    }
}

/// The app as it is when it is being removed.
fn with(app: &App, removal: Removal) -> App {
    App {
        removal: Some(removal),
        ..app.clone()
    }
}

/// What the removal would take apart, and what it leaves.
async fn plan(service: &Service, app: &App, removal: Removal) -> Result<Plan, ApiError> {
    let begun = quarantined(app).is_some();
    let app = with(app, removal.clone());
    let mut plan = plan_of(service, &Task::Remove, &app.spec, Some(&app)).await?;
    let quarantine = removal.remove_at.since(removal.requested_at);
    let first = match begun {
        true => format!(
            "The app's keys are switched off; what is listed here follows at {}. Until then the app can be restored.",
            removal.remove_at
        ),
        false => format!(
            "First the app's keys are switched off; what is listed here follows after a quarantine of {}, in which the app can be restored.",
            humantime::format_duration(quarantine)
        ),
    };
    plan.warnings.insert(0, first);
    plan.warnings.extend(given_back_or_left(&app, &removal));
    if app.spec.protected {
        plan.warnings.push("The app is protected: its removal is refused until its spec says \"protected\": false.".into());
    }
    Ok(plan)
}
