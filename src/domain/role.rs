//! What callers may do over the API.
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
    /// Approve what others request.
    Approver,
    /// Manage tokens, trust rules and accounts.
    Admin,
}
