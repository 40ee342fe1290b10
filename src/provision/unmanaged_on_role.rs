//! What an app's roles have and Slipway did not put on them: inline and attached policies.
//!
//! Invariants:
//! - It is removed only when it is asked for by its id, and after everything that the spec asks for is there.
//! - It is no kind that a spec can ask for, so it is not in the list of kinds; the kind `iam:role` declares the permissions
//!   for it.

use std::fmt;

use serde_json::{Value, json};

use crate::domain::plan::Action;
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::AppSpec;
use crate::provision::change::{Applied, Change, Changes, Observation, Want};
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::Fault;
use crate::provision::iam_role::{self, RoleDependency};
use crate::provision::ids;
use crate::provision::kinds::graph;
use crate::provision::node::{Node, Typed};
use crate::provision::permission::Permission;
use crate::provision::render::labels::Labels;
use crate::provision::render::{cloudformation, terraform};
use crate::provision::resource::Resource;

/// A policy on a role of the app, by the id that it has in reports.
#[derive(Debug, Clone, PartialEq)]
struct UnmanagedOnRole {
    role: String,
    id: ResourceId,
}

/// The call that removes a policy from a role.
#[derive(Debug, Clone, PartialEq)]
struct Take {
    role: String,
    dependency: RoleDependency,
}

impl fmt::Display for Take {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.dependency.removal(&self.role))
    }
}

impl Change for Take {
    fn action(&self) -> Action {
        Action::Delete
    }

    fn before(&self) -> Option<Value> {
        Some(json!(self.dependency.told(&self.role)))
    }

    fn aws_cli(&self) -> String {
        self.dependency.aws_cli(&self.role)
    }
}

impl Resource for UnmanagedOnRole {
    type Observed = Vec<RoleDependency>;
    type Change = Take;

    const KIND: &'static str = "iam:unmanaged-on-role";
    const PERMISSIONS: &'static [Permission] = &[];

    fn wanted(_: &AppSpec, _: &Conventions) -> Vec<Self> {
        Vec::new()
    }

    fn id(&self) -> ResourceId {
        self.id.clone()
    }

    fn needs(&self) -> Vec<ResourceId> {
        vec![ids::role(&self.role)]
    }

    async fn observe(
        &self,
        cx: &ReconcileContext,
    ) -> Result<Observation<Vec<RoleDependency>>, Fault> {
        if !matches!(iam_role::look(cx, &self.role).await?, Observation::Ours(_)) {
            return Ok(Observation::Absent);
        }
        let mut seen = iam_role::dependencies(cx, &self.role).await?;
        seen.retain(|it| it.id(&self.role) == self.id);
        Ok(if seen.is_empty() {
            Observation::Absent
        } else {
            Observation::Ours(seen)
        })
    }

    fn plan(&self, _: Option<&Vec<RoleDependency>>) -> Result<Changes<Take>, Fault> {
        Ok(Changes::of(Vec::new()))
    }

    fn plan_absent(
        &self,
        _: &ReconcileContext,
        seen: &Vec<RoleDependency>,
    ) -> Result<Changes<Take>, Fault> {
        let take = |dependency: &RoleDependency| Take {
            role: self.role.clone(),
            dependency: dependency.clone(),
        };
        Ok(Changes::of(seen.iter().map(take).collect()))
    }

    async fn apply(&self, cx: &ReconcileContext, change: &Take) -> Result<Applied, Fault> {
        change.dependency.take(cx, &change.role).await
    }

    fn terraform(&self, _: &Vec<RoleDependency>, _: &Labels) -> Vec<terraform::Piece> {
        Vec::new()
    }

    fn cloudformation(&self, _: &Vec<RoleDependency>, _: &Labels) -> Vec<cloudformation::Entry> {
        Vec::new()
    }
}

/// The roles that a spec asks for.
fn roles(spec: &AppSpec) -> impl Iterator<Item = &str> {
    let identities = spec.lists.iter();
    identities
        .filter(|(field, _)| *field == AppSpec::IDENTITIES)
        .map(|(_, entry)| entry.name.as_str())
}

/// The node that removes what an id names; `None` if that is not an unmanaged policy on a role of the spec.
pub fn node(id: &ResourceId, spec: &AppSpec, c: &Conventions) -> Option<Box<dyn Node>> {
    let at = id
        .name_of(ids::ROLE_POLICY)
        .or_else(|| id.name_of(ids::ROLE_ATTACHMENT))?;
    let role = roles(spec).find(|role| {
        at.strip_prefix(role)
            .is_some_and(|rest| rest.starts_with('/') && rest.len() > 1)
    })?;
    if is_asked_for(&graph(spec, c, Want::Present), id) {
        return None;
    }
    let resource = UnmanagedOnRole {
        role: role.to_owned(),
        id: id.clone(),
    };
    Some(Box::new(Typed {
        resource,
        want: Want::Absent,
    }))
}

fn is_asked_for(nodes: &[Box<dyn Node>], id: &ResourceId) -> bool {
    nodes.iter().any(|node| node.id().is_same_in_iam(id))
}

/// Every unmanaged policy on the roles of a spec, with its role.
///
/// # Errors
/// What AWS refused.
pub async fn extras(
    spec: &AppSpec,
    c: &Conventions,
    cx: &ReconcileContext,
) -> Result<Vec<(ResourceId, ResourceId, String)>, Fault> {
    let nodes = graph(spec, c, Want::Present);
    let mut extras = Vec::new();
    for role in roles(spec) {
        if !matches!(iam_role::look(cx, role).await?, Observation::Ours(_)) {
            continue;
        }
        for it in iam_role::dependencies(cx, role).await? {
            let id = it.id(role);
            if !is_asked_for(&nodes, &id) {
                extras.push((ids::role(role), id, it.told(role)));
            }
        }
    }
    Ok(extras)
}
