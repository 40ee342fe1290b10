//! An image of a repository, as lifecycle policies see it.

use serde::{Deserialize, Serialize};

use crate::domain::ecr_lifecycle::protected_tag::is_protected;

/// An image as `DescribeImages` tells of it. Times are milliseconds since 1970, UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Digest of its manifest, `sha256:…`.
    pub digest: String,
    /// Its tags; none for an untagged image.
    pub tags: Vec<String>,
    /// When it was pushed (`imagePushedAt`).
    pub pushed_at_ms: i64,
    /// When it was last pulled (`lastRecordedPullTime`), if ever.
    pub last_pulled_at_ms: Option<i64>,
    /// When it was last restored from the archive (`lastActivatedAt`), if ever.
    pub last_activated_at_ms: Option<i64>,
    /// When it went to the archive (`lastArchivedAt`), if it is there now (`imageStatus`).
    pub archived_at_ms: Option<i64>,
}

impl Image {
    /// Whether one of its tags is protected.
    pub fn is_protected(&self) -> bool {
        self.tags.iter().any(|tag| is_protected(tag))
    }

    pub(super) fn storage(&self) -> Storage {
        if self.archived_at_ms.is_some() {
            Storage::Archive
        } else {
            Storage::Standard
        }
    }

    /// A restored image counts as pushed when it was restored.
    pub(super) fn pushed_ms(&self) -> i64 {
        self.last_activated_at_ms.unwrap_or(self.pushed_at_ms)
    }

    /// Never pulled counts as pulled by the push; not pulled since a restore, as pulled by that.
    pub(super) fn pulled_ms(&self) -> i64 {
        let pulled = self.last_pulled_at_ms.unwrap_or(self.pushed_at_ms);
        self.last_activated_at_ms
            .map_or(pulled, |activated| activated.max(pulled))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Storage {
    Standard,
    Archive,
}

pub(super) const DAY_MS: i64 = 86_400_000;
