//! Plans: what a job would do now, in terms that people who know the guide can read and run.
//!
//! Invariant: a plan is made by the path that a job follows, without its last step; it changes nothing.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use strum::Display;
use utoipa::ToSchema;

use crate::domain::job::JobError;
use crate::domain::names::AppName;
use crate::domain::resource_id::ResourceId;

/// The action on a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Display, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Action {
    /// The resource does not exist and would be created.
    Create,
    /// The resource exists and would be changed.
    Update,
    /// The resource would be deleted.
    Delete,
    /// No change.
    None,
    /// The resource exists and does not belong to the app. `on_existing: adopt` adopts it if no other app owns it.
    Conflict,
    /// The change is blocked. `error` has the reason.
    Blocked,
}

/// One change. It is one AWS call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlannedChange {
    /// The resource ID.
    #[schema(value_type = String, example = "s3:bucket/acme-shop-media")]
    pub resource: ResourceId,
    /// The action on the resource.
    pub action: Action,
    /// The change as text.
    #[schema(example = "create bucket acme-shop-media in us-west-2")]
    pub detail: String,
    /// The current value.
    pub before: Option<Value>,
    /// The value after the change.
    pub after: Option<Value>,
    /// The equivalent AWS CLI command.
    #[schema(example = "aws s3api create-bucket --bucket acme-shop-media")]
    pub aws_cli: Option<String>,
    /// Why the change is blocked or in conflict.
    pub error: Option<JobError>,
}

impl PlannedChange {
    /// A change of which only the text is known.
    pub fn of(resource: ResourceId, action: Action, detail: impl Into<String>) -> Self {
        Self {
            resource,
            action,
            detail: detail.into(),
            before: None,
            after: None,
            aws_cli: None,
            error: None,
        }
    }
}

/// The changes that a job would make now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// The name of the app.
    #[schema(value_type = String, example = "acme-shop")]
    pub app: AppName,
    /// The spec, with all defaults filled in.
    #[schema(value_type = Value)]
    pub spec: crate::domain::spec::AppSpec,
    /// The changes, in a valid order. A resource without changes has one entry with the action `none`.
    pub changes: Vec<PlannedChange>,
    /// Conditions to be aware of before you proceed.
    pub warnings: Vec<String>,
    /// The number of AWS calls that would change something.
    #[schema(example = 9)]
    pub calls: usize,
}
