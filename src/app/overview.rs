//! What a person sees first: what needs a person, what runs, and figures.

use std::time::Duration;

use crate::app::accounts::{AccountView, list_accounts};
use crate::app::approvals::list_approvals;
use crate::app::error::UseCaseError;
use crate::app::hooks::list::{list_received, may_list};
use crate::app::service::Service;
use crate::app::webhooks::list_webhooks;
use crate::clock::Timestamp;
use crate::domain::access_key::CLAIM_DEADLINE;
use crate::domain::account::AccountState;
use crate::domain::app::{App, AppState};
use crate::domain::approval::{Approval, ApprovalState};
use crate::domain::caller::Caller;
use crate::domain::hooks::delivery::HookDeliveryState;
use crate::domain::job::{Job, JobState};
use crate::domain::role::Role;
use crate::domain::webhook::{DISABLED_BY_REQUEST, Webhook, WebhookState};
use crate::store::{
    AppFilter, ApprovalFilter, JobFilter, NotedKey, ReceivedDelivery, ReceivedFilter,
};

/// Items of one kind.
const LIMIT: u32 = 10;
/// A webhook that fails for longer is more than a restart of its receiver.
const FAILING_FOR_LONG: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// The age by which AWS advises to replace an access key (IAM User Guide, "Update access keys"), without the last week.
const OLD_KEY: Duration = Duration::from_secs(83 * 24 * 3600);

/// What needs a person.
pub struct Attention {
    /// Apps whose last job failed or stopped, each with that job.
    pub apps: Vec<(App, Option<Job>)>,
    /// Jobs that wait for an approval.
    pub approvals: Vec<Approval>,
    /// Apps that have drifted.
    pub drifted: Vec<App>,
    /// Secrets that wait to be claimed.
    pub unclaimed: Vec<NotedKey>,
    /// Keys that are nearly as old as they should get, or older, and that no schedule rotates.
    pub old_keys: Vec<NotedKey>,
    /// Accounts that cannot be used.
    pub accounts: Vec<AccountView>,
    /// Webhooks that Slipway has disabled, or that have failed for long. Empty for who may not see webhooks.
    pub webhooks: Vec<Webhook>,
    /// Deliveries of incoming webhooks that failed in the last 24 hours. Empty for who may not see deliveries.
    pub failed_deliveries: Vec<ReceivedDelivery>,
}

impl Attention {
    /// Whether nothing needs a person.
    pub fn is_empty(&self) -> bool {
        self.apps.is_empty()
            && self.approvals.is_empty()
            && self.drifted.is_empty()
            && self.unclaimed.is_empty()
            && self.old_keys.is_empty()
            && self.accounts.is_empty()
            && self.webhooks.is_empty()
            && self.failed_deliveries.is_empty()
    }
}

/// The overview.
pub struct Overview {
    pub attention: Attention,
    /// Jobs that run or wait.
    pub jobs: Vec<Job>,
    /// The number of apps in each state.
    pub apps: Vec<(AppState, u64)>,
    /// The number of jobs that ended in the last 24 hours, by state.
    pub ended: Vec<(JobState, u64)>,
}

impl Overview {
    /// The number of apps that are not removed.
    pub fn app_count(&self) -> u64 {
        self.apps.iter().map(|(_, count)| count).sum()
    }

    /// The number of apps in a state.
    pub fn apps_in(&self, state: AppState) -> u64 {
        let found = self.apps.iter().find(|(other, _)| *other == state);
        found.map_or(0, |(_, count)| *count)
    }

    /// The number of jobs that ended in a state.
    pub fn ended_in(&self, state: JobState) -> u64 {
        let found = self.ended.iter().find(|(other, _)| *other == state);
        found.map_or(0, |(_, count)| *count)
    }
}

/// The overview within the scope of the caller.
///
/// # Errors
/// When the database is not available.
pub async fn overview(service: &Service, caller: &Caller) -> Result<Overview, UseCaseError> {
    let scope = &caller.scope;
    let now = service.clock.now();
    Ok(Overview {
        attention: attention(service, caller).await?,
        jobs: active_jobs(service, caller).await?,
        apps: service.store.apps_by_state(scope).await?,
        ended: service
            .store
            .jobs_ended_since(scope, now.before(DAY))
            .await?,
    })
}

async fn attention(service: &Service, caller: &Caller) -> Result<Attention, UseCaseError> {
    let (store, scope, now) = (&service.store, &caller.scope, service.clock.now());
    let approvals = ApprovalFilter {
        state: Some(ApprovalState::Pending),
        scope: scope.clone(),
        limit: LIMIT,
        ..ApprovalFilter::default()
    };
    let drifted = AppFilter {
        scope: scope.clone(),
        drifted: Some(true),
        limit: LIMIT,
        ..AppFilter::default()
    };
    let mut old_keys = store
        .keys_created_before(scope, now.before(OLD_KEY), LIMIT * 5)
        .await?;
    old_keys.retain(|key| key.spec.rotate_after.is_none());
    old_keys.truncate(LIMIT as usize);
    let mut accounts = list_accounts(service).await?;
    accounts.retain(|account| {
        account.state != AccountState::Ready && scope.allows_account(&account.name)
    });
    Ok(Attention {
        apps: stopped_apps(service, caller).await?,
        approvals: list_approvals(service, &approvals).await?,
        drifted: store.apps(&drifted).await?,
        unclaimed: store
            .unclaimed_keys(scope, now.before(CLAIM_DEADLINE), LIMIT)
            .await?,
        old_keys,
        accounts,
        webhooks: troubled_webhooks(service, caller, now).await?,
        failed_deliveries: failed_deliveries(service, caller, now).await?,
    })
}

/// Webhooks that need a person. One that somebody has disabled needs nobody.
async fn troubled_webhooks(
    service: &Service,
    caller: &Caller,
    now: Timestamp,
) -> Result<Vec<Webhook>, UseCaseError> {
    if caller.role < Role::Admin {
        return Ok(Vec::new());
    }
    let mut webhooks = list_webhooks(service, caller).await?;
    webhooks.retain(|webhook| match webhook.state {
        WebhookState::Disabled => webhook.disabled_reason.as_deref() != Some(DISABLED_BY_REQUEST),
        WebhookState::Active => webhook
            .failing_since
            .is_some_and(|since| now.since(since) >= FAILING_FOR_LONG),
    });
    webhooks.truncate(LIMIT as usize);
    Ok(webhooks)
}

async fn failed_deliveries(
    service: &Service,
    caller: &Caller,
    now: Timestamp,
) -> Result<Vec<ReceivedDelivery>, UseCaseError> {
    if caller.role < Role::Admin || !may_list(caller) {
        return Ok(Vec::new());
    }
    let filter = ReceivedFilter {
        state: Some(HookDeliveryState::Failed),
        since: Some(now.before(DAY)),
        limit: LIMIT,
        ..ReceivedFilter::default()
    };
    list_received(service, caller, &filter).await
}

/// Apps whose last job needs attention or failed.
async fn stopped_apps(
    service: &Service,
    caller: &Caller,
) -> Result<Vec<(App, Option<Job>)>, UseCaseError> {
    let mut stopped = Vec::new();
    for state in [AppState::NeedsAttention, AppState::Failed] {
        let filter = AppFilter {
            scope: caller.scope.clone(),
            state: Some(state),
            limit: LIMIT,
            ..AppFilter::default()
        };
        for app in service.store.apps(&filter).await? {
            let job = match app.last_job {
                Some(job) => service.store.job(job).await?,
                None => None,
            };
            stopped.push((app, job));
        }
    }
    Ok(stopped)
}

async fn active_jobs(service: &Service, caller: &Caller) -> Result<Vec<Job>, UseCaseError> {
    let mut active = Vec::new();
    for state in [JobState::Running, JobState::Waiting, JobState::Queued] {
        let filter = JobFilter {
            scope: caller.scope.clone(),
            state: Some(state),
            limit: LIMIT,
            ..JobFilter::default()
        };
        active.extend(service.store.jobs(&filter).await?);
    }
    Ok(active)
}
