//! Why an access key cannot be created, changed or deleted, and what a person can do about it.

use super::state::SeenKeys;
use crate::aws::{AwsError, ErrorKind};
use crate::domain::job::{JobError, JobErrorCode};
use crate::domain::names::AppName;
use crate::provision::context::ReconcileContext;
use crate::provision::fault::Fault;
use crate::provision::user_keys::ListedKey;

pub(super) fn in_doubt(user: &AppName, keys: &[ListedKey], reason: &str) -> Fault {
    let ids = keys
        .iter()
        .map(|key| key.id.as_str())
        .collect::<Vec<_>>()
        .join(", ");
    Fault::Blocked(JobError::new(
        JobErrorCode::CredentialInDoubt,
        format!(
            "The response to CreateAccessKey for user {user} was lost. Access key {ids} may be the new key, but {reason}."
        ),
        format!(
            "Find out whether {ids} is in use. If it is not, delete it (aws iam delete-access-key), then retry the job."
        ),
    ))
}

pub(super) fn not_recorded(user: &AppName, ids: &str) -> Fault {
    Fault::Blocked(JobError::new(
        JobErrorCode::CredentialInDoubt,
        format!(
            "User {user} has active access key {ids}, of which Slipway has no record. It was created outside Slipway, or by Slipway after the database backup that was restored."
        ),
        format!(
            "Find out whether {ids} is in use. If it is not, delete it (aws iam delete-access-key), then retry the job. If it is, rotate the app's credentials with force=true to create a second key, and delete {ids} when it is no longer used."
        ),
    ))
}

pub(super) fn no_slot(user: &AppName, keys: &[String]) -> Fault {
    Fault::Blocked(JobError::new(
        JobErrorCode::QuotaExceeded,
        format!(
            "User {user} has two access keys whose secrets Slipway does not have: {}.",
            keys.join(", ")
        ),
        "Delete an unused access key (inactive keys count towards the limit), then retry the job.",
    ))
}

impl SeenKeys {
    /// Fails if the key is in use, unless `force` is set. An inactive key is not in use.
    pub(super) fn spare_one_in_use(&self, key: &ListedKey, force: bool) -> Result<(), Fault> {
        if force || !self.in_use.contains(&key.id) {
            return Ok(());
        }
        Err(Fault::Blocked(JobError::new(
            JobErrorCode::KeyInUse,
            format!("Access key {key} is in use."),
            "Switch its users to another access key, then retry the job when the key has been unused for a while. To skip this check, repeat the request with force=true.",
        )))
    }
}

pub(super) fn on_again(key: &ListedKey) -> Fault {
    Fault::Blocked(JobError::new(
        JobErrorCode::KeyInUse,
        format!("Access key {key} was activated again, so it is retained."),
        "Rotate the credentials again, or delete the access key if it is no longer needed.",
    ))
}

pub(super) fn both_taken(user: &AppName, keys: &[&ListedKey]) -> Fault {
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    Fault::Blocked(JobError::new(
        JobErrorCode::QuotaExceeded,
        format!(
            "User {user} has two access keys, the maximum that AWS allows: {}.",
            keys.join("; ")
        ),
        "Delete an unused access key, or rotate with replace=<access key ID>.",
    ))
}

pub(super) fn gone_for_good(user: &AppName, id: &str) -> Fault {
    Fault::Rejected(JobError::new(
        JobErrorCode::Rejected,
        format!(
            "Access key {id} of user {user} no longer exists. AWS cannot restore a deleted access key."
        ),
        "To create a new access key, rotate the app's credentials.",
    ))
}

pub(super) fn no_user(user: &AppName) -> Fault {
    Fault::Blocked(JobError::new(
        JobErrorCode::Rejected,
        format!("User {user} does not exist."),
        "To create the user and an access key, repair the app.",
    ))
}

/// The fault of a change that does not find a listed key: only a later list shows whether the key is deleted.
pub(super) fn listed_but_not_found(cx: &ReconcileContext, error: AwsError) -> Fault {
    match error.kind {
        ErrorKind::NotFound => Fault::Wait {
            why: error.to_string(),
            after: cx.timing.poll_delay,
        },
        _ => error.into(),
    }
}
