//! The instance profile by which EC2 instances get the role of an identity.
//!
//! Invariants:
//! - A profile that does not carry the app's tag is foreign: no role is added to it, unless it is adopted.
//! - A profile has one role at most. To add a role again is an error like that of a full profile (LimitExceeded), so a
//!   role is added only once somebody has looked.

use std::fmt;

use serde_json::{Value, json};

use crate::aws::{ErrorKind, Service};
use crate::domain::identity::IdentityKind;
use crate::domain::names::IamPath;
use crate::domain::plan::Action;
use crate::domain::resource_id::ResourceId;
use crate::domain::retained::Dropped;
use crate::domain::spec::AppSpec;
use crate::provision::change::{Applied, Change, Changes, Observation};
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::{Fault, found};
use crate::provision::iam_role;
use crate::provision::ids;
use crate::provision::ownership::{self, Provenance};
use crate::provision::permission::{Condition, Permission, Scope};
use crate::provision::render::labels::Labels;
use crate::provision::render::shell_words;
use crate::provision::render::{cloudformation, terraform};
use crate::provision::resource::Resource;
use crate::provision::tags::{self, Tags};

/// An instance profile, by the name of its role.
#[derive(Debug, Clone)]
pub struct InstanceProfile {
    name: String,
    path: IamPath,
    tags: Tags,
    arn: String,
}

/// The observed profile.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenProfile {
    name: String,
    path: String,
    /// One at most.
    roles: Vec<String>,
    tags: Tags,
    made_by_us: bool,
    /// Tags that the spec no longer includes.
    dropped: Vec<String>,
}

/// A change of the profile by this name.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceProfileChange {
    profile: String,
    call: Call,
}

#[derive(Debug, Clone, PartialEq)]
enum Call {
    /// `CreateInstanceProfile`.
    Create(IamPath, Tags),
    /// `AddRoleToInstanceProfile`.
    Add(String),
    /// `RemoveRoleFromInstanceProfile`.
    Remove(String),
    /// `TagInstanceProfile`.
    Tag { tags: Tags, before: Tags },
    /// `UntagInstanceProfile`.
    Untag(Vec<String>),
    /// `DeleteInstanceProfile`.
    Delete,
}

impl fmt::Display for InstanceProfileChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let profile = &self.profile;
        match &self.call {
            Call::Create(..) => write!(f, "create instance profile {profile}"),
            Call::Add(role) => write!(f, "add role {role} to instance profile {profile}"),
            Call::Remove(role) => write!(f, "remove role {role} from instance profile {profile}"),
            Call::Tag { tags, .. } => {
                let keys = tags.keys().cloned().collect::<Vec<_>>().join(", ");
                write!(f, "tag instance profile {profile} with {keys}")
            }
            Call::Untag(keys) => {
                write!(f, "untag instance profile {profile}: {}", keys.join(", "))
            }
            Call::Delete => write!(f, "delete instance profile {profile}"),
        }
    }
}

impl Change for InstanceProfileChange {
    fn action(&self) -> Action {
        match self.call {
            Call::Create(..) | Call::Add(_) => Action::Create,
            Call::Tag { .. } | Call::Untag(_) => Action::Update,
            Call::Remove(_) | Call::Delete => Action::Delete,
        }
    }

    fn before(&self) -> Option<Value> {
        match &self.call {
            Call::Tag { before, .. } => Some(json!({"tags": before})),
            _ => None,
        }
    }

    fn after(&self) -> Option<Value> {
        match &self.call {
            Call::Create(path, tags) => {
                Some(json!({"name": self.profile, "path": path, "tags": tags}))
            }
            Call::Add(role) => Some(json!({"role": role})),
            Call::Tag { tags, before } => Some(json!({"tags": tags::over(before, tags)})),
            _ => None,
        }
    }

    fn aws_cli(&self) -> String {
        let name = format!(
            "--instance-profile-name {}",
            shell_words::word(&self.profile)
        );
        match &self.call {
            Call::Create(path, tags) => format!(
                "aws iam create-instance-profile {name} --path {} --tags {}",
                shell_words::word(path.as_str()),
                tags::shorthand(tags)
            ),
            Call::Add(role) => format!(
                "aws iam add-role-to-instance-profile {name} --role-name {}",
                shell_words::word(role)
            ),
            Call::Remove(role) => format!(
                "aws iam remove-role-from-instance-profile {name} --role-name {}",
                shell_words::word(role)
            ),
            Call::Tag { tags, .. } => format!(
                "aws iam tag-instance-profile {name} --tags {}",
                tags::shorthand(tags)
            ),
            Call::Untag(keys) => format!(
                "aws iam untag-instance-profile {name} --tag-keys {}",
                shell_words::words(keys)
            ),
            Call::Delete => format!("aws iam delete-instance-profile {name}"),
        }
    }
}

impl Resource for InstanceProfile {
    type Observed = SeenProfile;
    type Change = InstanceProfileChange;

    const KIND: &'static str = ids::INSTANCE_PROFILE;
    const PERMISSIONS: &'static [Permission] = &[
        Permission::read(
            Service::Iam,
            "GetInstanceProfile",
            &["iam:GetInstanceProfile"],
            Scope::AnyInstanceProfile,
        ),
        Permission::change(
            Service::Iam,
            "CreateInstanceProfile",
            &["iam:CreateInstanceProfile", "iam:TagInstanceProfile"],
            Scope::InstanceProfiles,
        ),
        Permission::change(
            Service::Iam,
            "TagInstanceProfile",
            &["iam:TagInstanceProfile"],
            Scope::InstanceProfiles,
        ),
        // The role that is added is passed to EC2.
        Permission::change(
            Service::Iam,
            "AddRoleToInstanceProfile",
            &["iam:AddRoleToInstanceProfile", "iam:PassRole"],
            Scope::RolesAndInstanceProfiles,
        )
        .only(Condition::PassedToEc2),
        Permission::change(
            Service::Iam,
            "RemoveRoleFromInstanceProfile",
            &["iam:RemoveRoleFromInstanceProfile"],
            Scope::InstanceProfiles,
        )
        .only(Condition::OnOurs),
        Permission::change(
            Service::Iam,
            "UntagInstanceProfile",
            &["iam:UntagInstanceProfile"],
            Scope::InstanceProfiles,
        )
        .only(Condition::OnOurs),
        Permission::change(
            Service::Iam,
            "DeleteInstanceProfile",
            &["iam:DeleteInstanceProfile"],
            Scope::InstanceProfiles,
        )
        .only(Condition::OnOurs),
    ];

    fn wanted(spec: &AppSpec, c: &Conventions) -> Vec<Self> {
        let identities = super::of(spec).into_iter();
        identities
            .filter(|(_, settings)| settings.kind == IdentityKind::Ec2)
            .map(|(entry, _)| Self {
                name: entry.name.clone(),
                path: c.iam_path.clone(),
                tags: tags::wanted(spec, c),
                arn: super::instance_profile_arn(&entry.name, c),
            })
            .collect()
    }

    fn recover(id: &ResourceId, spec: &AppSpec, dropped: &mut Dropped) {
        if let Some(name) = id.name_of(Self::KIND) {
            super::role::Role::recover(&ids::role(name), spec, dropped);
        }
    }

    fn id(&self) -> ResourceId {
        ids::instance_profile(&self.name)
    }

    fn needs(&self) -> Vec<ResourceId> {
        vec![ids::role(&self.name)]
    }

    async fn observe(&self, cx: &ReconcileContext) -> Result<Observation<SeenProfile>, Fault> {
        let call = cx
            .account
            .iam()
            .get_instance_profile()
            .instance_profile_name(&self.name)
            .send();
        let answer = found(cx.call(Service::Iam, "GetInstanceProfile", call).await)?;
        let Some(answer) = answer else {
            iam_role::wait_if_hidden(cx, &self.id())?;
            return Ok(Observation::Absent);
        };
        let profile = answer
            .instance_profile
            .filter(|profile| !profile.instance_profile_name().is_empty());
        let profile =
            profile.ok_or_else(|| Fault::unreadable(Service::Iam, "GetInstanceProfile"))?;
        let (arn, created) = (profile.arn(), profile.create_date());
        let Provenance {
            tags,
            made_by_us,
            dropped,
        } = ownership::of_iam(cx, &self.id(), arn, created, profile.tags());
        let seen = SeenProfile {
            name: profile.instance_profile_name().to_owned(),
            path: profile.path().to_owned(),
            roles: profile
                .roles()
                .iter()
                .map(|role| role.role_name().to_owned())
                .collect(),
            made_by_us,
            dropped,
            tags: tags.clone(),
        };
        Ok(ownership::sort(cx, &self.id(), &tags, seen))
    }

    fn plan(&self, seen: Option<&SeenProfile>) -> Result<Changes<InstanceProfileChange>, Fault> {
        let add = || Call::Add(self.name.clone());
        let Some(seen) = seen else {
            let create = Call::Create(self.path.clone(), self.tags.clone());
            return Ok(self.changes([create, add()]));
        };
        if seen.name != self.name {
            return Err(Fault::same_in_other_case(
                "Instance profile",
                &self.name,
                &seen.name,
            ));
        }
        let mut calls = Vec::new();
        let tags = tags::missing(&self.tags, &seen.tags, seen.made_by_us);
        if !tags.is_empty() {
            let before = seen.tags.clone();
            calls.push(Call::Tag { tags, before });
        }
        if !seen.dropped.is_empty() {
            calls.push(Call::Untag(seen.dropped.clone()));
        }
        let others = seen.roles.iter().filter(|role| **role != self.name);
        calls.extend(others.cloned().map(Call::Remove));
        if !seen.roles.contains(&self.name) {
            calls.push(add());
        }
        Ok(self.changes(calls))
    }

    /// An adopted profile is released, without the role, which goes.
    fn plan_absent(
        &self,
        cx: &ReconcileContext,
        seen: &SeenProfile,
    ) -> Result<Changes<InstanceProfileChange>, Fault> {
        if ownership::is_left(cx, seen.made_by_us) {
            let is_made = cx.is_created_by_app(&ids::role(&self.name));
            let own = seen.roles.iter().filter(|it| is_made && **it == self.name);
            let keys = tags::ours(&seen.tags);
            let untag = (!keys.is_empty()).then_some(Call::Untag(keys));
            return Ok(self.changes(own.cloned().map(Call::Remove).chain(untag)));
        }
        let roles = seen.roles.iter().cloned().map(Call::Remove);
        Ok(self.changes(roles.chain([Call::Delete])))
    }

    async fn apply(
        &self,
        cx: &ReconcileContext,
        change: &InstanceProfileChange,
    ) -> Result<Applied, Fault> {
        match &change.call {
            Call::Create(path, tags) => self.create(cx, path, tags).await,
            Call::Add(role) => self.add(cx, role).await,
            Call::Remove(role) => {
                let call = cx
                    .account
                    .iam()
                    .remove_role_from_instance_profile()
                    .instance_profile_name(&self.name)
                    .role_name(role)
                    .send();
                let answer = cx
                    .call(Service::Iam, "RemoveRoleFromInstanceProfile", call)
                    .await;
                Applied::gone(answer)
            }
            Call::Tag { tags, .. } => {
                let call = cx
                    .account
                    .iam()
                    .tag_instance_profile()
                    .instance_profile_name(&self.name)
                    .set_tags(Some(tags::iam_tags(tags)?))
                    .send();
                let answer = cx.call(Service::Iam, "TagInstanceProfile", call).await;
                answer.map_err(|error| cx.missing_after_create(&self.id(), error))?;
                cx.note_unsettled(self.id());
                Ok(Applied::Done)
            }
            Call::Untag(keys) => {
                let call = cx
                    .account
                    .iam()
                    .untag_instance_profile()
                    .instance_profile_name(&self.name)
                    .set_tag_keys(Some(keys.clone()))
                    .send();
                cx.call(Service::Iam, "UntagInstanceProfile", call).await?;
                Ok(Applied::Done)
            }
            Call::Delete => {
                let call = cx
                    .account
                    .iam()
                    .delete_instance_profile()
                    .instance_profile_name(&self.name)
                    .send();
                cx.deleted(
                    &self.id(),
                    cx.call(Service::Iam, "DeleteInstanceProfile", call).await,
                    "Remove the role from the instance profile",
                )
            }
        }
    }

    fn arn(&self, _: &Conventions) -> Option<String> {
        Some(self.arn.clone())
    }

    fn terraform(&self, seen: &SeenProfile, labels: &Labels) -> Vec<terraform::Piece> {
        let role = ids::role(&self.name);
        let role = terraform::reference(labels, &role, "aws_iam_role", "name", &self.name);
        let profile = terraform::Thing::new("aws_iam_instance_profile", &seen.name)
            .set("name", seen.name.as_str())
            .set("path", seen.path.as_str())
            .set("role", role);
        vec![profile.tags(&seen.tags).into()]
    }

    fn cloudformation(&self, seen: &SeenProfile, labels: &Labels) -> Vec<cloudformation::Entry> {
        let role = cloudformation::reference(labels, &ids::role(&self.name), &self.name);
        let profile = cloudformation::Thing::new(
            "AWS::IAM::InstanceProfile",
            "InstanceProfileName",
            &seen.name,
        );
        let profile = profile
            .set("InstanceProfileName", seen.name.as_str())
            .set("Path", seen.path.as_str())
            .set("Roles", json!([role]));
        vec![cloudformation::Entry::Thing(profile)]
    }
}

impl InstanceProfile {
    fn changes(&self, calls: impl IntoIterator<Item = Call>) -> Changes<InstanceProfileChange> {
        let change = |call| InstanceProfileChange {
            profile: self.name.clone(),
            call,
        };
        Changes::of(calls.into_iter().map(change).collect())
    }

    async fn create(
        &self,
        cx: &ReconcileContext,
        path: &IamPath,
        tags: &Tags,
    ) -> Result<Applied, Fault> {
        let tags = tags::iam_tags(&ownership::on_creation(cx, tags))?;
        let call = cx
            .account
            .iam()
            .create_instance_profile()
            .instance_profile_name(&self.name)
            .path(path.as_str())
            .set_tags(Some(tags))
            .send();
        match cx.call(Service::Iam, "CreateInstanceProfile", call).await {
            Ok(_) => {
                cx.note_created(self.id());
                Ok(Applied::Done)
            }
            Err(error) if error.kind == ErrorKind::AlreadyExists => Ok(Applied::MetExisting),
            Err(error) => Err(error.into()),
        }
    }

    async fn add(&self, cx: &ReconcileContext, role: &str) -> Result<Applied, Fault> {
        let call = cx
            .account
            .iam()
            .add_role_to_instance_profile()
            .instance_profile_name(&self.name)
            .role_name(role)
            .send();
        match cx
            .call(Service::Iam, "AddRoleToInstanceProfile", call)
            .await
        {
            Ok(_) => Ok(Applied::Done),
            // The role may be there already, by an attempt whose answer was lost.
            Err(error) if error.kind == ErrorKind::Quota => Ok(Applied::MetExisting),
            Err(error) => {
                let young = [ids::role(role), self.id()]
                    .into_iter()
                    .find(|id| cx.is_unsettled(id));
                Err(cx.missing_after_create(&young.unwrap_or_else(|| self.id()), error))
            }
        }
    }
}
