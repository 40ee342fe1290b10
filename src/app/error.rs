//! Why a use case fails. `api::problem` turns each variant into a status and a problem document.

use crate::aws::AwsError;
use crate::domain::job::JobError;
use crate::domain::names::{AccountName, AppName};
use crate::domain::validation::FieldError;
use crate::oidc::VerifyError;
use crate::provision::export::Unseen;
use crate::store::{Refusal, StoreError};
use crate::vault::VaultError;

/// Why a use case fails.
#[derive(Debug, thiserror::Error)]
pub enum UseCaseError {
    /// Something that the request names does not exist.
    #[error("No such {0}.")]
    NoSuch(&'static str),
    /// The ID token is not exchanged.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// The caller's scope or role does not reach that far. Says how far it does.
    #[error("{0}")]
    OutOfScope(String),
    /// The person signed in too long ago.
    #[error("Your sign-in is older than five minutes.")]
    SignInAgain,
    /// The document in the request has invalid fields.
    #[error("One or more fields are invalid.")]
    Fields(Vec<FieldError>),
    /// The options of the request are invalid.
    #[error("One or more parameters are invalid.")]
    Options(Vec<FieldError>),
    /// The state of the app, its jobs or its rotation does not allow it.
    #[error("Refused: {0:?}")]
    Refused(Refusal),
    /// The app's spec forbids its removal.
    #[error("App {0} is protected from removal.")]
    Protected(AppName),
    /// The request deletes data and is not confirmed. Holds what would be deleted.
    #[error("This request deletes data: {}", .0.join(" "))]
    ConfirmationRequired(Vec<String>),
    /// The user has as many access keys as AWS allows. Holds a description of each.
    #[error("The user already has two access keys, the maximum that AWS allows: {}.", .0.join("; "))]
    NoKeySlot(Vec<String>),
    /// The access key is in use. Holds its description.
    #[error("The access key is in use: {0}.")]
    KeyInUse(String),
    /// No drift check has run for the app.
    #[error("App {0} has not been checked for drift yet.")]
    NoDriftReport(AppName),
    /// No drift check has run for the set-up of the account.
    #[error("The set-up of account {0} has not been checked for drift yet.")]
    NoSetupReport(AccountName),
    /// The secret was already claimed.
    #[error("The secret of this access key was already claimed. A secret is shown once.")]
    AlreadyClaimed,
    /// The secret was not claimed within seven days.
    #[error(
        "The secret of this access key was not claimed within seven days and has been destroyed."
    )]
    ClaimExpired,
    /// The access key was deleted before its secret was claimed.
    #[error(
        "The access key was deleted before its secret was claimed. The secret has been destroyed."
    )]
    KeyDeleted,
    /// The webhook is disabled. Holds why.
    #[error("The webhook is disabled: {0}")]
    WebhookDisabled(String),
    /// The plan to approve cannot be made now.
    #[error("The plan to approve cannot be made now: {}", .0.detail)]
    NoPlan(JobError),
    /// The first console password was already claimed.
    #[error(
        "The first console password of this person was already claimed. A password is shown once."
    )]
    PasswordClaimed,
    /// The first console password was not claimed within seven days.
    #[error(
        "The first console password of this person was not claimed within seven days and has been destroyed."
    )]
    PasswordExpired,
    /// AWS returned an error.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// A resource of the app cannot be read from AWS.
    #[error(transparent)]
    Unseen(#[from] Unseen),
    /// The database is not available.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A sealed secret cannot be decrypted.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A defect in Slipway.
    #[error("Internal server error.")]
    Defect,
}

impl From<Refusal> for UseCaseError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Why an ID token is not exchanged.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GrantError {
    /// The ID token is not valid, or was used.
    #[error("{0}")]
    Invalid(String),
    /// The issuer's keys cannot be fetched.
    #[error("The issuer's keys cannot be fetched now.")]
    Unavailable,
    /// The identity provider does not answer.
    #[error("The identity provider does not answer now.")]
    ProviderUnavailable,
    /// The request asks for another kind of grant.
    #[error(
        "The grant types are urn:ietf:params:oauth:grant-type:token-exchange and urn:ietf:params:oauth:grant-type:device_code."
    )]
    Type,
    /// The person has not signed in yet.
    #[error("The person has not signed in yet.")]
    Pending,
    /// The token is asked for too often.
    #[error("The token is asked for too often.")]
    SlowDown,
    /// The person did not sign in in time, or the code is none.
    #[error("The device code has expired, or was used before.")]
    Expired,
    /// The person may not, or has refused.
    #[error("{0}")]
    Denied(String),
}

impl From<VerifyError> for GrantError {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Unavailable => Self::Unavailable,
            error => Self::Invalid(error.to_string()),
        }
    }
}
