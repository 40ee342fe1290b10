//! Credentials of a role in a registered account.
//!
//! Invariants:
//! - The role is assumed with the account's external ID, always.
//! - A session lasts at most an hour: AWS refuses longer ones of a chained role, and the service's own role is one
//!   already (STS API Reference, AssumeRole).
//! - One session serves all clients of an account. Its name, source identity and tags are those of the job that needed
//!   it first, so that the account's CloudTrail leads to Slipway's audit.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{
    self, ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future,
};
use aws_sdk_sts::types::Tag;

use crate::aws::account::Account;
use crate::aws::error::{AssumeRoleError, AwsError, Service};
use crate::domain::account::RegisteredAccount;
use crate::domain::names::RoleArn;

/// The longest session of a chained role.
const SESSION_SECONDS: i32 = 3600;
/// STS accepts session names and source identities of 2 to 64 characters.
const MAX_NAME: usize = 64;

tokio::task_local! {
    static SESSION: SessionLabel;
}

/// On whose behalf AWS is called: what CloudTrail shows of a session.
#[derive(Debug, Clone)]
pub struct SessionLabel {
    /// The app of the job.
    pub app: String,
    /// The job.
    pub job: String,
    /// Who requested the job.
    pub requested_by: String,
}

impl SessionLabel {
    /// Runs a job's work. Sessions that it starts are labeled.
    pub async fn around<T>(self, work: impl Future<Output = T>) -> T {
        SESSION.scope(self, work).await
    }
}

/// What an AssumeRole says of itself.
#[derive(Debug, Clone, Copy)]
pub enum Session<'a> {
    /// On behalf of somebody.
    Labeled(&'a SessionLabel),
    /// For the service's own looks.
    Service,
    /// Nothing: as somebody else would assume the role.
    Bare,
}

/// A registered account, reached from the service's own. AWS is called only when the account is used.
pub fn registered_account(own: &Arc<Account>, registration: &RegisteredAccount) -> Account {
    let role = AssumedRole {
        own: own.clone(),
        role_arn: registration.settings.role_arn.clone(),
        external_id: registration.external_id.clone(),
    };
    own.with_credentials(SharedCredentialsProvider::new(role), registration)
}

/// A role in a registered account, which the service's own identity assumes.
#[derive(Debug)]
struct AssumedRole {
    own: Arc<Account>,
    role_arn: RoleArn,
    external_id: String,
}

impl AssumedRole {
    async fn credentials(&self) -> provider::Result {
        let label = SESSION.try_with(Clone::clone).ok();
        let session = label.as_ref().map_or(Session::Service, Session::Labeled);
        assume(&self.own, &self.role_arn, Some(&self.external_id), session)
            .await
            .map_err(|error| {
                CredentialsError::provider_error(AssumeRoleError {
                    role_arn: self.role_arn.clone(),
                    error,
                })
            })
    }
}

impl ProvideCredentials for AssumedRole {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

/// Assumes a role once.
///
/// # Errors
/// When AWS refuses, or cannot be reached.
pub async fn assume(
    own: &Account,
    role_arn: &RoleArn,
    external_id: Option<&str>,
    session: Session<'_>,
) -> Result<Credentials, AwsError> {
    let call = own
        .sts()
        .assume_role()
        .role_arn(role_arn.as_str())
        .role_session_name(session.name())
        .set_source_identity(session.source_identity())
        .set_external_id(external_id.map(str::to_owned))
        .set_tags(session.tags())
        .duration_seconds(SESSION_SECONDS);
    let answer = own.call(Service::Sts, "AssumeRole", call.send()).await?;
    let credentials = answer
        .credentials
        .ok_or_else(|| AwsError::unreadable(Service::Sts, "AssumeRole"))?;
    let expiry = SystemTime::UNIX_EPOCH
        + Duration::from_secs(credentials.expiration.secs().try_into().unwrap_or_default());
    Ok(Credentials::new(
        credentials.access_key_id,
        credentials.secret_access_key,
        Some(credentials.session_token),
        Some(expiry),
        "AssumeRole",
    ))
}

impl Session<'_> {
    fn name(self) -> String {
        named(&format!(
            "slipway-{}",
            match self {
                Self::Labeled(label) => &label.job,
                Self::Service | Self::Bare => "service",
            }
        ))
    }

    fn source_identity(self) -> Option<String> {
        match self {
            Self::Labeled(label) => Some(named(&label.requested_by)),
            Self::Service => Some("slipway".to_owned()),
            Self::Bare => None,
        }
    }

    fn tags(self) -> Option<Vec<Tag>> {
        let Self::Labeled(label) = self else {
            return None;
        };
        let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build().ok();
        let tags = [
            tag("slipway:app", &label.app),
            tag("slipway:job", &label.job),
        ];
        Some(tags.into_iter().flatten().collect())
    }
}

/// A text as STS accepts it in names: letters, digits and `_+=,.@-`, 2 to 64 of them.
fn named(text: &str) -> String {
    let accepted = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    let name: String = text
        .chars()
        .map(|c| if accepted(c) { c } else { '-' })
        .take(MAX_NAME)
        .collect();
    match name.len() {
        0 | 1 => format!("{name}--"),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_named_as_sts_accepts_it() {
        let label = |requested_by: &str| SessionLabel {
            app: "acme".into(),
            job: "01M7ZZKNCN0FX83X9J2XV56WYP".into(),
            requested_by: requested_by.into(),
        };
        assert_eq!(
            Session::Labeled(&label("ann")).name(),
            "slipway-01M7ZZKNCN0FX83X9J2XV56WYP"
        );
        assert_eq!(Session::Service.name(), "slipway-service");
        for (given, sent) in [
            ("ann", "ann"),
            ("Änn's bot/2", "-nn-s-bot-2"),
            ("", "--"),
            ("a", "a--"),
            (&"x".repeat(70), &"x".repeat(64)),
        ] {
            assert_eq!(
                Session::Labeled(&label(given)).source_identity().as_deref(),
                Some(sent)
            );
        }
    }
}
