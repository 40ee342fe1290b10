//! What has to be removed before an IAM user can be deleted (IAM User Guide, "Removing or deactivating an IAM user").
//!
//! Invariants:
//! - Each is taken away by one call, and one that is gone already is taken away.
//! - What the role needs for them is said by the kind `iam:user`, whose changes they are.
//! - Those that hardly any app's user has are looked for only once AWS has refused to delete the user.

use futures::future::try_join;

use crate::aws::Service;
use crate::domain::names::AppName;
use crate::provision::change::Applied;
use crate::provision::context::ReconcileContext;
use crate::provision::fault::{Fault, found};
use crate::provision::ids;
use crate::provision::render::shell_words;
use crate::provision::user_keys;

/// A dependency of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserDependency {
    /// A password for the console.
    LoginProfile,
    /// An access key, by its id.
    AccessKey(String),
    /// An MFA device, by its serial number. A virtual one stays in the account.
    MfaDevice(String),
    /// A policy written on the user itself, by its name.
    InlinePolicy(String),
    /// An attached policy, by its ARN.
    Attachment(String),
    /// A group that the user is in, by its name.
    Group(String),
    /// A certificate that signs requests, by its id.
    SigningCertificate(String),
    /// A public key for CodeCommit, by its id.
    SshPublicKey(String),
    /// Credentials for one service, by their id.
    ServiceCredential(String),
}

impl UserDependency {
    /// The text of the change that removes it from `user`.
    pub fn removal(&self, user: &AppName) -> String {
        match self {
            Self::LoginProfile => format!("delete the console password of user {user}"),
            Self::AccessKey(id) => format!("delete access key {id} of user {user}"),
            Self::MfaDevice(serial) => format!("deactivate MFA device {serial} of user {user}"),
            Self::InlinePolicy(name) => format!("delete inline policy {name} of user {user}"),
            Self::Attachment(arn) => format!("detach policy {arn} from user {user}"),
            Self::Group(name) => format!("remove user {user} from group {name}"),
            Self::SigningCertificate(id) => {
                format!("delete signing certificate {id} of user {user}")
            }
            Self::SshPublicKey(id) => format!("delete SSH public key {id} of user {user}"),
            Self::ServiceCredential(id) => {
                format!("delete service-specific credential {id} of user {user}")
            }
        }
    }

    /// The command that a person would type to take it from `user`.
    pub fn aws_cli(&self, user: &AppName) -> String {
        let (command, option) = match self {
            Self::LoginProfile => ("delete-login-profile", None),
            Self::AccessKey(id) => ("delete-access-key", Some(("access-key-id", id))),
            Self::MfaDevice(serial) => ("deactivate-mfa-device", Some(("serial-number", serial))),
            Self::InlinePolicy(name) => ("delete-user-policy", Some(("policy-name", name))),
            Self::Attachment(arn) => ("detach-user-policy", Some(("policy-arn", arn))),
            Self::Group(name) => ("remove-user-from-group", Some(("group-name", name))),
            Self::SigningCertificate(id) => {
                ("delete-signing-certificate", Some(("certificate-id", id)))
            }
            Self::SshPublicKey(id) => ("delete-ssh-public-key", Some(("ssh-public-key-id", id))),
            Self::ServiceCredential(id) => (
                "delete-service-specific-credential",
                Some(("service-specific-credential-id", id)),
            ),
        };
        let option = option
            .map(|(name, value)| format!(" --{name} {}", shell_words::word(value)))
            .unwrap_or_default();
        format!(
            "aws iam {command} --user-name {}{option}",
            shell_words::word(user.as_str())
        )
    }

    /// Takes it from `user`.
    ///
    /// # Errors
    /// What AWS refused.
    pub async fn take(&self, cx: &ReconcileContext, user: &AppName) -> Result<Applied, Fault> {
        let (iam, user) = (cx.account.iam(), user.as_str());
        match self {
            Self::LoginProfile => Applied::gone(
                cx.call(
                    Service::Iam,
                    "DeleteLoginProfile",
                    iam.delete_login_profile().user_name(user).send(),
                )
                .await,
            ),
            Self::AccessKey(id) => {
                let call = iam
                    .delete_access_key()
                    .user_name(user)
                    .access_key_id(id)
                    .send();
                Applied::gone(cx.call(Service::Iam, "DeleteAccessKey", call).await)
            }
            Self::MfaDevice(serial) => {
                let call = iam
                    .deactivate_mfa_device()
                    .user_name(user)
                    .serial_number(serial)
                    .send();
                Applied::gone(cx.call(Service::Iam, "DeactivateMFADevice", call).await)
            }
            Self::InlinePolicy(name) => {
                let call = iam
                    .delete_user_policy()
                    .user_name(user)
                    .policy_name(name)
                    .send();
                Applied::gone(cx.call(Service::Iam, "DeleteUserPolicy", call).await)
            }
            Self::Attachment(arn) => {
                let call = iam
                    .detach_user_policy()
                    .user_name(user)
                    .policy_arn(arn)
                    .send();
                Applied::gone(cx.call(Service::Iam, "DetachUserPolicy", call).await)
            }
            Self::Group(name) => {
                let call = iam
                    .remove_user_from_group()
                    .user_name(user)
                    .group_name(name)
                    .send();
                Applied::gone(cx.call(Service::Iam, "RemoveUserFromGroup", call).await)
            }
            Self::SigningCertificate(id) => {
                let call = iam
                    .delete_signing_certificate()
                    .user_name(user)
                    .certificate_id(id)
                    .send();
                Applied::gone(
                    cx.call(Service::Iam, "DeleteSigningCertificate", call)
                        .await,
                )
            }
            Self::SshPublicKey(id) => {
                let call = iam
                    .delete_ssh_public_key()
                    .user_name(user)
                    .ssh_public_key_id(id)
                    .send();
                Applied::gone(cx.call(Service::Iam, "DeleteSSHPublicKey", call).await)
            }
            Self::ServiceCredential(id) => {
                let call = iam
                    .delete_service_specific_credential()
                    .user_name(user)
                    .service_specific_credential_id(id)
                    .send();
                Applied::gone(
                    cx.call(Service::Iam, "DeleteServiceSpecificCredential", call)
                        .await,
                )
            }
        }
    }
}

/// All dependencies of `user`, in the order in which they are removed.
///
/// # Errors
/// What AWS refused.
pub async fn of(cx: &ReconcileContext, user: &AppName) -> Result<Vec<UserDependency>, Fault> {
    let (mut all, policies) =
        try_join(credentials(cx, user), policies_and_groups(cx, user)).await?;
    all.extend(policies);
    if cx.is_in_use(&ids::user(user)) {
        all.extend(rare(cx, user).await?);
    }
    Ok(all)
}

async fn credentials(cx: &ReconcileContext, user: &AppName) -> Result<Vec<UserDependency>, Fault> {
    let (iam, name) = (cx.account.iam(), user.as_str());
    let profile = found(
        cx.call(
            Service::Iam,
            "GetLoginProfile",
            iam.get_login_profile().user_name(name).send(),
        )
        .await,
    )?;
    let keys = found(user_keys::list(cx, user).await)?.unwrap_or_default();
    // A user has eight MFA devices at most (IAM quotas), so there is one page.
    let devices = found(
        cx.call(
            Service::Iam,
            "ListMFADevices",
            iam.list_mfa_devices().user_name(name).send(),
        )
        .await,
    )?;
    let mut all: Vec<UserDependency> = profile
        .map(|_| UserDependency::LoginProfile)
        .into_iter()
        .collect();
    all.extend(
        keys.into_iter()
            .map(|key| UserDependency::AccessKey(key.id)),
    );
    let devices = devices.map(|answer| answer.mfa_devices).unwrap_or_default();
    all.extend(
        devices
            .into_iter()
            .map(|device| UserDependency::MfaDevice(device.serial_number)),
    );
    Ok(all)
}

async fn policies_and_groups(
    cx: &ReconcileContext,
    user: &AppName,
) -> Result<Vec<UserDependency>, Fault> {
    let (iam, user) = (cx.account.iam(), user.as_str());
    let mut all = Vec::new();
    let mut marker = None;
    loop {
        let call = iam
            .list_user_policies()
            .user_name(user)
            .set_marker(marker)
            .send();
        let Some(page) = found(cx.call(Service::Iam, "ListUserPolicies", call).await)? else {
            break;
        };
        all.extend(
            page.policy_names
                .into_iter()
                .map(UserDependency::InlinePolicy),
        );
        marker = page.marker;
        if marker.is_none() {
            break;
        }
    }
    // Twenty managed policies and ten groups at most (IAM quotas), so there is one page of each.
    let attached = cx
        .call(
            Service::Iam,
            "ListAttachedUserPolicies",
            iam.list_attached_user_policies().user_name(user).send(),
        )
        .await;
    let attached = found(attached)?
        .and_then(|answer| answer.attached_policies)
        .unwrap_or_default();
    all.extend(
        attached
            .into_iter()
            .filter_map(|policy| policy.policy_arn)
            .map(UserDependency::Attachment),
    );
    let groups = found(
        cx.call(
            Service::Iam,
            "ListGroupsForUser",
            iam.list_groups_for_user().user_name(user).send(),
        )
        .await,
    )?;
    let groups = groups.map(|answer| answer.groups).unwrap_or_default();
    all.extend(
        groups
            .into_iter()
            .map(|group| UserDependency::Group(group.group_name)),
    );
    Ok(all)
}

async fn rare(cx: &ReconcileContext, user: &AppName) -> Result<Vec<UserDependency>, Fault> {
    let (iam, user) = (cx.account.iam(), user.as_str());
    let certificates = cx
        .call(
            Service::Iam,
            "ListSigningCertificates",
            iam.list_signing_certificates().user_name(user).send(),
        )
        .await;
    let ssh = cx
        .call(
            Service::Iam,
            "ListSSHPublicKeys",
            iam.list_ssh_public_keys().user_name(user).send(),
        )
        .await;
    let call = iam
        .list_service_specific_credentials()
        .user_name(user)
        .send();
    let service = cx
        .call(Service::Iam, "ListServiceSpecificCredentials", call)
        .await;
    let certificates = found(certificates)?
        .map(|answer| answer.certificates)
        .unwrap_or_default();
    let mut all: Vec<UserDependency> = certificates
        .into_iter()
        .map(|it| UserDependency::SigningCertificate(it.certificate_id))
        .collect();
    let ssh = found(ssh)?
        .and_then(|answer| answer.ssh_public_keys)
        .unwrap_or_default();
    all.extend(
        ssh.into_iter()
            .map(|key| UserDependency::SshPublicKey(key.ssh_public_key_id)),
    );
    let service = found(service)?
        .and_then(|answer| answer.service_specific_credentials)
        .unwrap_or_default();
    all.extend(
        service
            .into_iter()
            .map(|it| UserDependency::ServiceCredential(it.service_specific_credential_id)),
    );
    Ok(all)
}
