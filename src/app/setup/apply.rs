//! Applies the set-up of an account, or says what that would do.

use serde_json::Value;

use crate::app::accounts::require_ready;
use crate::app::approvals::enqueue;
use crate::app::error::UseCaseError;
use crate::app::find::steps_of;
use crate::app::preview::preview;
use crate::app::service::Service;
use crate::app::setup::find::find;
use crate::app::setup::view::SetupPlan;
use crate::app::update::{MAX_TRIES, Precondition};
use crate::aws::Account;
use crate::domain::account_setup::{AccountSetup, SetupPlace, SetupSpec};
use crate::domain::app::App;
use crate::domain::caller::Caller;
use crate::domain::names::{AccountName, Region};
use crate::domain::retained::Dropped;
use crate::domain::spec::AppSpec;
use crate::domain::task::Task;
use crate::store::{Accepted, AppChange, IdempotencyKey, JobRequest, Refusal};

/// The region of the record of a set-up where the account has none. IAM is global.
const DEFAULT_REGION: &str = "us-east-1";

/// A request for a set-up.
pub struct SetupRequest<'a> {
    pub account: &'a AccountName,
    pub caller: &'a Caller,
    pub body: &'a Value,
    /// Removes from AWS the people, groups and settings that the set-up does not include any more.
    pub remove: bool,
}

/// Enqueues the set-up of an account as `body` describes it.
///
/// # Errors
/// When no account is registered under the name, the precondition does not hold, the body has invalid fields, or a job of
/// the set-up is running.
pub async fn apply(
    service: &Service,
    request: SetupRequest<'_>,
    precondition: Option<Precondition<'_>>,
    key: Option<IdempotencyKey>,
) -> Result<Accepted, UseCaseError> {
    let mut tries = 0;
    loop {
        if let Some(answer) = service.store.replay(key.as_ref()).await?? {
            return Ok(Accepted::Replay(answer));
        }
        let (account, record) = find(service, request.account).await?;
        let holds = precondition.is_none_or(|holds| record.as_ref().is_some_and(holds));
        if !holds {
            return Err(Refusal::Changed.into());
        }
        require_ready(service, request.account).await?;
        let job = job_request(service, &request, &account, record.as_ref()).await?;
        tries += 1;
        match enqueue(service, request.caller, record.as_ref(), job, key.clone()).await? {
            Err(Refusal::Changed) if precondition.is_none() && tries < MAX_TRIES => {}
            accepted => return Ok(accepted?),
        }
    }
}

/// What the set-up in `body` would do now.
///
/// # Errors
/// As [`apply`].
pub async fn plan(
    service: &Service,
    request: SetupRequest<'_>,
    key: Option<&IdempotencyKey>,
) -> Result<SetupPlan, UseCaseError> {
    service.store.replay(key).await??;
    let (account, record) = find(service, request.account).await?;
    require_ready(service, request.account).await?;
    let spec = parse(service, &request, &account, record.as_ref())?;
    let task = Task::SetupAccount {
        remove: request.remove,
    };
    let plan = preview(service, &task, &spec, record.as_ref()).await?;
    SetupPlan::of(plan).ok_or(UseCaseError::Defect)
}

async fn job_request(
    service: &Service,
    request: &SetupRequest<'_>,
    account: &Account,
    record: Option<&App>,
) -> Result<JobRequest, UseCaseError> {
    let spec = parse(service, request, account, record)?;
    let task = Task::SetupAccount {
        remove: request.remove,
    };
    let steps = steps_of(service, &task, record, &spec).await?;
    let name = spec.name.clone();
    Ok(JobRequest {
        if_version: record.map(|record| record.version),
        change: Some(AppChange::Spec(Box::new(spec), Dropped::default())),
        ..JobRequest::new(name, task, steps, &request.caller.name)
    })
}

/// The record of the set-up that a request describes.
fn parse(
    service: &Service,
    request: &SetupRequest<'_>,
    account: &Account,
    record: Option<&App>,
) -> Result<AppSpec, UseCaseError> {
    let identity = account.identity();
    let defaults = service.defaults(account);
    let place = SetupPlace {
        partition: &identity.partition,
        account_id: &identity.account,
        app_group: &defaults.group,
    };
    let spec = SetupSpec::parse(request.body, &place).map_err(UseCaseError::Fields)?;
    let earlier = record.and_then(|record| record.spec.setup.as_deref());
    let now = service.clock.now();
    let setup = AccountSetup::new(spec, earlier, &request.caller.name, now);
    let region = match &identity.region {
        Some(region) => region.clone(),
        None => Region::parse(DEFAULT_REGION).map_err(|_| UseCaseError::Defect)?,
    };
    let account = request.account.clone();
    Ok(AppSpec::of_setup(account, region, setup))
}
