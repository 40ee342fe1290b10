//! The changes of an app's access keys, and how plans show them.

use crate::domain::names::AppName;
use crate::domain::plan::Action;
use crate::provision::change::Change;
use crate::provision::render::shell_words;
use crate::provision::user_keys::ListedKey;
use aws_sdk_iam::types::StatusType;
use serde_json::{Value, json};
use std::fmt;
use ulid::Ulid;

/// What changes the app's keys.
#[derive(Debug, Clone, PartialEq)]
pub enum AccessKeyChange {
    /// Closes an intent that made no key. Calls nothing.
    Close {
        /// The intent.
        intent: Ulid,
    },
    /// `DeleteAccessKey`, for a key whose secret was lost with the answer.
    DeleteLost {
        /// The user.
        user: AppName,
        /// The key.
        access_key_id: String,
        /// The intent that made it.
        intent: Ulid,
    },
    /// `CreateAccessKey`.
    Create {
        /// The user.
        user: AppName,
        /// The keys that are there.
        known_keys: Vec<String>,
        /// Recorded keys that are not there any more.
        gone: Vec<String>,
    },
    /// `UpdateAccessKey`.
    Switch {
        /// The user.
        user: AppName,
        /// The key.
        access_key_id: String,
        /// Whether the key becomes active.
        on: bool,
        /// Whether it is deactivated because the app is removed. Then the key is recorded first.
        for_removal: bool,
    },
    /// `DeleteAccessKey`.
    Delete {
        /// The user.
        user: AppName,
        /// The key, as it is.
        key: ListedKey,
    },
    /// Takes note that recorded keys are not there any more. Calls nothing.
    Forget {
        /// The keys.
        gone: Vec<String>,
    },
}

impl fmt::Display for AccessKeyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Close { .. } => {
                f.write_str("record that the interrupted attempt created no access key")
            }
            Self::DeleteLost {
                access_key_id,
                user,
                ..
            } => {
                write!(
                    f,
                    "delete access key {access_key_id} of user {user}, whose secret was lost with the response from AWS"
                )
            }
            Self::Create { user, .. } => write!(f, "create access key for user {user}"),
            Self::Switch {
                user,
                access_key_id,
                on,
                ..
            } => {
                write!(
                    f,
                    "{} access key {access_key_id} of user {user}",
                    if *on { "activate" } else { "deactivate" }
                )
            }
            Self::Delete { user, key } => write!(f, "delete access key {} of user {user}", key.id),
            Self::Forget { gone } => write!(
                f,
                "record that access key {} no longer exists",
                gone.join(", ")
            ),
        }
    }
}

impl Change for AccessKeyChange {
    fn action(&self) -> Action {
        match self {
            Self::Close { .. } | Self::Forget { .. } => Action::None,
            Self::DeleteLost { .. } | Self::Delete { .. } => Action::Delete,
            Self::Create { .. } => Action::Create,
            Self::Switch { .. } => Action::Update,
        }
    }

    fn before(&self) -> Option<Value> {
        match self {
            Self::Switch {
                access_key_id, on, ..
            } => Some(json!({"access_key_id": access_key_id, "status": status(!*on).as_str()})),
            Self::Delete { key, .. } => Some(
                json!({"access_key_id": key.id, "status": status(key.active).as_str(), "created_at": key.created_at}),
            ),
            _ => None,
        }
    }

    fn after(&self) -> Option<Value> {
        match self {
            Self::Switch {
                access_key_id, on, ..
            } => Some(json!({"access_key_id": access_key_id, "status": status(*on).as_str()})),
            _ => None,
        }
    }

    fn aws_cli(&self) -> String {
        let of = |command: &str, user: &AppName, id: &str| {
            format!(
                "aws iam {command}-access-key --user-name {} --access-key-id {}",
                shell_words::word(user.as_str()),
                shell_words::word(id)
            )
        };
        match self {
            Self::Close { .. } | Self::Forget { .. } => String::new(),
            Self::DeleteLost {
                user,
                access_key_id,
                ..
            } => of("delete", user, access_key_id),
            Self::Delete { user, key } => of("delete", user, &key.id),
            Self::Switch {
                user,
                access_key_id,
                on,
                ..
            } => {
                format!(
                    "{} --status {}",
                    of("update", user, access_key_id),
                    status(*on).as_str()
                )
            }
            Self::Create { user, .. } => format!(
                "aws iam create-access-key --user-name {}",
                shell_words::word(user.as_str())
            ),
        }
    }

    fn shows_secret(&self) -> bool {
        matches!(self, Self::Create { .. })
    }
}

pub(super) fn status(active: bool) -> StatusType {
    if active {
        StatusType::Active
    } else {
        StatusType::Inactive
    }
}
