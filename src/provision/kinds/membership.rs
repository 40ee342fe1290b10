//! The membership of the user in the group that marks app users.
//!
//! Invariant: `AddUserToGroup` is idempotent, so it can be tried before anybody has looked.

use std::fmt;

use serde_json::json;

use crate::aws::{ErrorKind, Service};
use crate::domain::account_setup::{AccountSetup, Person};
use crate::domain::names::{AppName, GroupName};
use crate::domain::plan::Action;
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::AppSpec;
use crate::provision::change::{Applied, Change, Changes, Observation, Want};
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::Fault;
use crate::provision::iam_user;
use crate::provision::ids;
use crate::provision::permission::{Permission, Scope};
use crate::provision::render::labels::Labels;
use crate::provision::render::shell_words;
use crate::provision::render::{cloudformation, terraform};
use crate::provision::resource::Resource;

/// A user's membership of a group.
#[derive(Debug, Clone, PartialEq)]
pub struct Membership {
    user: AppName,
    group: GroupName,
}

/// What changes a membership.
#[derive(Debug, Clone, PartialEq)]
pub enum MembershipChange {
    /// `AddUserToGroup`.
    Add(Membership),
    /// `RemoveUserFromGroup`.
    Remove(Membership),
}

impl fmt::Display for MembershipChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(it) => write!(f, "add user {} to group {}", it.user, it.group),
            Self::Remove(it) => write!(f, "remove user {} from group {}", it.user, it.group),
        }
    }
}

impl Change for MembershipChange {
    fn action(&self) -> Action {
        match self {
            Self::Add(_) => Action::Create,
            Self::Remove(_) => Action::Delete,
        }
    }

    fn aws_cli(&self) -> String {
        let (command, it) = match self {
            Self::Add(it) => ("add-user-to-group", it),
            Self::Remove(it) => ("remove-user-from-group", it),
        };
        let (group, user) = (
            shell_words::word(it.group.as_str()),
            shell_words::word(it.user.as_str()),
        );
        format!("aws iam {command} --group-name {group} --user-name {user}")
    }
}

impl Resource for Membership {
    type Observed = ();
    type Change = MembershipChange;

    const KIND: &'static str = ids::MEMBERSHIP;
    const PERMISSIONS: &'static [Permission] = &[
        Permission::read(
            Service::Iam,
            "ListGroupsForUser",
            &["iam:ListGroupsForUser"],
            Scope::AnyUser,
        ),
        Permission::change(
            Service::Iam,
            "AddUserToGroup",
            &["iam:AddUserToGroup"],
            Scope::Group,
        ),
        Permission::change(
            Service::Iam,
            "RemoveUserFromGroup",
            &["iam:RemoveUserFromGroup"],
            Scope::AnyGroup,
        ),
    ];

    fn wanted(spec: &AppSpec, conventions: &Conventions) -> Vec<Self> {
        let membership = || Self {
            user: spec.name.clone(),
            group: conventions.group.clone(),
        };
        spec.has_user().then(membership).into_iter().collect()
    }

    fn wanted_by_setup(_: &AppSpec, setup: &AccountSetup, _: &Conventions) -> Vec<Self> {
        let of_person = |person: &Person| {
            let user = person.email.clone();
            let groups = person.groups.clone().into_iter();
            groups.map(move |group| Self {
                user: user.clone(),
                group,
            })
        };
        setup.spec.people.iter().flat_map(of_person).collect()
    }

    fn of_recorded(id: &ResourceId, _: &AppSpec, _: &Conventions) -> Option<Self> {
        let (group, user) = id.name().split_once('/')?;
        Some(Self {
            user: AppName::parse(user).ok()?,
            group: GroupName::parse(group).ok()?,
        })
    }

    fn id(&self) -> ResourceId {
        ids::membership(self.group.as_str(), &self.user)
    }

    fn needs(&self) -> Vec<ResourceId> {
        // The group of app users, or one of people: it is in the graph as one of them.
        vec![
            ids::group(&self.group),
            ids::account_group(&self.group),
            ids::user(&self.user),
        ]
    }

    fn create_first(&self, cx: &ReconcileContext) -> bool {
        cx.has_created(&ids::user(&self.user))
    }

    async fn observe(&self, cx: &ReconcileContext) -> Result<Observation<()>, Fault> {
        if cx.want == Want::Absent && !iam_user::may_take_from(cx, &self.user, &self.id()).await? {
            return Ok(Observation::Absent);
        }
        // A user is in ten groups at most (IAM quotas), so there is one page.
        let call = cx
            .account
            .iam()
            .list_groups_for_user()
            .user_name(self.user.as_str())
            .send();
        match cx.call(Service::Iam, "ListGroupsForUser", call).await {
            Ok(answer)
                if answer
                    .groups()
                    .iter()
                    .any(|g| g.group_name() == self.group.as_str()) =>
            {
                Ok(Observation::Ours(()))
            }
            Ok(_) => Ok(Observation::Absent),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(Observation::Absent),
            Err(error) => Err(error.into()),
        }
    }

    fn plan(&self, seen: Option<&()>) -> Result<Changes<MembershipChange>, Fault> {
        Ok(Changes::of(if seen.is_some() {
            Vec::new()
        } else {
            vec![MembershipChange::Add(self.clone())]
        }))
    }

    fn plan_absent(
        &self,
        _: &ReconcileContext,
        (): &(),
    ) -> Result<Changes<MembershipChange>, Fault> {
        Ok(Changes::of(vec![MembershipChange::Remove(self.clone())]))
    }

    async fn apply(
        &self,
        cx: &ReconcileContext,
        change: &MembershipChange,
    ) -> Result<Applied, Fault> {
        match change {
            MembershipChange::Add(it) => {
                let call = cx
                    .account
                    .iam()
                    .add_user_to_group()
                    .group_name(it.group.as_str())
                    .user_name(it.user.as_str())
                    .send();
                let answer = cx.call(Service::Iam, "AddUserToGroup", call).await;
                answer.map_err(|error| cx.missing_after_create(&ids::user(&self.user), error))?;
                cx.note_created(self.id());
                Ok(Applied::Done)
            }
            MembershipChange::Remove(it) => {
                let call = cx
                    .account
                    .iam()
                    .remove_user_from_group()
                    .group_name(it.group.as_str())
                    .user_name(it.user.as_str())
                    .send();
                Applied::gone(cx.call(Service::Iam, "RemoveUserFromGroup", call).await)
            }
        }
    }

    fn terraform(&self, _seen: &(), labels: &Labels) -> Vec<terraform::Piece> {
        let user = terraform::reference(
            labels,
            &ids::user(&self.user),
            "aws_iam_user",
            "name",
            self.user.as_str(),
        );
        let membership = terraform::Thing::new(
            "aws_iam_user_group_membership",
            format!("{}/{}", self.user, self.group),
        );
        vec![
            membership
                .set("user", user)
                .set("groups", vec![self.group.as_str()])
                .into(),
        ]
    }

    fn cloudformation(&self, _seen: &(), _labels: &Labels) -> Vec<cloudformation::Entry> {
        vec![cloudformation::Entry::Extends {
            of: ids::user(&self.user),
            property: "Groups",
            value: json!([self.group]),
        }]
    }
}
