//! The identity of the service in AWS, and whether the service may use it.
//!
//! Invariants:
//! - Partition and account come from `GetCallerIdentity`, never from a literal.
//! - The root user is always rejected. Anything but an assumed role is rejected unless a setting allows it.

use aws_credential_types::credential_feature::AwsCredentialFeature as Feature;
use aws_credential_types::provider::ProvideCredentials;
use serde::{Deserialize, Serialize};
use strum::Display;
use utoipa::ToSchema;

use crate::aws::error::{AwsError, Service};
use crate::aws::retries::{Attempts, MAX_THROTTLE_WAIT};
use crate::domain::names::{Region, RepositoryName, RoleArn};

/// The source of the credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Display, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Provider {
    /// The EC2 instance metadata service, version 2.
    Imds,
    /// Environment variables, with keys or a web identity token.
    Environment,
    /// A profile in the shared config and credentials files.
    Profile,
    /// The container credentials endpoint of ECS or EKS.
    Container,
    /// A role that the service assumes in a registered account.
    AssumedRole,
    /// Another provider of the SDK.
    Other,
}

/// The kind of principal in an ARN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display)]
#[strum(serialize_all = "snake_case")]
pub enum Principal {
    /// A session of an assumed role, as on an instance or in a container.
    AssumedRole,
    /// The account's root user.
    Root,
    /// An IAM user, or anything else.
    User,
}

/// The AWS identity of the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Identity {
    /// The source of the credentials.
    pub provider: Provider,
    /// The ARN of the caller.
    #[schema(example = "arn:aws:sts::123456789012:assumed-role/slipway/i-0abc")]
    pub arn: String,
    /// The account ID, 12 digits.
    #[schema(example = "123456789012")]
    pub account: String,
    /// The ARN partition.
    #[schema(example = "aws")]
    pub partition: String,
    /// The region of the service.
    #[schema(value_type = Option<String>, example = "us-west-2")]
    pub region: Option<Region>,
}

/// Why the service cannot use its identity. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The default provider chain found no credentials.
    #[error(
        "no AWS credentials found ({0}). On EC2, attach an instance profile; in a container on EC2, give the \
         metadata service a hop limit of 2 (aws ec2 modify-instance-metadata-options --http-put-response-hop-limit 2); \
         on ECS, set a task role"
    )]
    NoCredentials(String),
    /// STS rejected the credentials or could not be reached.
    #[error(
        "cannot determine the AWS identity of the service: {0}. Check the role, the region and the network route to STS"
    )]
    Refused(#[from] AwsError),
    /// The response was not a valid identity.
    #[error("cannot parse the AWS identity of the service: {0}")]
    Unreadable(String),
    /// The credentials of the root user.
    #[error(
        "{0} is the root user of the account. Slipway does not run as the root user. Delete the root user's access keys and run Slipway with a role"
    )]
    Root(String),
    /// The identity is not an assumed role.
    #[error(
        "{0} is not an assumed role. Run Slipway with an instance role or a task role, or, for a trial, set SLIPWAY_ALLOW_USER_CREDENTIALS=true"
    )]
    NotARole(String),
}

impl Identity {
    /// Gets credentials from the default provider chain and their identity from STS.
    ///
    /// # Errors
    /// When there are no credentials, or STS rejects them.
    pub async fn of(
        config: &aws_config::SdkConfig,
        sts: &aws_sdk_sts::Client,
        region: Option<Region>,
    ) -> Result<Self, IdentityError> {
        let none = || IdentityError::NoCredentials("the provider chain is empty".into());
        let provider = config.credentials_provider().ok_or_else(none)?;
        let credentials = provider
            .provide_credentials()
            .await
            .map_err(|error| IdentityError::NoCredentials(said(&error)))?;
        let features = credentials
            .get_property::<Vec<Feature>>()
            .cloned()
            .unwrap_or_default();
        let (answer, _) = Attempts::of(MAX_THROTTLE_WAIT, sts.get_caller_identity().send()).await;
        let answer =
            answer.map_err(|error| AwsError::of(Service::Sts, "GetCallerIdentity", &error))?;
        let (Some(arn), Some(account)) = (answer.arn, answer.account) else {
            return Err(IdentityError::Unreadable("no ARN or account".into()));
        };
        let partition = arn.split(':').nth(1).filter(|p| !p.is_empty());
        let partition = partition
            .ok_or_else(|| IdentityError::Unreadable(arn.clone()))?
            .to_owned();
        Ok(Self {
            provider: provider_of(&features),
            arn,
            account,
            partition,
            region,
        })
    }

    /// Returns this identity if the service may use it.
    ///
    /// # Errors
    /// Always for the root user. For anything but an assumed role unless `allow_users`.
    pub fn permitted(self, allow_users: bool) -> Result<Self, IdentityError> {
        match principal(&self.arn) {
            Principal::Root => Err(IdentityError::Root(self.arn)),
            Principal::User if !allow_users => Err(IdentityError::NotARole(self.arn)),
            Principal::AssumedRole | Principal::User => Ok(self),
        }
    }

    /// The ARN of the role of the session, without the role's path, which the ARN of a session does not show. `None` if
    /// this is no assumed role.
    pub fn assumed_role(&self) -> Option<String> {
        let (_, session) = self.arn.split_once(":assumed-role/")?;
        let role = session.split('/').next()?;
        Some(format!(
            "arn:{}:iam::{}:role/{role}",
            self.partition, self.account
        ))
    }

    /// Whether this is a session of the role, whatever the role's path.
    pub fn is_session_of(&self, role: &RoleArn) -> bool {
        let without_path = format!(
            "arn:{}:iam::{}:role/{}",
            role.partition(),
            role.account_id(),
            role.role_name()
        );
        self.assumed_role() == Some(without_path)
    }

    /// The URI to push images of a repository to (Amazon ECR User Guide, "Private registry").
    pub fn repository_uri(&self, region: &Region, repository: &RepositoryName) -> String {
        repository_uri(&self.partition, &self.account, region, repository)
    }
}

/// The URI to push images of a repository to (Amazon ECR User Guide, "Private registry").
pub fn repository_uri(
    partition: &str,
    account_id: &str,
    region: &Region,
    repository: &RepositoryName,
) -> String {
    let domain = if partition == "aws-cn" {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    format!("{account_id}.dkr.ecr.{region}.{domain}/{repository}")
}

/// The kind of principal in an ARN (IAM User Guide, "IAM identifiers").
pub fn principal(arn: &str) -> Principal {
    let mut parts = arn.splitn(6, ':').skip(2);
    let (service, resource) = (
        parts.next().unwrap_or_default(),
        parts.nth(2).unwrap_or_default(),
    );
    match (service, resource) {
        (_, "root") => Principal::Root,
        ("sts", role) if role.starts_with("assumed-role/") => Principal::AssumedRole,
        _ => Principal::User,
    }
}

/// The provider of the credentials. A provider that a profile or the environment selects counts as that.
fn provider_of(features: &[Feature]) -> Provider {
    let has = |wanted: &[Feature]| features.iter().any(|feature| wanted.contains(feature));
    if has(&[
        Feature::CredentialsProfile,
        Feature::CredentialsProfileSourceProfile,
        Feature::CredentialsProfileNamedProvider,
        Feature::CredentialsProfileStsWebIdToken,
        Feature::CredentialsProfileProcess,
    ]) {
        Provider::Profile
    } else if has(&[
        Feature::CredentialsEnvVars,
        Feature::CredentialsEnvVarsStsWebIdToken,
    ]) {
        Provider::Environment
    } else if has(&[Feature::CredentialsImds]) {
        Provider::Imds
    } else if has(&[Feature::CredentialsHttp]) {
        Provider::Container
    } else {
        Provider::Other
    }
}

/// An error with its causes, outermost first.
fn said(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |e| e.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(arn: &str) -> Identity {
        let account = "123456789012".to_owned();
        Identity {
            provider: Provider::Imds,
            arn: arn.into(),
            account,
            partition: "aws".into(),
            region: None,
        }
    }

    #[test]
    fn roles_are_taken_users_only_when_allowed_and_root_never() {
        let role = "arn:aws:sts::123456789012:assumed-role/slipway/i-0abc";
        let user = "arn:aws-us-gov:iam::123456789012:user/ann";
        let root = "arn:aws:iam::123456789012:root";
        for allow in [false, true] {
            assert!(identity(role).permitted(allow).is_ok());
            assert_eq!(identity(user).permitted(allow).is_ok(), allow);
            assert!(matches!(
                identity(root).permitted(allow),
                Err(IdentityError::Root(_))
            ));
        }
        let told = identity(user).permitted(false).unwrap_err().to_string();
        assert!(
            told.contains("SLIPWAY_ALLOW_USER_CREDENTIALS=true"),
            "{told}"
        );
        assert_eq!(
            principal("arn:aws:iam::123456789012:user/assumed-role/x"),
            Principal::User
        );
        assert_eq!(principal("nonsense"), Principal::User);
    }
}
