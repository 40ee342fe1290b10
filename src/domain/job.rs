//! Jobs: one asked-for change of an app, its steps, and the one match that moves it from state to state.
//!
//! Invariants:
//! - Every change of a job's state goes through [`JobState::on`]; an event that a state does not
//!   know is an error, never ignored.
//! - An app has at most one active job (awaiting approval, queued, running or waiting).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use strum::{Display, EnumIter, EnumString};
use ulid::Ulid;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::domain::job_kind::JobKind;
use crate::domain::names::{AccountName, AppName};
use crate::domain::resource_id::ResourceId;
use crate::domain::task::Task;

/// Where a job stands.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    EnumIter,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum JobState {
    /// The job waits until another person approves its plan. See `GET /v1/approvals`.
    AwaitingApproval,
    /// The job is recorded and waits for a worker.
    Queued,
    /// A worker holds the lease of the job.
    Running,
    /// The job waits for its next attempt. See `reason` and `next_attempt_at`.
    Waiting,
    /// All resources of the job match its target.
    Succeeded,
    /// The job ended with an error. You can retry it from its current state.
    Failed,
    /// The job stopped until a person does what the `remedy` of its error says. You can then retry it.
    NeedsAttention,
    /// The job was canceled. The resources that it created are kept.
    Canceled,
}

/// What moves a job from one state to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumIter)]
#[strum(serialize_all = "snake_case")]
pub enum JobEvent {
    /// A worker took its lease.
    Claimed,
    /// It cannot go on now, and tries again later.
    #[strum(to_string = "delayed")]
    MustWait,
    /// Nothing is left to do.
    #[strum(to_string = "finished")]
    Converged,
    /// It cannot work as asked, or its deadline has passed.
    #[strum(to_string = "failed")]
    GaveUp,
    /// A person must do something first.
    Parked,
    /// A person asked to end it, and it has stopped.
    Canceled,
    /// Its lease ran out, or its worker handed it back.
    Released,
    /// A person asked to go on.
    #[strum(to_string = "retried")]
    RetryAsked,
    /// Its plan goes beyond the approved one.
    #[strum(to_string = "sent back for approval")]
    PlanChanged,
    /// Another person agreed to its plan.
    Approved,
}

/// An event that the state does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "A job in state {state} cannot be {event}. You can cancel a job that has not ended, and retry a job that ended without success."
)]
pub struct IllegalTransition {
    /// Where the job stands.
    pub state: JobState,
    /// What was to happen.
    pub event: JobEvent,
}

impl JobState {
    /// The state after `event`: the whole state machine.
    ///
    /// # Errors
    /// When this state does not know the event.
    pub fn on(self, event: JobEvent) -> Result<Self, IllegalTransition> {
        use JobEvent as E;
        use JobState as S;
        match (self, event) {
            (S::Queued | S::Waiting | S::Running, E::Claimed) => Ok(S::Running),
            (S::Running, E::MustWait) => Ok(S::Waiting),
            (S::Running, E::Converged) => Ok(S::Succeeded),
            (S::Running, E::GaveUp) => Ok(S::Failed),
            (S::Queued | S::Waiting | S::Running, E::Parked) => Ok(S::NeedsAttention),
            (S::Running, E::Released) => Ok(S::Queued),
            (
                S::AwaitingApproval | S::Queued | S::Waiting | S::Running | S::NeedsAttention,
                E::Canceled,
            ) => Ok(S::Canceled),
            (S::Running, E::PlanChanged) => Ok(S::AwaitingApproval),
            (S::AwaitingApproval, E::Approved) => Ok(S::Queued),
            (S::Failed | S::NeedsAttention | S::Canceled | S::Waiting, E::RetryAsked) => {
                Ok(S::Queued)
            }
            (state, event) => Err(IllegalTransition { state, event }),
        }
    }

    /// Whether it has not ended.
    pub fn is_active(self) -> bool {
        self == Self::AwaitingApproval || self.is_in_progress()
    }

    /// Whether a worker has it or will take it.
    pub fn is_in_progress(self) -> bool {
        matches!(self, Self::Queued | Self::Running | Self::Waiting)
    }
}

/// Where a step of a job stands.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    EnumIter,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum StepState {
    /// The step has not started.
    Pending,
    /// The step is in progress.
    Running,
    /// The step waits for AWS or for its next attempt.
    Waiting,
    /// The resource matches its target.
    Done,
    /// The step ended with an error.
    Failed,
    /// The step was skipped, because a resource that it depends on failed.
    Skipped,
}

impl StepState {
    /// Whether the step has begun and its target is not reached.
    pub fn is_unfinished(self) -> bool {
        matches!(self, Self::Running | Self::Waiting | Self::Failed)
    }
}

/// A failed AWS call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AwsRefusal {
    /// `iam`, `s3`, `ecr` or `sts`.
    #[schema(example = "iam")]
    pub service: String,
    /// The API operation.
    #[schema(example = "CreateUser")]
    pub operation: String,
    /// The AWS error code, or the kind of transport error.
    #[schema(example = "AccessDenied")]
    pub code: String,
    /// The AWS request ID, if there was a response.
    pub request_id: Option<String>,
}

/// The kind of error that ended a job or a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Display, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum JobErrorCode {
    /// A resource with this name exists and does not belong to the app.
    Conflict,
    /// The service's role does not have the permission.
    AccessDenied,
    /// An AWS quota is exceeded.
    QuotaExceeded,
    /// AWS rejects the request.
    Rejected,
    /// An access key may be active whose secret is lost.
    CredentialInDoubt,
    /// The change would delete data and was not confirmed.
    WouldDeleteData,
    /// An access key is in use. It is deactivated only if the request sets `force`.
    KeyInUse,
    /// An image with a protected tag would expire, and the request does not accept that.
    WouldExpire,
    /// AWS throttled, failed or was not reachable until the deadline.
    Unavailable,
    /// The deadline of the job passed.
    DeadlineExceeded,
    /// A bug in Slipway.
    Internal,
}

/// Why a job or a step did not succeed, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobError {
    /// The kind of error.
    pub code: JobErrorCode,
    /// What happened.
    pub detail: String,
    /// What to do next.
    pub remedy: Option<String>,
    /// Whether a later attempt can succeed without intervention.
    pub retryable: bool,
    /// The AWS call that failed.
    pub aws: Option<AwsRefusal>,
}

impl JobError {
    /// An error that a person has to resolve as `remedy` says, and of which AWS reported nothing.
    pub fn new(code: JobErrorCode, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            remedy: Some(remedy.into()),
            retryable: false,
            aws: None,
        }
    }

    /// A job has ended while nobody knows whether its CreateAccessKey has made a key.
    pub fn key_in_doubt(ended: &str) -> Self {
        Self::new(
            JobErrorCode::CredentialInDoubt,
            format!(
                "{}. The response to an earlier CreateAccessKey call was lost, so an access key without a record may be active.",
                ended.trim_end_matches('.')
            ),
            "Retry the job. Slipway then finds the access key and deletes it, or reports its ID if the deletion is not safe.",
        )
    }
}

/// The work of a job on one resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// The resource ID.
    #[schema(value_type = String, example = "iam:user/acme-shop")]
    pub resource: ResourceId,
    /// The state of the step.
    pub state: StepState,
    /// The changes in AWS, in order.
    #[schema(example = json!(["create user acme-shop"]))]
    pub changes: Vec<String>,
    /// The number of attempts.
    pub attempts: u32,
    /// The last error, unless the step is done.
    pub error: Option<JobError>,
    /// The duration of the last attempt in milliseconds.
    pub duration_ms: Option<i64>,
}

impl Step {
    /// A step that nobody has begun.
    pub fn pending(resource: ResourceId) -> Self {
        Self {
            resource,
            state: StepState::Pending,
            changes: Vec::new(),
            attempts: 0,
            error: None,
            duration_ms: None,
        }
    }
}

/// A repository of the app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RepositoryResult {
    /// The name of the repository.
    pub name: String,
    /// The URI to push images to.
    #[schema(example = "123456789012.dkr.ecr.us-west-2.amazonaws.com/acme-shop")]
    pub uri: String,
}

/// What a job that succeeded hands over. Never a secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobResult {
    pub user_arn: Option<String>,
    pub access_key_id: Option<String>,
    /// Whether the key's secret was unclaimed when the job ended. Earlier versions stored the URL of its claim.
    #[serde(default, alias = "claim", deserialize_with = "flag_or_url")]
    pub claimable: bool,
    pub buckets: Vec<String>,
    pub repositories: Vec<RepositoryResult>,
    /// Conditions to be aware of, although the job succeeded.
    pub warnings: Vec<String>,
    /// What the app needs to use its resources of other lists, by the field of the list in the spec.
    #[serde(flatten)]
    pub lists: BTreeMap<String, Vec<BTreeMap<String, String>>>,
}

impl JobResult {
    /// Adds a resource of a list of the spec, such as the name and URL of a queue.
    pub fn add<const N: usize>(&mut self, field: &str, values: [(&str, String); N]) {
        let values = values.map(|(name, value)| (name.to_owned(), value));
        self.lists
            .entry(field.to_owned())
            .or_default()
            .push(BTreeMap::from(values));
    }
}

fn flag_or_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Flag(bool),
        Url(Option<String>),
    }
    Ok(match Stored::deserialize(deserializer)? {
        Stored::Flag(claimable) => claimable,
        Stored::Url(url) => url.is_some(),
    })
}

/// A job, as the database keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub id: Ulid,
    pub kind: JobKind,
    /// The kind with its parameters.
    pub task: Task,
    pub app: AppName,
    pub account: AccountName,
    pub state: JobState,
    /// The number of attempts so far.
    pub attempt: u32,
    /// Why the job waits, or why it did not succeed.
    pub reason: Option<String>,
    pub next_attempt_at: Option<Timestamp>,
    pub steps: Vec<Step>,
    pub result: Option<JobResult>,
    /// Why the job failed or stopped.
    pub error: Option<JobError>,
    /// The token that requested the job.
    pub requested_by: String,
    /// Whether another person has to approve its plan.
    #[serde(default)]
    pub needs_approval: bool,
    pub created_at: Timestamp,
    /// When the first attempt started.
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use strum::IntoEnumIterator;

    #[test]
    fn the_whole_state_machine() {
        let table: Vec<String> = JobState::iter()
            .flat_map(|state| JobEvent::iter().map(move |event| (state, event)))
            .filter_map(|(state, event)| Some(format!("{state} {event} {}", state.on(event).ok()?)))
            .collect();
        insta::assert_snapshot!(table.join("\n"), @r"
        awaiting_approval canceled canceled
        awaiting_approval approved queued
        queued claimed running
        queued parked needs_attention
        queued canceled canceled
        running claimed running
        running delayed waiting
        running finished succeeded
        running failed failed
        running parked needs_attention
        running canceled canceled
        running released queued
        running sent back for approval awaiting_approval
        waiting claimed running
        waiting parked needs_attention
        waiting canceled canceled
        waiting retried queued
        failed retried queued
        needs_attention canceled canceled
        needs_attention retried queued
        canceled retried queued
        ");
    }

    #[test]
    fn only_a_person_wakes_what_has_ended() {
        for state in JobState::iter().filter(|s| !s.is_active()) {
            for event in
                JobEvent::iter().filter(|e| !matches!(e, JobEvent::RetryAsked | JobEvent::Canceled))
            {
                assert!(state.on(event).is_err(), "{state} {event}");
            }
        }
        assert!(JobState::Succeeded.on(JobEvent::RetryAsked).is_err());
    }

    #[test]
    fn results_of_earlier_versions_are_readable() {
        let read = |claim: &str| {
            let stored = format!(
                r#"{{"user_arn": null, "access_key_id": "AKIA1", {claim} "buckets": [], "repositories": [], "warnings": []}}"#
            );
            serde_json::from_str::<JobResult>(&stored).map(|result| result.claimable)
        };
        let url = r#""claim": "/v1/apps/acme/credentials/AKIA1/claim","#;
        assert!(read(url).unwrap());
        assert!(!read(r#""claim": null,"#).unwrap());
        assert!(!read("").unwrap());
        assert!(read(r#""claimable": true,"#).unwrap());
    }
}
