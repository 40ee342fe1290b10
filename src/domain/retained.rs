//! Resources that an app's jobs created or adopted and that its spec no longer names.
//!
//! Invariant: a retained resource stays in AWS until a request removes it by its id.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::{AppSpec, BucketSpec, RepositorySpec};

/// How a thing came to be an app's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Owned {
    /// A job of the app made it.
    Made,
    /// It was there before; a job of the app took it over.
    Adopted,
}

/// What a repair does besides bringing AWS back to the spec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RepairRequest {
    /// What is removed: what is on the app's user and the spec does not ask for, by the ids of a drift report, and what is
    /// retained, by its id. A bucket or repository goes only if it is empty.
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
        after
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty() && self.repositories.is_empty()
    }

    /// The spec of an app that has just these buckets and repositories.
    pub fn as_spec(&self, of: &AppSpec) -> AppSpec {
        AppSpec {
            buckets: self.buckets.clone(),
            repositories: self.repositories.clone(),
            ..of.clone()
        }
    }
}

/// What jobs of an app have made or adopted, and its spec does not name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Retained {
    /// Buckets, as an earlier spec named them.
    #[schema(value_type = Vec<serde_json::Value>)]
    pub buckets: Vec<BucketSpec>,
    /// Repositories, as an earlier spec named them.
    #[schema(value_type = Vec<serde_json::Value>)]
    pub repositories: Vec<RepositorySpec>,
    /// Everything by its id, these included.
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

/// A thing that a job of an app has made or adopted, and the spec does not name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RetainedResource {
    /// Its id.
    #[schema(value_type = String, example = "iam:policy/MediaManagement-acme-shop")]
    pub resource: ResourceId,
    /// What it is, and that it stays.
    #[schema(
        example = "iam:policy/MediaManagement-acme-shop is retained in AWS. The spec does not include it."
    )]
    pub detail: String,
    /// Its ARN, where AWS gives it one.
    pub arn: Option<String>,
    /// Whether it was made or adopted.
    pub owned: Owned,
    /// When it was made, where that is recorded.
    pub made_at: Option<Timestamp>,
    /// The body with which `POST /v1/apps/{app}/repair` removes it. `PUT /v1/apps/{app}?remove=true` removes everything
    /// that is retained. Absent where the app is removed.
    pub remove: Option<RepairRequest>,
}
