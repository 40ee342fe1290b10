//! Reads the images and the lifecycle policy of a repository, for simulations.

use serde_json::Value;

use crate::aws::{Account, AwsError};
use crate::domain::ecr_lifecycle::Image;
use crate::domain::names::{Region, RepositoryName};
use crate::provision::repository_images::Registry;
use crate::provision::timing::Timing;

/// The observed repository.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenRepository {
    pub images: Vec<Image>,
    /// The document of its lifecycle policy, if it has one.
    pub policy: Option<Value>,
}

/// A repository, if it is there, with a page more than `most` images at most.
///
/// # Errors
/// What AWS refused.
pub async fn look(
    account: &Account,
    region: &Region,
    name: &RepositoryName,
    most: usize,
    timing: Timing,
) -> Result<Option<SeenRepository>, AwsError> {
    let registry = Registry::new(account, region, timing);
    let Some(images) = registry.images(name, most).await? else {
        return Ok(None);
    };
    Ok(Some(SeenRepository {
        images,
        policy: registry.policy(name).await?,
    }))
}
