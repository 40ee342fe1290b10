//! What the role of a keyless identity grants: one inline policy, which follows the spec.
//!
//! Invariants:
//! - The policy is the role's own, so that no other app or person changes what it grants, and it goes with the role.
//! - While the app waits for its removal, the policy denies everything, as its access keys are inactive.

use std::fmt;

use serde_json::{Value, json};

use super::oidc_provider::place;
use crate::aws::Service;
use crate::domain::iam_policy::PolicyDocument;
use crate::domain::identity::IdentitySettings;
use crate::domain::identity_policy::{permissions, suspended};
use crate::domain::plan::Action;
use crate::domain::resource_id::ResourceId;
use crate::domain::retained::Dropped;
use crate::domain::spec::{AppSpec, ListEntry};
use crate::provision::change::{Applied, Change, Changes, Observation, Want};
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::{Fault, found};
use crate::provision::iam_role::{self, RoleDependency};
use crate::provision::ids;
use crate::provision::ownership;
use crate::provision::permission::{Condition, Permission, Scope};
use crate::provision::render::labels::Labels;
use crate::provision::render::shell_words;
use crate::provision::render::{cloudformation, terraform};
use crate::provision::resource::Resource;

/// The name of the policy on every role.
const NAME: &str = "slipway";

/// The inline policy of a role.
#[derive(Debug, Clone)]
pub struct RolePolicy {
    role: String,
    /// `None` if the role grants nothing, because the app has nothing that it could grant. There is no policy then.
    document: Option<PolicyDocument>,
    /// Whether nothing is granted for now, because the app waits for its removal.
    is_suspended: bool,
}

/// What changes an inline policy.
#[derive(Debug, Clone, PartialEq)]
pub struct RolePolicyChange {
    role: String,
    call: Call,
}

#[derive(Debug, Clone, PartialEq)]
enum Call {
    /// `PutRolePolicy`.
    Put {
        /// The current document, if there is one.
        before: Option<Value>,
        after: PolicyDocument,
    },
    /// `DeleteRolePolicy`.
    Delete,
}

impl fmt::Display for RolePolicyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = &self.role;
        match &self.call {
            Call::Put { before: None, .. } => {
                write!(f, "create inline policy {NAME} of role {role}")
            }
            Call::Put { .. } => write!(f, "set inline policy {NAME} of role {role}"),
            Call::Delete => write!(f, "delete inline policy {NAME} of role {role}"),
        }
    }
}

impl Change for RolePolicyChange {
    fn action(&self) -> Action {
        match self.call {
            Call::Put { before: None, .. } => Action::Create,
            Call::Put { .. } => Action::Update,
            Call::Delete => Action::Delete,
        }
    }

    fn before(&self) -> Option<Value> {
        match &self.call {
            Call::Put { before, .. } => before.clone(),
            Call::Delete => None,
        }
    }

    fn after(&self) -> Option<Value> {
        match &self.call {
            Call::Put { after, .. } => Some(json!(after)),
            Call::Delete => None,
        }
    }

    fn aws_cli(&self) -> String {
        match &self.call {
            Call::Put { after, .. } => format!(
                "aws iam put-role-policy --role-name {} --policy-name {NAME} --policy-document {}",
                shell_words::word(&self.role),
                shell_words::document(after)
            ),
            Call::Delete => RoleDependency::InlinePolicy(NAME.into()).aws_cli(&self.role),
        }
    }
}

/// The observed policy.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenRolePolicy {
    /// `None` if it cannot be parsed.
    document: Option<PolicyDocument>,
}

impl Resource for RolePolicy {
    type Observed = SeenRolePolicy;
    type Change = RolePolicyChange;

    const KIND: &'static str = ids::ROLE_POLICY;
    const PERMISSIONS: &'static [Permission] = &[
        Permission::read(
            Service::Iam,
            "GetRolePolicy",
            &["iam:GetRolePolicy"],
            Scope::AnyRole,
        ),
        Permission::change(
            Service::Iam,
            "PutRolePolicy",
            &["iam:PutRolePolicy"],
            Scope::Roles,
        )
        .only(Condition::OnOurs),
        Permission::change(
            Service::Iam,
            "DeleteRolePolicy",
            &["iam:DeleteRolePolicy"],
            Scope::Roles,
        )
        .only(Condition::OnOurs),
    ];

    fn wanted(spec: &AppSpec, c: &Conventions) -> Vec<Self> {
        let of_role = |(entry, settings): (&ListEntry, IdentitySettings)| Self {
            role: entry.name.clone(),
            document: permissions(spec, &settings.permissions, place(c)),
            is_suspended: false,
        };
        super::of(spec).into_iter().map(of_role).collect()
    }

    fn recover(id: &ResourceId, spec: &AppSpec, dropped: &mut Dropped) {
        let role = id.name_of(Self::KIND).and_then(|at| at.split_once('/'));
        if let Some((role, NAME)) = role {
            super::role::Role::recover(&ids::role(role), spec, dropped);
        }
    }

    fn id(&self) -> ResourceId {
        ids::role_policy(&self.role, NAME)
    }

    fn needs(&self) -> Vec<ResourceId> {
        vec![ids::role(&self.role)]
    }

    fn create_first(&self, cx: &ReconcileContext) -> bool {
        self.document.is_some() && cx.has_created(&ids::role(&self.role))
    }

    async fn observe(&self, cx: &ReconcileContext) -> Result<Observation<SeenRolePolicy>, Fault> {
        if cx.want == Want::Absent && !iam_role::may_take_from(cx, &self.role, &self.id()).await? {
            return Ok(Observation::Absent);
        }
        if self.is_suspended && !self.may_be_suspended(cx).await? {
            // Nothing is denied on a role that is gone, was adopted, or is somebody else's.
            return Ok(Observation::Ours(SeenRolePolicy {
                document: self.document.clone(),
            }));
        }
        let call = cx
            .account
            .iam()
            .get_role_policy()
            .role_name(&self.role)
            .policy_name(NAME)
            .send();
        let Some(answer) = found(cx.call(Service::Iam, "GetRolePolicy", call).await)? else {
            iam_role::wait_if_hidden(cx, &self.id())?;
            return Ok(Observation::Absent);
        };
        cx.note_found(&self.id());
        Ok(Observation::Ours(SeenRolePolicy {
            document: PolicyDocument::parse(answer.policy_document()).ok(),
        }))
    }

    fn plan(&self, seen: Option<&SeenRolePolicy>) -> Result<Changes<RolePolicyChange>, Fault> {
        let Some(after) = &self.document else {
            return Ok(match seen {
                Some(_) => self.changes(Call::Delete),
                None => Changes::of(Vec::new()),
            });
        };
        let is_same = seen
            .and_then(|seen| seen.document.as_ref())
            .is_some_and(|document| document.same_meaning(after));
        if is_same {
            return Ok(Changes::of(Vec::new()));
        }
        let put = Call::Put {
            before: seen.map(|seen| json!(seen.document)),
            after: after.clone(),
        };
        Ok(self.changes(put))
    }

    fn plan_absent(
        &self,
        _: &ReconcileContext,
        _: &SeenRolePolicy,
    ) -> Result<Changes<RolePolicyChange>, Fault> {
        Ok(self.changes(Call::Delete))
    }

    async fn apply(
        &self,
        cx: &ReconcileContext,
        change: &RolePolicyChange,
    ) -> Result<Applied, Fault> {
        match &change.call {
            Call::Put { before, after } => {
                let call = cx
                    .account
                    .iam()
                    .put_role_policy()
                    .role_name(&self.role)
                    .policy_name(NAME)
                    .policy_document(after.to_document())
                    .send();
                let answer = cx.call(Service::Iam, "PutRolePolicy", call).await;
                answer.map_err(|error| cx.missing_after_create(&ids::role(&self.role), error))?;
                if before.is_none() {
                    cx.note_created(self.id());
                }
                Ok(Applied::Done)
            }
            Call::Delete => {
                RoleDependency::InlinePolicy(NAME.into())
                    .take(cx, &self.role)
                    .await
            }
        }
    }

    fn terraform(&self, seen: &SeenRolePolicy, labels: &Labels) -> Vec<terraform::Piece> {
        let id = ids::role(&self.role);
        let role = terraform::reference(labels, &id, "aws_iam_role", "name", &self.role);
        let import = format!("{}:{NAME}", self.role);
        let policy = terraform::Thing::new("aws_iam_role_policy", import)
            .set("name", NAME)
            .set("role", role)
            .document("policy", &seen.document);
        vec![policy.into()]
    }

    fn cloudformation(&self, seen: &SeenRolePolicy, _: &Labels) -> Vec<cloudformation::Entry> {
        vec![cloudformation::Entry::Extends {
            of: ids::role(&self.role),
            property: "Policies",
            value: json!([{"PolicyName": NAME, "PolicyDocument": seen.document}]),
        }]
    }
}

impl RolePolicy {
    /// The policies that deny everything on the roles of a spec.
    pub fn suspending(spec: &AppSpec) -> Vec<Self> {
        let of_role = |(entry, _): (&ListEntry, _)| Self {
            role: entry.name.clone(),
            document: suspended(),
            is_suspended: true,
        };
        super::of(spec).into_iter().map(of_role).collect()
    }

    async fn may_be_suspended(&self, cx: &ReconcileContext) -> Result<bool, Fault> {
        Ok(match iam_role::look(cx, &self.role).await? {
            Observation::Ours(role) => !ownership::is_left(cx, role.made_by_us),
            Observation::Absent | Observation::Foreign { .. } => false,
        })
    }

    fn changes(&self, call: Call) -> Changes<RolePolicyChange> {
        let role = self.role.clone();
        Changes::of(vec![RolePolicyChange { role, call }])
    }
}
