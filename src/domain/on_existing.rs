//! What is done about resources that exist already.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};
use utoipa::ToSchema;

/// What to do if a resource already exists and does not belong to the app.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum OnExisting {
    /// Fail with a conflict.
    Fail,
    /// Adopt the resource, unless another app owns it.
    Adopt,
}
