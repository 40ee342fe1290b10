//! Rotations of access keys, which advance when their jobs end.
//!
//! Invariants:
//! - A transition names the stage that it starts from, so only one of several concurrent ones applies.
//! - The transition that follows from the end of a job, or from a claim, is in the same commit.

mod change;
mod due;
mod job_end;
mod key_events;
mod row;
mod transition;

pub use self::change::RotationChange;
pub use self::due::DueRotation;

pub(super) use self::change::{change, stop};
pub(super) use self::job_end::apply_job_end;
pub(super) use self::key_events::{claimed, gone};
