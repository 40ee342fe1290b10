//! What is there of a thing, for exports: a look, and no plan.

use crate::domain::job::JobErrorCode;
use crate::provision::change::{Change as _, Observation};
use crate::provision::context::ReconcileContext;
use crate::provision::fault::Fault;
use crate::provision::render::aws_cli::Command;
use crate::provision::render::labels::Labels;
use crate::provision::render::{cloudformation, terraform};
use crate::provision::resource::Resource;

/// The result of an inspection.
pub enum Inspection {
    /// The resource does not exist.
    Absent,
    /// A resource that does not belong to this app, with the reason.
    NotOurs(String),
    /// The resource as it exists.
    Seen(Box<dyn Exportable>),
}

/// An existing resource that can be exported.
pub trait Exportable: Send + Sync {
    /// The Terraform configuration.
    fn terraform(&self, labels: &Labels) -> Vec<terraform::Piece>;
    /// The CloudFormation template entries.
    fn cloudformation(&self, labels: &Labels) -> Vec<cloudformation::Entry>;
}

struct Seen<R: Resource>(R, R::Observed);

impl<R: Resource> Exportable for Seen<R> {
    fn terraform(&self, labels: &Labels) -> Vec<terraform::Piece> {
        self.0.terraform(&self.1, labels)
    }

    fn cloudformation(&self, labels: &Labels) -> Vec<cloudformation::Entry> {
        self.0.cloudformation(&self.1, labels)
    }
}

/// Inspects `resource`.
pub async fn inspect<R: Resource>(
    resource: &R,
    cx: &ReconcileContext,
) -> Result<Inspection, Fault> {
    match resource.observe(cx).await {
        Ok(Observation::Absent) => Ok(Inspection::Absent),
        Ok(Observation::Ours(seen)) => Ok(Inspection::Seen(Box::new(Seen(resource.clone(), seen)))),
        Ok(Observation::Foreign {
            owner: Some(owner), ..
        }) => Ok(Inspection::NotOurs(format!("It belongs to {owner}."))),
        Ok(Observation::Foreign { owner: None, .. }) => Ok(Inspection::NotOurs(
            "It exists, but was not created for this app.".into(),
        )),
        Err(Fault::Rejected(job_error)) if job_error.code == JobErrorCode::Conflict => {
            Ok(Inspection::NotOurs(job_error.detail))
        }
        Err(fault) => Err(fault),
    }
}

/// The commands that create `resource`.
pub fn commands<R: Resource>(resource: &R) -> Result<Vec<Command>, Fault> {
    let changes = resource.plan(None)?.changes;
    let command = |change: &R::Change| Command {
        detail: change.to_string(),
        line: change.aws_cli(),
        shared: resource.is_shared(),
        shows_secret: change.shows_secret(),
    };
    Ok(changes.iter().map(command).collect())
}
