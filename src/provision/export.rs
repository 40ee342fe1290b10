//! What an app has, in the terms of other tools: nobody is locked in.
//!
//! Invariants:
//! - Terraform and CloudFormation get what is there, looked at for the export; the script and the environment
//!   file get what the spec says.
//! - An export changes nothing, in AWS or in the database, and shows no secret.
//! - What the account has for all apps is named, never owned: who removes an app by another tool leaves it.
//! - How a kind looks elsewhere is said in its own file under [`resources`](crate::provision::resource); here are formats.

use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoEnumIterator as _};
use utoipa::ToSchema;

use crate::domain::names::Region;
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::AppSpec;
use crate::provision::change::Want;
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::Fault;
use crate::provision::inspect::Inspection;
use crate::provision::kinds::graph;
use crate::provision::render::bootstrap::BootstrapFormat;
use crate::provision::render::document::Head;
use crate::provision::render::labels::Labels;

/// An export format.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    EnumIter,
    ToSchema,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
#[schema(as = ExportFormat)]
pub enum Format {
    /// A Terraform configuration with import blocks.
    Terraform,
    /// A CloudFormation template with the resources to import.
    Cloudformation,
    /// A script of AWS CLI commands.
    AwsCli,
    /// An environment file, without the secret.
    Dotenv,
}

impl From<BootstrapFormat> for Format {
    fn from(format: BootstrapFormat) -> Self {
        match format {
            BootstrapFormat::Terraform => Self::Terraform,
            BootstrapFormat::Cloudformation => Self::Cloudformation,
            BootstrapFormat::AwsCli => Self::AwsCli,
        }
    }
}

impl Format {
    /// Parses the name of a format.
    ///
    /// # Errors
    /// When the format is unknown. The message lists the known formats.
    pub fn parse(text: &str) -> Result<Self, String> {
        let known = || {
            Self::iter()
                .map(|format| format.to_string())
                .collect::<Vec<_>>()
                .join(", ")
        };
        text.parse()
            .map_err(|_| format!("must be one of {}", known()))
    }

    /// The usual file name.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Terraform => "main.tf",
            Self::Cloudformation => "template.json",
            Self::AwsCli => "setup.sh",
            Self::Dotenv => ".env",
        }
    }

    /// The media type of the file.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Cloudformation => "application/json",
            Self::Terraform | Self::AwsCli | Self::Dotenv => "text/plain; charset=utf-8",
        }
    }
}

/// A resource of the app cannot be read, so the export would be incomplete.
#[derive(Debug, thiserror::Error)]
#[error("Cannot read {resource} from AWS: {}", told(.fault))]
pub struct Unseen {
    /// The resource ID.
    pub resource: ResourceId,
    /// The reason.
    pub fault: Fault,
}

fn told(fault: &Fault) -> &str {
    match fault {
        Fault::Wait { why, .. } => why,
        fault => fault
            .job_error()
            .map_or("the request was interrupted", |job_error| &job_error.detail),
    }
}

/// The resources of an app as observed in AWS.
pub struct Inventory {
    head: Head,
    things: Vec<(ResourceId, Inspection)>,
}

impl Inventory {
    /// Observes every resource in the spec. Changes nothing.
    ///
    /// # Errors
    /// When a resource cannot be read.
    pub async fn look(
        spec: &AppSpec,
        conventions: &Conventions,
        cx: &ReconcileContext,
    ) -> Result<Self, Unseen> {
        let nodes = graph(spec, conventions, Want::Present);
        let look = nodes.iter().map(|node| async {
            let inspect = node.inspect(cx).await.map_err(|fault| Unseen {
                resource: node.id(),
                fault,
            })?;
            Ok((node.id(), inspect))
        });
        Ok(Self {
            head: head(spec, conventions),
            things: try_join_all(look).await?,
        })
    }

    /// A Terraform configuration of the existing resources, with import blocks.
    ///
    /// # Errors
    /// When a value cannot be written in HCL, which would be a bug.
    pub fn terraform(&self) -> Result<String, hcl::Error> {
        let labels = self.labels(crate::provision::render::terraform::label);
        let parts = self.things.iter().map(|(id, inspect)| match inspect {
            Inspection::Seen(thing) => (id, thing.terraform(&labels)),
            _ => (
                id,
                left_out(id, inspect)
                    .map(crate::provision::render::terraform::Piece::Note)
                    .into_iter()
                    .collect(),
            ),
        });
        crate::provision::render::terraform::render(&self.head, &labels, parts.collect::<Vec<_>>())
    }

    /// A CloudFormation template of one region's stack, with what imports it; the user and its policy are in the
    /// stack of the app's region. `None` where the app has nothing in that region.
    pub fn cloudformation(&self, region: &Region) -> Option<serde_json::Value> {
        let labels = self.labels(crate::provision::render::cloudformation::logical_id);
        let parts = self.things.iter().map(|(id, inspect)| match inspect {
            Inspection::Seen(thing) => (id, thing.cloudformation(&labels)),
            _ => (
                id,
                left_out(id, inspect)
                    .map(crate::provision::render::cloudformation::Entry::Note)
                    .into_iter()
                    .collect(),
            ),
        });
        crate::provision::render::cloudformation::render(
            &self.head,
            region,
            &labels,
            parts.collect::<Vec<_>>(),
        )
    }

    fn labels(&self, label: fn(&ResourceId) -> String) -> Labels {
        Labels::of(
            self.things
                .iter()
                .filter(|(_, inspect)| matches!(inspect, Inspection::Seen(_)))
                .map(|(id, _)| id),
            label,
        )
    }
}

/// Why a resource in the spec is not exported.
fn left_out(id: &ResourceId, inspect: &Inspection) -> Option<String> {
    match inspect {
        Inspection::Seen(_) => None,
        Inspection::Absent => Some(format!(
            "{id} is not exported because it does not exist. To create it, repair the app."
        )),
        Inspection::NotOurs(why) => Some(format!("{id} is not exported. {why}")),
    }
}

/// A script of the commands that create the app's resources.
///
/// # Errors
/// When a resource can never match the spec.
pub fn script(spec: &AppSpec, conventions: &Conventions) -> Result<String, Unseen> {
    let mut steps = Vec::new();
    for node in graph(spec, conventions, Want::Present) {
        let commands = node.commands().map_err(|fault| Unseen {
            resource: node.id(),
            fault,
        })?;
        steps.extend(commands);
    }
    Ok(crate::provision::render::aws_cli::render(
        &head(spec, conventions),
        &steps,
    ))
}

fn head(spec: &AppSpec, conventions: &Conventions) -> Head {
    Head {
        app: spec.name.clone(),
        account: conventions.account_id.clone(),
        region: spec.region.clone(),
    }
}
