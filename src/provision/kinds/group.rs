//! The IAM group that marks app users, one in each account.
//!
//! Invariant: groups cannot be tagged (IAM User Guide, "Tags for IAM resources"), and every app shares
//! this one: a group by its name is ours.

use std::fmt;

use serde_json::{Value, json};

use crate::aws::{CacheKey, ErrorKind, Service};
use crate::domain::names::GroupName;
use crate::domain::plan::Action;
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::AppSpec;
use crate::provision::change::{Applied, Change, Changes, Observation};
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::Fault;
use crate::provision::ids;
use crate::provision::permission::{Permission, Scope};
use crate::provision::render::labels::Labels;
use crate::provision::render::shell_words;
use crate::provision::render::{cloudformation, terraform};
use crate::provision::resource::Resource;

#[derive(Debug, Clone)]
pub struct Group {
    name: GroupName,
}

/// What changes a group.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupChange {
    /// `CreateGroup`.
    Create(GroupName),
}

impl fmt::Display for GroupChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Create(name) = self;
        write!(f, "create group {name}")
    }
}

impl Change for GroupChange {
    fn action(&self) -> Action {
        Action::Create
    }

    fn after(&self) -> Option<Value> {
        let Self::Create(name) = self;
        Some(json!({"name": name}))
    }

    fn aws_cli(&self) -> String {
        let Self::Create(name) = self;
        format!(
            "aws iam create-group --group-name {}",
            shell_words::word(name.as_str())
        )
    }
}

impl Resource for Group {
    type Observed = ();
    type Change = GroupChange;

    const KIND: &'static str = ids::GROUP;
    const PERMISSIONS: &'static [Permission] = &[
        Permission::read(Service::Iam, "GetGroup", &["iam:GetGroup"], Scope::Group),
        Permission::change(
            Service::Iam,
            "CreateGroup",
            &["iam:CreateGroup"],
            Scope::Group,
        ),
    ];

    fn wanted(spec: &AppSpec, conventions: &Conventions) -> Vec<Self> {
        let group = || Self {
            name: conventions.group.clone(),
        };
        spec.has_user().then(group).into_iter().collect()
    }

    fn is_retained(_id: &ResourceId, _spec: &AppSpec, _c: &Conventions) -> bool {
        // It belongs to the account.
        false
    }

    fn id(&self) -> ResourceId {
        ids::group(&self.name)
    }

    async fn observe(&self, cx: &ReconcileContext) -> Result<Observation<()>, Fault> {
        if cx.account.cached(&CacheKey::Exists(self.id())).is_some() {
            return Ok(Observation::Ours(()));
        }
        let call = cx
            .account
            .iam()
            .get_group()
            .group_name(self.name.as_str())
            .max_items(1)
            .send();
        match cx.call(Service::Iam, "GetGroup", call).await {
            Ok(_) => {
                cx.account.cache(CacheKey::Exists(self.id()), "");
                Ok(Observation::Ours(()))
            }
            Err(error) if error.kind == ErrorKind::NotFound => Ok(Observation::Absent),
            Err(error) => Err(error.into()),
        }
    }

    fn plan(&self, seen: Option<&()>) -> Result<Changes<GroupChange>, Fault> {
        Ok(Changes::of(if seen.is_some() {
            Vec::new()
        } else {
            vec![GroupChange::Create(self.name.clone())]
        }))
    }

    /// It is the account's.
    fn plan_absent(&self, _: &ReconcileContext, (): &()) -> Result<Changes<GroupChange>, Fault> {
        Ok(Changes::of(Vec::new()))
    }

    async fn apply(
        &self,
        cx: &ReconcileContext,
        GroupChange::Create(name): &GroupChange,
    ) -> Result<Applied, Fault> {
        let call = cx
            .account
            .iam()
            .create_group()
            .group_name(name.as_str())
            .send();
        match cx.call(Service::Iam, "CreateGroup", call).await {
            Ok(_) => {
                cx.note_created(self.id());
                cx.account.cache(CacheKey::Exists(self.id()), "");
                Ok(Applied::Done)
            }
            Err(error) if error.kind == ErrorKind::AlreadyExists => Ok(Applied::MetExisting),
            Err(error) => Err(error.into()),
        }
    }

    fn arn(&self, c: &Conventions) -> Option<String> {
        Some(format!(
            "arn:{}:iam::{}:group/{}",
            c.partition, c.account_id, self.name
        ))
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn terraform(&self, _seen: &(), _labels: &Labels) -> Vec<terraform::Piece> {
        vec![terraform::Piece::Note(self.told_whose())]
    }

    fn cloudformation(&self, _seen: &(), _labels: &Labels) -> Vec<cloudformation::Entry> {
        vec![cloudformation::Entry::Note(self.told_whose())]
    }
}

impl Group {
    fn told_whose(&self) -> String {
        format!(
            "Group {} is shared by all apps in the account. This export refers to it, but does not manage it.",
            self.name
        )
    }
}
