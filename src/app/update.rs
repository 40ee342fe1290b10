//! Updates an app: replaces its spec.
//!
//! Invariant: an update is decided on one version of the app's record and accepted for that version only.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::app::approvals::enqueue;
use crate::app::credentials::{listed_keys, recorded_keys};
use crate::app::error::UseCaseError;
use crate::app::find::{live_app, steps_of};
use crate::app::onboard::parse_spec;
use crate::app::preview::{preview, preview_removals};
use crate::app::service::Service;
use crate::domain::app::App;
use crate::domain::caller::Caller;
use crate::domain::job::JobErrorCode;
use crate::domain::names::AppName;
use crate::domain::plan::Plan;
use crate::domain::spec::AppSpec;
use crate::domain::task::Task;
use crate::domain::validation::FieldError;
use crate::provision::rotation_rules::told;
use crate::store::{Accepted, AppChange, IdempotencyKey, JobRequest, Refusal};

/// How often a change is decided again because the app has changed in the meantime.
pub const MAX_TRIES: u32 = 5;

/// What an update may do besides replacing the spec.
#[derive(Clone, Copy, Default)]
pub struct UpdateOptions {
    /// Removes from AWS what the new spec does not name.
    pub remove: bool,
    /// Confirms that data is deleted.
    pub confirmed: bool,
    /// Deletes an access key even if it is in use.
    pub force: bool,
    /// Lets images with protected tags expire.
    pub accept_expiry: bool,
}

/// A condition on the app that the update applies to.
pub type Precondition<'a> = &'a (dyn Fn(&App) -> bool + Send + Sync);

/// Enqueues the update of an app to the spec in `body`.
///
/// # Errors
/// When the precondition does not hold, the body has invalid fields, data would be deleted without confirmation, an
/// access key that would be deleted is in use, or a job is running for the app.
pub async fn update(
    service: &Service,
    caller: &Caller,
    name: &AppName,
    options: UpdateOptions,
    precondition: Option<Precondition<'_>>,
    body: &Value,
    key: Option<IdempotencyKey>,
) -> Result<Accepted, UseCaseError> {
    if service.store.replay(key.as_ref()).await??.is_none() {
        let app = live_app(service, name).await?;
        let spec = parse_update(service, &app, body).await?;
        require_confirmation(service, &app, &spec, options).await?;
        require_unused_key(service, &app, &spec, options).await?;
    }
    let mut tries = 0;
    loop {
        let app = live_app(service, name).await?;
        let holds = precondition.is_none_or(|holds| holds(&app));
        let request = match job_request(service, &app, caller, options, body).await {
            Ok(request) if holds => request,
            // A repeated request gets its first response, whatever the app has become since.
            stale => match service.store.replay(key.as_ref()).await?? {
                Some(answer) => return Ok(Accepted::Replay(answer)),
                None => return Err(stale.err().unwrap_or(Refusal::Changed.into())),
            },
        };
        tries += 1;
        match enqueue(service, caller, &app, request, key.clone()).await? {
            Err(Refusal::Changed) if precondition.is_none() && tries < MAX_TRIES => {}
            accepted => return Ok(accepted?),
        }
    }
}

/// What an update to the spec in `body` would do now.
///
/// # Errors
/// When the body has invalid fields.
pub async fn plan_update(
    service: &Service,
    app: &App,
    options: UpdateOptions,
    body: &Value,
) -> Result<Plan, UseCaseError> {
    let spec = parse_update(service, app, body).await?;
    preview(service, &update_task(app, &spec, options), &spec, Some(app)).await
}

async fn job_request(
    service: &Service,
    app: &App,
    caller: &Caller,
    options: UpdateOptions,
    body: &Value,
) -> Result<JobRequest, UseCaseError> {
    let spec = parse_update(service, app, body).await?;
    let task = update_task(app, &spec, options);
    let steps = steps_of(service, &task, Some(app), &spec).await?;
    let dropped = app.dropped.after(&app.spec, &spec);
    Ok(JobRequest {
        if_version: Some(app.version),
        change: Some(AppChange::Spec(Box::new(spec), dropped)),
        ..JobRequest::new(app.spec.name.clone(), task, steps, &caller.name)
    })
}

fn update_task(app: &App, spec: &AppSpec, options: UpdateOptions) -> Task {
    let UpdateOptions {
        remove,
        confirmed,
        force,
        accept_expiry,
    } = options;
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

/// The spec in `body`, for this app.
async fn parse_update(service: &Service, app: &App, body: &Value) -> Result<AppSpec, UseCaseError> {
    let spec = parse_spec(service, body).await?;
    let fixed = [
        (
            "/name",
            spec.name != app.spec.name,
            "must be the app's name. An app cannot be renamed.",
        ),
        (
            "/account",
            spec.account != app.spec.account,
            "must be the app's account. An app cannot move to another account.",
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
        Err(UseCaseError::Fields(errors))
    }
}

/// Fails if the update would delete data without confirmation.
async fn require_confirmation(
    service: &Service,
    app: &App,
    spec: &AppSpec,
    options: UpdateOptions,
) -> Result<(), UseCaseError> {
    if !options.remove || options.confirmed {
        return Ok(());
    }
    let task = update_task(app, spec, options);
    let plan = preview_removals(service, &task, spec, Some(app)).await?;
    let deletes_data = plan
        .changes
        .iter()
        .filter_map(|change| change.error.as_ref())
        .any(|error| error.code == JobErrorCode::WouldDeleteData);
    if deletes_data {
        Err(UseCaseError::ConfirmationRequired(plan.warnings))
    } else {
        Ok(())
    }
}

/// Fails if the update would delete an access key that is in use.
async fn require_unused_key(
    service: &Service,
    app: &App,
    spec: &AppSpec,
    options: UpdateOptions,
) -> Result<(), UseCaseError> {
    let Task::Update {
        drop_key: true,
        force: false,
        ..
    } = update_task(app, spec, options)
    else {
        return Ok(());
    };
    let ours = recorded_keys(service, app).await?;
    let (now, keys) = (service.clock.now(), listed_keys(service, app).await?);
    let in_use = keys
        .iter()
        .find(|key| ours.contains(&key.id) && key.is_in_use(now, service.timing.idle_period));
    in_use.map_or(Ok(()), |key| Err(UseCaseError::KeyInUse(told(key, now))))
}
