//! Rotation of an app's access key: a schedule of stages, and the one match that moves it from stage to stage.
//!
//! Invariants:
//! - Every change of a rotation's stage goes through [`Stage::on`]; an event that a stage does not know is refused.
//! - An app has at most one rotation that has not ended.
//! - Until the old key is deleted the way back is open; a key that is in use is kept, unless the rotation was forced.
//! - A user has two keys at most, so a rotation has one new key and at most one old one.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString};
use ulid::Ulid;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::domain::job::JobError;

/// Where a rotation stands.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    EnumIter,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Stage {
    /// A job creates the new key.
    Creating,
    /// The new key waits until its secret is claimed.
    AwaitingClaim,
    /// The rotation waits until the old key is no longer used.
    Draining,
    /// A job deactivates the old key.
    Deactivating,
    /// The old key is inactive and is kept for a while, so that you can roll back.
    PendingDeletion,
    /// A job deletes the old key.
    Deleting,
    /// A job activates the old key again.
    RollingBack,
    /// The old key no longer exists.
    Done,
    /// The old key is active again, next to the new key.
    RolledBack,
    /// The rotation ended early, for the reason in `reason`: its app is removed, one of its jobs was canceled, the
    /// new key
    /// no longer exists, the secret of the new key was not claimed, or the old key was activated again.
    Stopped,
}

/// What moves a rotation from one stage to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Display, EnumIter)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum RotationEvent {
    /// The new key is there.
    Made,
    /// Somebody claimed the new key.
    Claimed,
    /// Nobody did, the time is up, and the rotation was forced.
    Unclaimed,
    /// The old key is seen unused: it is to be switched off.
    Quiet,
    /// The old key is in use after all, or was switched on again by somebody.
    InUse,
    /// The old key is off.
    Off,
    /// The hold time is over: the old key is to be deleted.
    HoldOver,
    /// The old key is gone, or there was none.
    Gone,
    /// Its job ended without success and is asked for again.
    AskedAgain,
    /// A person asked to go back.
    RollbackAsked,
    /// The old key works again.
    BackOn,
    /// It cannot go on, or is not to.
    Stopped,
}

/// An event that the stage does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "A rotation in stage {stage} does not accept the event {event}. You can roll back a rotation until its old key is deleted."
)]
pub struct IllegalStep {
    /// Where the rotation stands.
    pub stage: Stage,
    /// What was to happen.
    pub event: RotationEvent,
}

impl Stage {
    /// The stage after `event`: the whole schedule.
    ///
    /// # Errors
    /// When this stage does not know the event.
    pub fn on(self, event: RotationEvent) -> Result<Self, IllegalStep> {
        use RotationEvent as E;
        use Stage as S;
        match (self, event) {
            (S::Creating, E::Made) => Ok(S::AwaitingClaim),
            (S::AwaitingClaim, E::Claimed | E::Unclaimed) => Ok(S::Draining),
            (S::Draining, E::Quiet) => Ok(S::Deactivating),
            (S::Deactivating, E::InUse) => Ok(S::Draining),
            (S::Deleting, E::InUse) => Ok(S::Stopped),
            (S::Draining | S::Deactivating, E::Off) => Ok(S::PendingDeletion),
            (S::PendingDeletion, E::HoldOver) => Ok(S::Deleting),
            (
                S::AwaitingClaim | S::Draining | S::Deactivating | S::PendingDeletion | S::Deleting,
                E::Gone,
            ) => Ok(S::Done),
            (S::Creating | S::Deactivating | S::Deleting | S::RollingBack, E::AskedAgain) => {
                Ok(self)
            }
            (
                S::Creating
                | S::AwaitingClaim
                | S::Draining
                | S::Deactivating
                | S::PendingDeletion
                | S::Deleting,
                E::RollbackAsked,
            ) => Ok(S::RollingBack),
            (S::RollingBack, E::BackOn) => Ok(S::RolledBack),
            (stage, E::Stopped) if !stage.has_ended() => Ok(S::Stopped),
            (stage, event) => Err(IllegalStep { stage, event }),
        }
    }

    /// Whether nothing follows.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Done | Self::RolledBack | Self::Stopped)
    }
}

/// A rotation of an app's access key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rotation {
    /// The ID of the rotation.
    #[schema(value_type = String)]
    pub id: Ulid,
    /// The stage of the rotation.
    pub stage: Stage,
    /// The ID of the new key, once it exists.
    #[schema(example = "AKIAIOSFODNN7EXAMPLE")]
    pub new_key: Option<String>,
    /// The ID of the key that is replaced. Absent if the app had none.
    #[schema(example = "AKIAI44QH8DHBEXAMPLE")]
    pub old_key: Option<String>,
    /// Whether the old key is deactivated even if it is in use.
    pub forced: bool,
    /// The token that requested the rotation, or `schedule` if the app's `rotate_after` started it.
    pub requested_by: String,
    /// When the rotation was requested.
    pub created_at: Timestamp,
    /// When the current stage began.
    pub since: Timestamp,
    /// When the rotation continues or checks again. Absent while a job is active, and after the end.
    pub due_at: Option<Timestamp>,
    /// Why the rotation waits, or why it stopped.
    pub reason: Option<String>,
    /// Why the job of the current stage did not succeed. The job is started again at `due_at`.
    pub error: Option<JobError>,
    /// The job of the current stage, or of the last stage that had one.
    #[schema(value_type = Option<String>)]
    pub job: Option<Ulid>,
    /// When the rotation ended.
    pub ended_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use strum::IntoEnumIterator;

    #[test]
    fn the_whole_schedule() {
        let table: Vec<String> = Stage::iter()
            .flat_map(|stage| RotationEvent::iter().map(move |event| (stage, event)))
            .filter_map(|(stage, event)| Some(format!("{stage} {event} {}", stage.on(event).ok()?)))
            .collect();
        insta::assert_snapshot!(table.join("\n"), @r"
        creating made awaiting_claim
        creating asked_again creating
        creating rollback_asked rolling_back
        creating stopped stopped
        awaiting_claim claimed draining
        awaiting_claim unclaimed draining
        awaiting_claim gone done
        awaiting_claim rollback_asked rolling_back
        awaiting_claim stopped stopped
        draining quiet deactivating
        draining off pending_deletion
        draining gone done
        draining rollback_asked rolling_back
        draining stopped stopped
        deactivating in_use draining
        deactivating off pending_deletion
        deactivating gone done
        deactivating asked_again deactivating
        deactivating rollback_asked rolling_back
        deactivating stopped stopped
        pending_deletion hold_over deleting
        pending_deletion gone done
        pending_deletion rollback_asked rolling_back
        pending_deletion stopped stopped
        deleting in_use stopped
        deleting gone done
        deleting asked_again deleting
        deleting rollback_asked rolling_back
        deleting stopped stopped
        rolling_back asked_again rolling_back
        rolling_back back_on rolled_back
        rolling_back stopped stopped
        ");
    }

    #[test]
    fn what_has_ended_stays_so() {
        for stage in Stage::iter().filter(|stage| stage.has_ended()) {
            assert!(
                RotationEvent::iter().all(|event| stage.on(event).is_err()),
                "{stage}"
            );
        }
    }
}
