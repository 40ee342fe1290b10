//! Drift: how AWS differs from an app's spec, as the last look found it.
//!
//! Invariant: a report is a plan, kept: what a repair would change, and what it would leave until it is asked for.

use serde::{Deserialize, Serialize};
use ulid::Ulid;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::domain::job::{JobError, JobErrorCode};
use crate::domain::names::AppName;
use crate::domain::plan::{Action, PlannedChange};
use crate::domain::resource_id::ResourceId;
use crate::domain::retained::{RepairRequest, RetainedResource};

/// The result of a drift check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DriftReport {
    /// The name of the app.
    #[schema(value_type = String, example = "acme-shop")]
    pub app: AppName,
    /// When AWS was queried.
    pub checked_at: Timestamp,
    /// Whether AWS differs from the spec, or the user has resources that the spec does not include.
    pub drifted: bool,
    /// The changes that a repair would make, with the values before and after.
    pub changes: Vec<PlannedChange>,
    /// Resources on the app's user that the spec does not include. A repair keeps them unless you request their
    /// removal.
    pub unexpected: Vec<Unexpected>,
    /// Resources that jobs of the app created or adopted and that the spec does not include. They do not count as
    /// drift.
    #[serde(default)]
    #[schema(required = true)]
    pub retained: Vec<RetainedResource>,
    /// Conditions to be aware of.
    pub warnings: Vec<String>,
    /// Why the check is incomplete.
    pub error: Option<JobError>,
    /// The repair job that this report started automatically (`drift: repair` in the spec).
    #[schema(value_type = Option<String>)]
    pub repair: Option<Ulid>,
}

/// A resource on an app's user that the spec does not include.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Unexpected {
    /// The resource ID.
    #[schema(value_type = String, example = "iam:attachment/aws/AdministratorAccess/acme-shop")]
    pub resource: ResourceId,
    /// What the resource is.
    #[schema(
        example = "Policy arn:aws:iam::aws:policy/AdministratorAccess is attached to user acme-shop. Slipway did not create it."
    )]
    pub detail: String,
    /// Since when the resource exists, if AWS reports it.
    pub since: Option<Timestamp>,
    /// Whether the user may have had the resource before it was adopted. Such a resource does not count as drift.
    pub adopted: bool,
    /// The request body for `POST /v1/apps/{app}/repair` that removes the resource.
    pub removal_request: RepairRequest,
}

/// When an app was last checked for drift, and the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriftSummary {
    /// When AWS was queried.
    pub checked_at: Timestamp,
    /// Whether AWS differed from the spec.
    pub drifted: bool,
}

impl DriftReport {
    /// Whether there is something that a repair can change.
    pub fn can_be_repaired(&self) -> bool {
        self.changes.iter().any(|change| {
            matches!(
                change.action,
                Action::Create | Action::Update | Action::Delete
            )
        })
    }
}

/// Whether a planned change tells of a difference, and not just that the look did not get there.
pub fn is_difference(change: &PlannedChange) -> bool {
    match change.action {
        Action::Create | Action::Update | Action::Delete | Action::Conflict => true,
        Action::None => false,
        Action::Blocked => change
            .error
            .as_ref()
            .is_some_and(|job_error| !keeps_from_looking(job_error)),
    }
}

/// Whether an error says nothing of what is there.
pub fn keeps_from_looking(job_error: &JobError) -> bool {
    matches!(
        job_error.code,
        JobErrorCode::AccessDenied
            | JobErrorCode::Unavailable
            | JobErrorCode::DeadlineExceeded
            | JobErrorCode::Internal
    )
}
