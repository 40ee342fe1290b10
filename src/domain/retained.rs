//! Resources that an app's jobs created or adopted and that its spec no longer names.
//!
//! Invariant: a retained resource stays in AWS until a request removes it by its id.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::{AppSpec, BucketSpec, Lists, RepositorySpec};

/// How an app came to own a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Owned {
    /// A job of the app created the resource.
    Made,
    /// The resource existed before, and a job of the app adopted it.
    Adopted,
}

/// The options of a repair.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RepairRequest {
    /// The IDs of the resources to remove: unexpected resources from a drift report, and retained resources. A bucket
    /// or repository is removed only if it is empty.
    #[serde(default)]
    #[schema(value_type = BTreeSet<String>, max_items = 50, example = json!(["iam:attachment/aws/AdministratorAccess/acme-shop"]), required = false)]
    pub remove: BTreeSet<ResourceId>,
}

/// What earlier specs of an app have named and its present one does not.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dropped {
    /// Buckets.
    pub buckets: Vec<BucketSpec>,
    /// Repositories.
    pub repositories: Vec<RepositorySpec>,
    /// Entries of the lists that kinds add.
    #[serde(flatten)]
    pub lists: Lists,
}

impl Dropped {
    /// What is dropped when `old` gives way to `new`: what was dropped before or named by `old`, and is not named by `new`.
    #[must_use]
    pub fn after(&self, old: &AppSpec, new: &AppSpec) -> Self {
        let mut after = self.clone();
        after.buckets.extend(old.buckets.iter().cloned());
        after.repositories.extend(old.repositories.iter().cloned());
        after
            .buckets
            .retain(|bucket| !new.buckets.iter().any(|wanted| wanted.name == bucket.name));
        let same =
            |a: &RepositorySpec, b: &RepositorySpec| a.name == b.name && a.region == b.region;
        after.repositories.retain(|repository| {
            !new.repositories
                .iter()
                .any(|wanted| same(wanted, repository))
        });
        after.lists.extend(&old.lists);
        after
            .lists
            .retain(|field, entry| !new.lists.names(field, entry));
        after
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty() && self.repositories.is_empty() && self.lists.is_empty()
    }

    /// The spec of an app that has just these buckets, repositories and entries of lists.
    pub fn as_spec(&self, of: &AppSpec) -> AppSpec {
        AppSpec {
            buckets: self.buckets.clone(),
            repositories: self.repositories.clone(),
            lists: self.lists.clone(),
            ..of.clone()
        }
    }
}

/// Resources that jobs of an app created or adopted and that its spec does not include.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Retained {
    /// Buckets, as an earlier spec included them.
    #[schema(value_type = Vec<serde_json::Value>)]
    pub buckets: Vec<BucketSpec>,
    /// Repositories, as an earlier spec included them.
    #[schema(value_type = Vec<serde_json::Value>)]
    pub repositories: Vec<RepositorySpec>,
    /// Entries of the lists that kinds add, as an earlier spec included them.
    #[serde(flatten)]
    #[schema(ignore)]
    pub lists: Lists,
    /// All retained resources, including these buckets and repositories.
    #[schema(required = true)]
    pub resources: Vec<RetainedResource>,
}

impl Retained {
    /// What people are told of it, but for what `removed` says.
    pub fn told(&self, removed: impl Fn(&ResourceId) -> bool) -> Vec<String> {
        self.resources
            .iter()
            .filter(|it| !removed(&it.resource))
            .map(|it| it.detail.clone())
            .collect()
    }
}

/// A resource that a job of an app created or adopted and that the spec does not include.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RetainedResource {
    /// The resource ID.
    #[schema(value_type = String, example = "iam:policy/MediaManagement-acme-shop")]
    pub resource: ResourceId,
    /// What the resource is.
    #[schema(
        example = "iam:policy/MediaManagement-acme-shop is retained in AWS. The spec does not include it."
    )]
    pub detail: String,
    /// The ARN, if the resource has one.
    pub arn: Option<String>,
    /// Whether the resource was created or adopted.
    pub owned: Owned,
    /// When the resource was created, if recorded.
    pub made_at: Option<Timestamp>,
    /// The request body for `POST /v1/apps/{app}/repair` that removes the resource. `PUT /v1/apps/{app}?remove=true`
    /// removes all
    /// retained resources. Absent if the app is removed.
    pub remove: Option<RepairRequest>,
}
