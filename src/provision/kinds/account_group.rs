//! A group of people in an account's set-up, with its managed policies.
//!
//! Invariants:
//! - Groups cannot be tagged (IAM User Guide, "Tags for IAM resources"): a group is the set-up's by its own record, or
//!   because it was created while a create of this job whose response was lost can have taken effect.
//! - A group that a job of the set-up created has exactly the policies of the spec. An adopted one keeps the others.

use std::fmt;

use serde_json::{Value, json};

use crate::aws::{AwsError, ErrorKind, Service};
use crate::domain::account_setup::AccountSetup;
use crate::domain::job::{JobError, JobErrorCode};
use crate::domain::names::{GroupName, IamPath};
use crate::domain::plan::Action;
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::AppSpec;
use crate::provision::change::{Applied, Change, Changes, Observation};
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::{Fault, found};
use crate::provision::ids;
use crate::provision::permission::{Condition, Permission, Scope};
use crate::provision::render::labels::Labels;
use crate::provision::render::shell_words::word;
use crate::provision::render::{cloudformation, terraform};
use crate::provision::resource::Resource;

#[derive(Debug, Clone)]
pub struct AccountGroup {
    name: GroupName,
    path: IamPath,
    /// The ARNs of its policies.
    policies: Vec<String>,
}

/// A group as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenGroup {
    /// Its name, with the case that it was made with.
    name: String,
    path: String,
    /// The ARNs of the attached policies.
    policies: Vec<String>,
    made_by_us: bool,
}

/// What changes a group.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupChange {
    /// `CreateGroup`.
    Create { name: GroupName, path: IamPath },
    /// `AttachGroupPolicy`.
    Attach { name: GroupName, arn: String },
    /// `DetachGroupPolicy`.
    Detach { name: GroupName, arn: String },
    /// `DeleteGroup`.
    Delete(GroupName),
}

impl fmt::Display for GroupChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { name, .. } => write!(f, "create group {name}"),
            Self::Attach { name, arn } => write!(f, "attach policy {arn} to group {name}"),
            Self::Detach { name, arn } => write!(f, "detach policy {arn} from group {name}"),
            Self::Delete(name) => write!(f, "delete group {name}"),
        }
    }
}

impl Change for GroupChange {
    fn action(&self) -> Action {
        match self {
            Self::Create { .. } | Self::Attach { .. } => Action::Create,
            Self::Detach { .. } | Self::Delete(_) => Action::Delete,
        }
    }

    fn before(&self) -> Option<Value> {
        match self {
            Self::Detach { name, arn } => Some(json!({"group": name, "policy_arn": arn})),
            _ => None,
        }
    }

    fn after(&self) -> Option<Value> {
        match self {
            Self::Create { name, path } => Some(json!({"name": name, "path": path})),
            Self::Attach { name, arn } => Some(json!({"group": name, "policy_arn": arn})),
            Self::Detach { .. } | Self::Delete(_) => None,
        }
    }

    fn aws_cli(&self) -> String {
        let of = |command: &str, name: &GroupName| {
            format!("aws iam {command} --group-name {}", word(name.as_str()))
        };
        match self {
            Self::Create { name, path } => {
                let path = word(path.as_str());
                format!("{} --path {path}", of("create-group", name))
            }
            Self::Attach { name, arn } => {
                let arn = word(arn);
                format!("{} --policy-arn {arn}", of("attach-group-policy", name))
            }
            Self::Detach { name, arn } => {
                let arn = word(arn);
                format!("{} --policy-arn {arn}", of("detach-group-policy", name))
            }
            Self::Delete(name) => of("delete-group", name),
        }
    }
}

impl Resource for AccountGroup {
    type Observed = SeenGroup;
    type Change = GroupChange;

    const KIND: &'static str = ids::ACCOUNT_GROUP;
    const PERMISSIONS: &'static [Permission] = &[
        Permission::read(Service::Iam, "GetGroup", &["iam:GetGroup"], Scope::AnyGroup),
        Permission::read(
            Service::Iam,
            "ListAttachedGroupPolicies",
            &["iam:ListAttachedGroupPolicies"],
            Scope::AnyGroup,
        ),
        Permission::change(
            Service::Iam,
            "CreateGroup",
            &["iam:CreateGroup"],
            Scope::GroupsOfPeople,
        ),
        Permission::change(
            Service::Iam,
            "AddUserToGroup",
            &["iam:AddUserToGroup"],
            Scope::GroupsOfPeople,
        ),
        Permission::change(
            Service::Iam,
            "AttachGroupPolicy",
            &["iam:AttachGroupPolicy"],
            Scope::GroupsOfPeople,
        )
        .only(Condition::PoliciesOfAwsOnly),
        Permission::change(
            Service::Iam,
            "DetachGroupPolicy",
            &["iam:DetachGroupPolicy"],
            Scope::GroupsOfPeople,
        ),
        Permission::change(
            Service::Iam,
            "DeleteGroup",
            &["iam:DeleteGroup"],
            Scope::GroupsOfPeople,
        ),
    ];

    fn wanted_by_setup(_: &AppSpec, setup: &AccountSetup, c: &Conventions) -> Vec<Self> {
        let groups = setup.spec.groups.iter().map(|group| Self {
            name: group.name.clone(),
            path: c.iam_path.clone(),
            policies: group.policy_arns(&c.partition),
        });
        groups.collect()
    }

    fn of_recorded(id: &ResourceId, _: &AppSpec, c: &Conventions) -> Option<Self> {
        Some(Self {
            name: GroupName::parse(id.name()).ok()?,
            path: c.iam_path.clone(),
            policies: Vec::new(),
        })
    }

    fn id(&self) -> ResourceId {
        ids::account_group(&self.name)
    }

    async fn observe(&self, cx: &ReconcileContext) -> Result<Observation<SeenGroup>, Fault> {
        let call = cx.account.iam().get_group().group_name(self.name.as_str());
        let answer = cx.call(Service::Iam, "GetGroup", call.max_items(1).send());
        let Some(answer) = found(answer.await)? else {
            return Ok(Observation::Absent);
        };
        let group = answer.group.filter(|group| !group.group_name().is_empty());
        let group = group.ok_or_else(|| Fault::unreadable(Service::Iam, "GetGroup"))?;
        cx.note_arn(self.id(), group.arn());
        if self.is_from_this_job(cx, group.create_date().secs()) {
            cx.note_created_by_app(&self.id());
        }
        let call = cx.account.iam().list_attached_group_policies();
        // Ten policies by default and twenty at most (IAM quotas), so there is one page.
        let call = call.group_name(self.name.as_str()).send();
        let attached = cx.call(Service::Iam, "ListAttachedGroupPolicies", call);
        let attached = found(attached.await)?.and_then(|answer| answer.attached_policies);
        let arns = attached.unwrap_or_default().into_iter();
        let seen = SeenGroup {
            name: group.group_name().to_owned(),
            path: group.path().to_owned(),
            policies: arns.filter_map(|policy| policy.policy_arn).collect(),
            made_by_us: cx.is_created_by_app(&self.id()),
        };
        Ok(match cx.owns(&self.id()) {
            true => {
                cx.note_created_at(self.id(), Some(group.create_date()));
                Observation::Ours(seen)
            }
            false => Observation::Foreign { owner: None, seen },
        })
    }

    fn plan(&self, seen: Option<&SeenGroup>) -> Result<Changes<GroupChange>, Fault> {
        let attach = |arn: &String| GroupChange::Attach {
            name: self.name.clone(),
            arn: arn.clone(),
        };
        let Some(seen) = seen else {
            let (name, path) = (self.name.clone(), self.path.clone());
            let mut changes = vec![GroupChange::Create { name, path }];
            changes.extend(self.policies.iter().map(attach));
            return Ok(Changes::of(changes));
        };
        if seen.name != self.name.as_str() {
            return Err(collides_by_case(&self.name, &seen.name));
        }
        let missing = self.policies.iter();
        let missing = missing.filter(|arn| !seen.policies.contains(arn));
        let mut changes: Vec<GroupChange> = missing.map(attach).collect();
        let others = seen.policies.iter();
        let others = others.filter(|arn| !self.policies.contains(arn));
        if seen.made_by_us {
            changes.extend(others.map(|arn| self.detach(arn)));
            return Ok(Changes::of(changes));
        }
        let warnings = others.map(|arn| {
            format!(
                "Group {} existed before the set-up and has the policy {arn}, which the spec does not include. Slipway leaves it attached.",
                self.name
            )
        });
        let warnings = warnings.collect();
        Ok(Changes { changes, warnings })
    }

    /// An adopted group is left as it is.
    fn plan_absent(
        &self,
        _: &ReconcileContext,
        seen: &SeenGroup,
    ) -> Result<Changes<GroupChange>, Fault> {
        if !seen.made_by_us {
            return Ok(Changes::of(Vec::new()));
        }
        let detach = seen.policies.iter().map(|arn| self.detach(arn));
        let delete = GroupChange::Delete(self.name.clone());
        Ok(Changes::of(detach.chain([delete]).collect()))
    }

    async fn apply(&self, cx: &ReconcileContext, change: &GroupChange) -> Result<Applied, Fault> {
        let iam = cx.account.iam();
        match change {
            GroupChange::Create { name, path } => {
                let call = iam.create_group().group_name(name.as_str());
                let call = call.path(path.as_str()).send();
                self.created(cx, cx.call(Service::Iam, "CreateGroup", call).await)
            }
            GroupChange::Attach { name, arn } => {
                let call = iam.attach_group_policy().group_name(name.as_str());
                let call = call.policy_arn(arn).send();
                match cx.call(Service::Iam, "AttachGroupPolicy", call).await {
                    Ok(_) => Ok(Applied::Done),
                    Err(error) if is_no_policy(&error) => Err(no_such_policy(&error, arn)),
                    Err(error) => Err(cx.missing_after_create(&self.id(), error)),
                }
            }
            GroupChange::Detach { name, arn } => {
                let call = iam.detach_group_policy().group_name(name.as_str());
                let call = call.policy_arn(arn).send();
                Applied::gone(cx.call(Service::Iam, "DetachGroupPolicy", call).await)
            }
            GroupChange::Delete(name) => {
                let call = iam.delete_group().group_name(name.as_str()).send();
                let answer = cx.call(Service::Iam, "DeleteGroup", call).await;
                let remedy = "Remove the users and the inline policies from the group";
                cx.deleted(&self.id(), answer, remedy)
            }
        }
    }

    fn arn(&self, c: &Conventions) -> Option<String> {
        let (partition, account_id) = (&c.partition, &c.account_id);
        let (path, name) = (&self.path, &self.name);
        Some(format!(
            "arn:{partition}:iam::{account_id}:group{path}{name}"
        ))
    }

    fn terraform(&self, seen: &SeenGroup, labels: &Labels) -> Vec<terraform::Piece> {
        let group = terraform::Thing::new("aws_iam_group", &seen.name)
            .set("name", seen.name.as_str())
            .set("path", seen.path.as_str());
        let name = || terraform::reference(labels, &self.id(), "aws_iam_group", "name", &seen.name);
        let attachment = |arn: &String| {
            let import = format!("{}/{arn}", seen.name);
            terraform::Thing::new("aws_iam_group_policy_attachment", import)
                .set("group", name())
                .set("policy_arn", arn.as_str())
                .into()
        };
        let attachments = seen.policies.iter().map(attachment);
        [group.into()].into_iter().chain(attachments).collect()
    }

    fn cloudformation(&self, seen: &SeenGroup, _: &Labels) -> Vec<cloudformation::Entry> {
        let group = cloudformation::Thing::new("AWS::IAM::Group", "GroupName", &seen.name)
            .set("GroupName", seen.name.as_str())
            .set("Path", seen.path.as_str())
            .set("ManagedPolicyArns", seen.policies.clone());
        vec![cloudformation::Entry::Thing(group)]
    }
}

impl AccountGroup {
    fn detach(&self, arn: &str) -> GroupChange {
        GroupChange::Detach {
            name: self.name.clone(),
            arn: arn.to_owned(),
        }
    }

    /// Whether this job created the group and lost the response. IAM reports whole seconds.
    fn is_from_this_job(&self, cx: &ReconcileContext, created_at: i64) -> bool {
        cx.maybe_created_within(&self.id()).is_some_and(|span| {
            let seconds = |at: &crate::clock::Timestamp| at.millis().div_euclid(1000);
            (seconds(span.start())..=seconds(span.end())).contains(&created_at)
        })
    }

    fn created<T>(
        &self,
        cx: &ReconcileContext,
        answer: Result<T, AwsError>,
    ) -> Result<Applied, Fault> {
        match answer {
            Ok(_) => {
                cx.note_created(self.id());
                Ok(Applied::Done)
            }
            Err(error) => {
                if error.in_doubt || !error.had_no_effect() {
                    cx.note_maybe_created(self.id());
                }
                match error.kind {
                    ErrorKind::AlreadyExists => Ok(Applied::MetExisting),
                    _ => Err(error.into()),
                }
            }
        }
    }
}

fn is_no_policy(error: &AwsError) -> bool {
    error.kind == ErrorKind::NotFound && error.message.contains("not attachable")
}

fn no_such_policy(error: &AwsError, arn: &str) -> Fault {
    Fault::Rejected(JobError {
        code: JobErrorCode::Rejected,
        detail: format!("There is no policy {arn}, or it cannot be attached."),
        remedy: Some("Correct the policies of the group in the spec. AWS's own policies have a path in some cases, such as job-function/Billing.".into()),
        retryable: false,
        aws: Some(error.refusal()),
    })
}

fn collides_by_case(wanted: &GroupName, seen: &str) -> Fault {
    Fault::Rejected(JobError::new(
        JobErrorCode::Conflict,
        format!(
            "Group {seen} already exists. IAM group names are not case-sensitive, so {wanted} is the same name."
        ),
        "Choose a name that differs in more than case.",
    ))
}
