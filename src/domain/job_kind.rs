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
    /// Create all resources of a new app.
    Onboard,
    /// Apply a changed spec.
    Update,
    /// Restore the state that the spec describes.
    Repair,
    /// Create another access key to replace the current one.
    Rotate,
    /// Activate, deactivate or delete an access key.
    SetKeyStatus,
    /// Deactivate the app's access keys and start its quarantine.
    Offboard,
    /// End the quarantine of the app.
    Restore,
    /// Delete the app's resources in AWS.
    Remove,
    /// Apply the set-up of an account.
    SetupAccount,
}
