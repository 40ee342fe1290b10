//! Claims the first console password of a person, once.

use std::sync::Arc;

use secrecy::SecretString;

use crate::app::error::UseCaseError;
use crate::app::service::Service;
use crate::app::sessions::require_recent_sign_in;
use crate::app::setup::find::setup;
use crate::aws::Account;
use crate::domain::caller::Caller;
use crate::domain::console_password::newest;
use crate::domain::names::{AccountName, AppName};
use crate::store::{ClaimAnswer, fingerprint};

/// A claimed password, with what the person needs to sign in.
pub struct ClaimedPassword {
    /// The name of the IAM user.
    pub user: String,
    pub password: SecretString,
    /// The sign-in page of the account.
    pub sign_in_url: String,
}

/// The path of the API at which the password of a person can be claimed.
pub fn claim_path(account: &AccountName, person: &AppName) -> String {
    format!("/v1/accounts/{account}/setup/people/{person}/claim")
}

/// Claims the first console password of a person. With the same `repeat_key`, the same caller can repeat it for ten
/// minutes.
///
/// # Errors
/// When there is no such account, set-up, person or password, or it was claimed or destroyed before.
pub async fn claim(
    service: &Arc<Service>,
    caller: &Caller,
    name: &AccountName,
    person: &AppName,
    repeat_key: Option<&str>,
) -> Result<ClaimedPassword, UseCaseError> {
    require_recent_sign_in(service, caller)?;
    let found = setup(service, name).await?;
    let passwords = service.store.password_records(found.record.id).await?;
    let password = newest(&passwords, person).ok_or(UseCaseError::NoSuch("console password"))?;
    let repeat = repeat_key.map(|text| fingerprint(&[caller.id.as_bytes(), text.as_bytes()]));
    let (app, credential) = (found.record.id, password.credential.as_str());
    // Decrypt before claiming: a password that cannot be decrypted must stay claimable.
    let answer = service
        .store
        .sealed_secret(app, credential, caller, repeat.clone())
        .await?;
    let (row, sealed) = claimable(answer)?;
    let secret = row.open(&service.vault, &sealed)?;
    let answer = service
        .store
        .claim_secret(app, credential, caller, repeat)
        .await?;
    claimable(answer)?;
    tracing::info!(account = %name, person = %password.person, by = caller.name, "console password claimed");
    let setup = found.setup();
    let alias = setup.and_then(|setup| setup.spec.alias.as_ref());
    Ok(ClaimedPassword {
        user: password.person.to_string(),
        password: secret,
        sign_in_url: sign_in_url(&found.account, alias.map(AsRef::as_ref)),
    })
}

fn claimable(answer: ClaimAnswer) -> Result<(crate::store::CredentialRow, Vec<u8>), UseCaseError> {
    match answer {
        ClaimAnswer::Sealed(row, sealed) => Ok((*row, sealed)),
        ClaimAnswer::NoKey | ClaimAnswer::Gone => Err(UseCaseError::NoSuch("console password")),
        ClaimAnswer::Claimed(_) => Err(UseCaseError::PasswordClaimed),
        ClaimAnswer::Expired => Err(UseCaseError::PasswordExpired),
    }
}

/// The sign-in page (IAM User Guide, "How IAM users sign in to AWS").
fn sign_in_url(account: &Account, alias: Option<&str>) -> String {
    let identity = account.identity();
    let name = alias.unwrap_or(&identity.account);
    match identity.partition.as_str() {
        "aws-cn" => format!("https://{name}.signin.amazonaws.cn/console"),
        "aws-us-gov" => format!("https://{name}.signin.amazonaws-us-gov.com/console"),
        _ => format!("https://{name}.signin.aws.amazon.com/console"),
    }
}
