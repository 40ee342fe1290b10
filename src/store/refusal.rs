//! Why the database refuses a request.

use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::job::IllegalTransition;
use crate::domain::names::AppName;
use crate::domain::rotation::IllegalStep;

/// Why a request for a job is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is an app by this name.
    AppExists(AppName),
    /// There is no such app.
    NoApp,
    /// The app was removed at that time.
    Removed(AppName, Timestamp),
    /// The app is being taken apart by this job.
    RemovalBegun(AppName, Ulid),
    /// There is no such job.
    NoJob,
    /// A job is at work on the app.
    Active(Ulid),
    /// The job's state does not allow it.
    State(IllegalTransition),
    /// A later job of the app has taken its place.
    Superseded(Ulid),
    /// The Idempotency-Key came with another query or body before.
    KeyReused,
    /// The app's record has changed since the request was decided on.
    Changed,
    /// The app is being removed.
    BeingRemoved(AppName),
    /// The app is not being removed, so there is nothing to restore.
    NotBeingRemoved,
    /// A rotation of the app's key is under way.
    RotationActive(Ulid),
    /// There is no rotation of the app's key.
    NoRotation,
    /// The rotation's stage does not allow it.
    RotationStage(IllegalStep),
}
