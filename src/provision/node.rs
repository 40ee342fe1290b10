//! A resource of any kind, as a node of an app's graph.

use futures::future::BoxFuture;

use crate::clock::Timestamp;
use crate::domain::job::JobResult;
use crate::domain::resource_id::ResourceId;
use crate::provision::change::Want;
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::Fault;
use crate::provision::inspect::{self, Inspection};
use crate::provision::preview::{self, Preview};
use crate::provision::reconcile::reconcile;
use crate::provision::render::aws_cli::Command;
use crate::provision::render::dotenv::Variables;
use crate::provision::report::{Outcome, Report};
use crate::provision::resource::Resource;

/// A resource of any kind, as a node of the graph.
pub trait Node: Send + Sync {
    /// The resource ID.
    fn id(&self) -> ResourceId;
    /// The target.
    fn want(&self) -> Want;
    /// The resources that must exist first.
    fn needs(&self) -> Vec<ResourceId>;
    /// The ARN, if the resource has one.
    fn arn(&self, conventions: &Conventions) -> Option<String>;
    /// Whether the resource is shared by all apps in the account.
    fn is_shared(&self) -> bool;
    /// Whether the resource holds data of the app.
    fn holds_data(&self) -> bool;
    /// A description for people.
    fn description(&self) -> String;
    /// Adds the resource to the result of a job.
    fn add_to_result(&self, arn: Option<&str>, conventions: &Conventions, result: &mut JobResult);
    /// The environment variables of its kind, and its value in them.
    fn variable(&self, conventions: &Conventions) -> Option<(Variables, String)>;
    /// Brings the resource to its target.
    fn reconcile<'a>(
        &'a self,
        cx: &'a ReconcileContext,
        deadline: Timestamp,
        report: &'a dyn Report,
    ) -> BoxFuture<'a, Outcome>;
    /// Previews the changes to the target.
    fn preview<'a>(&'a self, cx: &'a ReconcileContext) -> BoxFuture<'a, Preview>;
    /// Inspects the resource for an export.
    fn inspect<'a>(&'a self, cx: &'a ReconcileContext) -> BoxFuture<'a, Result<Inspection, Fault>>;
    /// The commands that create the resource.
    ///
    /// # Errors
    /// When the resource can never be created.
    fn commands(&self) -> Result<Vec<Command>, Fault>;
}

/// A resource of a known kind, as a node.
pub struct Typed<R> {
    pub resource: R,
    /// What is wanted of it.
    pub want: Want,
}

impl<R: Resource> Node for Typed<R> {
    fn id(&self) -> ResourceId {
        self.resource.id()
    }

    fn want(&self) -> Want {
        self.want
    }

    fn needs(&self) -> Vec<ResourceId> {
        self.resource.needs()
    }

    fn arn(&self, conventions: &Conventions) -> Option<String> {
        self.resource.arn(conventions)
    }

    fn is_shared(&self) -> bool {
        self.resource.is_shared()
    }

    fn holds_data(&self) -> bool {
        R::HOLDS_DATA
    }

    fn description(&self) -> String {
        self.resource.description()
    }

    fn add_to_result(&self, arn: Option<&str>, conventions: &Conventions, result: &mut JobResult) {
        self.resource.add_to_result(arn, conventions, result);
    }

    fn variable(&self, conventions: &Conventions) -> Option<(Variables, String)> {
        R::VARIABLES.zip(self.resource.variable(conventions))
    }

    fn reconcile<'a>(
        &'a self,
        cx: &'a ReconcileContext,
        deadline: Timestamp,
        report: &'a dyn Report,
    ) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            reconcile(&self.resource, &cx.wanting(self.want), deadline, report).await
        })
    }

    fn preview<'a>(&'a self, cx: &'a ReconcileContext) -> BoxFuture<'a, Preview> {
        Box::pin(async move { preview::preview(&self.resource, &cx.wanting(self.want)).await })
    }

    fn inspect<'a>(&'a self, cx: &'a ReconcileContext) -> BoxFuture<'a, Result<Inspection, Fault>> {
        Box::pin(inspect::inspect(&self.resource, cx))
    }

    fn commands(&self) -> Result<Vec<Command>, Fault> {
        inspect::commands(&self.resource)
    }
}
