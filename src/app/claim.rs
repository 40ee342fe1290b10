//! Claims the secret of an access key, once.

use std::sync::Arc;

use secrecy::SecretString;

use crate::app::error::UseCaseError;
use crate::app::find::{account, any_app};
use crate::app::service::Service;
use crate::app::sessions::require_recent_sign_in;
use crate::app::verify_key::start_verification;
use crate::aws::Account;
use crate::domain::access_key::Readiness;
use crate::domain::app::App;
use crate::domain::caller::Caller;
use crate::domain::job::RepositoryResult;
use crate::domain::names::{AccessKeyId, AppName};
use crate::provision::environment::environment;
use crate::provision::render::dotenv::{Environment, Secret, Variables};
use crate::store::{ClaimAnswer, CredentialRow, fingerprint};

/// A claimed secret, with what the app needs to use it.
pub struct ClaimedSecret {
    /// The access key's id.
    pub access_key_id: String,
    /// The secret access key.
    pub secret: SecretString,
    /// The app's region.
    pub region: String,
    /// The app's buckets.
    pub buckets: Vec<String>,
    /// The app's image repositories.
    pub repositories: Vec<RepositoryResult>,
    /// The app's resources, by the environment variables of their kinds.
    pub resources: Vec<(Variables, Vec<String>)>,
    /// Whether AWS has been seen to accept the key.
    pub readiness: Readiness,
}

/// The path of the API at which the secret of an access key can be claimed.
pub fn claim_path(app: &AppName, access_key_id: &str) -> String {
    format!("/v1/apps/{app}/credentials/{access_key_id}/claim")
}

/// Claims the secret of an access key. With the same `repeat_key`, the same caller can repeat it for ten minutes.
///
/// # Errors
/// When there is no such app or key, the secret was claimed or destroyed before, or it cannot be decrypted.
pub async fn claim(
    service: &Arc<Service>,
    caller: &Caller,
    name: &AppName,
    access_key: &AccessKeyId,
    repeat_key: Option<&str>,
) -> Result<ClaimedSecret, UseCaseError> {
    require_recent_sign_in(service, caller)?;
    let app = any_app(service, name).await?;
    let repeat = repeat_key.map(|text| fingerprint(&[caller.id.as_bytes(), text.as_bytes()]));
    // Decrypt before claiming: a secret that cannot be decrypted must stay claimable.
    let answer = service
        .store
        .sealed_secret(app.id, access_key.as_str(), caller, repeat.clone())
        .await?;
    let (row, sealed) = claimable(answer)?;
    let secret = row.open(&service.vault, &sealed)?;
    let account = account(service, &app.spec.account).await?;
    let resources = environment(&app.spec, &service.conventions(&account));
    let answer = service
        .store
        .claim_secret(app.id, access_key.as_str(), caller, repeat)
        .await?;
    let (row, _) = claimable(answer)?;
    // A secret that is claimed at once is destroyed before the task `verify_keys` sees it.
    if row.readiness == Readiness::Unverified {
        start_verification(service, row.clone(), secret.clone());
    }
    tracing::info!(app = %app.spec.name, access_key_id = row.access_key_id, by = caller.name, "secret claimed");
    Ok(claimed(&account, &app, &row, secret, resources))
}

fn claimable(answer: ClaimAnswer) -> Result<(CredentialRow, Vec<u8>), UseCaseError> {
    match answer {
        ClaimAnswer::Sealed(row, sealed) => Ok((*row, sealed)),
        ClaimAnswer::NoKey => Err(UseCaseError::NoSuch("access key")),
        ClaimAnswer::Claimed(_) => Err(UseCaseError::AlreadyClaimed),
        ClaimAnswer::Expired => Err(UseCaseError::ClaimExpired),
        ClaimAnswer::Gone => Err(UseCaseError::KeyDeleted),
    }
}

fn claimed(
    account: &Account,
    app: &App,
    row: &CredentialRow,
    secret: SecretString,
    resources: Vec<(Variables, Vec<String>)>,
) -> ClaimedSecret {
    let identity = account.identity();
    let repositories = app
        .spec
        .repositories
        .iter()
        .map(|repository| RepositoryResult {
            name: repository.name.to_string(),
            uri: identity.repository_uri(&repository.region, &repository.name),
        });
    let buckets = app
        .spec
        .buckets
        .iter()
        .map(|bucket| bucket.name.to_string());
    ClaimedSecret {
        access_key_id: row.access_key_id.clone(),
        secret,
        region: app.spec.region.to_string(),
        buckets: buckets.collect(),
        repositories: repositories.collect(),
        resources,
        readiness: row.readiness,
    }
}

impl ClaimedSecret {
    /// The lines of an environment file.
    pub fn dotenv(&self) -> String {
        let environment = Environment {
            access_key_id: Some(&self.access_key_id),
            secret: Secret::Shown(&self.secret),
            region: &self.region,
            resources: &self.resources,
        };
        environment.dotenv()
    }
}
