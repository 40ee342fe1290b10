//! Apps, as they are recorded and shown.
//!
//! Invariant: an app's state is what its last job left; what is in AWS is only in AWS.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};
use ulid::Ulid;
use utoipa::ToSchema;

use super::drift::DriftSummary;
use super::job::{JobKind, JobState, StepState, Trouble};
use super::spec::AppSpec;
use super::task::{Removal, Retained};
use crate::clock::Timestamp;

/// What an app's last job left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum AppState {
    /// Its first job is not over.
    Pending,
    /// Everything is as the spec says.
    Ready,
    /// The last job failed.
    Failed,
    /// The last job waits for a person.
    NeedsAttention,
    /// The last job was canceled.
    Canceled,
    /// Its keys are switched off; it is taken apart at `removal.remove_at`, unless it is restored.
    Quarantined,
    /// It was taken apart. Its record is kept, and its name can be used again.
    Removed,
}

impl AppState {
    /// The state that a job in `state` leaves its app in; `None` while the job goes on, and where the job is
    /// about a key alone.
    pub fn left_by(kind: JobKind, state: JobState) -> Option<Self> {
        match (kind, state) {
            (_, JobState::Queued | JobState::Running | JobState::Waiting) | (JobKind::Rotate | JobKind::SwitchKey, _) => None,
            (JobKind::Offboard, JobState::Succeeded) => Some(Self::Quarantined),
            (JobKind::Remove, JobState::Succeeded) => Some(Self::Removed),
            (JobKind::Onboard | JobKind::Update | JobKind::Repair | JobKind::Restore, JobState::Succeeded) => Some(Self::Ready),
            (_, JobState::Failed) => Some(Self::Failed),
            (_, JobState::NeedsAttention) => Some(Self::NeedsAttention),
            (_, JobState::Canceled) => Some(Self::Canceled),
        }
    }
}

/// A resource of an app, as the last job that looked at it left it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AppResource {
    /// Its id.
    #[schema(example = "iam:user/acme-shop")]
    pub resource: String,
    /// Its ARN, where AWS gives it one.
    pub arn: Option<String>,
    /// How the last job left it.
    pub state: StepState,
    /// Why it is not as the spec says.
    pub error: Option<Trouble>,
    /// The job that looked at it last.
    #[schema(value_type = String)]
    pub job: Ulid,
    /// When that was.
    pub updated_at: Timestamp,
}

/// An app in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AppSummary {
    /// Its name.
    #[schema(example = "acme-shop")]
    pub name: String,
    /// The account it lives in.
    #[schema(example = "default")]
    pub account: String,
    /// What its last job left.
    pub state: AppState,
    /// What the last look for drift found, if there was one.
    pub drift: Option<DriftSummary>,
    /// The job that works on it now.
    #[schema(value_type = Option<String>)]
    pub active_job: Option<Ulid>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When its record last changed.
    pub updated_at: Timestamp,
}

/// An app with its spec and resources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct App {
    /// What a list shows of it.
    #[serde(flatten)]
    pub summary: AppSummary,
    /// Its row's ULID.
    #[schema(value_type = String)]
    pub id: Ulid,
    /// Rises with every change of the record.
    pub version: i64,
    /// What it should have, with every default filled in.
    #[schema(value_type = serde_json::Value)]
    pub spec: AppSpec,
    /// What it has, by its jobs' last look.
    pub resources: Vec<AppResource>,
    /// What the spec does not name any more and stays in AWS.
    pub retained: Retained,
    /// Its removal, once it is asked for.
    pub removal: Option<Removal>,
    /// The job that made the last change.
    #[schema(value_type = Option<String>)]
    pub last_job: Option<Ulid>,
}
