//! What people are told about a job while it goes on.
//!
//! Invariants:
//! - An event is written in the same commit as what it tells of.
//! - Events are numbered in one rising sequence, so a listener goes on after the last one it saw.
//! - No event carries a secret.

use serde::{Deserialize, Serialize};
use ulid::Ulid;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::domain::job::JobError;
use crate::domain::job_kind::JobKind;
use crate::domain::resource_id::ResourceId;

/// Something that happened to a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema, strum::IntoStaticStr)]
#[serde(tag = "event", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum EventPayload {
    /// Accepted.
    JobQueued {
        /// What it is to do.
        kind: JobKind,
        /// Who asked.
        requested_by: String,
    },
    /// A worker took it up.
    JobStarted {
        /// The how-manieth time.
        attempt: u32,
    },
    /// A resource is being looked at.
    StepStarted {
        /// The resource's id.
        #[schema(value_type = String)]
        resource: ResourceId,
    },
    /// A resource was changed in AWS.
    ChangeApplied {
        /// The resource's id.
        #[schema(value_type = String)]
        resource: ResourceId,
        /// What was done, such as `create user acme-shop`.
        change: String,
        /// The AWS calls that did it.
        #[serde(default)]
        calls: Vec<AwsCall>,
    },
    /// A long change of a resource goes on.
    StepProgress {
        /// The resource's id.
        #[schema(value_type = String)]
        resource: ResourceId,
        /// What was done, such as `delete 1000 object versions from bucket acme-shop-media, and there is more`.
        message: String,
        /// The AWS calls that did it.
        calls: Vec<AwsCall>,
    },
    /// A resource is not there any more, or was left to whoever had it before.
    StepGone {
        /// The resource's id.
        #[schema(value_type = String)]
        resource: ResourceId,
        /// What was changed for it, in order.
        changes: Vec<String>,
        /// How long it took, in milliseconds.
        duration_ms: i64,
    },
    /// A resource waits, for AWS or for its next attempt.
    StepWaiting {
        /// The resource's id.
        #[schema(value_type = String)]
        resource: ResourceId,
        /// What for.
        reason: String,
        /// How long, in milliseconds.
        after_ms: i64,
    },
    /// A resource is as the spec says.
    StepDone {
        /// The resource's id.
        #[schema(value_type = String)]
        resource: ResourceId,
        /// What was changed for it, in order; empty when it was so already.
        changes: Vec<String>,
        /// How long it took, in milliseconds.
        duration_ms: i64,
    },
    /// A resource could not be made so.
    StepFailed {
        /// The resource's id.
        #[schema(value_type = String)]
        resource: ResourceId,
        /// Why, and what to do.
        error: JobError,
    },
    /// A resource was not tried.
    StepSkipped {
        /// The resource's id.
        #[schema(value_type = String)]
        resource: ResourceId,
        /// The resource that it needs and that failed.
        #[schema(value_type = String)]
        because: ResourceId,
    },
    /// Something a person should know.
    Warning {
        /// The resource's id.
        #[schema(value_type = String)]
        resource: ResourceId,
        /// What.
        message: String,
    },
    /// Tries again later.
    JobWaiting {
        /// Why.
        reason: String,
        /// When.
        next_attempt_at: Timestamp,
    },
    /// Everything is as the spec says.
    JobSucceeded,
    /// Ended with an error.
    JobFailed {
        /// Why, and what to do.
        error: JobError,
    },
    /// Parked for a person.
    JobNeedsAttention {
        /// Why, and what to do.
        error: JobError,
    },
    /// Somebody asked to end it.
    CancelRequested {
        /// Who.
        by: String,
    },
    /// Ended on request.
    JobCanceled,
    /// Somebody asked to go on.
    RetryRequested {
        /// Who.
        by: String,
    },
    /// Its worker stopped or was lost, and another goes on.
    JobReleased {
        /// Why.
        reason: String,
    },
}

/// A call that changed something in AWS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AwsCall {
    /// `iam`, `s3` or `ecr`.
    #[schema(example = "iam")]
    pub service: String,
    /// The API operation.
    #[schema(example = "CreateUser")]
    pub operation: String,
    /// AWS's request id, by which CloudTrail knows the call.
    pub request_id: Option<String>,
}

impl EventPayload {
    /// Its name, as in the `event` field.
    pub fn name(&self) -> &'static str {
        self.into()
    }

    /// The resource that it is about.
    pub fn resource(&self) -> Option<&ResourceId> {
        match self {
            Self::StepStarted { resource }
            | Self::ChangeApplied { resource, .. }
            | Self::StepProgress { resource, .. }
            | Self::StepGone { resource, .. }
            | Self::StepWaiting { resource, .. }
            | Self::StepDone { resource, .. }
            | Self::StepFailed { resource, .. }
            | Self::StepSkipped { resource, .. }
            | Self::Warning { resource, .. } => Some(resource),
            _ => None,
        }
    }
}

/// A numbered event of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its number, which is its id in an event stream.
    pub seq: i64,
    /// When it was written.
    pub at: Timestamp,
    /// The job's ULID.
    #[schema(value_type = String)]
    pub job_id: Ulid,
    /// What happened.
    #[serde(flatten)]
    pub payload: EventPayload,
}
