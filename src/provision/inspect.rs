//! What is there of a thing, for exports: a look, and no plan.

use crate::domain::job::JobErrorCode;
use crate::provision::change::{Change as _, Observation};
use crate::provision::context::ReconcileContext;
use crate::provision::fault::Fault;
use crate::provision::render::aws_cli::Command;
use crate::provision::render::labels::Labels;
use crate::provision::render::{cloudformation, terraform};
use crate::provision::resource::Resource;

/// What a look has shown.
pub enum Inspection {
    /// Nothing.
    Absent,
    /// Something that is not this app's, and why not.
    NotOurs(String),
    /// The thing as it is.
    Seen(Box<dyn Exportable>),
}

/// A thing as it is, which says how other tools would have it.
pub trait Exportable: Send + Sync {
    /// In Terraform's terms.
    fn terraform(&self, labels: &Labels) -> Vec<terraform::Piece>;
    /// In CloudFormation's terms.
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

/// Looks at `resource`.
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

/// The commands that would make `resource` where nothing is.
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
