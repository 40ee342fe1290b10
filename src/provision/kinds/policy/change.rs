//! The changes of a policy, as plans show them.

use std::fmt;

use serde_json::{Value, json};

use crate::domain::iam_policy::PolicyDocument;
use crate::domain::plan::Action;
use crate::provision::change::Change;
use crate::provision::render::shell_words;
use crate::provision::tags::{self, Tags};

/// The description of the policy in the guide.
pub(super) const DESCRIPTION: &str = "Grants access to S3 buckets and objects";

/// What changes a policy.
#[derive(Debug, Clone, PartialEq)]
pub enum PolicyChange {
    /// `CreatePolicy`.
    Create {
        name: String,
        document: PolicyDocument,
        /// The tags of a scoped policy.
        tags: Option<Tags>,
    },
    /// `DeletePolicyVersion`, to make room for a new version.
    Prune {
        arn: String,
        /// The oldest version that is not the default version.
        version: String,
    },
    /// `CreatePolicyVersion`, which sets the new default version.
    Rewrite {
        arn: String,
        /// The current document.
        before: Option<PolicyDocument>,
        /// The new document.
        after: PolicyDocument,
    },
    /// `DeletePolicy`.
    Delete { arn: String },
    /// `UntagPolicy`.
    Untag {
        arn: String,
        /// The keys of the tags to remove.
        keys: Vec<String>,
    },
    /// `TagPolicy`.
    Tag {
        arn: String,
        /// The tags to set.
        tags: Tags,
        /// The tags that are there.
        before: Tags,
    },
}

impl fmt::Display for PolicyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { name, .. } => write!(f, "create policy {name}"),
            Self::Prune { arn, version } => write!(f, "delete the old version {version} of {arn}"),
            Self::Rewrite { arn, .. } => write!(f, "set a new default version of {arn}"),
            Self::Delete { arn } => write!(f, "delete policy {arn}"),
            Self::Untag { arn, keys } => write!(f, "untag {arn}: {}", keys.join(", ")),
            Self::Tag { arn, tags, .. } => write!(
                f,
                "tag {arn} with {}",
                tags.keys().cloned().collect::<Vec<_>>().join(", ")
            ),
        }
    }
}

impl Change for PolicyChange {
    fn action(&self) -> Action {
        match self {
            Self::Create { .. } => Action::Create,
            Self::Prune { .. } | Self::Delete { .. } => Action::Delete,
            Self::Rewrite { .. } | Self::Tag { .. } | Self::Untag { .. } => Action::Update,
        }
    }

    fn before(&self) -> Option<Value> {
        match self {
            Self::Rewrite { before, .. } => before.as_ref().map(|document| json!(document)),
            Self::Tag { before, .. } => Some(json!({"tags": before})),
            _ => None,
        }
    }

    fn after(&self) -> Option<Value> {
        match self {
            Self::Create { document, .. } => Some(json!(document)),
            Self::Rewrite { after, .. } => Some(json!(after)),
            Self::Tag { tags, before, .. } => Some(json!({"tags": tags::over(before, tags)})),
            Self::Prune { .. } | Self::Delete { .. } | Self::Untag { .. } => None,
        }
    }

    fn aws_cli(&self) -> String {
        match self {
            Self::Create {
                name,
                document,
                tags,
            } => {
                let tags = tags
                    .as_ref()
                    .map(|tags| format!(" --tags {}", tags::shorthand(tags)))
                    .unwrap_or_default();
                format!(
                    "aws iam create-policy --policy-name {} --description {} --policy-document {}{tags}",
                    shell_words::word(name),
                    shell_words::word(DESCRIPTION),
                    shell_words::document(document)
                )
            }
            Self::Delete { arn } => format!(
                "aws iam delete-policy --policy-arn {}",
                shell_words::word(arn)
            ),
            Self::Untag { arn, keys } => {
                format!(
                    "aws iam untag-policy --policy-arn {} --tag-keys {}",
                    shell_words::word(arn),
                    shell_words::words(keys)
                )
            }
            Self::Prune { arn, version } => {
                format!(
                    "aws iam delete-policy-version --policy-arn {} --version-id {}",
                    shell_words::word(arn),
                    shell_words::word(version)
                )
            }
            Self::Rewrite { arn, after, .. } => format!(
                "aws iam create-policy-version --set-as-default --policy-arn {} --policy-document {}",
                shell_words::word(arn),
                shell_words::document(after)
            ),
            Self::Tag { arn, tags, .. } => {
                format!(
                    "aws iam tag-policy --policy-arn {} --tags {}",
                    shell_words::word(arn),
                    tags::shorthand(tags)
                )
            }
        }
    }
}
