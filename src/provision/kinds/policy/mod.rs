//! The media policy: the account's shared one, or the app's scoped one.
//!
//! Invariants:
//! - A shared policy that is there is kept: what differs is told, never overwritten.
//! - A scoped policy is its app's own, and follows the spec; old versions are pruned to make room.

mod change;
mod lookup;
mod resource;
mod state;
mod versions;

pub use self::change::PolicyChange;
pub use self::state::{Policy, SeenPolicy};
