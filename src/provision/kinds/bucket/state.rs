//! The target of a bucket, and its observed state.

use serde_json::Value;

use crate::domain::spec::BucketSpec;
use crate::provision::tags::Tags;

/// A bucket for the app's media.
#[derive(Debug, Clone)]
pub struct Bucket {
    pub(super) spec: BucketSpec,
    pub(super) tags: Tags,
    pub(super) account_id: String,
    pub(super) partition: String,
}

/// A CORS rule of S3.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cors {
    pub(super) origins: Vec<String>,
    pub(super) headers: Vec<String>,
    pub(super) methods: Vec<String>,
    pub(super) exposed: Vec<String>,
    pub(super) max_age: Option<i32>,
    pub(super) id: Option<String>,
}

/// The observed state of a bucket.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SeenBucket {
    pub(super) region: Option<String>,
    pub(super) tags: Tags,
    pub(super) made_by_us: bool,
    pub(super) blocked: bool,
    /// The same, setting by setting.
    pub(super) block: Value,
    pub(super) owner_enforced: bool,
    /// The same, in S3's words.
    pub(super) ownership: Value,
    pub(super) cors: Vec<Cors>,
    /// Tags that the spec no longer includes.
    pub(super) dropped: Vec<String>,
    /// The first part of the contents, observed only for a deletion.
    pub(super) contents: Contents,
}

/// The first part of the contents of a bucket: as much as one call deletes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Contents {
    /// Object versions and delete markers: key and version.
    pub(super) versions: Vec<(String, Option<String>)>,
    /// Multipart uploads in progress: key and upload ID.
    pub(super) uploads: Vec<(String, String)>,
    /// Whether the bucket contains more.
    pub(super) more: bool,
}

impl Bucket {
    pub(super) fn name(&self) -> &str {
        self.spec.name.as_str()
    }
}
