//! The changes of a repository, as plans show them.

use std::fmt;

use serde_json::{Value, json};

use crate::domain::names::{Region, RepositoryName};
use crate::domain::plan::Action;
use crate::provision::change::{Change, counted};
use crate::provision::render::shell_words;
use crate::provision::tags::{self, Tags};

/// What changes a repository.
#[derive(Debug, Clone, PartialEq)]
pub enum RepositoryChange {
    /// `CreateRepository`.
    Create(RepositoryName, Region, Tags),
    /// `TagResource`.
    Tag {
        /// The repository's ARN.
        arn: String,
        region: Region,
        /// The tags to set.
        tags: Tags,
        /// The tags that are there.
        before: Tags,
    },
    /// `UntagResource`.
    Untag {
        /// The repository's ARN.
        arn: String,
        region: Region,
        /// The keys of the tags to remove.
        keys: Vec<String>,
    },
    /// `DeleteRepository`.
    Delete {
        name: RepositoryName,
        region: Region,
        /// The number of images that are deleted with it.
        images: usize,
        /// Whether its images are deleted too. Otherwise ECR deletes only an empty repository.
        force: bool,
    },
}

impl fmt::Display for RepositoryChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(name, region, _) => write!(f, "create repository {name} in {region}"),
            Self::Tag { arn, tags, .. } => write!(
                f,
                "tag {arn} with {}",
                tags.keys().cloned().collect::<Vec<_>>().join(", ")
            ),
            Self::Untag { arn, keys, .. } => write!(f, "untag {arn}: {}", keys.join(", ")),
            Self::Delete {
                name,
                region,
                images,
                ..
            } => write!(
                f,
                "delete repository {name} in {region} and its {}",
                counted(*images, "image")
            ),
        }
    }
}

impl Change for RepositoryChange {
    fn action(&self) -> Action {
        match self {
            Self::Create(..) => Action::Create,
            Self::Tag { .. } | Self::Untag { .. } => Action::Update,
            Self::Delete { .. } => Action::Delete,
        }
    }

    fn before(&self) -> Option<Value> {
        match self {
            Self::Delete { images, .. } => Some(json!({"images": images})),
            Self::Tag { before, .. } => Some(json!({"tags": before})),
            _ => None,
        }
    }

    fn after(&self) -> Option<Value> {
        match self {
            Self::Create(name, region, tags) => {
                Some(json!({"name": name, "region": region, "tags": tags}))
            }
            Self::Tag { tags, before, .. } => Some(json!({"tags": tags::over(before, tags)})),
            Self::Untag { .. } | Self::Delete { .. } => None,
        }
    }

    fn aws_cli(&self) -> String {
        match self {
            Self::Create(name, region, tags) => {
                let tags = tags::shorthand(tags);
                format!(
                    "aws ecr create-repository --repository-name {name} --region {region} --tags {tags}"
                )
            }
            Self::Tag {
                arn, region, tags, ..
            } => {
                format!(
                    "aws ecr tag-resource --resource-arn {arn} --region {region} --tags {}",
                    tags::shorthand(tags)
                )
            }
            Self::Untag { arn, region, keys } => {
                format!(
                    "aws ecr untag-resource --resource-arn {arn} --region {region} --tag-keys {}",
                    shell_words::words(keys)
                )
            }
            Self::Delete {
                name,
                region,
                force,
                ..
            } => {
                let force = if *force { " --force" } else { "" };
                format!(
                    "aws ecr delete-repository --repository-name {name} --region {region}{force}"
                )
            }
        }
    }
}
