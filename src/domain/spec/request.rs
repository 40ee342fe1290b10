//! The fields of a request, as openapi.yaml describes them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::app_spec::{DriftMode, MediaAccess};
use crate::domain::names::{AccountName, AppName, BucketName, Origin, Region, RepositoryName};
use crate::domain::on_existing::OnExisting;

/// The request body of an onboarding, as documented; parsed by [`AppSpec::parse`].
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the body for the API's document")]
pub struct AppRequest {
    /// The name of the app and of its IAM user: letters, digits and `_+=,.@-`, unique without regard to case.
    pub(super) name: AppName,
    /// The name of a registered account.
    #[schema(default = "default", nullable = false)]
    pub(super) account: Option<AccountName>,
    /// The region of the app. Default: the region of the service.
    #[schema(nullable = false)]
    pub(super) region: Option<Region>,
    /// The buckets that the app can access.
    #[schema(nullable = false)]
    pub(super) media_access: Option<MediaAccess>,
    /// The buckets of the app. Default: one bucket with the default name. An empty array means none.
    #[schema(max_items = 25, nullable = false)]
    pub(super) buckets: Option<Vec<BucketRequest>>,
    /// The repositories of the app. Default: one repository with the default name. An empty array means none.
    #[schema(max_items = 25, nullable = false)]
    pub(super) repositories: Option<Vec<RepositoryRequest>>,
    /// Whether the app has an access key.
    #[schema(default = true, nullable = false)]
    pub(super) access_key: Option<bool>,
    /// What to do if a resource already exists and does not belong to the app.
    #[schema(nullable = false)]
    pub(super) on_existing: Option<OnExisting>,
    /// Tags for all resources that support tags.
    #[schema(nullable = false)]
    pub(super) tags: Option<BTreeMap<String, String>>,
    /// Whether requests to remove the app are rejected.
    #[schema(default = false, nullable = false)]
    pub(super) protected: Option<bool>,
    /// What to do about drift that a scheduled check finds.
    #[schema(nullable = false)]
    pub(super) drift: Option<DriftMode>,
    /// The age at which the access key is rotated automatically. Absent if it is not.
    #[schema(nullable = false)]
    pub(super) rotate_after: Option<RotateAfter>,
}

/// A duration in hours, days or weeks, such as `90d`: from `1h` to `3650d`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(
    value_type = String,
    example = "90d",
    pattern = "^(([1-9][0-9]{0,3}|[1-7][0-9]{4}|8[0-6][0-9]{3}|87[0-5][0-9]{2}|87600)h|([1-9][0-9]{0,2}|[12][0-9]{3}|3[0-5][0-9]{2}|36[0-4][0-9]|3650)d|([1-9][0-9]?|[1-4][0-9]{2}|5[01][0-9]|52[01])w)$"
)]
#[expect(dead_code, reason = "describes the text for the API's document")]
pub struct RotateAfter(String);

/// `guide`, `protected`, or an ECR lifecycle policy document.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum LifecycleRequest {
    /// The name of a lifecycle profile.
    Named(LifecycleName),
    /// An ECR lifecycle policy document.
    #[schema(value_type = Object)]
    Document(serde_json::Map<String, Value>),
}

/// The name of a lifecycle profile.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LifecycleName {
    /// The rules of the guide.
    Guide,
    /// Keeps release tags, then applies the rules of the guide.
    Protected,
}

/// A bucket. Absent fields have defaults.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the body for the API's document")]
pub struct BucketRequest {
    /// The name of the bucket: 3 to 63 lowercase letters, digits and hyphens.
    #[schema(nullable = false)]
    pub(super) name: Option<BucketName>,
    /// The region of the bucket. Default: the region of the app.
    #[schema(nullable = false)]
    pub(super) region: Option<Region>,
    /// Origins whose pages may upload from a browser. An empty array means none.
    #[schema(max_items = 100, nullable = false)]
    pub(super) upload_origins: Option<Vec<Origin>>,
}

/// A repository. Absent fields have defaults.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the body for the API's document")]
pub struct RepositoryRequest {
    /// The name of the repository: 2 to 256 lowercase letters and digits, separated by single `.`, `_`, `-` or `/`
    /// characters.
    #[schema(nullable = false)]
    pub(super) name: Option<RepositoryName>,
    /// The region of the repository. Default: the region of the app.
    #[schema(nullable = false)]
    pub(super) region: Option<Region>,
    /// `guide`, `protected`, or an ECR lifecycle policy document.
    #[schema(example = "guide", nullable = false)]
    pub(super) lifecycle: Option<LifecycleRequest>,
}
