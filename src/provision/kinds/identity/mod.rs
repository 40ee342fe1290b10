//! Keyless identities: IAM roles that EC2 instances, ECS tasks, pipelines and pods assume instead of using an access key.
//!
//! Invariants:
//! - A role has the name of its entry in the list `identities` of the spec. An EC2 identity has an instance profile of
//!   the same name.
//! - An OIDC provider belongs to the account: it is created if it is missing, and never deleted.

pub mod instance_profile;
pub mod oidc_provider;
pub mod role;
pub mod role_change;
pub mod role_policy;
mod usage;

use crate::domain::identity::IdentitySettings;
use crate::domain::spec::{AppSpec, ListEntry};
use crate::provision::conventions::Conventions;

/// The ARN of an instance profile under the path of the conventions.
fn instance_profile_arn(name: &str, c: &Conventions) -> String {
    format!(
        "arn:{}:iam::{}:instance-profile{}{name}",
        c.partition, c.account_id, c.iam_path
    )
}

/// The identities of a spec.
fn of(spec: &AppSpec) -> Vec<(&ListEntry, IdentitySettings)> {
    spec.lists.of::<IdentitySettings>()
}
