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

/// What would happen to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Display, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Action {
    /// It is not there and would be made.
    Create,
    /// It is there and differs.
    Update,
    /// It would be removed.
    Delete,
    /// It is as the spec says.
    None,
    /// It is there and is not this app's; `on_existing: adopt` would take it over if no other app has it.
    Conflict,
    /// Something stands in the way; `error` says what.
    Blocked,
}

/// One change, which is one AWS call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlannedChange {
    /// The resource's id.
    #[schema(value_type = String, example = "s3:bucket/acme-shop-media")]
    pub resource: ResourceId,
    /// What would happen.
    pub action: Action,
    /// The same in words.
    #[schema(example = "create bucket acme-shop-media in us-west-2")]
    pub detail: String,
    /// What is there now.
    pub before: Option<Value>,
    /// What would be there.
    pub after: Option<Value>,
    /// The command that a person would type for it.
    #[schema(example = "aws s3api create-bucket --bucket acme-shop-media")]
    pub aws_cli: Option<String>,
    /// What stands in the way of a blocked change, or of a conflict.
    pub error: Option<JobError>,
}

/// What a job would do now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// The app's name.
    #[schema(value_type = String, example = "acme-shop")]
    pub app: AppName,
    /// The spec, with every default filled in.
    #[schema(value_type = Value)]
    pub spec: crate::domain::spec::AppSpec,
    /// The changes, in an order that works; a resource that is as the spec says has one entry of action `none`.
    pub changes: Vec<PlannedChange>,
    /// What a person should know before going on.
    pub warnings: Vec<String>,
    /// AWS calls that would change something.
    #[schema(example = 9)]
    pub calls: usize,
}
