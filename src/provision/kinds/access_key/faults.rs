//! Why an access key cannot be made, changed or deleted, and what to do.

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
    Fault::Blocked(JobError {
        code: JobErrorCode::CredentialInDoubt,
        detail: format!(
            "The response to CreateAccessKey for user {user} was lost. Access key {ids} may be the new key, but {reason}."
        ),
        remedy: Some(format!(
            "Find out whether {ids} is in use. If it is not, delete it (aws iam delete-access-key), then retry the job."
        )),
        retryable: false,
        aws: None,
    })
}

pub(super) fn not_recorded(user: &AppName, ids: &str) -> Fault {
    Fault::Blocked(JobError {
        code: JobErrorCode::CredentialInDoubt,
        detail: format!(
            "User {user} has active access key {ids}, of which Slipway has no record. It was created outside Slipway, or by Slipway after the database backup that was restored."
        ),
        remedy: Some(format!(
            "Find out whether {ids} is in use. If it is not, delete it (aws iam delete-access-key), then retry the job. If it is, rotate the app's credentials with force=true to create a second key, and delete {ids} when it is no longer used."
        )),
        retryable: false,
        aws: None,
    })
}

pub(super) fn no_slot(user: &AppName, keys: &[String]) -> Fault {
    Fault::Blocked(JobError {
        code: JobErrorCode::QuotaExceeded,
        detail: format!(
            "User {user} has two access keys whose secrets Slipway does not have: {}.",
            keys.join(", ")
        ),
        remedy: Some(
            "Delete an unused access key (inactive keys count towards the limit), then retry the job.".into(),
        ),
        retryable: false,
        aws: None,
    })
}

impl SeenKeys {
    /// A key that is in use is not deactivated, unless that is forced. An inactive key is not in use.
    pub(super) fn spare_one_in_use(&self, key: &ListedKey, force: bool) -> Result<(), Fault> {
        if force || !self.in_use.contains(&key.id) {
            return Ok(());
        }
        Err(Fault::Blocked(JobError {
            code: JobErrorCode::KeyInUse,
            detail: format!("Access key {key} is in use."),
            remedy: Some(
                "Switch its users to another access key, then retry the job when the key has been unused for a while. To skip this check, repeat the request with force=true.".into(),
            ),
            retryable: false,
            aws: None,
        }))
    }
}

pub(super) fn on_again(key: &ListedKey) -> Fault {
    Fault::Blocked(JobError {
        code: JobErrorCode::KeyInUse,
        detail: format!("Access key {key} was activated again, so it is retained."),
        remedy: Some(
            "Rotate the credentials again, or delete the access key if it is no longer needed."
                .into(),
        ),
        retryable: false,
        aws: None,
    })
}

pub(super) fn both_taken(user: &AppName, keys: &[&ListedKey]) -> Fault {
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    Fault::Blocked(JobError {
        code: JobErrorCode::QuotaExceeded,
        detail: format!(
            "User {user} has two access keys, the maximum that AWS allows: {}.",
            keys.join("; ")
        ),
        remedy: Some("Delete an unused access key, or rotate with replace=<access key ID>.".into()),
        retryable: false,
        aws: None,
    })
}

pub(super) fn gone_for_good(user: &AppName, id: &str) -> Fault {
    Fault::Rejected(JobError {
        code: JobErrorCode::Rejected,
        detail: format!(
            "Access key {id} of user {user} no longer exists. AWS cannot restore a deleted access key."
        ),
        remedy: Some("To create a new access key, rotate the app's credentials.".into()),
        retryable: false,
        aws: None,
    })
}

pub(super) fn no_user(user: &AppName) -> Fault {
    Fault::Blocked(JobError {
        code: JobErrorCode::Rejected,
        detail: format!("User {user} does not exist."),
        remedy: Some("To create the user and an access key, repair the app.".into()),
        retryable: false,
        aws: None,
    })
}

/// What the list showed and a change does not find: only later lists tell whether it is gone.
pub(super) fn listed_but_not_found(cx: &ReconcileContext, error: AwsError) -> Fault {
    match error.kind {
        ErrorKind::NotFound => Fault::Wait {
            why: error.to_string(),
            after: cx.timing.poll_delay,
        },
        _ => error.into(),
    }
}
