//! One attempt of one job: reconciles its graph and records the result.
//!
//! Invariants:
//! - A worker makes no AWS call after its lease has run out.
//! - A worker that is told to stop finishes its current change and hands the job back.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use crate::app::accounts::check_now;
use crate::app::service::Service;
use crate::app::setup::claim::claim_path;
use crate::aws::assumed_role::SessionLabel;
use crate::aws::{Account, Fence};
use crate::background::access_key_store::LeasedKeyStore;
use crate::background::approved_plan::require_approved;
use crate::background::job_times::JobTimes;
use crate::background::lease_renewal::{renew_until_lost, work_deadline};
use crate::background::reporter::Reporter;
use crate::background::waiting::{backoff, database_trouble};
use crate::clock::Timestamp;
use crate::domain::access_key::SecretState;
use crate::domain::app::Recorded;
use crate::domain::console_password::{PasswordRecord, newest};
use crate::domain::job::{JobError, JobErrorCode, JobResult, StepState};
use crate::domain::job_kind::JobKind;
use crate::domain::resource_id::ResourceId;
use crate::domain::task::Task;
use crate::provision::access_key_store::AccessKeys;
use crate::provision::change::Want;
use crate::provision::context::{ReconcileContext, Request};
use crate::provision::conventions::Conventions;
use crate::provision::execute::AttemptOutcome;
use crate::provision::execute::execute;
use crate::provision::graph::nodes;
use crate::provision::journal::AttemptState;
use crate::provision::kinds::graph;
use crate::provision::node::Node;
use crate::provision::permission::CHANGES_OF_AUTHORIZATION;
use crate::provision::retained::{given_back_or_left, is_taken_away, retained};
use crate::store::{AttemptResult, Claimed, CredentialRow, Lease, Signal, StoreError};
use crate::telemetry::spans::{self, AttemptLabels};

/// Works on a claimed job until the attempt ends, and records the result. The worker is free as soon as the result is
/// queued for the writer, so the next claim joins its commit. The lease counts from the time of the claim, `asked`.
pub async fn run(
    service: &Arc<Service>,
    claimed: Claimed,
    asked: Instant,
    signals: Receiver<Signal>,
    worker: OwnedSemaphorePermit,
) {
    let (lease, kind) = (claimed.lease, claimed.job.kind);
    let span = tracing::info_span!("job", job = %lease.job, app = %claimed.job.app, kind = %kind, trace_id = Empty);
    let (traced, _) = spans::below(&span, || trace(&claimed));
    tracing::info!(parent: &span, attempt = claimed.job.attempt, "job started");
    let times = JobTimes::start(service, &claimed.job);
    let attempt = AssertUnwindSafe(attempt(service, claimed, asked, signals))
        .catch_unwind()
        .instrument(traced.clone());
    let Some(ended) = attempt
        .await
        .unwrap_or_else(|_| Some(AttemptResult::Failed(defect())))
    else {
        spans::attempt_ended(&traced, "lease_lost", Some(&"lease_lost"));
        tracing::warn!(parent: &span, "job lease lost; another worker continues");
        return;
    };
    let (state, reason) = (outcome_name(&ended), reason_of(&ended));
    metrics::counter!("slipway_jobs_total", "kind" => kind.to_string(), "outcome" => state)
        .increment(1);
    times.record(service, &ended);
    let code = error_code(&ended);
    spans::attempt_ended(
        &traced,
        state,
        code.as_ref().map(|code| code as &dyn Display),
    );
    drop(traced);
    let (written, ()) = futures::join!(write_end(service, lease, ended), async { drop(worker) });
    match written {
        Ok(()) => tracing::info!(parent: &span, outcome = state, reason, "job attempt ended"),
        Err(error) => {
            tracing::error!(parent: &span, %error, "cannot record the job's result; the job will be claimed again")
        }
    }
}

fn trace(claimed: &Claimed) -> Span {
    let Claimed { job, .. } = claimed;
    let labels = AttemptLabels {
        app: job.app.as_str(),
        account: job.account.as_str(),
        job: &job.id,
        kind: &job.kind,
        attempt: job.attempt,
        needs_approval: job.needs_approval,
    };
    spans::attempt(&labels, claimed.requested.as_ref())
}

/// Retries for a second: everything is done in AWS by now.
async fn write_end(
    service: &Service,
    lease: Lease,
    ended: AttemptResult,
) -> Result<(), StoreError> {
    let mut tries = 0;
    loop {
        match service.store.finish(lease, ended.clone()).await {
            Err(StoreError::Unavailable(_)) if tries < 5 => tries += 1,
            result => return result,
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn attempt(
    service: &Arc<Service>,
    mut claimed: Claimed,
    asked: Instant,
    signals: Receiver<Signal>,
) -> Option<AttemptResult> {
    let account = match service.account(&claimed.app.spec.account).await {
        Ok(Some(account)) => account,
        Ok(None) => return Some(AttemptResult::Failed(no_account(&claimed))),
        Err(error) => return Some(database_trouble(service, &claimed, &error)),
    };
    let conventions = service.conventions(&account);
    claimed.app = match service.store.with_record(claimed.app.clone()).await {
        Ok(app) => app,
        Err(error) => return Some(database_trouble(service, &claimed, &error)),
    };
    let nodes = nodes(
        &claimed.job.task,
        Some(&claimed.app),
        &claimed.app.spec,
        &conventions,
    );
    let mut recorded = Recorded::of(&claimed.app.resources);
    let running = std::mem::take(&mut recorded.running);
    let interrupted = with_unrecorded(std::mem::take(&mut recorded.interrupted), &claimed);
    let resumed =
        service
            .resumable_attempts
            .take(claimed.lease.job, claimed.job.attempt, claimed.deadline);
    let is_first = claimed.job.kind == JobKind::Onboard
        && claimed.job.attempt == 1
        && recorded.made.is_empty();
    let changed = match is_first {
        true => Ok(BTreeMap::new()),
        false => {
            service
                .store
                .changed_within(
                    claimed.app.id,
                    service.timing.propagation,
                    CHANGES_OF_AUTHORIZATION,
                )
                .await
        }
    };
    let changed = match changed {
        Ok(changed) => changed,
        Err(error) => return Some(database_trouble(service, &claimed, &error)),
    };
    let create_first = resumed
        .as_ref()
        .map_or(is_first, |state| state.create_first);
    let journal = resumed.map(|state| state.journal).unwrap_or_default();
    let reporter = Reporter::new(service, &claimed, &nodes, &conventions, journal.clone());
    let task = &claimed.job.task;
    let request = Request {
        app: claimed.app.spec.name.clone(),
        job: claimed.lease.job,
        installation: service.store.installation().clone(),
        accepted_at: claimed.job.created_at,
        on_existing: claimed.app.spec.on_existing,
        accept_expiry: task.accepts_expiry(),
        create_first,
        remove_adopted: claimed
            .app
            .removal
            .as_ref()
            .is_some_and(|removal| removal.adopted),
        force: task.forces(),
        data: task.data(),
        dropped_tags: task.dropped_tags(),
        interrupted,
    };
    let keys = LeasedKeyStore::new(service.clone(), &claimed.app, claimed.lease);
    let cx = ReconcileContext::new(
        account,
        request,
        recorded,
        journal,
        AccessKeys::Writable(Arc::new(keys)),
        service.clock.clone(),
        service.timing,
    );
    let fence = Fence::at(work_deadline(asked, service.settings.lease_duration));
    // Also what a job before this one has changed may not be authorized yet.
    for (resource, since) in running.into_iter().chain(changed) {
        cx.note_unsettled_since(resource, since);
    }
    let label = SessionLabel {
        app: claimed.app.spec.name.to_string(),
        job: claimed.lease.job.to_string(),
        requested_by: claimed.job.requested_by.clone(),
    };
    let work = label.around(async {
        require_approved(service, &claimed, &cx.account, &nodes).await?;
        Ok(execute(&nodes, &cx, claimed.deadline, &reporter).await)
    });
    let outcome = tokio::select! {
        outcome = fence.around(work) => outcome,
        () = renew_until_lost(service, claimed.lease, &fence, &reporter, signals) => Ok(AttemptOutcome::LostLease),
    };
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(ended) => return Some(ended),
    };
    if let AttemptOutcome::Later { .. } = outcome {
        let state = AttemptState {
            attempt: claimed.job.attempt,
            deadline: claimed.deadline,
            journal: cx.journal.clone(),
            create_first,
        };
        service
            .resumable_attempts
            .store(claimed.lease.job, state, service.clock.now());
    }
    note_refusal(service, &cx.account);
    conclude(service, &claimed, &cx.account, &nodes, &reporter, outcome).await
}

/// Records that an account refuses the service, beside the job: its lease is not renewed any more.
fn note_refusal(service: &Arc<Service>, account: &Account) {
    let Some(registration) = account.registration().filter(|_| account.take_refusal()) else {
        return;
    };
    let (worker, name) = (service.clone(), registration.name.clone());
    service.tasks.spawn(async move {
        if let Err(error) = check_now(&worker, &name).await {
            tracing::warn!(account = %name, %error, "cannot record the state of the account");
        }
    });
}

/// Progress is written behind, so an attempt that was lost early may have started steps that are still pending.
fn with_unrecorded(
    mut interrupted: BTreeMap<ResourceId, Timestamp>,
    claimed: &Claimed,
) -> BTreeMap<ResourceId, Timestamp> {
    if let (2.., Some(began)) = (claimed.job.attempt, claimed.job.started_at) {
        let pending = claimed
            .job
            .steps
            .iter()
            .filter(|step| step.state == StepState::Pending);
        interrupted.extend(pending.map(|step| (step.resource.clone(), began)));
    }
    interrupted
}

async fn conclude(
    service: &Service,
    claimed: &Claimed,
    account: &Account,
    nodes: &[Box<dyn Node>],
    reporter: &Reporter,
    outcome: AttemptOutcome,
) -> Option<AttemptResult> {
    Some(match outcome {
        AttemptOutcome::LostLease => return None,
        AttemptOutcome::Converged { warnings } => {
            match result(service, claimed, account, nodes, reporter, warnings).await {
                Ok(result) => AttemptResult::Succeeded(result),
                Err(error) => database_trouble(service, claimed, &error),
            }
        }
        AttemptOutcome::Later { reason, after } => {
            // What failed again and again waits longer and longer, up to the cap.
            let again = backoff(service, claimed);
            AttemptResult::Waiting {
                reason,
                at: service.clock.now().after(after.max(again)),
            }
        }
        AttemptOutcome::Failed(job_error) => AttemptResult::Failed(job_error),
        AttemptOutcome::Parked(job_error) => AttemptResult::NeedsAttention(job_error),
        AttemptOutcome::Canceled => AttemptResult::Canceled,
        AttemptOutcome::Stopped => AttemptResult::Released {
            reason: "The service is shutting down.".into(),
        },
    })
}

/// The job's result.
async fn result(
    service: &Service,
    claimed: &Claimed,
    account: &Account,
    nodes: &[Box<dyn Node>],
    reporter: &Reporter,
    mut warnings: Vec<String>,
) -> Result<JobResult, StoreError> {
    let (spec, task) = (&claimed.app.spec, &claimed.job.task);
    let conventions = service.conventions(account);
    warnings.extend(staying(claimed, nodes, &conventions));
    let mut result = JobResult {
        warnings,
        ..JobResult::default()
    };
    if matches!(
        task,
        Task::SetKeyStatus { .. } | Task::Offboard | Task::Remove
    ) {
        return Ok(result);
    }
    if spec.setup.is_some() {
        let passwords = service.store.password_records(claimed.app.id).await?;
        add_passwords(claimed, &passwords, &mut result);
        return Ok(result);
    }
    for node in graph(spec, &conventions, Want::Present) {
        let is_of_job = nodes.iter().any(|of_job| of_job.id() == node.id());
        let arn = is_of_job.then(|| reporter.arn_of(node.as_ref())).flatten();
        node.add_to_result(arn.as_deref(), &conventions, &mut result);
    }
    let key = if spec.access_key || matches!(task, Task::Rotate { .. }) {
        newest_key(service, claimed).await?
    } else {
        None
    };
    result.claimable = key
        .as_ref()
        .is_some_and(|key| key.secret == SecretState::Unclaimed);
    result.access_key_id = key.map(|key| key.access_key_id);
    Ok(result)
}

/// Adds to the result of a set-up where the passwords can be claimed that nobody has claimed.
fn add_passwords(claimed: &Claimed, passwords: &[PasswordRecord], result: &mut JobResult) {
    let spec = &claimed.app.spec;
    let people = spec.setup.iter().flat_map(|setup| &setup.spec.people);
    for person in people {
        if newest(passwords, &person.email).is_some_and(|password| password.is_unclaimed) {
            let claim = claim_path(&spec.account, &person.email);
            result.add(
                "people",
                [("email", person.email.to_string()), ("claim", claim)],
            );
        }
    }
}

/// The access key of the result: the app's newest, or the one that the rotation created.
async fn newest_key(
    service: &Service,
    claimed: &Claimed,
) -> Result<Option<CredentialRow>, StoreError> {
    let mut keys = service.store.credentials(claimed.app.id).await?;
    keys.retain(|key| key.gone_at.is_none());
    let is_new = |key: &CredentialRow| match &claimed.job.task {
        Task::Rotate { known_keys, .. } => !known_keys.contains(&key.access_key_id),
        _ => true,
    };
    Ok(keys.into_iter().rfind(is_new))
}

/// Warnings of what the job leaves in AWS that the spec does not name.
fn staying(claimed: &Claimed, nodes: &[Box<dyn Node>], conventions: &Conventions) -> Vec<String> {
    let app = &claimed.app;
    match (&claimed.job.task, &app.removal) {
        (
            Task::Onboard { .. }
            | Task::Update { .. }
            | Task::Repair { .. }
            | Task::Restore { .. }
            | Task::SetupAccount { .. },
            _,
        ) => retained(app, conventions).told(|id| is_taken_away(id, nodes)),
        (Task::Remove, Some(removal)) => given_back_or_left(app, removal, conventions),
        _ => Vec::new(),
    }
}

/// An attempt that panicked would panic again, so the job fails. A person can retry it.
fn defect() -> JobError {
    JobError::new(
        JobErrorCode::Internal,
        "Internal error: the attempt panicked.",
        "This is a bug in Slipway. Report it with the job ID and the log. A retry continues from the current state.",
    )
}

fn no_account(claimed: &Claimed) -> JobError {
    JobError::new(
        JobErrorCode::Rejected,
        format!("No account is registered as {}.", claimed.app.spec.account),
        "Register the account, then retry the job.",
    )
}

fn reason_of(ended: &AttemptResult) -> Option<String> {
    match ended {
        AttemptResult::Succeeded(_)
        | AttemptResult::Canceled
        | AttemptResult::AwaitingApproval { .. } => None,
        AttemptResult::Waiting { reason, .. } | AttemptResult::Released { reason } => {
            Some(reason.clone())
        }
        AttemptResult::Failed(job_error) | AttemptResult::NeedsAttention(job_error) => {
            Some(job_error.detail.clone())
        }
    }
}

fn error_code(ended: &AttemptResult) -> Option<JobErrorCode> {
    match ended {
        AttemptResult::Failed(error) | AttemptResult::NeedsAttention(error) => Some(error.code),
        _ => None,
    }
}

fn outcome_name(ended: &AttemptResult) -> &'static str {
    match ended {
        AttemptResult::Succeeded(_) => "succeeded",
        AttemptResult::Waiting { .. } => "waiting",
        AttemptResult::Failed(_) => "failed",
        AttemptResult::NeedsAttention(_) => "needs_attention",
        AttemptResult::Canceled => "canceled",
        AttemptResult::AwaitingApproval { .. } => "awaiting_approval",
        AttemptResult::Released { .. } => "released",
    }
}
