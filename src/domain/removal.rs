//! The removal of an app: what it deletes, and what it leaves.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::domain::retained::Dropped;
use crate::domain::spec::AppSpec;

/// An app's removal, from the request on until it is gone or restored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Removal {
    /// Buckets that go, with all that is in them.
    pub buckets: BTreeSet<String>,
    /// Repositories that go, with their images: `region/name`.
    pub repositories: BTreeSet<String>,
    /// Whether also what was adopted goes, where it is not data.
    pub adopted: bool,
    /// Who asked.
    pub requested_by: String,
    /// When.
    pub requested_at: Timestamp,
    /// When the app is taken apart; until then it can be restored.
    pub remove_at: Timestamp,
    /// The keys that were switched off for it.
    #[serde(default)]
    pub switched_off: BTreeSet<String>,
    /// Whether a restore was asked for: from then on the app is not taken apart, whether or not the restore succeeds.
    #[serde(default)]
    pub restoring: bool,
}

impl Removal {
    /// What is not removed of what this spec of an app, and those before it, have named.
    pub fn leaves(&self, spec: &AppSpec, before: &Dropped) -> Dropped {
        let mut stays = before.after(spec, &Dropped::default().as_spec(spec));
        stays
            .buckets
            .retain(|bucket| !self.buckets.contains(bucket.name.as_str()));
        stays
            .repositories
            .retain(|repository| !self.repositories.contains(&repository.place()));
        stays
    }
}
