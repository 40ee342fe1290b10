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

/// What a look found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DriftReport {
    /// The app's name.
    #[schema(value_type = String, example = "acme-shop")]
    pub app: AppName,
    /// When AWS was looked at.
    pub checked_at: Timestamp,
    /// Whether AWS differs from the spec, or holds something on the user that nobody asked for.
    pub drifted: bool,
    /// What a repair would change, with what is there and what would be.
    pub changes: Vec<PlannedChange>,
    /// What is on the app's user and the spec does not ask for. A repair leaves it unless it is told to remove it.
    pub unexpected: Vec<Unexpected>,
    /// What jobs of the app have made or adopted and the spec does not name. That alone is no drift.
    #[serde(default)]
    #[schema(required = true)]
    pub retained: Vec<RetainedResource>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// Why the look is not whole.
    pub error: Option<JobError>,
    /// The job that was asked for by itself because of this report (`drift: repair` in the spec).
    #[schema(value_type = Option<String>)]
    pub repair: Option<Ulid>,
}

/// Something on an app's user that the spec does not ask for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Unexpected {
    /// Its id.
    #[schema(value_type = String, example = "iam:attachment/aws/AdministratorAccess/acme-shop")]
    pub resource: ResourceId,
    /// What it is.
    #[schema(
        example = "Policy arn:aws:iam::aws:policy/AdministratorAccess is attached to user acme-shop. Slipway did not create it."
    )]
    pub detail: String,
    /// Since when it is there, where AWS tells.
    pub since: Option<Timestamp>,
    /// Whether the user may have had it before it was adopted. That alone is no drift.
    pub adopted: bool,
    /// The body with which `POST /v1/apps/{app}/repair` removes it.
    pub removal_request: RepairRequest,
}

/// When an app was last looked at, and whether it had drifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriftSummary {
    /// When AWS was looked at.
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
