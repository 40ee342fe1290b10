//! What people are told about a job while it goes on.
//!
//! Invariants:
//! - An event is written in the same commit as what it tells of.
//! - Events are numbered in one rising sequence, so a listener goes on after the last one it saw.
//! - No event carries a secret.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use ulid::Ulid;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::domain::approval::{ApprovalReason, PlanDigest};
use crate::domain::job::JobError;
use crate::domain::job_kind::JobKind;
use crate::domain::resource_id::ResourceId;

/// An event of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema, strum::IntoStaticStr)]
#[serde(tag = "event", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum EventPayload {
    /// The job was accepted.
    JobQueued {
        /// The kind of the job.
        kind: JobKind,
        /// The token that requested the job.
        requested_by: String,
    },
    /// The job waits until another person approves its plan.
    JobAwaitingApproval {
        /// Why the job needs an approval.
        reasons: BTreeSet<ApprovalReason>,
        /// The digest of the plan to approve.
        plan_digest: PlanDigest,
    },
    /// The plan of the job was approved.
    JobApproved {
        /// The token that approved it.
        by: String,
        /// What was said with it.
        comment: Option<String>,
    },
    /// The plan of the job was rejected.
    JobRejected {
        /// The token that rejected it.
        by: String,
        /// What was said with it.
        comment: Option<String>,
    },
    /// A worker started an attempt.
    JobStarted {
        /// Attempt number, starting at 1.
        attempt: u32,
    },
    /// The check of a resource started.
    StepStarted {
        /// The resource ID.
        #[schema(value_type = String)]
        resource: ResourceId,
    },
    /// A resource was changed in AWS.
    ChangeApplied {
        /// The resource ID.
        #[schema(value_type = String)]
        resource: ResourceId,
        /// The change, such as `create user acme-shop`.
        change: String,
        /// The AWS calls that made the change.
        #[serde(default)]
        calls: Vec<AwsCall>,
    },
    /// A long change of a resource is in progress.
    StepProgress {
        /// The resource ID.
        #[schema(value_type = String)]
        resource: ResourceId,
        /// The progress, such as `delete 1000 object versions from bucket acme-shop-media (more remain)`.
        message: String,
        /// The AWS calls of this part of the change.
        calls: Vec<AwsCall>,
    },
    /// A resource no longer exists, or was returned to its previous owner.
    StepGone {
        /// The resource ID.
        #[schema(value_type = String)]
        resource: ResourceId,
        /// The changes to the resource, in order.
        changes: Vec<String>,
        /// The duration of the step in milliseconds.
        duration_ms: i64,
    },
    /// A step waits for AWS or for its next attempt.
    StepWaiting {
        /// The resource ID.
        #[schema(value_type = String)]
        resource: ResourceId,
        /// Why the step waits.
        reason: String,
        /// How long the step waits, in milliseconds.
        after_ms: i64,
    },
    /// A resource matches the spec.
    StepDone {
        /// The resource ID.
        #[schema(value_type = String)]
        resource: ResourceId,
        /// The changes to the resource, in order. Empty if it already matched the spec.
        changes: Vec<String>,
        /// The duration of the step in milliseconds.
        duration_ms: i64,
    },
    /// A step failed.
    StepFailed {
        /// The resource ID.
        #[schema(value_type = String)]
        resource: ResourceId,
        /// Why the step failed, and what to do next.
        error: JobError,
    },
    /// A step was skipped.
    StepSkipped {
        /// The resource ID.
        #[schema(value_type = String)]
        resource: ResourceId,
        /// The resource that the step depends on and that failed.
        #[schema(value_type = String)]
        because: ResourceId,
    },
    /// A condition to be aware of.
    Warning {
        /// The resource ID.
        #[schema(value_type = String)]
        resource: ResourceId,
        /// The warning.
        message: String,
    },
    /// The job waits for its next attempt.
    JobWaiting {
        /// Why the job waits.
        reason: String,
        /// When the next attempt starts.
        next_attempt_at: Timestamp,
    },
    /// The job succeeded.
    JobSucceeded,
    /// The job failed.
    JobFailed {
        /// Why the job failed, and what to do next.
        error: JobError,
    },
    /// The job needs a person to act.
    JobNeedsAttention {
        /// Why the job stopped, and what to do next.
        error: JobError,
    },
    /// The cancellation of the job was requested.
    CancelRequested {
        /// The token that requested the cancellation.
        by: String,
    },
    /// The job was canceled.
    JobCanceled,
    /// The retry of the job was requested.
    RetryRequested {
        /// The token that requested the retry.
        by: String,
    },
    /// The worker of the job stopped, and another worker continues.
    JobReleased {
        /// Why the worker stopped.
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
    /// The AWS request ID. CloudTrail records the call under this ID.
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
    /// The sequence number of the event. It is the event ID in an event stream.
    pub seq: i64,
    /// When the event was recorded.
    pub at: Timestamp,
    /// The ID of the job.
    #[schema(value_type = String)]
    pub job_id: Ulid,
    /// What happened.
    #[serde(flatten)]
    pub payload: EventPayload,
}
