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

use crate::domain::job_kind::JobKind;
use crate::domain::resource_id::ResourceId;

/// The task of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Task {
    /// Create all resources of a new app.
    Onboard {
        /// Whether images with protected tags may expire.
        #[serde(default)]
        accept_expiry: bool,
    },
    /// Apply a changed spec.
    Update {
        /// Whether to remove resources that the spec no longer includes. Otherwise they are retained.
        remove: bool,
        /// Keys of tags that the spec no longer includes.
        dropped_tags: BTreeSet<String>,
        /// Whether to delete the access key, because the spec no longer includes it and `remove` is set.
        #[serde(default)]
        drop_key: bool,
        /// Whether to delete the access key even if it is in use.
        #[serde(default)]
        force: bool,
        /// Whether the contents of buckets and repositories may be deleted with them.
        #[serde(default)]
        confirmed: bool,
        /// Whether images with protected tags may expire.
        accept_expiry: bool,
    },
    /// Restore the state that the spec describes.
    Repair {
        /// Resources to remove that the spec does not include: resource IDs from a drift report or from `retained`.
        #[serde(default)]
        #[schema(value_type = BTreeSet<String>)]
        remove: BTreeSet<ResourceId>,
        /// Whether images with protected tags may expire.
        #[serde(default)]
        accept_expiry: bool,
    },
    /// Create another access key to replace the current one.
    Rotate {
        /// The rotation that the job starts.
        #[schema(value_type = String)]
        rotation: Ulid,
        /// The keys that existed when the rotation was requested. The new key is none of these.
        known_keys: Vec<String>,
        /// The key to delete first, if the user already has two.
        replace: Option<String>,
        /// Whether to delete that key even if it is in use.
        force: bool,
    },
    /// Activate, deactivate or delete an access key.
    SetKeyStatus {
        /// The access key ID.
        access_key_id: String,
        /// The new status.
        to: KeyStatus,
        /// Whether to change the status even if the key is in use.
        force: bool,
        /// The rotation that the job belongs to.
        #[schema(value_type = Option<String>)]
        rotation: Option<Ulid>,
    },
    /// Deactivate the app's access keys and start its quarantine.
    Offboard,
    /// End the quarantine: activate the access keys again and restore the state that the spec describes.
    Restore {
        /// Whether images with protected tags may expire.
        #[serde(default)]
        accept_expiry: bool,
        /// The access keys to activate: those that were deactivated for the removal.
        #[serde(default)]
        switched_off: BTreeSet<String>,
    },
    /// Delete the app's resources in AWS, except for those that are retained.
    Remove,
    /// Apply the set-up of an account.
    SetupAccount {
        /// Whether to remove people, groups and settings that the set-up no longer includes. Otherwise they are retained.
        remove: bool,
    },
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

/// The status of an access key.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum KeyStatus {
    /// The key is active.
    Active,
    /// The key is inactive.
    Inactive,
    /// The key is deleted.
    Deleted,
}

/// Whether the lifecycle policy may expire images with protected tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageExpiry {
    Accept,
    Refuse,
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
            Self::SetupAccount { .. } => JobKind::SetupAccount,
        }
    }

    /// Whether images with protected tags may expire by it.
    pub fn accepts_expiry(&self) -> bool {
        match self {
            Self::Onboard { accept_expiry }
            | Self::Update { accept_expiry, .. }
            | Self::Repair { accept_expiry, .. }
            | Self::Restore { accept_expiry, .. } => *accept_expiry,
            Self::Rotate { .. }
            | Self::SetKeyStatus { .. }
            | Self::Offboard
            | Self::Remove
            | Self::SetupAccount { .. } => false,
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
