//! Who may do what over the API.
//!
//! Invariant: roles are ordered, and each may do all that the ones below it may.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};
use utoipa::ToSchema;

/// What a token's bearer may do.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Role {
    /// Read everything but secrets.
    Viewer,
    /// Request jobs and claim credentials.
    Operator,
    /// Manage tokens and accounts.
    Admin,
}

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The token's id: names need not be unique.
    pub id: String,
    /// The token's name, recorded as `requested_by`.
    pub name: String,
    /// What the token allows.
    pub role: Role,
}
