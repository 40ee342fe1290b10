//! Does what a chat user asks for, by the use cases of the API.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use ulid::Ulid;

use crate::app::approvals::{approve, get_approval, list_approvals, reject};
use crate::app::chat::authorize::{require_app, require_job_to_change, require_role};
use crate::app::chat::replies;
use crate::app::drift::{check_app, last_report};
use crate::app::error::UseCaseError;
use crate::app::find::any_app;
use crate::app::onboard::{onboard, plan_onboarding};
use crate::app::plan::plan_app;
use crate::app::remove::{RemoveOptions, plan_removal, remove};
use crate::app::restore::restore;
use crate::app::rotate::{RotateOptions, rotate};
use crate::app::scope::require_app_name;
use crate::app::service::Service;
use crate::app::update::UpdateOptions;
use crate::domain::approval::ApprovalState;
use crate::domain::caller::Caller;
use crate::domain::chat::{Command, NewApp, Platform, Removal};
use crate::domain::names::AppName;
use crate::domain::role::Role;
use crate::store::{Accepted, ApprovalFilter, IdempotencyKey, JobFilter, Refusal};

/// Items of a list.
const LIMIT: u32 = 10;

/// What a command leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A reply to the user alone.
    Reply(String),
    /// A message that follows a job.
    Follow(Ulid),
    /// The plan of a job was decided on: the messages that follow it change.
    Decided(Ulid),
}

/// A command of a chat user who is a caller.
pub struct Asked<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// Where, which decides the markup.
    pub platform: Platform,
    /// The id of the request: a request that is worked on twice has one job.
    pub request: Ulid,
}

impl Asked<'_> {
    fn key(&self, command: &str, app: &str) -> IdempotencyKey {
        IdempotencyKey {
            caller: self.caller.id.clone(),
            route: format!("chat {command}"),
            key: self.request.to_string(),
            fingerprint: app.to_owned(),
        }
    }
}

/// Does what the command says.
///
/// # Errors
/// When the caller's role or scope does not reach that far, or the use case fails.
pub async fn execute(
    service: &Service,
    asked: &Asked<'_>,
    command: Command,
) -> Result<Outcome, UseCaseError> {
    let (caller, platform) = (asked.caller, asked.platform);
    match command {
        Command::Help | Command::Link | Command::Unlink => {
            Ok(Outcome::Reply(replies::help(platform)))
        }
        Command::Status(app) => status(service, asked, app).await,
        Command::Plan(new) => plan(service, asked, new).await,
        Command::Onboard(new) => {
            require_role(caller, Role::Operator)?;
            let key = Some(asked.key("onboard", &new.name));
            let body = spec_of(&new);
            follow(onboard(service, caller.clone(), &body, false, key).await?)
        }
        Command::Rotate(app) => {
            require_role(caller, Role::Operator)?;
            require_app(service, caller, &app).await?;
            let options = RotateOptions::default();
            let key = Some(asked.key("rotate", app.as_str()));
            follow(rotate(service, caller.clone(), &app, options, key).await?)
        }
        Command::Drift(app) => drift(service, asked, app).await,
        Command::Remove(app, removal) => remove_app(service, asked, app, removal).await,
        Command::Restore(app) => {
            require_role(caller, Role::Operator)?;
            require_app(service, caller, &app).await?;
            let key = Some(asked.key("restore", app.as_str()));
            follow(restore(service, caller.clone(), &app, false, key).await?)
        }
        Command::Approvals => approvals(service, asked).await,
        Command::Approve(job, digest) => decide(service, asked, job, Some(digest)).await,
        Command::Reject(job) => decide(service, asked, job, None).await,
    }
}

fn follow(accepted: Accepted) -> Result<Outcome, UseCaseError> {
    let (Accepted::Fresh(job) | Accepted::Replay(job)) = accepted;
    Ok(Outcome::Follow(job.id))
}

/// The spec of an app that is all defaults.
fn spec_of(new: &NewApp) -> Value {
    let mut spec = Map::new();
    spec.insert("name".into(), json!(new.name));
    if let Some(account) = &new.account {
        spec.insert("account".into(), json!(account.as_str()));
    }
    Value::Object(spec)
}

async fn status(
    service: &Service,
    asked: &Asked<'_>,
    app: Option<AppName>,
) -> Result<Outcome, UseCaseError> {
    let scope = &asked.caller.scope;
    if let Some(name) = &app {
        require_app(service, asked.caller, name).await?;
    }
    let filter = JobFilter {
        scope: scope.clone(),
        app: app.clone(),
        limit: if app.is_some() { 3 } else { LIMIT },
        ..JobFilter::default()
    };
    let jobs = service.store.jobs(&filter).await?;
    let app = match app {
        Some(name) => Some(any_app(service, &name).await?),
        None => None,
    };
    let reply = replies::status(service, asked.platform, app.as_ref(), &jobs);
    Ok(Outcome::Reply(reply))
}

async fn plan(service: &Service, asked: &Asked<'_>, new: NewApp) -> Result<Outcome, UseCaseError> {
    // A name that is none is left to the parser of specs.
    let name = AppName::parse(&new.name).ok();
    let is_there = match &name {
        Some(name) => {
            require_app_name(&asked.caller.scope, name)?;
            service.store.is_taken(name).await?
        }
        None => false,
    };
    let plan = match name {
        Some(name) if is_there => {
            require_app(service, asked.caller, &name).await?;
            plan_app(service, &name, UpdateOptions::default(), None).await?
        }
        _ => plan_onboarding(service, asked.caller, &spec_of(&new), false, None).await?,
    };
    let reply = replies::plan(asked.platform, &plan, is_there);
    Ok(Outcome::Reply(reply))
}

/// An operator has AWS looked at now. A viewer sees what was found last.
async fn drift(
    service: &Service,
    asked: &Asked<'_>,
    app: AppName,
) -> Result<Outcome, UseCaseError> {
    require_app(service, asked.caller, &app).await?;
    let report = if asked.caller.role >= Role::Operator {
        check_app(service, &app).await?
    } else {
        last_report(service, &app).await?
    };
    let reply = replies::drift(service, asked.platform, &report);
    Ok(Outcome::Reply(reply))
}

/// Buckets and repositories stay: to delete data is left to the console and the API, which name what goes.
async fn remove_app(
    service: &Service,
    asked: &Asked<'_>,
    app: AppName,
    removal: Removal,
) -> Result<Outcome, UseCaseError> {
    let caller = asked.caller;
    require_app(service, caller, &app).await?;
    let options = RemoveOptions {
        buckets: BTreeSet::new(),
        repositories: BTreeSet::new(),
        lists: BTreeMap::new(),
        adopted: false,
        quarantine: None,
        confirmed: false,
    };
    if removal == Removal::Planned {
        let plan = plan_removal(service, caller, &app, &options, None).await?;
        return Ok(Outcome::Reply(replies::removal(asked.platform, &plan)));
    }
    require_role(caller, Role::Operator)?;
    let key = Some(asked.key("remove", app.as_str()));
    follow(remove(service, caller, &app, &options, key).await?)
}

async fn approvals(service: &Service, asked: &Asked<'_>) -> Result<Outcome, UseCaseError> {
    let filter = ApprovalFilter {
        state: Some(ApprovalState::Pending),
        app: None,
        scope: asked.caller.scope.clone(),
        before: None,
        limit: LIMIT,
    };
    let found = list_approvals(service, &filter).await?;
    let reply = replies::approvals(service, asked.platform, &found);
    Ok(Outcome::Reply(reply))
}

/// Approves the plan that the digest begins, or rejects the plan.
async fn decide(
    service: &Service,
    asked: &Asked<'_>,
    job: Ulid,
    digest: Option<String>,
) -> Result<Outcome, UseCaseError> {
    let caller = asked.caller;
    require_role(caller, Role::Approver)?;
    require_job_to_change(service, caller, job).await?;
    match digest {
        Some(digest) => {
            let approval = get_approval(service, job).await?;
            let known = approval.plan_digest.as_str();
            if !known.starts_with(&digest) {
                // What it was before is not known by a few digits: the message shows the present plan.
                return Err(Refusal::PlanChanged(job, Box::default()).into());
            }
            let body = json!({ "plan_digest": known });
            approve(service, caller, job, &body).await?;
        }
        None => {
            reject(service, caller, job, None).await?;
        }
    }
    Ok(Outcome::Decided(job))
}
