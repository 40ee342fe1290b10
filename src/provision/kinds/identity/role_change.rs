//! What changes a role.

use std::fmt;

use serde_json::{Value, json};

use crate::domain::names::IamPath;
use crate::domain::plan::Action;
use crate::domain::trust_policy::TrustPolicy;
use crate::provision::change::Change;
use crate::provision::iam_role::RoleDependency;
use crate::provision::render::shell_words;
use crate::provision::tags::{self, Tags};

/// A change of the role by this name.
#[derive(Debug, Clone, PartialEq)]
pub struct RoleChange {
    pub role: String,
    pub call: Call,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// `CreateRole`.
    Create {
        path: IamPath,
        trust: TrustPolicy,
        /// Its tags, but for the job's.
        tags: Tags,
    },
    /// `UpdateAssumeRolePolicy`.
    Trust {
        before: Option<TrustPolicy>,
        after: TrustPolicy,
    },
    /// `TagRole`.
    Tag {
        /// The tags to set.
        tags: Tags,
        /// The tags that are there.
        before: Tags,
    },
    /// `UntagRole`, with the keys of the tags to remove.
    Untag(Vec<String>),
    /// The call that removes a dependency of the role.
    Take(RoleDependency),
    /// `DeleteRole`.
    Delete,
}

impl fmt::Display for RoleChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = &self.role;
        match &self.call {
            Call::Create { .. } => write!(f, "create role {role}"),
            Call::Trust { .. } => write!(f, "set the trust policy of role {role}"),
            Call::Tag { tags, .. } => {
                let keys = tags.keys().cloned().collect::<Vec<_>>().join(", ");
                write!(f, "tag role {role} with {keys}")
            }
            Call::Untag(keys) => write!(f, "untag role {role}: {}", keys.join(", ")),
            Call::Take(dependency) => f.write_str(&dependency.removal(role)),
            Call::Delete => write!(f, "delete role {role}"),
        }
    }
}

impl Change for RoleChange {
    fn action(&self) -> Action {
        match self.call {
            Call::Create { .. } => Action::Create,
            Call::Trust { .. } | Call::Tag { .. } | Call::Untag(_) => Action::Update,
            Call::Take(_) | Call::Delete => Action::Delete,
        }
    }

    fn before(&self) -> Option<Value> {
        match &self.call {
            Call::Trust { before, .. } => before.as_ref().map(|trust| json!({"trust": trust})),
            Call::Tag { before, .. } => Some(json!({"tags": before})),
            _ => None,
        }
    }

    fn after(&self) -> Option<Value> {
        match &self.call {
            Call::Create { path, trust, tags } => {
                Some(json!({"name": self.role, "path": path, "trust": trust, "tags": tags}))
            }
            Call::Trust { after, .. } => Some(json!({"trust": after})),
            Call::Tag { tags, before } => Some(json!({"tags": tags::over(before, tags)})),
            _ => None,
        }
    }

    fn aws_cli(&self) -> String {
        let name = shell_words::word(&self.role);
        match &self.call {
            Call::Create { path, trust, tags } => format!(
                "aws iam create-role --role-name {name} --path {} --assume-role-policy-document {} --tags {}",
                shell_words::word(path.as_str()),
                shell_words::document(trust),
                tags::shorthand(tags)
            ),
            Call::Trust { after, .. } => format!(
                "aws iam update-assume-role-policy --role-name {name} --policy-document {}",
                shell_words::document(after)
            ),
            Call::Tag { tags, .. } => format!(
                "aws iam tag-role --role-name {name} --tags {}",
                tags::shorthand(tags)
            ),
            Call::Untag(keys) => format!(
                "aws iam untag-role --role-name {name} --tag-keys {}",
                shell_words::words(keys)
            ),
            Call::Take(dependency) => dependency.aws_cli(&self.role),
            Call::Delete => format!("aws iam delete-role --role-name {name}"),
        }
    }
}
