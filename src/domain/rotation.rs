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

use super::job::Trouble;
use crate::clock::Timestamp;

/// Where a rotation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, EnumIter, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Stage {
    /// A job makes the new key.
    Making,
    /// The new key waits to be claimed, as long as its secret is kept.
    Claiming,
    /// The old key is watched until it is seen unused; while it is in use it is kept.
    Watching,
    /// A job switches the old key off.
    SwitchingOff,
    /// The old key is off and kept for a while, in case somebody misses it.
    Holding,
    /// A job deletes the old key.
    Deleting,
    /// A job switches the old key on again.
    RollingBack,
    /// The old key is gone.
    Done,
    /// The old key works again, beside the new one.
    RolledBack,
    /// It ended before that, as its `reason` says: its app is removed, one of its jobs was canceled, the new key is
    /// gone, nobody claimed the new key's secret, or somebody switched the old key on again.
    Stopped,
}

/// What moves a rotation from one stage to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumIter)]
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
#[error("a rotation that is {stage} does not take {event}: one can be rolled back until its old key is deleted")]
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
            (S::Making, E::Made) => Ok(S::Claiming),
            (S::Claiming, E::Claimed | E::Unclaimed) => Ok(S::Watching),
            (S::Watching, E::Quiet) => Ok(S::SwitchingOff),
            (S::SwitchingOff, E::InUse) => Ok(S::Watching),
            (S::Deleting, E::InUse) => Ok(S::Stopped),
            (S::Watching | S::SwitchingOff, E::Off) => Ok(S::Holding),
            (S::Holding, E::HoldOver) => Ok(S::Deleting),
            (S::Claiming | S::Watching | S::SwitchingOff | S::Holding | S::Deleting, E::Gone) => Ok(S::Done),
            (S::Making | S::SwitchingOff | S::Deleting | S::RollingBack, E::AskedAgain) => Ok(self),
            (S::Making | S::Claiming | S::Watching | S::SwitchingOff | S::Holding | S::Deleting, E::RollbackAsked) => Ok(S::RollingBack),
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
    /// Its ULID.
    #[schema(value_type = String)]
    pub id: Ulid,
    /// Where it stands.
    pub stage: Stage,
    /// The key that takes over, once it is made.
    #[schema(example = "AKIAIOSFODNN7EXAMPLE")]
    pub new_key: Option<String>,
    /// The key that it takes over from; absent where the app had none.
    #[schema(example = "AKIAI44QH8DHBEXAMPLE")]
    pub old_key: Option<String>,
    /// Whether the old key is switched off even if it is in use.
    pub forced: bool,
    /// Who asked; `schedule` where the app's `rotate_after` did.
    pub requested_by: String,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When its stage began.
    pub since: Timestamp,
    /// When it goes on, or looks again; absent while a job is at work, and at its end.
    pub due_at: Option<Timestamp>,
    /// What it waits for, where that is not plain from its stage; or why it stopped.
    pub reason: Option<String>,
    /// Why the job of its stage did not succeed; it is asked for again at `due_at`.
    pub error: Option<Trouble>,
    /// The job of its stage, or of the last one that had a job.
    #[schema(value_type = Option<String>)]
    pub job: Option<Ulid>,
    /// When it ended.
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
        making made claiming
        making asked_again making
        making rollback_asked rolling_back
        making stopped stopped
        claiming claimed watching
        claiming unclaimed watching
        claiming gone done
        claiming rollback_asked rolling_back
        claiming stopped stopped
        watching quiet switching_off
        watching off holding
        watching gone done
        watching rollback_asked rolling_back
        watching stopped stopped
        switching_off in_use watching
        switching_off off holding
        switching_off gone done
        switching_off asked_again switching_off
        switching_off rollback_asked rolling_back
        switching_off stopped stopped
        holding hold_over deleting
        holding gone done
        holding rollback_asked rolling_back
        holding stopped stopped
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
            assert!(RotationEvent::iter().all(|event| stage.on(event).is_err()), "{stage}");
        }
    }
}
