//! The changes of an app's access keys, as plans show them.

use std::fmt;

use aws_sdk_iam::types::StatusType;
use serde_json::{Value, json};
use ulid::Ulid;

use crate::domain::names::AppName;
use crate::domain::plan::Action;
use crate::provision::change::Change;
use crate::provision::render::shell_words;
use crate::provision::user_keys::ListedKey;

/// A change of the app's access keys.
#[derive(Debug, Clone, PartialEq)]
pub enum AccessKeyChange {
    /// Closes an intent that created no key. Makes no AWS call.
    Close { intent: Ulid },
    /// `DeleteAccessKey`, for a key whose secret was lost with the response.
    DeleteLost {
        user: AppName,
        access_key_id: String,
        /// The intent that created the key.
        intent: Ulid,
    },
    /// `CreateAccessKey`.
    Create {
        user: AppName,
        known_keys: Vec<String>,
        /// Recorded keys that no longer exist.
        gone: Vec<String>,
    },
    /// `UpdateAccessKey`.
    Switch {
        user: AppName,
        access_key_id: String,
        to: SwitchTo,
    },
    /// `DeleteAccessKey`.
    Delete {
        user: AppName,
        /// The key as observed.
        key: ListedKey,
    },
    /// Records that keys no longer exist. Makes no AWS call.
    Forget { gone: Vec<String> },
}

/// The status that an access key is switched to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwitchTo {
    Active,
    Inactive,
    /// The app is removed. The key is recorded first, so that a restore activates it again.
    InactiveForRemoval,
}

impl SwitchTo {
    pub(super) fn is_active(self) -> bool {
        self == Self::Active
    }
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
                to,
            } => {
                let verb = match to {
                    SwitchTo::Active => "activate",
                    SwitchTo::Inactive | SwitchTo::InactiveForRemoval => "deactivate",
                };
                write!(f, "{verb} access key {access_key_id} of user {user}")
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
                access_key_id, to, ..
            } => Some(
                json!({"access_key_id": access_key_id, "status": status(!to.is_active()).as_str()}),
            ),
            Self::Delete { key, .. } => Some(
                json!({"access_key_id": key.id, "status": status(key.active).as_str(), "created_at": key.created_at}),
            ),
            _ => None,
        }
    }

    fn after(&self) -> Option<Value> {
        match self {
            Self::Switch {
                access_key_id, to, ..
            } => Some(
                json!({"access_key_id": access_key_id, "status": status(to.is_active()).as_str()}),
            ),
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
                to,
            } => {
                format!(
                    "{} --status {}",
                    of("update", user, access_key_id),
                    status(to.is_active()).as_str()
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
