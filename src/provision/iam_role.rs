//! The roles of an app as AWS shows them, for all kinds whose resources belong to a role.

use crate::aws::Service;
use crate::domain::iam_policy::is_aws_managed;
use crate::domain::resource_id::ResourceId;
use crate::domain::trust_policy::TrustPolicy;
use crate::provision::change::{Applied, Observation, Want};
use crate::provision::context::ReconcileContext;
use crate::provision::fault::{Fault, found};
use crate::provision::ids;
use crate::provision::ownership::{self, Provenance};
use crate::provision::render::shell_words;
use crate::provision::tags::Tags;

/// A role as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenRole {
    /// Its name, with the case that it was made with.
    pub name: String,
    pub path: String,
    pub tags: Tags,
    /// Who can assume it. `None` if the document cannot be parsed.
    pub trust: Option<TrustPolicy>,
    /// Whether a job of this app has made it.
    pub made_by_us: bool,
    /// Tags that the spec does not name any more.
    pub dropped: Vec<String>,
    /// What has to be removed before the role can be deleted; observed only for a deletion.
    pub dependencies: Vec<RoleDependency>,
}

/// What has to be removed before a role can be deleted (IAM API Reference, DeleteRole).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleDependency {
    /// A policy written on the role itself, by its name.
    InlinePolicy(String),
    /// An attached policy, by its ARN.
    Attachment(String),
}

/// Observes a role of the app, whoever owns it.
///
/// # Errors
/// What AWS refused.
pub async fn look(cx: &ReconcileContext, name: &str) -> Result<Observation<SeenRole>, Fault> {
    let call = cx.account.iam().get_role().role_name(name).send();
    let answer = found(cx.call(Service::Iam, "GetRole", call).await)?;
    let Some(answer) = answer else {
        wait_if_hidden(cx, &ids::role(name))?;
        return Ok(Observation::Absent);
    };
    let role = answer.role.filter(|role| !role.role_name().is_empty());
    let role = role.ok_or_else(|| Fault::unreadable(Service::Iam, "GetRole"))?;
    let id = ids::role(name);
    let Provenance {
        tags,
        made_by_us,
        dropped,
    } = ownership::of_iam(cx, &id, role.arn(), role.create_date(), role.tags());
    let trust = role.assume_role_policy_document();
    let seen = SeenRole {
        name: role.role_name().to_owned(),
        path: role.path().to_owned(),
        trust: trust.and_then(|text| TrustPolicy::parse(text).ok()),
        made_by_us,
        dropped,
        tags: tags.clone(),
        dependencies: Vec::new(),
    };
    Ok(ownership::sort(cx, &id, &tags, seen))
}

/// IAM is eventually consistent: what a job of this app created a moment ago and AWS does not show may still be there, so
/// that a removal waits until AWS would show it.
///
/// # Errors
/// When it is too early to tell.
pub fn wait_if_hidden(cx: &ReconcileContext, id: &ResourceId) -> Result<(), Fault> {
    let is_young = cx.age(id).is_some_and(|age| age < cx.timing.propagation);
    if cx.want == Want::Absent && cx.owns(id) && is_young {
        return Err(Fault::Wait {
            why: format!("AWS does not show {id}, which was created a moment ago."),
            after: cx.timing.poll_delay,
        });
    }
    Ok(())
}

/// Whether a resource may be removed from a role: never from a role of another owner, and from an adopted role only what a
/// job of this app created, unless adopted resources are removed too.
///
/// # Errors
/// What AWS refused.
pub async fn may_take_from(
    cx: &ReconcileContext,
    name: &str,
    what: &ResourceId,
) -> Result<bool, Fault> {
    Ok(match look(cx, name).await? {
        Observation::Ours(role) => ownership::may_take(cx, role.made_by_us, what),
        Observation::Absent | Observation::Foreign { .. } => false,
    })
}

/// The policies of a role, in the order in which they are removed.
///
/// # Errors
/// What AWS refused.
pub async fn dependencies(cx: &ReconcileContext, role: &str) -> Result<Vec<RoleDependency>, Fault> {
    let iam = cx.account.iam();
    // Twenty managed policies at most (IAM quotas), so there is one page.
    let call = iam.list_attached_role_policies().role_name(role).send();
    let attached = found(
        cx.call(Service::Iam, "ListAttachedRolePolicies", call)
            .await,
    )?;
    let attached = attached.and_then(|answer| answer.attached_policies);
    let mut all: Vec<RoleDependency> = attached
        .unwrap_or_default()
        .into_iter()
        .filter_map(|policy| policy.policy_arn)
        .map(RoleDependency::Attachment)
        .collect();
    let mut marker = None;
    loop {
        let call = iam
            .list_role_policies()
            .role_name(role)
            .set_marker(marker)
            .send();
        let Some(page) = found(cx.call(Service::Iam, "ListRolePolicies", call).await)? else {
            break;
        };
        let names = page.policy_names.into_iter();
        all.extend(names.map(RoleDependency::InlinePolicy));
        marker = page.marker;
        if marker.is_none() {
            break;
        }
    }
    Ok(all)
}

impl RoleDependency {
    /// The id in reports.
    pub fn id(&self, role: &str) -> ResourceId {
        match self {
            Self::InlinePolicy(name) => ids::role_policy(role, name),
            Self::Attachment(arn) => {
                let name = arn.rsplit('/').next().unwrap_or(arn);
                let of_aws = if is_aws_managed(arn) { "aws/" } else { "" };
                ResourceId::new(ids::ROLE_ATTACHMENT, format_args!("{role}/{of_aws}{name}"))
            }
        }
    }

    /// What people are told of it.
    pub fn told(&self, role: &str) -> String {
        match self {
            Self::InlinePolicy(name) => format!("Role {role} has inline policy {name}"),
            Self::Attachment(arn) => format!("Policy {arn} is attached to role {role}"),
        }
    }

    /// The text of the change that removes it from `role`.
    pub fn removal(&self, role: &str) -> String {
        match self {
            Self::InlinePolicy(name) => format!("delete inline policy {name} of role {role}"),
            Self::Attachment(arn) => format!("detach policy {arn} from role {role}"),
        }
    }

    /// The command that a person would type to take it from `role`.
    pub fn aws_cli(&self, role: &str) -> String {
        let role = shell_words::word(role);
        match self {
            Self::InlinePolicy(name) => format!(
                "aws iam delete-role-policy --role-name {role} --policy-name {}",
                shell_words::word(name)
            ),
            Self::Attachment(arn) => format!(
                "aws iam detach-role-policy --role-name {role} --policy-arn {}",
                shell_words::word(arn)
            ),
        }
    }

    /// Takes it from `role`.
    ///
    /// # Errors
    /// What AWS refused.
    pub async fn take(&self, cx: &ReconcileContext, role: &str) -> Result<Applied, Fault> {
        let iam = cx.account.iam();
        match self {
            Self::InlinePolicy(name) => {
                let call = iam.delete_role_policy().role_name(role).policy_name(name);
                Applied::gone(cx.call(Service::Iam, "DeleteRolePolicy", call.send()).await)
            }
            Self::Attachment(arn) => {
                let call = iam.detach_role_policy().role_name(role).policy_arn(arn);
                Applied::gone(cx.call(Service::Iam, "DetachRolePolicy", call.send()).await)
            }
        }
    }
}
