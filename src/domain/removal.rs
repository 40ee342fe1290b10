//! The removal of an app: what it deletes, and what it leaves.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::domain::retained::Dropped;
use crate::domain::spec::AppSpec;

/// The removal of an app, from the request until the app is removed or restored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Removal {
    /// Buckets to delete with all their objects.
    pub buckets: BTreeSet<String>,
    /// Repositories to delete with their images, as `region/name`.
    pub repositories: BTreeSet<String>,
    /// Whether adopted resources are deleted too, except for buckets and repositories.
    pub adopted: bool,
    /// The token that requested the removal.
    pub requested_by: String,
    /// When the removal was requested.
    pub requested_at: Timestamp,
    /// When the resources are deleted. Until then you can restore the app.
    pub remove_at: Timestamp,
    /// The access keys that were deactivated for the removal.
    #[serde(default)]
    pub switched_off: BTreeSet<String>,
    /// Whether a restore was requested. From then on the resources are not deleted, whether or not the restore
    /// succeeds.
    #[serde(default)]
    pub restoring: bool,
    /// Resources with data to delete, as `region/name`, by the field of their list in the spec.
    #[serde(flatten)]
    #[schema(ignore)]
    pub lists: BTreeMap<String, BTreeSet<String>>,
}

impl Removal {
    /// Whether it deletes objects, images or the data of other lists.
    pub fn deletes_data(&self) -> bool {
        !(self.buckets.is_empty() && self.repositories.is_empty() && self.lists.is_empty())
    }

    /// What is not removed of what this spec of an app, and those before it, have named.
    pub fn leaves(&self, spec: &AppSpec, before: &Dropped) -> Dropped {
        let mut stays = before.after(spec, &Dropped::default().as_spec(spec));
        stays
            .buckets
            .retain(|bucket| !self.buckets.contains(bucket.name.as_str()));
        stays
            .repositories
            .retain(|repository| !self.repositories.contains(&repository.place()));
        stays.lists.retain(|field, entry| {
            let named = self.lists.get(field);
            !named.is_some_and(|places| places.contains(&entry.place()))
        });
        stays
    }
}
