//! The app's IAM user.
//!
//! Invariant: a user by the app's name that does not carry the app's tag is foreign: no key is made
//! on it and nothing is attached to it, unless it is adopted.

use std::fmt;

use serde_json::{Value, json};

use crate::aws::{ErrorKind, Service};
use crate::domain::access_key::KeyRecords;
use crate::domain::account_setup::AccountSetup;
use crate::domain::iam_policy::is_aws_managed;
use crate::domain::job::JobResult;
use crate::domain::names::{AppName, IamPath};
use crate::domain::plan::Action;
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::AppSpec;
use crate::provision::change::{Applied, Change, Changes, Observation, Want};
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::Fault;
use crate::provision::iam_user::{self, SeenUser};
use crate::provision::ids;
use crate::provision::ownership;
use crate::provision::permission::{Condition, Permission, Scope};
use crate::provision::render::labels::Labels;
use crate::provision::render::shell_words;
use crate::provision::render::{cloudformation, terraform};
use crate::provision::resource::Resource;
use crate::provision::tags::{self, Tags};
use crate::provision::user_dependencies;
use crate::provision::user_dependencies::UserDependency;

/// The app's IAM user.
#[derive(Debug, Clone)]
pub struct User {
    name: AppName,
    path: IamPath,
    tags: Tags,
    group: String,
    /// The names of the media policies of both modes.
    policies: [String; 2],
}

/// What changes a user.
#[derive(Debug, Clone, PartialEq)]
pub enum UserChange {
    /// `CreateUser`.
    Create {
        name: AppName,
        path: IamPath,
        /// Its tags, but for the job's.
        tags: Tags,
    },
    /// `TagUser`.
    Tag {
        name: AppName,
        /// The tags to set.
        tags: Tags,
        /// The tags that are there.
        before: Tags,
    },
    /// `UntagUser`.
    Untag {
        name: AppName,
        /// The keys of the tags to remove.
        keys: Vec<String>,
    },
    /// The call that removes a dependency of the user.
    Take {
        name: AppName,
        belonging: UserDependency,
    },
    /// `DeleteUser`.
    Delete { name: AppName },
}

impl fmt::Display for UserChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { name, .. } => write!(f, "create user {name}"),
            Self::Tag { name, tags, .. } => write!(
                f,
                "tag user {name} with {}",
                tags.keys().cloned().collect::<Vec<_>>().join(", ")
            ),
            Self::Untag { name, keys } => write!(f, "untag user {name}: {}", keys.join(", ")),
            Self::Take { name, belonging } => f.write_str(&belonging.removal(name)),
            Self::Delete { name } => write!(f, "delete user {name}"),
        }
    }
}

impl Change for UserChange {
    fn action(&self) -> Action {
        match self {
            Self::Create { .. } => Action::Create,
            Self::Tag { .. } | Self::Untag { .. } => Action::Update,
            Self::Take { .. } | Self::Delete { .. } => Action::Delete,
        }
    }

    fn before(&self) -> Option<Value> {
        match self {
            Self::Tag { before, .. } => Some(json!({"tags": before})),
            _ => None,
        }
    }

    fn after(&self) -> Option<Value> {
        match self {
            Self::Create { name, path, tags } => {
                Some(json!({"name": name, "path": path, "tags": tags}))
            }
            Self::Tag { tags, before, .. } => Some(json!({"tags": tags::over(before, tags)})),
            _ => None,
        }
    }

    fn aws_cli(&self) -> String {
        match self {
            Self::Create { name, path, tags } => format!(
                "aws iam create-user --user-name {} --path {} --tags {}",
                shell_words::word(name.as_str()),
                shell_words::word(path.as_str()),
                tags::shorthand(tags)
            ),
            Self::Tag { name, tags, .. } => {
                format!(
                    "aws iam tag-user --user-name {} --tags {}",
                    shell_words::word(name.as_str()),
                    tags::shorthand(tags)
                )
            }
            Self::Untag { name, keys } => {
                format!(
                    "aws iam untag-user --user-name {} --tag-keys {}",
                    shell_words::word(name.as_str()),
                    shell_words::words(keys)
                )
            }
            Self::Take { name, belonging } => belonging.aws_cli(name),
            Self::Delete { name } => format!(
                "aws iam delete-user --user-name {}",
                shell_words::word(name.as_str())
            ),
        }
    }
}

impl Resource for User {
    type Observed = SeenUser;
    type Change = UserChange;

    const KIND: &'static str = ids::USER;
    const PERMISSIONS: &'static [Permission] = &[
        Permission::read(Service::Iam, "GetUser", &["iam:GetUser"], Scope::AnyUser),
        Permission::change(
            Service::Iam,
            "CreateUser",
            &["iam:CreateUser", "iam:TagUser"],
            Scope::Users,
        ),
        Permission::change(Service::Iam, "TagUser", &["iam:TagUser"], Scope::Users),
        Permission::change(Service::Iam, "UntagUser", &["iam:UntagUser"], Scope::Users)
            .only(Condition::OnOurs),
        Permission::change(
            Service::Iam,
            "DeleteUser",
            &["iam:DeleteUser"],
            Scope::Users,
        )
        .only(Condition::OnOurs),
        Permission::read(
            Service::Iam,
            "GetLoginProfile",
            &["iam:GetLoginProfile"],
            Scope::AnyUser,
        ),
        Permission::read(
            Service::Iam,
            "ListMFADevices",
            &["iam:ListMFADevices"],
            Scope::AnyUser,
        ),
        Permission::read(
            Service::Iam,
            "ListUserPolicies",
            &["iam:ListUserPolicies"],
            Scope::AnyUser,
        ),
        Permission::read(
            Service::Iam,
            "ListSigningCertificates",
            &["iam:ListSigningCertificates"],
            Scope::AnyUser,
        ),
        Permission::read(
            Service::Iam,
            "ListSSHPublicKeys",
            &["iam:ListSSHPublicKeys"],
            Scope::AnyUser,
        ),
        Permission::read(
            Service::Iam,
            "ListServiceSpecificCredentials",
            &["iam:ListServiceSpecificCredentials"],
            Scope::AnyUser,
        ),
        Permission::change(
            Service::Iam,
            "DeleteLoginProfile",
            &["iam:DeleteLoginProfile"],
            Scope::Users,
        )
        .only(Condition::OnOurs),
        Permission::change(
            Service::Iam,
            "DeactivateMFADevice",
            &["iam:DeactivateMFADevice"],
            Scope::Users,
        )
        .only(Condition::OnOurs),
        Permission::change(
            Service::Iam,
            "DeleteUserPolicy",
            &["iam:DeleteUserPolicy"],
            Scope::Users,
        )
        .only(Condition::OnOurs),
        Permission::change(
            Service::Iam,
            "DeleteSigningCertificate",
            &["iam:DeleteSigningCertificate"],
            Scope::Users,
        )
        .only(Condition::OnOurs),
        Permission::change(
            Service::Iam,
            "DeleteSSHPublicKey",
            &["iam:DeleteSSHPublicKey"],
            Scope::Users,
        )
        .only(Condition::OnOurs),
        Permission::change(
            Service::Iam,
            "DeleteServiceSpecificCredential",
            &["iam:DeleteServiceSpecificCredential"],
            Scope::Users,
        )
        .only(Condition::OnOurs),
    ];

    fn wanted(spec: &AppSpec, conventions: &Conventions) -> Vec<Self> {
        if !spec.has_user() {
            return Vec::new();
        }
        let tags = tags::wanted(spec, conventions);
        let policies = [
            conventions.policy.to_string(),
            format!("{}-{}", conventions.policy, spec.name),
        ];
        let (name, path, group) = (
            spec.name.clone(),
            conventions.iam_path.clone(),
            conventions.group.to_string(),
        );
        vec![Self {
            name,
            path,
            tags,
            group,
            policies,
        }]
    }

    fn wanted_by_setup(spec: &AppSpec, setup: &AccountSetup, c: &Conventions) -> Vec<Self> {
        let people = setup.spec.people.iter();
        people
            .map(|person| Self::of_person(person.email.clone(), spec, c))
            .collect()
    }

    fn of_recorded(id: &ResourceId, spec: &AppSpec, c: &Conventions) -> Option<Self> {
        Some(Self::of_person(AppName::parse(id.name()).ok()?, spec, c))
    }

    fn id(&self) -> ResourceId {
        ids::user(&self.name)
    }

    fn add_to_result(&self, arn: Option<&str>, _c: &Conventions, result: &mut JobResult) {
        result.user_arn = arn.map(str::to_owned);
    }

    fn create_first(&self, cx: &ReconcileContext) -> bool {
        cx.request.create_first
    }

    async fn observe(&self, cx: &ReconcileContext) -> Result<Observation<SeenUser>, Fault> {
        let mut seen = iam_user::look(cx, &self.name).await?;
        if let (Want::Absent, Observation::Ours(user)) = (cx.want, &mut seen)
            && !ownership::is_left(cx, user.made_by_us)
        {
            user.dependencies = user_dependencies::of(cx, &self.name).await?;
            if !cx.is_in_use(&self.id()) {
                // The app's own go before it, each as a thing of its own.
                let records = cx.keys.records().await?;
                user.dependencies
                    .retain(|it| !self.is_own(it, &records) && !self.is_of_setup(cx, it));
            }
        }
        Ok(seen)
    }

    fn plan(&self, seen: Option<&SeenUser>) -> Result<Changes<UserChange>, Fault> {
        let Some(seen) = seen else {
            let (name, path, tags) = (self.name.clone(), self.path.clone(), self.tags.clone());
            return Ok(Changes::of(vec![UserChange::Create { name, path, tags }]));
        };
        if seen.name != self.name.as_str() {
            return Err(Fault::same_in_other_case(
                "User",
                self.name.as_str(),
                &seen.name,
            ));
        }
        let (name, tags) = (
            self.name.clone(),
            tags::missing(&self.tags, &seen.tags, seen.made_by_us),
        );
        let mut changes = Vec::new();
        if !tags.is_empty() {
            changes.push(UserChange::Tag {
                name: name.clone(),
                tags,
                before: seen.tags.clone(),
            });
        }
        if !seen.dropped.is_empty() {
            changes.push(UserChange::Untag {
                name,
                keys: seen.dropped.clone(),
            });
        }
        Ok(Changes::of(changes))
    }

    fn plan_absent(
        &self,
        cx: &ReconcileContext,
        seen: &SeenUser,
    ) -> Result<Changes<UserChange>, Fault> {
        let name = self.name.clone();
        if ownership::is_left(cx, seen.made_by_us) {
            let keys = tags::ours(&seen.tags);
            return Ok(Changes::of(if keys.is_empty() {
                Vec::new()
            } else {
                vec![UserChange::Untag { name, keys }]
            }));
        }
        let take = |belonging: &UserDependency| UserChange::Take {
            name: name.clone(),
            belonging: belonging.clone(),
        };
        let mut changes: Vec<UserChange> = seen.dependencies.iter().map(take).collect();
        changes.push(UserChange::Delete { name });
        Ok(Changes::of(changes))
    }

    async fn apply(&self, cx: &ReconcileContext, change: &UserChange) -> Result<Applied, Fault> {
        match change {
            UserChange::Create { name, path, tags } => {
                let tags = tags::iam_tags(&ownership::on_creation(cx, tags))?;
                let call = cx
                    .account
                    .iam()
                    .create_user()
                    .user_name(name.as_str())
                    .path(path.as_str())
                    .set_tags(Some(tags))
                    .send();
                match cx.call(Service::Iam, "CreateUser", call).await {
                    Ok(_) => {
                        cx.note_created(self.id());
                        Ok(Applied::Done)
                    }
                    Err(error) if error.kind == ErrorKind::AlreadyExists => {
                        Ok(Applied::MetExisting)
                    }
                    Err(error) => Err(error.into()),
                }
            }
            UserChange::Tag { name, tags, .. } => {
                let call = cx
                    .account
                    .iam()
                    .tag_user()
                    .user_name(name.as_str())
                    .set_tags(Some(tags::iam_tags(tags)?))
                    .send();
                cx.call(Service::Iam, "TagUser", call).await?;
                cx.note_unsettled(self.id());
                Ok(Applied::Done)
            }
            UserChange::Untag { name, keys } => {
                let call = cx
                    .account
                    .iam()
                    .untag_user()
                    .user_name(name.as_str())
                    .set_tag_keys(Some(keys.clone()))
                    .send();
                cx.call(Service::Iam, "UntagUser", call).await?;
                Ok(Applied::Done)
            }
            UserChange::Take { name, belonging } => belonging.take(cx, name).await,
            UserChange::Delete { name } => {
                let call = cx
                    .account
                    .iam()
                    .delete_user()
                    .user_name(name.as_str())
                    .send();
                cx.deleted(
                    &self.id(),
                    cx.call(Service::Iam, "DeleteUser", call).await,
                    "Remove the resources that are attached to the user",
                )
            }
        }
    }

    fn arn(&self, c: &Conventions) -> Option<String> {
        Some(format!(
            "arn:{}:iam::{}:user{}{}",
            c.partition, c.account_id, self.path, self.name
        ))
    }

    fn terraform(&self, seen: &SeenUser, _labels: &Labels) -> Vec<terraform::Piece> {
        let user = terraform::Thing::new("aws_iam_user", &seen.name)
            .set("name", seen.name.as_str())
            .set("path", seen.path.as_str());
        vec![
            user.tags(&seen.tags)
                .leaving(&["permissions_boundary"])
                .into(),
        ]
    }

    fn cloudformation(&self, seen: &SeenUser, _labels: &Labels) -> Vec<cloudformation::Entry> {
        let user = cloudformation::Thing::new("AWS::IAM::User", "UserName", &seen.name);
        let user = user
            .set("UserName", seen.name.as_str())
            .set("Path", seen.path.as_str())
            .tags(&seen.tags);
        vec![cloudformation::Entry::Thing(user)]
    }
}

impl User {
    /// The user of a person, which has the tags of the account's set-up.
    fn of_person(name: AppName, spec: &AppSpec, c: &Conventions) -> Self {
        Self {
            name,
            path: c.iam_path.clone(),
            tags: tags::wanted(spec, c),
            group: String::new(),
            policies: Default::default(),
        }
    }

    /// Whether a dependency of a person's user is a resource of the account's set-up.
    fn is_of_setup(&self, cx: &ReconcileContext, it: &UserDependency) -> bool {
        match it {
            UserDependency::LoginProfile => cx.owns(&ids::login_profile(&self.name)),
            UserDependency::Group(group) => cx.owns(&ids::membership(group, &self.name)),
            _ => false,
        }
    }

    /// Whether a dependency is a resource of the app: a recorded access key, its group membership or its policy.
    fn is_own(&self, it: &UserDependency, records: &KeyRecords) -> bool {
        match it {
            UserDependency::AccessKey(id) => records.keys.iter().any(|(ours, _)| ours == id),
            UserDependency::Group(name) => *name == self.group,
            UserDependency::Attachment(arn) => {
                let name = arn.rsplit('/').next().unwrap_or(arn);
                !is_aws_managed(arn) && self.policies.iter().any(|own| own == name)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job::JobErrorCode;

    fn user() -> User {
        let name = AppName::parse("acme").unwrap();
        let tags = [
            ("slipway:app", "acme"),
            ("slipway:installation", "one"),
            ("team", "shop"),
        ];
        let tags = tags
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        User {
            name,
            path: IamPath::parse("/apps/").unwrap(),
            tags,
            group: "Apps".into(),
            policies: Default::default(),
        }
    }

    #[test]
    fn a_name_that_differs_by_case_is_a_conflict() {
        let seen = SeenUser {
            name: "ACME".into(),
            path: "/apps/".into(),
            tags: user().tags,
            made_by_us: true,
            dropped: Vec::new(),
            dependencies: Vec::new(),
        };
        let fault = user().plan(Some(&seen)).unwrap_err();
        assert_eq!(fault.job_error().unwrap().code, JobErrorCode::Conflict);
    }

    #[test]
    fn tags_made_by_hand_are_kept_and_lost_ones_set_again() {
        let tags = Tags::from([
            ("slipway:app".into(), "acme".into()),
            ("own".into(), "1".into()),
        ]);
        let seen = SeenUser {
            name: "acme".into(),
            path: "/apps/".into(),
            tags,
            made_by_us: true,
            dropped: Vec::new(),
            dependencies: Vec::new(),
        };
        let changes = user().plan(Some(&seen)).unwrap().changes;
        assert_eq!(
            changes[0].to_string(),
            "tag user acme with slipway:installation, team"
        );
        let after = json!({"own": "1", "slipway:app": "acme", "slipway:installation": "one", "team": "shop"});
        assert_eq!(changes[0].after().unwrap()["tags"], after);
    }
}
