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
        #[schema(value_type = BTreeSet<String>)]
        remove: BTreeSet<ResourceId>,
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
