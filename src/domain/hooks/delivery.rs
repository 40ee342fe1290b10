//! What becomes of a delivery of an incoming webhook.

use strum::{Display, EnumIter, EnumString};

/// What has become of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumString, EnumIter)]
#[strum(serialize_all = "snake_case")]
pub enum HookDeliveryState {
    /// It is still to be handled, or is tried again.
    Pending,
    /// It is handled.
    Done,
    /// What it asks for is refused, or it was tried for too long.
    Failed,
    /// Nothing follows from it: no rule is for it.
    Ignored,
}
