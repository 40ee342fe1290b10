//! Apps, as they are recorded and shown.
//!
//! Invariant: an app's state is what its last job left; what is in AWS is only in AWS.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString};
use ulid::Ulid;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::domain::drift::DriftSummary;
use crate::domain::job::{JobError, JobErrorCode, JobState, StepState};
use crate::domain::job_kind::JobKind;
use crate::domain::removal::Removal;
use crate::domain::resource_id::ResourceId;
use crate::domain::retained::{Dropped, Owned, Retained};
use crate::domain::spec::AppSpec;

/// The state of an app after its last job.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    Display,
    EnumIter,
    EnumString,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum AppState {
    /// The first job of the app has not ended.
    Pending,
    /// All resources match the spec.
    Ready,
    /// The last job failed.
    Failed,
    /// The last job needs a person to act.
    NeedsAttention,
    /// The last job was canceled.
    Canceled,
    /// The access keys of the app are deactivated. Its resources are deleted at `removal.remove_at`, unless it is
    /// restored.
    Quarantined,
    /// The app was removed. Its record is kept, and its name can be used again.
    Removed,
}

impl AppState {
    /// Whether no job has brought the app about: what does so next is an onboarding, whatever its kind.
    pub fn is_not_onboarded(self) -> bool {
        matches!(self, Self::Pending | Self::Failed | Self::Canceled)
    }

    /// The state that a job in `state` leaves its app in; `None` while the job goes on, and where the job is
    /// about a key alone.
    pub fn left_by(kind: JobKind, state: JobState) -> Option<Self> {
        match (kind, state) {
            (
                _,
                JobState::AwaitingApproval
                | JobState::Queued
                | JobState::Running
                | JobState::Waiting,
            )
            | (JobKind::Rotate | JobKind::SetKeyStatus, _) => None,
            (JobKind::Offboard, JobState::Succeeded) => Some(Self::Quarantined),
            (JobKind::Remove, JobState::Succeeded) => Some(Self::Removed),
            (
                JobKind::Onboard
                | JobKind::Update
                | JobKind::Repair
                | JobKind::Restore
                | JobKind::SetupAccount,
                JobState::Succeeded,
            ) => Some(Self::Ready),
            (_, JobState::Failed) => Some(Self::Failed),
            (_, JobState::NeedsAttention) => Some(Self::NeedsAttention),
            (_, JobState::Canceled) => Some(Self::Canceled),
        }
    }
}

/// What is recorded of the things that jobs of an app have worked on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recorded {
    /// What jobs of the app have created.
    pub made: BTreeSet<ResourceId>,
    /// What jobs of the app have taken over.
    pub adopted: BTreeSet<ResourceId>,
    /// When what they created was created, where that is known.
    pub made_at: BTreeMap<ResourceId, Timestamp>,
    /// What an attempt of the app's was at when it was interrupted, and since when: it may have made these
    /// without having recorded it. A conflict is no such doubt: the thing was there before.
    pub interrupted: BTreeMap<ResourceId, Timestamp>,
    /// What an attempt was at that did not come to tell how it ended, and since when.
    pub running: BTreeMap<ResourceId, Timestamp>,
}

impl Recorded {
    /// What the app's things as they are recorded say.
    pub fn of(resources: &[AppResource]) -> Self {
        let mut recorded = Self::default();
        for AppResource {
            resource,
            state,
            error,
            owned,
            made_at,
            updated_at,
            ..
        } in resources
        {
            if *state == StepState::Running {
                recorded.running.insert(resource.clone(), *updated_at);
            }
            if state.is_unfinished()
                && error
                    .as_ref()
                    .is_none_or(|job_error| job_error.code != JobErrorCode::Conflict)
            {
                recorded.interrupted.insert(resource.clone(), *updated_at);
            }
            match owned {
                Some(Owned::Made) => recorded.made.insert(resource.clone()),
                Some(Owned::Adopted) => recorded.adopted.insert(resource.clone()),
                None => false,
            };
            recorded
                .made_at
                .extend(made_at.map(|at| (resource.clone(), at)));
        }
        recorded
    }

    /// Whether a thing is the app's.
    pub fn owns(&self, id: &ResourceId) -> bool {
        self.made.contains(id) || self.adopted.contains(id)
    }
}

/// An access key of an app's that is not known to be gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedKey {
    /// AWS's id of it.
    pub access_key_id: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A resource of an app, as of the last job that handled it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AppResource {
    /// The resource ID.
    #[schema(value_type = String, example = "iam:user/acme-shop")]
    pub resource: ResourceId,
    /// The ARN, if the resource has one.
    pub arn: Option<String>,
    /// The state in which the last job left the resource.
    pub state: StepState,
    /// Why the resource does not match the spec.
    pub error: Option<JobError>,
    /// How the app came to own the resource. Absent if it does not own it.
    pub owned: Option<Owned>,
    /// When a job of the app created the resource, if recorded.
    pub made_at: Option<Timestamp>,
    /// The last job that handled the resource.
    #[schema(value_type = String)]
    pub job: Ulid,
    /// When that job last updated this entry.
    pub updated_at: Timestamp,
}

impl AppResource {
    /// Whether a job may have created the resource without a record of it: it was interrupted, or got no answer.
    pub fn may_exist(&self) -> bool {
        let is_in_doubt = |code: JobErrorCode| {
            matches!(
                code,
                JobErrorCode::Unavailable | JobErrorCode::DeadlineExceeded | JobErrorCode::Internal
            )
        };
        let error = self.error.as_ref();
        self.owned.is_none()
            && self.state.is_unfinished()
            && error.is_none_or(|error| is_in_doubt(error.code))
    }
}

/// An app in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AppSummary {
    /// The name of the app.
    #[schema(example = "acme-shop")]
    pub name: String,
    /// The account of the app.
    #[schema(example = "default")]
    pub account: String,
    /// The state after the last job.
    pub state: AppState,
    /// The result of the last drift check, if any.
    pub drift: Option<DriftSummary>,
    /// The job that is active for the app.
    #[schema(value_type = Option<String>)]
    pub active_job: Option<Ulid>,
    /// When the app was onboarded.
    pub created_at: Timestamp,
    /// When the record of the app last changed.
    pub updated_at: Timestamp,
}

/// An app with its spec and resources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct App {
    /// The fields that a list of apps shows.
    #[serde(flatten)]
    pub summary: AppSummary,
    /// The ULID of the app.
    #[schema(value_type = String)]
    pub id: Ulid,
    /// The version of the record. It increases with every change.
    pub version: i64,
    /// The spec, with all defaults filled in.
    #[schema(value_type = serde_json::Value)]
    pub spec: AppSpec,
    /// The resources of the app, as of its last jobs.
    pub resources: Vec<AppResource>,
    /// Resources that jobs of the app created or adopted and that its spec does not include. They are kept in AWS
    /// until you remove them.
    pub retained: Retained,
    /// Resources that earlier specs included and this one does not, whether or not they were created.
    #[serde(skip)]
    pub dropped: Dropped,
    /// Access keys that are not known to be deleted, if the spec sets `access_key` to `false`.
    #[serde(skip)]
    pub keys: Vec<RecordedKey>,
    /// The removal of the app, if it was requested.
    pub removal: Option<Removal>,
    /// The job that made the last change.
    #[schema(value_type = Option<String>)]
    pub last_job: Option<Ulid>,
}
