//! The target of a repository, and its observed state.

use crate::domain::names::{Region, RepositoryName};
use crate::provision::tags::Tags;

/// A repository for the app's images.
#[derive(Debug, Clone)]
pub struct Repository {
    pub(super) name: RepositoryName,
    pub(super) region: Region,
    pub(super) tags: Tags,
    pub(super) arn: String,
}

/// The observed repository.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenRepository {
    pub(super) tags: Tags,
    pub(super) made_by_us: bool,
    /// Tags that the spec no longer includes.
    pub(super) dropped: Vec<String>,
    /// The number of images, if the repository is to be deleted.
    pub(super) images: usize,
}
