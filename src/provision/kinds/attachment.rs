//! The media policy's attachment to the app's user.
//!
//! Invariant: `AttachUserPolicy` is idempotent, so it can be tried before anybody has looked.

use std::fmt;

use serde_json::json;

use crate::aws::{CacheKey, ErrorKind, Service};
use crate::domain::iam_policy::is_aws_managed;
use crate::domain::names::AppName;
use crate::domain::plan::Action;
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::AppSpec;
use crate::provision::change::{Applied, Change, Changes, Observation, Want};
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::Fault;
use crate::provision::iam_user;
use crate::provision::ids;
use crate::provision::kinds::policy;
use crate::provision::permission::{Condition, Permission, Scope};
use crate::provision::render::labels::Labels;
use crate::provision::render::shell_words;
use crate::provision::render::{cloudformation, terraform};
use crate::provision::resource::Resource;

/// A policy's attachment to a user.
#[derive(Debug, Clone)]
pub struct Attachment {
    user: AppName,
    policy: policy::Policy,
    default_arn: String,
    /// The ID of the attachment that replaces this one when the media access of the app changes.
    successor: Option<ResourceId>,
}

/// What changes an attachment.
#[derive(Debug, Clone, PartialEq)]
pub enum AttachmentChange {
    /// `AttachUserPolicy`.
    Attach {
        user: AppName,
        /// The policy's name.
        policy: String,
        /// Where it is, unless it is found under another path.
        arn: String,
    },
    /// `DetachUserPolicy`.
    Detach {
        user: AppName,
        /// The policy's name.
        policy: String,
        arn: String,
    },
}

impl fmt::Display for AttachmentChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attach { user, policy, .. } => write!(f, "attach policy {policy} to user {user}"),
            Self::Detach { user, policy, .. } => {
                write!(f, "detach policy {policy} from user {user}")
            }
        }
    }
}

impl Change for AttachmentChange {
    fn action(&self) -> Action {
        match self {
            Self::Attach { .. } => Action::Create,
            Self::Detach { .. } => Action::Delete,
        }
    }

    fn aws_cli(&self) -> String {
        let (command, user, arn) = match self {
            Self::Attach { user, arn, .. } => ("attach-user-policy", user, arn),
            Self::Detach { user, arn, .. } => ("detach-user-policy", user, arn),
        };
        format!(
            "aws iam {command} --user-name {} --policy-arn {}",
            shell_words::word(user.as_str()),
            shell_words::word(arn)
        )
    }
}

fn id(policy: &str, user: &AppName) -> ResourceId {
    ResourceId::new(Attachment::KIND, format_args!("{policy}/{user}"))
}

impl Resource for Attachment {
    /// The attached policy's ARN.
    type Observed = String;
    type Change = AttachmentChange;

    const KIND: &'static str = "iam:attachment";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::read(
            Service::Iam,
            "ListAttachedUserPolicies",
            &["iam:ListAttachedUserPolicies"],
            Scope::AnyUser,
        ),
        Permission::change(
            Service::Iam,
            "AttachUserPolicy",
            &["iam:AttachUserPolicy"],
            Scope::Users,
        )
        .only(Condition::MediaPoliciesOnly),
        Permission::change(
            Service::Iam,
            "DetachUserPolicy",
            &["iam:DetachUserPolicy"],
            Scope::Users,
        )
        .only(Condition::OnOurs),
    ];

    fn wanted(spec: &AppSpec, conventions: &Conventions) -> Vec<Self> {
        let other = AppSpec {
            media_access: spec.media_access.other(),
            ..spec.clone()
        };
        let successor = policy::Policy::wanted(&other, conventions)
            .first()
            .map(|policy| id(policy.name(), &spec.name));
        policy::Policy::wanted(spec, conventions)
            .into_iter()
            .map(|policy| Self::of(spec, policy, successor.clone()))
            .collect()
    }

    /// The attachments of the media policies that the spec does not ask for: an app has exactly the attachments of its
    /// spec.
    fn unwanted(spec: &AppSpec, conventions: &Conventions) -> Vec<Self> {
        if !spec.has_user() {
            // What a user that is retained can do stays as it is.
            return Vec::new();
        }
        let wanted: Vec<ResourceId> = Self::wanted(spec, conventions)
            .iter()
            .map(Resource::id)
            .collect();
        let successor = wanted.first().cloned();
        let mut all: Vec<Self> = policy::Policy::of_each_mode(spec, conventions)
            .into_iter()
            .map(|policy| Self::of(spec, policy, successor.clone()))
            .collect();
        all.retain(|attachment| !wanted.contains(&attachment.id()));
        all
    }

    fn id(&self) -> ResourceId {
        id(self.policy.name(), &self.user)
    }

    fn needs(&self) -> Vec<ResourceId> {
        vec![self.policy.id(), ids::user(&self.user)]
    }

    fn create_first(&self, cx: &ReconcileContext) -> bool {
        cx.has_created(&ids::user(&self.user))
    }

    async fn observe(&self, cx: &ReconcileContext) -> Result<Observation<String>, Fault> {
        if cx.want == Want::Absent && !iam_user::may_take_from(cx, &self.user, &self.id()).await? {
            return Ok(Observation::Absent);
        }
        // The app has changed from one media access to the other, and back.
        let between_both =
            !cx.owns(&self.id()) && self.successor.as_ref().is_some_and(|it| cx.owns(it));
        // A user has ten managed policies by default and twenty at most (IAM quotas), so there is one page.
        let call = cx
            .account
            .iam()
            .list_attached_user_policies()
            .user_name(self.user.as_str())
            .send();
        match cx
            .call(Service::Iam, "ListAttachedUserPolicies", call)
            .await
        {
            Ok(answer) => {
                // By name, which is unique in an account whatever the path; AWS's own policies can have the same.
                let named = |p: &&aws_sdk_iam::types::AttachedPolicy| {
                    p.policy_name()
                        .is_some_and(|name| name.eq_ignore_ascii_case(self.policy.name()))
                        && !p.policy_arn().is_some_and(is_aws_managed)
                };
                let attached = answer.attached_policies().iter().find(named);
                let arn = attached.map(|p| p.policy_arn().unwrap_or(&self.default_arn).to_owned());
                if arn.is_some() {
                    cx.note_found(&self.id());
                }
                let shows_both = answer
                    .attached_policies()
                    .iter()
                    .any(|p| self.is_successor(p));
                if cx.want == Want::Present && between_both && shows_both {
                    // The list may show what is detached already. To attach it again is nothing where it is there.
                    return Ok(Observation::Absent);
                }
                Ok(arn
                    .or_else(|| self.not_shown_yet(cx))
                    .map_or(Observation::Absent, Observation::Ours))
            }
            Err(error) if error.kind == ErrorKind::NotFound => Ok(Observation::Absent),
            Err(error) => Err(error.into()),
        }
    }

    fn plan(&self, seen: Option<&String>) -> Result<Changes<AttachmentChange>, Fault> {
        let attach = || AttachmentChange::Attach {
            user: self.user.clone(),
            policy: self.policy.name().to_owned(),
            arn: self.default_arn.clone(),
        };
        Ok(Changes::of(if seen.is_some() {
            Vec::new()
        } else {
            vec![attach()]
        }))
    }

    fn plan_absent(
        &self,
        _: &ReconcileContext,
        arn: &String,
    ) -> Result<Changes<AttachmentChange>, Fault> {
        let (user, policy, arn) = (
            self.user.clone(),
            self.policy.name().to_owned(),
            arn.clone(),
        );
        Ok(Changes::of(vec![AttachmentChange::Detach {
            user,
            policy,
            arn,
        }]))
    }

    async fn apply(
        &self,
        cx: &ReconcileContext,
        change: &AttachmentChange,
    ) -> Result<Applied, Fault> {
        match change {
            AttachmentChange::Attach { user, .. } => {
                let call = cx
                    .account
                    .iam()
                    .attach_user_policy()
                    .user_name(user.as_str())
                    .policy_arn(self.arn_of_policy(cx))
                    .send();
                let answer = cx.call(Service::Iam, "AttachUserPolicy", call).await;
                let young = if cx.has_created(&self.policy.id()) {
                    self.policy.id()
                } else {
                    ids::user(&self.user)
                };
                answer.map_err(|error| cx.missing_after_create(&young, error))?;
                cx.note_created(self.id());
                Ok(Applied::Done)
            }
            AttachmentChange::Detach { user, arn, .. } => {
                self.wait_for_successor(cx)?;
                let call = cx
                    .account
                    .iam()
                    .detach_user_policy()
                    .user_name(user.as_str())
                    .policy_arn(arn)
                    .send();
                let answer = cx.call(Service::Iam, "DetachUserPolicy", call).await;
                if answer.as_ref().is_err_and(|error| error.in_doubt) {
                    cx.note_maybe_deleted(self.id());
                }
                Applied::gone(answer)
            }
        }
    }

    fn terraform(&self, arn: &String, labels: &Labels) -> Vec<terraform::Piece> {
        let user = terraform::reference(
            labels,
            &ids::user(&self.user),
            "aws_iam_user",
            "name",
            self.user.as_str(),
        );
        let policy = match self.policy.is_shared() {
            true => arn.as_str().into(),
            false => terraform::reference(labels, &self.policy.id(), "aws_iam_policy", "arn", arn),
        };
        let attachment = terraform::Thing::new(
            "aws_iam_user_policy_attachment",
            format!("{}/{arn}", self.user),
        );
        vec![
            attachment
                .set("user", user)
                .set("policy_arn", policy)
                .into(),
        ]
    }

    fn cloudformation(&self, arn: &String, labels: &Labels) -> Vec<cloudformation::Entry> {
        let policy = match self.policy.is_shared() {
            true => json!(arn),
            false => cloudformation::reference(labels, &self.policy.id(), arn),
        };
        vec![cloudformation::Entry::Extends {
            of: ids::user(&self.user),
            property: "ManagedPolicyArns",
            value: json!([policy]),
        }]
    }
}

impl Attachment {
    fn of(spec: &AppSpec, policy: policy::Policy, successor: Option<ResourceId>) -> Self {
        Self {
            user: spec.name.clone(),
            default_arn: policy.default_arn().to_owned(),
            policy,
            successor,
        }
    }

    /// IAM is eventually consistent: if another media policy was just attached to replace this one, it gets time to
    /// take effect first.
    fn wait_for_successor(&self, cx: &ReconcileContext) -> Result<(), Fault> {
        let Some(successor) = &self.successor else {
            return Ok(());
        };
        let young = cx
            .age(successor)
            .and_then(|age| cx.timing.attachment.checked_sub(age))
            .filter(|left| !left.is_zero());
        let Some(after) = young else { return Ok(()) };
        Err(Fault::Wait {
            why: format!("Waiting for AWS to propagate {successor}."),
            after,
        })
    }

    /// Whether an attached policy is that of the app's other media access mode.
    fn is_successor(&self, policy: &aws_sdk_iam::types::AttachedPolicy) -> bool {
        let named = policy
            .policy_name()
            .zip(self.successor.as_ref())
            .is_some_and(|(name, successor)| id(name, &self.user).is_same_in_iam(successor));
        named && !policy.policy_arn().is_some_and(is_aws_managed)
    }

    /// IAM is eventually consistent: a recent attachment may exist although it is not listed, unless it may have been
    /// detached already.
    fn not_shown_yet(&self, cx: &ReconcileContext) -> Option<String> {
        let young = cx
            .age(&self.id())
            .is_some_and(|age| age < cx.timing.propagation);
        (cx.want == Want::Absent && young && !cx.is_maybe_deleted(&self.id()))
            .then(|| self.arn_of_policy(cx))
    }

    /// The ARN of the policy, which may be under another path than the one that Slipway uses.
    fn arn_of_policy(&self, cx: &ReconcileContext) -> String {
        cx.account
            .cached(&CacheKey::Exists(self.policy.id()))
            .unwrap_or_else(|| self.default_arn.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::spec::{Defaults, MediaAccess, Place};

    #[test]
    fn of_both_media_policies_the_one_that_the_spec_does_not_ask_for_is_unwanted() {
        let conventions = Conventions::new(&Defaults::default(), "aws", "123456789012");
        let place = Place {
            account_id: "123456789012",
            partition: "aws",
            region: None,
            regions: &[],
            lists: &[],
        };
        let body = json!({"name": "acme", "region": "us-west-2", "buckets": [{"name": "acme-media"}], "repositories": []});
        let spec = AppSpec::parse(&body, &Defaults::default(), &place).unwrap();
        let (shared, scoped) = (
            "iam:attachment/MediaManagement/acme",
            "iam:attachment/MediaManagement-acme/acme",
        );
        for (media_access, buckets, wanted, unwanted) in [
            (
                MediaAccess::Shared,
                spec.buckets.clone(),
                vec![shared],
                vec![scoped],
            ),
            (
                MediaAccess::Scoped,
                spec.buckets.clone(),
                vec![scoped],
                vec![shared],
            ),
            // Without a bucket there is nothing to open, so neither is asked for.
            (
                MediaAccess::Scoped,
                Vec::new(),
                vec![],
                vec![shared, scoped],
            ),
        ] {
            let spec = AppSpec {
                media_access,
                buckets,
                ..spec.clone()
            };
            let ids = |all: Vec<Attachment>| all.iter().map(Resource::id).collect::<Vec<_>>();
            assert_eq!(ids(Attachment::wanted(&spec, &conventions)), wanted);
            assert_eq!(
                ids(Attachment::unwanted(&spec, &conventions)),
                unwanted,
                "{media_access:?}"
            );
        }
        let one = &Attachment::unwanted(&spec, &conventions)[0];
        assert!(
            Attachment::wanted(&spec, &conventions)
                .iter()
                .any(|wanted| Some(wanted.id()) == one.successor),
            "it waits for that one"
        );
    }
}
