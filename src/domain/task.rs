//! What a job was asked to do, with everything that belongs to it.
//!
//! Invariants:
//! - A task is whole when it is accepted: nothing of it is decided later, so a retry does the same.
//! - A task is written once, in the commit that accepts its job.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};
use ulid::Ulid;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::domain::app::Owned;
use crate::domain::drift::RepairRequest;
use crate::domain::job::JobKind;
use crate::domain::spec::{AppSpec, BucketSpec, RepositorySpec};

/// What a job was asked to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Task {
    /// Make everything in a new app's spec.
    Onboard {
        /// Whether images with protected tags may expire by it.
        #[serde(default)]
        accept_expiry: bool,
    },
    /// Bring AWS to a changed spec.
    Update {
        /// Whether what the spec does not name any more is removed; otherwise it stays.
        remove: bool,
        /// Keys of tags that the spec does not name any more.
        dropped_tags: BTreeSet<String>,
        /// Whether the access key goes: there is one, the spec asks for none, and it is to be removed.
        #[serde(default)]
        drop_key: bool,
        /// Whether that is done even if the key is in use.
        #[serde(default)]
        force: bool,
        /// Whether what is in buckets and repositories may be deleted with them.
        #[serde(default)]
        confirmed: bool,
        /// Whether images with protected tags may expire by it.
        accept_expiry: bool,
    },
    /// Bring AWS back to the spec.
    Repair {
        /// Things that the spec does not ask for, to be removed: resource ids, as a drift report or `retained` names them.
        #[serde(default)]
        remove: BTreeSet<String>,
        /// Whether images with protected tags may expire by it.
        #[serde(default)]
        accept_expiry: bool,
    },
    /// Make another access key, to take the place of one that is there.
    Rotate {
        /// The rotation that it begins.
        #[schema(value_type = String)]
        rotation: Ulid,
        /// The keys that were known when it was asked for: the new one is none of these.
        known_keys: Vec<String>,
        /// The key that makes room, where both of the user's are taken.
        replace: Option<String>,
        /// Whether that one goes even if it is in use.
        force: bool,
    },
    /// Switch a key on or off, or delete it.
    SetKeyStatus {
        /// The key.
        access_key_id: String,
        /// What it is to be.
        to: KeyStatus,
        /// Whether that is done even if the key is in use.
        force: bool,
        /// The rotation that it belongs to.
        #[schema(value_type = Option<String>)]
        rotation: Option<Ulid>,
    },
    /// Switch the app's keys off, and begin its quarantine.
    Offboard,
    /// End the quarantine: switch the keys on again, and bring AWS back to the spec.
    Restore {
        /// Whether images with protected tags may expire by it.
        #[serde(default)]
        accept_expiry: bool,
        /// The access keys that it switches on: those that were switched off for the removal.
        #[serde(default)]
        switched_off: BTreeSet<String>,
    },
    /// Take apart what the app has in AWS, but for what is retained.
    Remove,
}

/// What a task may do to what is in buckets and repositories that go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Data {
    /// Nothing: they go only where they are empty.
    #[default]
    Kept,
    /// It goes with them.
    Confirmed,
    /// The same, and they were named one by one: also those go that were there before the app.
    Named,
}

/// What a key is to be.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum KeyStatus {
    /// Switched on.
    Active,
    /// Switched off.
    Inactive,
    /// Not there any more.
    Deleted,
}

impl Task {
    /// The kind of job that does it.
    pub fn kind(&self) -> JobKind {
        match self {
            Self::Onboard { .. } => JobKind::Onboard,
            Self::Update { .. } => JobKind::Update,
            Self::Repair { .. } => JobKind::Repair,
            Self::Rotate { .. } => JobKind::Rotate,
            Self::SetKeyStatus { .. } => JobKind::SetKeyStatus,
            Self::Offboard => JobKind::Offboard,
            Self::Restore { .. } => JobKind::Restore,
            Self::Remove => JobKind::Remove,
        }
    }

    /// Whether images with protected tags may expire by it.
    pub fn accepts_expiry(&self) -> bool {
        match self {
            Self::Onboard { accept_expiry }
            | Self::Update { accept_expiry, .. }
            | Self::Repair { accept_expiry, .. }
            | Self::Restore { accept_expiry, .. } => *accept_expiry,
            Self::Rotate { .. } | Self::SetKeyStatus { .. } | Self::Offboard | Self::Remove => {
                false
            }
        }
    }

    /// The same, by which images with protected tags may expire.
    #[must_use]
    pub fn accepting_expiry(mut self) -> Self {
        if let Self::Onboard { accept_expiry }
        | Self::Update { accept_expiry, .. }
        | Self::Repair { accept_expiry, .. }
        | Self::Restore { accept_expiry, .. } = &mut self
        {
            *accept_expiry = true;
        }
        self
    }

    /// Keys of tags that it takes off.
    pub fn dropped_tags(&self) -> BTreeSet<String> {
        match self {
            Self::Update {
                remove: true,
                dropped_tags,
                ..
            } => dropped_tags.clone(),
            _ => BTreeSet::new(),
        }
    }

    /// What may be done to data: the buckets and repositories of a removal were named and confirmed.
    pub fn data(&self) -> Data {
        match self {
            Self::Remove => Data::Named,
            Self::Update {
                confirmed: true, ..
            } => Data::Confirmed,
            _ => Data::Kept,
        }
    }

    /// Whether an access key that is to go with other things goes even if it is in use.
    pub fn forces(&self) -> bool {
        matches!(self, Self::Remove | Self::Update { force: true, .. })
    }

    /// Whether an app that is being removed takes it.
    pub fn is_of_removal(&self) -> bool {
        matches!(self, Self::Offboard | Self::Restore { .. } | Self::Remove)
    }
}

/// What earlier specs of an app have named and its present one does not.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dropped {
    /// Buckets.
    pub buckets: Vec<BucketSpec>,
    /// Repositories.
    pub repositories: Vec<RepositorySpec>,
}

impl Dropped {
    /// What is dropped when `old` gives way to `new`: what was dropped before or named by `old`, and is not named by `new`.
    #[must_use]
    pub fn after(&self, old: &AppSpec, new: &AppSpec) -> Self {
        let mut after = self.clone();
        after.buckets.extend(old.buckets.iter().cloned());
        after.repositories.extend(old.repositories.iter().cloned());
        after
            .buckets
            .retain(|bucket| !new.buckets.iter().any(|wanted| wanted.name == bucket.name));
        let same =
            |a: &RepositorySpec, b: &RepositorySpec| a.name == b.name && a.region == b.region;
        after.repositories.retain(|repository| {
            !new.repositories
                .iter()
                .any(|wanted| same(wanted, repository))
        });
        after
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty() && self.repositories.is_empty()
    }

    /// The spec of an app that has just these buckets and repositories.
    pub fn as_spec(&self, of: &AppSpec) -> AppSpec {
        AppSpec {
            buckets: self.buckets.clone(),
            repositories: self.repositories.clone(),
            ..of.clone()
        }
    }
}

/// What jobs of an app have made or adopted, and its spec does not name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Retained {
    /// Buckets, as an earlier spec named them.
    #[schema(value_type = Vec<serde_json::Value>)]
    pub buckets: Vec<BucketSpec>,
    /// Repositories, as an earlier spec named them.
    #[schema(value_type = Vec<serde_json::Value>)]
    pub repositories: Vec<RepositorySpec>,
    /// Everything by its id, these included.
    #[schema(required = true)]
    pub resources: Vec<RetainedResource>,
}

/// A thing that a job of an app has made or adopted, and the spec does not name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RetainedResource {
    /// Its id.
    #[schema(example = "iam:policy/MediaManagement-acme-shop")]
    pub resource: String,
    /// What it is, and that it stays.
    #[schema(
        example = "iam:policy/MediaManagement-acme-shop stays in AWS; the spec does not name it."
    )]
    pub detail: String,
    /// Its ARN, where AWS gives it one.
    pub arn: Option<String>,
    /// Whether it was made or adopted.
    pub owned: Owned,
    /// When it was made, where that is recorded.
    pub made_at: Option<Timestamp>,
    /// The body with which `POST /v1/apps/{app}/repair` removes it. `PUT /v1/apps/{app}?remove=true` removes everything
    /// that is retained. Absent where the app is removed.
    pub remove: Option<RepairRequest>,
}

impl Retained {
    /// What people are told of it, but for what `removed` says.
    pub fn told(&self, removed: impl Fn(&str) -> bool) -> Vec<String> {
        self.resources
            .iter()
            .filter(|it| !removed(&it.resource))
            .map(|it| it.detail.clone())
            .collect()
    }
}

/// An app's removal, from the request on until it is gone or restored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Removal {
    /// Buckets that go, with all that is in them.
    pub buckets: BTreeSet<String>,
    /// Repositories that go, with their images: `region/name`.
    pub repositories: BTreeSet<String>,
    /// Whether also what was adopted goes, where it is not data.
    pub adopted: bool,
    /// Who asked.
    pub requested_by: String,
    /// When.
    pub requested_at: Timestamp,
    /// When the app is taken apart; until then it can be restored.
    pub remove_at: Timestamp,
    /// The keys that were switched off for it.
    #[serde(default)]
    pub switched_off: BTreeSet<String>,
    /// Whether a restore was asked for: from then on the app is not taken apart, whether or not the restore succeeds.
    #[serde(default)]
    pub restoring: bool,
}

impl Removal {
    /// What is not removed of what this spec of an app, and those before it, have named.
    pub fn leaves(&self, spec: &AppSpec, before: &Dropped) -> Dropped {
        let mut stays = before.after(spec, &Dropped::default().as_spec(spec));
        stays
            .buckets
            .retain(|bucket| !self.buckets.contains(bucket.name.as_str()));
        stays
            .repositories
            .retain(|repository| !self.repositories.contains(&repository.place()));
        stays
    }
}
