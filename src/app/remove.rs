//! Removes an app: deactivates its access keys at once, and deletes its resources after a quarantine.
//!
//! Invariants:
//! - Data is deleted only if it is named and confirmed. The request for confirmation says what would be deleted.
//! - A protected app is not removed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::app::approvals::enqueue;
use crate::app::error::UseCaseError;
use crate::app::find::{account, live_app, steps_of};
use crate::app::preview::{preview, preview_removals};
use crate::app::service::Service;
use crate::app::update::MAX_TRIES;
use crate::clock::{Timestamp, duration_text};
use crate::domain::app::{App, AppState};
use crate::domain::caller::Caller;
use crate::domain::job::{Job, JobState};
use crate::domain::job_kind::JobKind;
use crate::domain::names::AppName;
use crate::domain::plan::Plan;
use crate::domain::removal::Removal;
use crate::domain::retained::Dropped;
use crate::domain::spec::SpecList;
use crate::domain::task::{KeyStatus, Task};
use crate::domain::validation::FieldError;
use crate::provision::kinds::spec_lists;
use crate::provision::retained::given_back_or_left;
use crate::store::{Accepted, AppChange, IdempotencyKey, JobFilter, JobRequest, Refusal};

/// What a removal deletes, and when.
#[derive(Default)]
pub struct RemoveOptions {
    /// Buckets to delete with their objects.
    pub buckets: BTreeSet<String>,
    /// Repositories to delete with their images, by name or `region/name`.
    pub repositories: BTreeSet<String>,
    /// Resources of other lists to delete with their data, by name or `region/name`, by the field of the list.
    pub lists: BTreeMap<String, BTreeSet<String>>,
    /// Also deletes a user and a policy that existed before the app.
    pub adopted: bool,
    /// How long the app can be restored; the service's setting when absent.
    pub quarantine: Option<Duration>,
    /// Confirms that data is deleted.
    pub confirmed: bool,
}

/// Enqueues the removal of an app. If a removal that covers the request is already running, returns its job.
///
/// # Errors
/// When there is no such app, it is protected, data would be deleted without confirmation, or a job is running for it.
pub async fn remove(
    service: &Service,
    caller: &Caller,
    name: &AppName,
    options: &RemoveOptions,
    key: Option<IdempotencyKey>,
) -> Result<Accepted, UseCaseError> {
    if let Some(answer) = service.store.replay(key.as_ref()).await?? {
        return Ok(Accepted::Replay(answer));
    }
    if let Some(job) = running_removal(service, name, options).await? {
        return Ok(service.store.join(job, key).await??);
    }
    let mut tries = 0;
    loop {
        let app = live_app(service, name).await?;
        let request = job_request(service, &app, caller, options).await?;
        tries += 1;
        match enqueue(service, caller, &app, request, key.clone()).await? {
            // Decide again: protection, resources and deactivated keys may have changed.
            Err(Refusal::Changed) if tries < MAX_TRIES => {}
            accepted => return Ok(accepted?),
        }
    }
}

/// What a removal would delete and keep.
///
/// # Errors
/// When there is no such app, or the options name something that the app does not have.
pub async fn plan_removal(
    service: &Service,
    caller: &Caller,
    name: &AppName,
    options: &RemoveOptions,
    key: Option<&IdempotencyKey>,
) -> Result<Plan, UseCaseError> {
    service.store.replay(key).await??;
    let app = live_app(service, name).await?;
    let removal = options.removal(service, &app, caller)?;
    let in_quarantine = quarantined(&app).is_some();
    let app = with(&app, removal.clone());
    let mut plan = preview(service, &Task::Remove, &app.spec, Some(&app)).await?;
    let first = if in_quarantine {
        format!(
            "The app's access keys are deactivated. The changes below are made at {}. Until then you can restore the app.",
            removal.remove_at
        )
    } else {
        format!(
            "The app's access keys are deactivated first. The changes below are made after a quarantine of {}. Until then you can restore the app.",
            duration_text(removal.remove_at.since(removal.requested_at))
        )
    };
    plan.warnings.insert(0, first);
    plan.warnings.extend(given_back_or_left(
        &app,
        &removal,
        &service.conventions(&*account(service, &app.spec.account).await?),
    ));
    if app.spec.protected {
        plan.warnings.push(
            "The app is protected. To remove it, first set \"protected\": false in its spec."
                .into(),
        );
    }
    Ok(plan)
}

impl RemoveOptions {
    /// Whether a removal covers these options already.
    fn is_part_of(&self, app: &App, removal: &Removal) -> bool {
        self.quarantine.is_none()
            && self.buckets.is_subset(&removal.buckets)
            && places(app, &self.repositories).is_subset(&removal.repositories)
            && is_part_of(&places_in_lists(app, &self.lists), &removal.lists)
            && (removal.adopted || !self.adopted)
    }

    /// A quarantine that has begun continues unless the request sets another.
    fn remove_at(&self, service: &Service, app: &App, now: Timestamp) -> Timestamp {
        match (self.quarantine, quarantined(app)) {
            (Some(quarantine), _) => now.after(quarantine),
            (None, Some(removal)) => removal.remove_at.max(now),
            (None, None) => now.after(service.settings.quarantine),
        }
    }

    fn removal(
        &self,
        service: &Service,
        app: &App,
        caller: &Caller,
    ) -> Result<Removal, UseCaseError> {
        let now = service.clock.now();
        let removal = Removal {
            buckets: self.buckets.clone(),
            repositories: places(app, &self.repositories),
            lists: places_in_lists(app, &self.lists),
            adopted: self.adopted,
            requested_by: caller.name.clone(),
            requested_at: now,
            remove_at: self.remove_at(service, app, now),
            switched_off: switched_off(app),
            restoring: false,
        };
        refuse_unknown(app, &removal, self)?;
        Ok(removal)
    }
}

/// The removal of an app that is in quarantine.
fn quarantined(app: &App) -> Option<&Removal> {
    app.removal
        .as_ref()
        .filter(|_| app.summary.state == AppState::Quarantined)
}

/// The job of a running removal that covers the options.
async fn running_removal(
    service: &Service,
    name: &AppName,
    options: &RemoveOptions,
) -> Result<Option<Job>, UseCaseError> {
    let app = live_app(service, name).await?;
    let Some(removal) = app
        .removal
        .as_ref()
        .filter(|removal| options.is_part_of(&app, removal))
    else {
        return Ok(None);
    };
    refuse_unknown(&app, removal, options)?;
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

/// The keys that the running removal has deactivated.
pub fn switched_off(app: &App) -> BTreeSet<String> {
    app.removal
        .as_ref()
        .map(|removal| removal.switched_off.clone())
        .unwrap_or_default()
}

/// Keys that a job has activated so recently that AWS may still list them as inactive, except those that were
/// deactivated on their own since.
async fn recently_activated(
    service: &Service,
    name: &AppName,
) -> Result<BTreeSet<String>, UseCaseError> {
    let latest = JobFilter {
        app: Some(name.clone()),
        limit: 20,
        ..JobFilter::default()
    };
    let now = service.clock.now();
    let is_recent = |at: Timestamp| now.since(at) < service.timing.propagation;
    // From the latest job back: what a later job did to a key counts.
    let (mut on, mut off) = (BTreeSet::new(), BTreeSet::new());
    for job in service.store.jobs(&latest).await? {
        let activated = job.state == JobState::Succeeded && job.finished_at.is_some_and(is_recent);
        match job.task {
            Task::SetKeyStatus {
                access_key_id, to, ..
            } => {
                if to == KeyStatus::Active && activated && !off.contains(&access_key_id) {
                    on.insert(access_key_id);
                } else if to != KeyStatus::Active && !on.contains(&access_key_id) {
                    off.insert(access_key_id);
                }
            }
            Task::Restore { switched_off, .. } if activated => {
                on.extend(switched_off.difference(&off).cloned());
                break;
            }
            _ => {}
        }
    }
    Ok(on)
}

async fn job_request(
    service: &Service,
    app: &App,
    caller: &Caller,
    options: &RemoveOptions,
) -> Result<JobRequest, UseCaseError> {
    let name = &app.spec.name;
    let mut removal = options.removal(service, app, caller)?;
    removal
        .switched_off
        .extend(recently_activated(service, name).await?);
    if app.spec.protected {
        return Err(UseCaseError::Protected(name.clone()));
    }
    if removal.deletes_data() && !options.confirmed {
        let app = with(app, removal);
        let plan = preview_removals(service, &Task::Remove, &app.spec, Some(&app)).await?;
        return Err(UseCaseError::ConfirmationRequired(plan.warnings));
    }
    let steps = steps_of(service, &Task::Offboard, Some(app), &app.spec).await?;
    Ok(JobRequest {
        if_version: Some(app.version),
        change: Some(AppChange::Removal(removal)),
        ..JobRequest::new(name.clone(), Task::Offboard, steps, &caller.name)
    })
}

/// Everything of the app that holds data.
fn data_of(app: &App) -> Dropped {
    app.dropped
        .after(&app.spec, &Dropped::default().as_spec(&app.spec))
}

/// The repositories by these names, each as `region/name`. A name without a region stands for all regions.
fn places(app: &App, named: &BTreeSet<String>) -> BTreeSet<String> {
    let all = data_of(app).repositories;
    let is_named = |place: &str, name: &str| named.contains(place) || named.contains(name);
    all.iter()
        .filter(|it| is_named(&it.place(), it.name.as_str()))
        .map(|it| it.place())
        .collect()
}

type ByList = BTreeMap<String, BTreeSet<String>>;

/// The same for the entries of lists.
fn places_in_lists(app: &App, named: &ByList) -> ByList {
    let mut places = ByList::new();
    for (field, entry) in data_of(app).lists.iter() {
        let is_named = |names: &BTreeSet<String>| {
            names.contains(&entry.place()) || names.contains(&entry.name)
        };
        if named.get(field).is_some_and(is_named) {
            places
                .entry(field.to_owned())
                .or_default()
                .insert(entry.place());
        }
    }
    places
}

fn is_part_of(one: &ByList, whole: &ByList) -> bool {
    one.iter().all(|(field, places)| {
        whole
            .get(field)
            .is_some_and(|whole| places.is_subset(whole))
    })
}

/// Fails if the removal names a bucket, a repository or an entry of a list that the app does not have.
fn refuse_unknown(
    app: &App,
    removal: &Removal,
    options: &RemoveOptions,
) -> Result<(), UseCaseError> {
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
    let unknown = |parameter: &str, noun: &str, name: &String| {
        FieldError::new(parameter, format!("The app has no {noun} {name}."))
    };
    let buckets = removal
        .buckets
        .iter()
        .filter(|name| !has_bucket(name))
        .map(|name| unknown("buckets", "bucket", name));
    let has_entry = |list: &SpecList, name: &String| {
        let mut entries = data.lists.iter().filter(|(field, _)| *field == list.field);
        entries.any(|(_, it)| it.name == *name || it.place() == *name)
    };
    let entries = spec_lists().iter().flat_map(|list| {
        let named = options.lists.get(list.field).into_iter().flatten();
        named
            .filter(|name| !has_entry(list, name))
            .map(|name| unknown(list.field, list.noun, name))
    });
    let repositories = options
        .repositories
        .iter()
        .filter(|name| !has_repository(name))
        .map(|name| unknown("repositories", "repository", name));
    let errors: Vec<FieldError> = buckets.chain(repositories).chain(entries).collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(UseCaseError::Options(errors))
    }
}

/// The app as it is while it is being removed.
fn with(app: &App, removal: Removal) -> App {
    App {
        removal: Some(removal),
        ..app.clone()
    }
}
