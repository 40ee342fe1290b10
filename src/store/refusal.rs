//! Why the database refuses a request.

use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::account::AccountState;
use crate::domain::approval::{ApprovalState, PlanDifference};
use crate::domain::job::IllegalTransition;
use crate::domain::names::{AccountName, AppName};
use crate::domain::rotation::IllegalStep;

/// Why a request for a job is refused.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// An app by this name exists.
    AppExists(AppName),
    /// No such app.
    NoApp,
    /// The app was removed at this time.
    Removed(AppName, Timestamp),
    /// This job is removing the app.
    RemovalBegun(AppName, Ulid),
    /// No such job.
    NoJob,
    /// The app has an active job.
    Active(Ulid),
    /// The job's state does not allow it.
    State(IllegalTransition),
    /// A later job of the app has superseded it.
    Superseded(Ulid),
    /// The Idempotency-Key was used with another query or body.
    KeyReused,
    /// The app has changed since the request was prepared.
    Changed,
    /// The app is being removed.
    BeingRemoved(AppName),
    /// The app is not being removed, so there is nothing to restore.
    NotBeingRemoved,
    /// The app has an active rotation.
    RotationActive(Ulid),
    /// No account is registered by this name.
    NoAccount,
    /// An account is registered by this name, or this AWS account under another name.
    AccountExists(AccountName),
    /// The account has apps.
    AccountInUse(AccountName),
    /// The account is not verified, or its role is open to others.
    AccountNotReady(AccountName, AccountState),
    /// The job needs no approval.
    NoApproval,
    /// It was decided before.
    Decided(ApprovalState),
    /// The job was not approved, so it cannot be retried.
    NotApproved(ApprovalState),
    /// The plan of this job is another one by now, and differs so from the one that was approved.
    PlanChanged(Ulid, Box<PlanDifference>),
    /// The person who approves has requested the job.
    OwnRequest,
    /// No such rotation.
    NoRotation,
    /// The rotation's stage does not allow it.
    RotationStage(IllegalStep),
}
