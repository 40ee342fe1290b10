//! Handles a delivery: requests the jobs that follow from it.
//!
//! Invariants:
//! - A delivery that is handled again requests nothing twice: each request has an idempotency key.
//! - What is applied is the file at the head of the default branch, whichever push the delivery tells of. So a push that
//!   is delivered late, twice or never changes nothing for good.

use std::time::Duration;

use serde_json::Value;

use crate::app::error::UseCaseError;
use crate::app::hooks::forge::{Forge, ForgeError};
use crate::app::onboard::{onboard, parse_spec};
use crate::app::remove::{RemoveOptions, remove};
use crate::app::scope::require_app_name;
use crate::app::service::Service;
use crate::app::update::{UpdateOptions, update};
use crate::domain::app::{App, AppState};
use crate::domain::caller::{Caller, CallerIdentity, Person};
use crate::domain::hooks::event::{EventKind, Repository, Source};
use crate::domain::hooks::rule::HookRule;
use crate::domain::job::Job;
use crate::domain::manifest::{self, MANIFEST, ManifestApp};
use crate::domain::names::AppName;
use crate::domain::role::Role;
use crate::domain::spec::default_account;
use crate::store::{
    Accepted, AppFilter, HookDelivery, HookOutcome, IdempotencyKey, Refusal, StoreError,
    fingerprint,
};

/// The wait after the first attempt that failed. It doubles.
const FIRST_DELAY: Duration = Duration::from_secs(5);
const MAX_DELAY: Duration = Duration::from_secs(10 * 60);
/// How long a delivery is tried. Longer than an approval may wait by default, which holds up what comes after it.
const MAX_AGE: Duration = Duration::from_secs(8 * 24 * 3600);
/// How often the forge is asked again whether a commit that it has told of is the head of the branch, as its API may be
/// behind its webhooks: over 15 seconds in all, as the wait doubles.
const HEAD_CHECKS: u32 = 4;
const FIRST_HEAD_DELAY: Duration = Duration::from_secs(1);
/// Attempts that end without an outcome, after which the delivery is taken for their cause.
const MAX_LOST_ATTEMPTS: u32 = 5;
/// Apps that one event proposes to remove.
const MAX_REMOVALS: u32 = 50;

/// Why nothing has become of a delivery.
enum Stop {
    /// A later attempt may go well.
    Retry(String),
    /// The forge's API does not show yet what its webhook tells.
    NotYet(String),
    /// It stays so.
    Refused(String),
}

impl From<ForgeError> for Stop {
    fn from(error: ForgeError) -> Self {
        Self::Retry(error.to_string())
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Retry(error.to_string())
    }
}

impl From<UseCaseError> for Stop {
    fn from(error: UseCaseError) -> Self {
        let text = match &error {
            UseCaseError::Fields(errors) => {
                let fields = errors.iter();
                let texts: Vec<String> = fields
                    .map(|error| format!("{}: {}", error.pointer, error.message))
                    .collect();
                texts.join("; ")
            }
            UseCaseError::Refused(Refusal::AppExists(app)) => format!("The app {app} exists."),
            UseCaseError::Refused(Refusal::Active(job)) => {
                format!("The app has the active job {job}.")
            }
            UseCaseError::Refused(Refusal::AccountNotReady(account, state)) => {
                format!("The account {account} is {state}.")
            }
            UseCaseError::Refused(Refusal::BeingRemoved(app)) => {
                format!("The app {app} is being removed.")
            }
            other => other.to_string(),
        };
        match error {
            UseCaseError::Refused(
                Refusal::Active(_)
                | Refusal::Changed
                | Refusal::RotationActive(_)
                | Refusal::AccountNotReady(..),
            )
            | UseCaseError::NoPlan(_)
            | UseCaseError::Aws(_)
            | UseCaseError::Unseen(_)
            | UseCaseError::Store(_) => Self::Retry(text),
            _ => Self::Refused(text),
        }
    }
}

/// Handles a delivery. What comes of it is recorded by the caller.
pub async fn handle(service: &Service, delivery: &HookDelivery) -> HookOutcome {
    let now = service.clock.now();
    if delivery.lost_attempts >= MAX_LOST_ATTEMPTS {
        return HookOutcome::Failed(format!(
            "Given up: {MAX_LOST_ATTEMPTS} attempts ended without an outcome."
        ));
    }
    let retry = |why: String, delay: Duration| {
        if now.since(delivery.received_at) > MAX_AGE {
            HookOutcome::Failed(format!("Given up: {why}"))
        } else {
            HookOutcome::Retry(why, now.after(delay))
        }
    };
    match perform(service, delivery).await {
        Ok((text, commit)) => HookOutcome::Done(text, commit),
        Err(Stop::Refused(why)) => HookOutcome::Failed(why),
        Err(Stop::NotYet(why)) => retry(why, doubled(FIRST_HEAD_DELAY, delivery.attempts)),
        Err(Stop::Retry(why)) => retry(why, doubled(FIRST_DELAY, delivery.attempts)),
    }
}

fn doubled(first: Duration, attempts: u32) -> Duration {
    let factor = 2_u32.saturating_pow(attempts.min(16));
    first.saturating_mul(factor).min(MAX_DELAY)
}

type Performed = Result<(String, Option<String>), Stop>;

async fn perform(service: &Service, delivery: &HookDelivery) -> Performed {
    let refused = |why: &str| Stop::Refused(why.to_owned());
    let source = Source::parse(&delivery.source).ok_or_else(|| refused("No such source."))?;
    let hooks = &service.settings.hooks;
    let rule = hooks
        .rule_for(&source, &delivery.event)
        .ok_or_else(|| refused("The settings have no rule for it any more."))?;
    match delivery.event.kind {
        EventKind::Created => propose_app(service, &source, rule, delivery).await,
        EventKind::Pushed => apply_head(service, &source, rule, delivery).await,
        EventKind::Archived => propose_removal(service, &source, rule, delivery).await,
    }
}

/// Whoever sends the event, with what the rule allows.
fn caller(
    source: &Source,
    rule: &HookRule,
    repository: &Repository,
    proposes: bool,
) -> Result<Caller, Stop> {
    let name = format!("{source}:{}", repository.full_name);
    let subject = format!("repository:{}", repository.id);
    Ok(Caller {
        id: format!("{source}:{}", repository.id),
        role: Role::Operator,
        scope: rule.scope().map_err(Stop::Refused)?,
        identity: Some(CallerIdentity {
            issuer: source.to_string(),
            subject: subject.clone(),
            name: Some(name.clone()),
            run_url: None,
        }),
        person: Some(Person {
            issuer: source.to_string(),
            subject,
        }),
        name,
        expires_at: None,
        session: None,
        proposes,
    })
}

fn key_for(caller: &Caller, kind: EventKind, key: String, body: &Value) -> IdempotencyKey {
    IdempotencyKey {
        caller: caller.id.clone(),
        route: format!("hooks {kind}"),
        key,
        fingerprint: fingerprint(&[body.to_string().as_bytes()]),
    }
}

/// Proposes to onboard the app that the rule's template describes, with the name of the repository.
async fn propose_app(
    service: &Service,
    source: &Source,
    rule: &HookRule,
    delivery: &HookDelivery,
) -> Performed {
    let repository = &delivery.event.repository;
    let caller = caller(source, rule, repository, true)?;
    let template = rule.template.clone();
    let mut fields = template.ok_or_else(|| Stop::Refused("The rule has no template.".into()))?;
    fields.insert("name".into(), repository.name().into());
    let body = in_account(rule, Value::Object(fields))?;
    let key = key_for(
        &caller,
        EventKind::Created,
        delivery.delivery_id.clone(),
        &body,
    );
    let accepted = onboard(service, caller, &body, false, Some(key)).await?;
    Ok((told(accepted), None))
}

/// Applies the file at the head of the default branch.
async fn apply_head(
    service: &Service,
    source: &Source,
    rule: &HookRule,
    delivery: &HookDelivery,
) -> Performed {
    let done = |text: String, commit: Option<String>| Ok((text, commit));
    let (repository, pushed) = (&delivery.event.repository, &delivery.event.commit);
    let forge = Forge::of(service, source)
        .ok_or_else(|| Stop::Refused("The source has no API of a forge.".into()))?;
    let head = forge.head(&repository.id).await?;
    let Some(commit) = head.commit.filter(|_| !head.archived) else {
        return done("The repository is empty or archived.".into(), None);
    };
    let store = &service.store;
    if pushed.as_ref().is_some_and(|pushed| *pushed != commit) {
        if store.has_later_push(delivery).await? {
            return done("A later push follows.".into(), None);
        }
        if delivery.attempts < HEAD_CHECKS {
            return Err(Stop::NotYet(format!(
                "The head of the default branch is {commit}, not what was pushed."
            )));
        }
    }
    let last = store.last_applied_commit(&delivery.source, &repository.id);
    if last.await?.as_ref() == Some(&commit) {
        return done(format!("Commit {commit} was applied before."), None);
    }
    let Some(text) = forge.file(&repository.id, MANIFEST, &commit).await? else {
        return done(format!("Commit {commit} has no {MANIFEST}."), None);
    };
    let wrong = |why: String| Stop::Refused(format!("{MANIFEST} at {commit}: {why}"));
    if manifest::has_aliases(&text) {
        return Err(wrong(
            "YAML aliases are not taken from a repository.".into(),
        ));
    }
    let documents = manifest::documents(&text).map_err(|error| wrong(error.to_string()))?;
    let apps = manifest::apps(documents).map_err(|error| wrong(error.to_string()))?;
    let mut texts = Vec::new();
    for app in &apps {
        // The same commit can be the head again after another was: only the delivery tells the two apart.
        let key = format!("{} {commit} {}", delivery.delivery_id, app.name);
        let applied = apply(service, source, rule, repository, key, app).await;
        let text = applied.map_err(|stop| about(stop, &app.name))?;
        texts.push(format!("{}: {text}", app.name));
    }
    done(
        format!("Commit {commit}: {}", texts.join(" ")),
        Some(commit),
    )
}

/// Onboards or updates an app of the file, as `PUT` and `POST` do.
async fn apply(
    service: &Service,
    source: &Source,
    rule: &HookRule,
    repository: &Repository,
    key: String,
    app: &ManifestApp,
) -> Result<String, Stop> {
    let name = AppName::parse(&app.name).map_err(|error| Stop::Refused(error.to_string()))?;
    let existing = service.app(&name).await?;
    let existing = existing.filter(|app| app.summary.state != AppState::Removed);
    let state = existing.as_ref().map(|app| app.summary.state);
    let is_first = state.is_none_or(AppState::is_not_onboarded)
        && service.settings.approvals.first_app_of_pipeline;
    let caller = caller(source, rule, repository, is_first)?;
    require_app_name(&caller.scope, &name)?;
    let body = in_account(rule, app.spec.clone())?;
    let key = Some(key_for(&caller, EventKind::Pushed, key, &body));
    let Some(existing) = existing else {
        return Ok(told(onboard(service, caller, &body, false, key).await?));
    };
    if !caller.scope.allows(&name, &existing.spec.account) {
        return Err(Stop::Refused("It is in another account.".into()));
    }
    if is_unchanged(service, &existing, &body).await? {
        return Ok("no changes.".into());
    }
    let options = UpdateOptions::default();
    let accepted = update(service, &caller, &name, options, None, &body, key).await?;
    Ok(told(accepted))
}

async fn is_unchanged(service: &Service, app: &App, body: &Value) -> Result<bool, Stop> {
    let spec = parse_spec(service, body).await?;
    Ok(app.summary.state == AppState::Ready && app.spec == spec)
}

/// Proposes to remove the apps of the rule. Nothing that holds data is deleted.
async fn propose_removal(
    service: &Service,
    source: &Source,
    rule: &HookRule,
    delivery: &HookDelivery,
) -> Performed {
    let repository = &delivery.event.repository;
    if let Some(forge) = Forge::of(service, source)
        && !forge.head(&repository.id).await?.archived
    {
        return Ok(("The repository is not archived any more.".into(), None));
    }
    let caller = caller(source, rule, repository, true)?;
    let filter = AppFilter {
        scope: caller.scope.clone(),
        limit: MAX_REMOVALS,
        ..AppFilter::default()
    };
    let mut texts = Vec::new();
    for app in service.store.apps(&filter).await? {
        let (name, is_proposed) = (&app.spec.name, app.removal.is_some());
        if is_proposed {
            continue;
        }
        let key = format!("{} {name}", delivery.delivery_id);
        let key = Some(key_for(&caller, EventKind::Archived, key, &Value::Null));
        let removed = remove(service, &caller, name, &RemoveOptions::default(), key).await;
        texts.push(match removed.map_err(Stop::from) {
            Ok(accepted) => format!("{name}: {}", told(accepted)),
            // One that is protected, say, does not keep the others.
            Err(Stop::Refused(why)) => format!("{name}: {why}"),
            Err(stop) => return Err(about(stop, name.as_str())),
        });
    }
    if texts.is_empty() {
        texts.push("No app to remove.".into());
    }
    Ok((texts.join(" "), None))
}

/// The spec with the rule's account. One that names another account is refused.
fn in_account(rule: &HookRule, mut spec: Value) -> Result<Value, Stop> {
    let named = spec.get("account").and_then(Value::as_str);
    if named.is_some_and(|name| name != rule.account.as_str()) {
        return Err(Stop::Refused(format!(
            "The account must be {}, or not be named.",
            rule.account
        )));
    }
    if rule.account != default_account()
        && let Some(fields) = spec.as_object_mut()
    {
        fields.insert("account".into(), rule.account.as_str().into());
    }
    Ok(spec)
}

fn about(stop: Stop, app: &str) -> Stop {
    match stop {
        Stop::Retry(why) => Stop::Retry(format!("{app}: {why}")),
        Stop::NotYet(why) => Stop::NotYet(why),
        Stop::Refused(why) => Stop::Refused(format!("{app}: {why}")),
    }
}

fn told(accepted: Accepted) -> String {
    let (Accepted::Fresh(job) | Accepted::Replay(job)) = accepted;
    let Job { id, kind, .. } = *job;
    format!("requested the job {id} ({kind}).")
}
