//! Apps, as they are recorded and shown.
//!
//! Invariant: an app's state is what its last job left; what is in AWS is only in AWS.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};
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

/// What an app's last job left.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, ToSchema,
)]
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
            (_, JobState::Queued | JobState::Running | JobState::Waiting)
            | (JobKind::Rotate | JobKind::SetKeyStatus, _) => None,
            (JobKind::Offboard, JobState::Succeeded) => Some(Self::Quarantined),
            (JobKind::Remove, JobState::Succeeded) => Some(Self::Removed),
            (
                JobKind::Onboard | JobKind::Update | JobKind::Repair | JobKind::Restore,
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
            let is_open = matches!(
                state,
                StepState::Running | StepState::Waiting | StepState::Failed
            );
            if is_open
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

/// A resource of an app, as the last job that looked at it left it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AppResource {
    /// Its id.
    #[schema(value_type = String, example = "iam:user/acme-shop")]
    pub resource: ResourceId,
    /// Its ARN, where AWS gives it one.
    pub arn: Option<String>,
    /// How the last job left it.
    pub state: StepState,
    /// Why it is not as the spec says.
    pub error: Option<JobError>,
    /// How it came to be the app's; absent where it did not, or not yet.
    pub owned: Option<Owned>,
    /// When a job of the app made it, where that is recorded.
    pub made_at: Option<Timestamp>,
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
    /// What jobs of the app have made or adopted, and its spec does not name: it stays in AWS until it is removed.
    pub retained: Retained,
    /// What earlier specs have named and this one does not, whether it was made or not.
    #[serde(skip)]
    pub dropped: Dropped,
    /// Its access keys that are not known to be gone, where its spec asks for none.
    #[serde(skip)]
    pub keys: Vec<RecordedKey>,
    /// Its removal, once it is asked for.
    pub removal: Option<Removal>,
    /// The job that made the last change.
    #[schema(value_type = Option<String>)]
    pub last_job: Option<Ulid>,
}
