//! Something that a user or a role of an app has and Slipway did not put there, as a resource that a repair removes.
//!
//! Invariants:
//! - It is removed only when it is asked for by its id, and after everything that the spec asks for is there.
//! - It is no kind that a spec can ask for, so it is not in the list of kinds.

use std::fmt;

use serde_json::{Value, json};

use crate::domain::plan::Action;
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::AppSpec;
use crate::provision::change::{Applied, Change, Changes, Observation, Want};
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::Fault;
use crate::provision::node::{Node, Typed};
use crate::provision::permission::Permission;
use crate::provision::render::labels::Labels;
use crate::provision::render::{cloudformation, terraform};
use crate::provision::resource::Resource;

/// A user or a role.
pub trait Holder: Clone + fmt::Debug + PartialEq + Send + Sync + 'static {
    /// What it can have.
    type Dependency: Clone + fmt::Debug + PartialEq + Send + Sync + 'static;

    const KIND: &'static str;

    fn id(&self) -> ResourceId;

    /// What it has by this id that Slipway did not put there.
    fn unmanaged(
        &self,
        cx: &ReconcileContext,
        id: &ResourceId,
    ) -> impl Future<Output = Result<Vec<Self::Dependency>, Fault>> + Send;

    /// What people are told of it.
    fn told(&self, dependency: &Self::Dependency) -> String;

    /// The text of the change that removes it.
    fn removal(&self, dependency: &Self::Dependency) -> String;

    /// The command that a person would type to remove it.
    fn aws_cli(&self, dependency: &Self::Dependency) -> String;

    /// Removes it.
    fn take(
        &self,
        cx: &ReconcileContext,
        dependency: &Self::Dependency,
    ) -> impl Future<Output = Result<Applied, Fault>> + Send;
}

/// Something on a user or a role, by the id that it has in reports.
#[derive(Debug, Clone, PartialEq)]
pub struct UnmanagedResource<H> {
    pub holder: H,
    pub id: ResourceId,
}

impl<H: Holder> UnmanagedResource<H> {
    /// The node that removes it.
    pub fn removed(self) -> Box<dyn Node> {
        Box::new(Typed {
            resource: self,
            want: Want::Absent,
        })
    }
}

/// The call that removes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Take<H: Holder> {
    holder: H,
    dependency: H::Dependency,
}

impl<H: Holder> fmt::Display for Take<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.holder.removal(&self.dependency))
    }
}

impl<H: Holder> Change for Take<H> {
    fn action(&self) -> Action {
        Action::Delete
    }

    fn before(&self) -> Option<Value> {
        Some(json!(self.holder.told(&self.dependency)))
    }

    fn aws_cli(&self) -> String {
        self.holder.aws_cli(&self.dependency)
    }
}

impl<H: Holder> Resource for UnmanagedResource<H> {
    type Observed = Vec<H::Dependency>;
    type Change = Take<H>;

    const KIND: &'static str = H::KIND;
    const PERMISSIONS: &'static [Permission] = &[];

    fn wanted(_: &AppSpec, _: &Conventions) -> Vec<Self> {
        Vec::new()
    }

    fn id(&self) -> ResourceId {
        self.id.clone()
    }

    fn needs(&self) -> Vec<ResourceId> {
        vec![self.holder.id()]
    }

    async fn observe(
        &self,
        cx: &ReconcileContext,
    ) -> Result<Observation<Vec<H::Dependency>>, Fault> {
        let seen = self.holder.unmanaged(cx, &self.id).await?;
        Ok(if seen.is_empty() {
            Observation::Absent
        } else {
            Observation::Ours(seen)
        })
    }

    fn plan(&self, _: Option<&Vec<H::Dependency>>) -> Result<Changes<Take<H>>, Fault> {
        Ok(Changes::of(Vec::new()))
    }

    fn plan_absent(
        &self,
        _: &ReconcileContext,
        seen: &Vec<H::Dependency>,
    ) -> Result<Changes<Take<H>>, Fault> {
        let take = |dependency: &H::Dependency| Take {
            holder: self.holder.clone(),
            dependency: dependency.clone(),
        };
        Ok(Changes::of(seen.iter().map(take).collect()))
    }

    async fn apply(&self, cx: &ReconcileContext, change: &Take<H>) -> Result<Applied, Fault> {
        change.holder.take(cx, &change.dependency).await
    }

    fn terraform(&self, _: &Vec<H::Dependency>, _: &Labels) -> Vec<terraform::Piece> {
        Vec::new()
    }

    fn cloudformation(&self, _: &Vec<H::Dependency>, _: &Labels) -> Vec<cloudformation::Entry> {
        Vec::new()
    }
}
