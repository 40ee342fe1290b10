//! What an app's roles have and Slipway did not put on them: inline and attached policies.
//!
//! The kind `iam:role` declares the permissions for them.

use crate::domain::resource_id::ResourceId;
use crate::domain::spec::AppSpec;
use crate::provision::change::{Applied, Observation, Want};
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::Fault;
use crate::provision::iam_role::{self, RoleDependency};
use crate::provision::ids;
use crate::provision::kinds::graph;
use crate::provision::node::Node;
use crate::provision::unmanaged_resource::{Holder, UnmanagedResource};

/// A role of the app.
#[derive(Debug, Clone, PartialEq)]
struct Role(String);

impl Holder for Role {
    type Dependency = RoleDependency;

    const KIND: &'static str = "iam:unmanaged-on-role";

    fn id(&self) -> ResourceId {
        ids::role(&self.0)
    }

    async fn unmanaged(
        &self,
        cx: &ReconcileContext,
        id: &ResourceId,
    ) -> Result<Vec<RoleDependency>, Fault> {
        if !matches!(iam_role::look(cx, &self.0).await?, Observation::Ours(_)) {
            return Ok(Vec::new());
        }
        let mut seen = iam_role::dependencies(cx, &self.0).await?;
        seen.retain(|it| it.id(&self.0) == *id);
        Ok(seen)
    }

    fn told(&self, dependency: &RoleDependency) -> String {
        dependency.told(&self.0)
    }

    fn removal(&self, dependency: &RoleDependency) -> String {
        dependency.removal(&self.0)
    }

    fn aws_cli(&self, dependency: &RoleDependency) -> String {
        dependency.aws_cli(&self.0)
    }

    async fn take(
        &self,
        cx: &ReconcileContext,
        dependency: &RoleDependency,
    ) -> Result<Applied, Fault> {
        dependency.take(cx, &self.0).await
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
    let (holder, id) = (Role(role.to_owned()), id.clone());
    Some(UnmanagedResource { holder, id }.removed())
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
