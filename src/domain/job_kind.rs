//! The kinds of job.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString};
use utoipa::ToSchema;

/// What a job is to do.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    EnumIter,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum JobKind {
    /// Make everything in a new app's spec.
    Onboard,
    /// Bring AWS to a changed spec.
    Update,
    /// Bring AWS back to the spec.
    Repair,
    /// Make another access key, to take the place of one that is there.
    Rotate,
    /// Switch an access key on or off, or delete it.
    SetKeyStatus,
    /// Switch the app's keys off, and begin its quarantine.
    Offboard,
    /// End the quarantine.
    Restore,
    /// Take apart what the app has in AWS.
    Remove,
}
