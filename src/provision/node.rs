//! Convergence: walks an app's graph and brings each resource to what is wanted.
//!
//! Invariants:
//! - One path serves every job and every plan: observe, plan, apply. A plan stops before apply.
//! - Resources that do not need each other are worked on at once; one that needs a failed one is skipped.
//! - A wait that is short is waited out with the lease held; a longer one gives the worker back.
//! - Before each change the engine asks whether it may go on: a lost lease or a cancel stops it there.

use std::time::Duration;

use futures::future::BoxFuture;

use crate::domain::event::EventPayload;
use crate::domain::job::JobError;
use crate::provision::context::ReconcileContext;
use crate::provision::fault::Fault;
use crate::provision::inspect::Inspection;
use crate::provision::plan::Preview;
use crate::provision::render::aws_cli::Command;
use crate::provision::resource::{Conventions, Resource, ResourceId, Want};

/// Where a walk tells what it does, and learns whether to go on.
pub trait Report: Send + Sync {
    /// Tells what happened. Does not wait for the record to be written.
    fn tell(&self, payload: EventPayload);
    /// Why to stop, if so.
    fn interrupted(&self) -> Option<Fault>;
}

/// How one resource's turn ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// As wanted.
    Done {
        /// What was changed, in order.
        changes: Vec<String>,
        /// What a person should know.
        warnings: Vec<String>,
    },
    /// To be tried again after a while.
    Later {
        /// Why.
        reason: String,
        /// How long.
        after: Duration,
        /// The last error, if it was one.
        job_error: Option<JobError>,
    },
    /// It did not work.
    Failed(Fault),
    /// It was not tried, because what it needs is not there.
    Skipped,
}

/// A resource of any kind, as the graph holds it.
pub trait Node: Send + Sync {
    /// Its id.
    fn id(&self) -> ResourceId;
    /// What is wanted of it.
    fn want(&self) -> Want;
    /// What has to be there first, for it to be there.
    fn needs(&self) -> Vec<ResourceId>;
    /// Its ARN, where AWS gives it one.
    fn arn(&self, conventions: &Conventions) -> Option<String>;
    /// Whether it is the account's, for all apps.
    fn is_shared(&self) -> bool;
    /// Brings it to what is wanted.
    fn converge<'a>(
        &'a self,
        cx: &'a ReconcileContext,
        deadline: crate::clock::Timestamp,
        report: &'a dyn Report,
    ) -> BoxFuture<'a, Outcome>;
    /// Says what would be changed.
    fn preview<'a>(&'a self, cx: &'a ReconcileContext) -> BoxFuture<'a, Preview>;
    /// Looks at it, for an export.
    fn inspect<'a>(&'a self, cx: &'a ReconcileContext) -> BoxFuture<'a, Result<Inspection, Fault>>;
    /// The commands that would make it where nothing is.
    ///
    /// # Errors
    /// When it could never be made.
    fn commands(&self) -> Result<Vec<Command>, Fault>;
}

/// A resource of a known kind, as a node.
pub struct Typed<R> {
    /// The resource.
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

    fn converge<'a>(
        &'a self,
        cx: &'a ReconcileContext,
        deadline: crate::clock::Timestamp,
        report: &'a dyn Report,
    ) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            crate::provision::reconcile::converge(
                &self.resource,
                &cx.wanting(self.want),
                deadline,
                report,
            )
            .await
        })
    }

    fn preview<'a>(&'a self, cx: &'a ReconcileContext) -> BoxFuture<'a, Preview> {
        Box::pin(async move {
            crate::provision::plan::preview(&self.resource, &cx.wanting(self.want)).await
        })
    }

    fn inspect<'a>(&'a self, cx: &'a ReconcileContext) -> BoxFuture<'a, Result<Inspection, Fault>> {
        Box::pin(crate::provision::inspect::inspect(&self.resource, cx))
    }

    fn commands(&self) -> Result<Vec<Command>, Fault> {
        crate::provision::inspect::commands(&self.resource)
    }
}
