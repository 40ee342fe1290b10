//! Jobs: one asked-for change of an app, its steps, and the one match that moves it from state to state.
//!
//! Invariants:
//! - Every change of a job's state goes through [`JobState::on`]; an event that a state does not
//!   know is an error, never ignored.
//! - An app has at most one active job (queued, running or waiting).

use serde::{Deserialize, Serialize};
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
    /// Recorded; a worker will take it.
    Queued,
    /// A worker holds its lease.
    Running,
    /// Waits for its next attempt; see `reason` and `next_attempt_at`.
    Waiting,
    /// Everything is as the spec says.
    Succeeded,
    /// Ended with an error; can be retried from where it stands.
    Failed,
    /// Parked until a person has done what its error's `remedy` says; can be retried.
    NeedsAttention,
    /// Ended on request; what was made stays.
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
            (S::Queued | S::Waiting | S::Running | S::NeedsAttention, E::Canceled) => {
                Ok(S::Canceled)
            }
            (S::Failed | S::NeedsAttention | S::Canceled | S::Waiting, E::RetryAsked) => {
                Ok(S::Queued)
            }
            (state, event) => Err(IllegalTransition { state, event }),
        }
    }

    /// Whether a worker has it or will take it.
    pub fn is_active(self) -> bool {
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
    /// Not begun.
    Pending,
    /// Being worked on.
    Running,
    /// Waits, for AWS or for its next attempt.
    Waiting,
    /// As the spec says.
    Done,
    /// Ended with an error.
    Failed,
    /// Not tried, because something it needs failed.
    Skipped,
}

/// The refusal of an AWS call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AwsRefusal {
    /// `iam`, `s3`, `ecr` or `sts`.
    #[schema(example = "iam")]
    pub service: String,
    /// The API operation.
    #[schema(example = "CreateUser")]
    pub operation: String,
    /// AWS's error code, or the kind of transport error.
    #[schema(example = "AccessDenied")]
    pub code: String,
    /// AWS's request id, when there was an answer.
    pub request_id: Option<String>,
}

/// What kind of error ended a job or a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Display, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum JobErrorCode {
    /// Something by that name is there and is not this app's.
    Conflict,
    /// The service's role may not do it.
    AccessDenied,
    /// A quota of AWS is reached.
    QuotaExceeded,
    /// AWS refuses it as it was asked.
    Rejected,
    /// A key may be live whose secret nobody knows.
    CredentialInDoubt,
    /// What is to go holds data, and nobody has confirmed that.
    WouldDeleteData,
    /// A key is in use, and is not switched off unless that is forced.
    KeyInUse,
    /// An image that carries a protected tag would expire, and nobody has accepted that.
    WouldExpire,
    /// AWS was throttling, failing or out of reach until the deadline.
    Unavailable,
    /// The deadline passed.
    DeadlineExceeded,
    /// A defect in Slipway.
    Internal,
}

/// Why a job or a step ended without success, and what a person can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobError {
    /// What kind of error.
    pub code: JobErrorCode,
    /// What happened.
    pub detail: String,
    /// What to do next.
    pub remedy: Option<String>,
    /// Whether the same call can work later without anybody doing anything.
    pub retryable: bool,
    /// The AWS call that was refused.
    pub aws: Option<AwsRefusal>,
}

impl JobError {
    /// A job has ended while nobody knows whether its CreateAccessKey has made a key.
    pub fn key_in_doubt(ended: &str) -> Self {
        Self {
            code: JobErrorCode::CredentialInDoubt,
            detail: format!("{}. The response to an earlier CreateAccessKey call was lost, so an access key without a record may be active."),
            remedy: Some("Retry the job. Slipway then finds the access key and deletes it, or reports its ID if the deletion is not safe.".into()),
            retryable: false,
            aws: None,
        }
    }
}

/// One resource of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// The resource's id.
    #[schema(value_type = String, example = "iam:user/acme-shop")]
    pub resource: ResourceId,
    /// Where it stands.
    pub state: StepState,
    /// What was changed in AWS, in order.
    #[schema(example = json!(["create user acme-shop"]))]
    pub changes: Vec<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// The last error, if it is not over.
    pub error: Option<JobError>,
    /// How long the last try took, in milliseconds.
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

/// A repository that a job made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RepositoryResult {
    /// Its name.
    pub name: String,
    /// What to push images to.
    #[schema(example = "123456789012.dkr.ecr.us-west-2.amazonaws.com/acme-shop")]
    pub uri: String,
}

/// What a job that succeeded hands over. Never a secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobResult {
    /// The app's IAM user.
    pub user_arn: Option<String>,
    /// The app's access key.
    pub access_key_id: Option<String>,
    /// Where to claim its secret, once.
    #[schema(example = "/v1/apps/acme-shop/credentials/AKIAIOSFODNN7EXAMPLE/claim")]
    pub claim: Option<String>,
    /// The app's buckets.
    pub buckets: Vec<String>,
    /// The app's repositories.
    pub repositories: Vec<RepositoryResult>,
    /// What a person should know although the job succeeded.
    pub warnings: Vec<String>,
}

/// A job, as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// Its ULID.
    #[schema(value_type = String, example = "01JD2Y0QZJ5Z3X8V6N7W4T9RKM")]
    pub id: Ulid,
    /// What it is to do.
    pub kind: JobKind,
    /// The same, with what belongs to it.
    pub task: Task,
    /// The app's name.
    #[schema(value_type = String, example = "acme-shop")]
    pub app: AppName,
    /// The account the app lives in.
    #[schema(value_type = String, example = "default")]
    pub account: AccountName,
    /// Where it stands.
    pub state: JobState,
    /// How often a worker took it up.
    pub attempt: u32,
    /// Why it waits, or why it ended without success.
    pub reason: Option<String>,
    /// When it is tried again.
    pub next_attempt_at: Option<Timestamp>,
    /// Its resources.
    pub steps: Vec<Step>,
    /// What it hands over, when it succeeded.
    pub result: Option<JobResult>,
    /// Why it failed or is parked.
    pub error: Option<JobError>,
    /// The token that asked for it.
    pub requested_by: String,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When a worker first took it up.
    pub started_at: Option<Timestamp>,
    /// When it ended.
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
        queued claimed running
        queued parked needs_attention
        queued canceled canceled
        running claimed running
        running made to wait waiting
        running finished succeeded
        running failed failed
        running parked needs_attention
        running canceled canceled
        running released queued
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
}
