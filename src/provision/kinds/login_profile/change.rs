//! The changes of a console password, as plans show them. None of them carries the password.

use std::fmt;

use serde_json::{Value, json};

use crate::domain::console_password::PasswordRecord;
use crate::domain::names::AppName;
use crate::domain::plan::Action;
use crate::provision::change::Change;
use crate::provision::render::shell_words::word;

/// The policy of AWS that lets a user change its own password.
pub(super) const CHANGE_PASSWORD: &str = "IAMUserChangePassword";

/// A change of a console password.
#[derive(Debug, Clone, PartialEq)]
pub enum ProfileChange {
    /// `AttachUserPolicy`: the right to change the password.
    AllowChange { user: AppName, arn: String },
    /// `CreateLoginProfile`.
    Create {
        user: AppName,
        /// The password that an interrupted attempt has recorded.
        recorded: Option<PasswordRecord>,
        /// The names of passwords that are gone.
        gone: Vec<String>,
    },
    /// `UpdateLoginProfile`, with the password whose response was lost.
    SetAgain {
        user: AppName,
        recorded: PasswordRecord,
    },
    /// `DeleteLoginProfile`.
    Delete { user: AppName, gone: Vec<String> },
    /// Records that passwords were not set, or are gone. Makes no AWS call.
    Forget { gone: Vec<String> },
}

impl fmt::Display for ProfileChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllowChange { user, .. } => {
                write!(f, "let user {user} change the password ({CHANGE_PASSWORD})")
            }
            // An approved plan with one of the two covers the other.
            Self::Create { user, .. } | Self::SetAgain { user, .. } => write!(
                f,
                "set a first console password for user {user}, to be changed at the first sign-in"
            ),
            Self::Delete { user, .. } => write!(f, "delete the console password of user {user}"),
            Self::Forget { .. } => f.write_str("record that the console password is gone"),
        }
    }
}

impl Change for ProfileChange {
    fn action(&self) -> Action {
        match self {
            Self::AllowChange { .. } | Self::Create { .. } | Self::SetAgain { .. } => {
                Action::Create
            }
            Self::Delete { .. } => Action::Delete,
            Self::Forget { .. } => Action::None,
        }
    }

    fn after(&self) -> Option<Value> {
        match self {
            Self::AllowChange { user, arn } => Some(json!({"user": user, "policy_arn": arn})),
            Self::Create { user, .. } | Self::SetAgain { user, .. } => {
                Some(json!({"user": user, "password_reset_required": true}))
            }
            Self::Delete { .. } | Self::Forget { .. } => None,
        }
    }

    fn aws_cli(&self) -> String {
        let of = |command: &str, user: &AppName| {
            format!("aws iam {command} --user-name {}", word(user.as_str()))
        };
        let with_password = |command: &str, user: &AppName| {
            let of = of(command, user);
            format!("{of} --password \"$FIRST_PASSWORD\" --password-reset-required")
        };
        match self {
            Self::AllowChange { user, arn } => {
                format!(
                    "{} --policy-arn {}",
                    of("attach-user-policy", user),
                    word(arn)
                )
            }
            Self::Create { user, .. } => with_password("create-login-profile", user),
            Self::SetAgain { user, .. } => with_password("update-login-profile", user),
            Self::Delete { user, .. } => of("delete-login-profile", user),
            Self::Forget { .. } => String::new(),
        }
    }

    /// A script would need the password.
    fn shows_secret(&self) -> bool {
        matches!(self, Self::Create { .. } | Self::SetAgain { .. })
    }
}
