//! The password policy of an account.
//!
//! Invariant: `UpdateAccountPasswordPolicy` resets what it does not name (IAM API Reference), so what is there is read,
//! and written again with what the spec names.

use std::fmt;

use serde_json::{Value, json};

use crate::aws::Service;
use crate::domain::account_setup::{AccountSetup, PasswordPolicy as Settings};
use crate::domain::plan::Action;
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::AppSpec;
use crate::provision::change::{Applied, Change, Changes, Observation};
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::{Fault, found};
use crate::provision::permission::{Permission, Scope};
use crate::provision::render::labels::Labels;
use crate::provision::render::{cloudformation, terraform};
use crate::provision::resource::Resource;

#[derive(Debug, Clone)]
pub struct AccountPasswordPolicy {
    settings: Settings,
}

/// What changes the password policy.
#[derive(Debug, Clone, PartialEq)]
pub enum PasswordPolicyChange {
    /// `UpdateAccountPasswordPolicy`, which also creates it.
    Update {
        before: Option<Settings>,
        after: Settings,
    },
    /// `DeleteAccountPasswordPolicy`.
    Delete(Settings),
}

impl fmt::Display for PasswordPolicyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Update { before: None, .. } => "create the password policy of the account",
            Self::Update { .. } => "update the password policy of the account",
            Self::Delete(_) => "delete the password policy of the account",
        })
    }
}

impl Change for PasswordPolicyChange {
    fn action(&self) -> Action {
        match self {
            Self::Update { before: None, .. } => Action::Create,
            Self::Update { .. } => Action::Update,
            Self::Delete(_) => Action::Delete,
        }
    }

    fn before(&self) -> Option<Value> {
        match self {
            Self::Update { before, .. } => before.as_ref().map(|before| json!(before)),
            Self::Delete(before) => Some(json!(before)),
        }
    }

    fn after(&self) -> Option<Value> {
        match self {
            Self::Update { after, .. } => Some(json!(after)),
            Self::Delete(_) => None,
        }
    }

    fn aws_cli(&self) -> String {
        match self {
            Self::Update { after, .. } => format!(
                "aws iam update-account-password-policy{}",
                options(after).concat()
            ),
            Self::Delete(_) => "aws iam delete-account-password-policy".into(),
        }
    }
}

fn options(settings: &Settings) -> Vec<String> {
    let flag = |name: &str, value: Option<bool>| {
        let no = |value| if value { "" } else { "no-" };
        value.map(|value| format!(" --{}{name}", no(value)))
    };
    let number = |name: &str, value: Option<u32>| value.map(|value| format!(" --{name} {value}"));
    let all = [
        number("minimum-password-length", settings.minimum_length),
        flag("require-symbols", settings.require_symbols),
        flag("require-numbers", settings.require_numbers),
        flag("require-uppercase-characters", settings.require_uppercase),
        flag("require-lowercase-characters", settings.require_lowercase),
        flag(
            "allow-users-to-change-password",
            settings.allow_users_to_change,
        ),
        number("max-password-age", settings.max_age_days),
        number("password-reuse-prevention", settings.reuse_prevention),
        flag("hard-expiry", settings.hard_expiry),
    ];
    all.into_iter().flatten().collect()
}

/// What is there, with what the spec names in its place.
fn merged(seen: &Settings, named: &Settings) -> Settings {
    Settings {
        minimum_length: named.minimum_length.or(seen.minimum_length),
        require_symbols: named.require_symbols.or(seen.require_symbols),
        require_numbers: named.require_numbers.or(seen.require_numbers),
        require_uppercase: named.require_uppercase.or(seen.require_uppercase),
        require_lowercase: named.require_lowercase.or(seen.require_lowercase),
        allow_users_to_change: named.allow_users_to_change.or(seen.allow_users_to_change),
        max_age_days: named.max_age_days.or(seen.max_age_days),
        reuse_prevention: named.reuse_prevention.or(seen.reuse_prevention),
        hard_expiry: named.hard_expiry.or(seen.hard_expiry),
    }
}

impl Resource for AccountPasswordPolicy {
    type Observed = Settings;
    type Change = PasswordPolicyChange;

    const KIND: &'static str = "iam:password-policy";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::read(
            Service::Iam,
            "GetAccountPasswordPolicy",
            &["iam:GetAccountPasswordPolicy"],
            Scope::Everything,
        ),
        Permission::change(
            Service::Iam,
            "UpdateAccountPasswordPolicy",
            &["iam:UpdateAccountPasswordPolicy"],
            Scope::Everything,
        ),
        Permission::change(
            Service::Iam,
            "DeleteAccountPasswordPolicy",
            &["iam:DeleteAccountPasswordPolicy"],
            Scope::Everything,
        ),
    ];

    fn wanted_by_setup(_: &AppSpec, setup: &AccountSetup, _: &Conventions) -> Vec<Self> {
        let settings = setup.spec.password_policy;
        settings
            .map(|settings| Self { settings })
            .into_iter()
            .collect()
    }

    fn of_recorded(_: &ResourceId, _: &AppSpec, _: &Conventions) -> Option<Self> {
        let settings = Settings::default();
        Some(Self { settings })
    }

    fn id(&self) -> ResourceId {
        ResourceId::new(Self::KIND, "account")
    }

    async fn observe(&self, cx: &ReconcileContext) -> Result<Observation<Settings>, Fault> {
        let call = cx.account.iam().get_account_password_policy().send();
        let answer = cx.call(Service::Iam, "GetAccountPasswordPolicy", call);
        let Some(policy) = found(answer.await)?.and_then(|answer| answer.password_policy) else {
            return Ok(Observation::Absent);
        };
        let number = |value: Option<i32>| {
            let value = value.and_then(|value| u32::try_from(value).ok());
            value.filter(|value| *value > 0)
        };
        Ok(Observation::Ours(Settings {
            minimum_length: number(policy.minimum_password_length),
            require_symbols: Some(policy.require_symbols),
            require_numbers: Some(policy.require_numbers),
            require_uppercase: Some(policy.require_uppercase_characters),
            require_lowercase: Some(policy.require_lowercase_characters),
            allow_users_to_change: Some(policy.allow_users_to_change_password),
            max_age_days: number(policy.max_password_age),
            reuse_prevention: number(policy.password_reuse_prevention),
            hard_expiry: Some(policy.hard_expiry.unwrap_or(false)),
        }))
    }

    fn plan(&self, seen: Option<&Settings>) -> Result<Changes<PasswordPolicyChange>, Fault> {
        let after = merged(&seen.copied().unwrap_or_default(), &self.settings);
        Ok(Changes::of(match seen {
            Some(seen) if *seen == after => Vec::new(),
            seen => vec![PasswordPolicyChange::Update {
                before: seen.copied(),
                after,
            }],
        }))
    }

    /// One that was there before the set-up stays.
    fn plan_absent(
        &self,
        cx: &ReconcileContext,
        seen: &Settings,
    ) -> Result<Changes<PasswordPolicyChange>, Fault> {
        let is_ours = cx.is_created_by_app(&self.id());
        let delete = is_ours.then_some(PasswordPolicyChange::Delete(*seen));
        Ok(Changes::of(delete.into_iter().collect()))
    }

    async fn apply(
        &self,
        cx: &ReconcileContext,
        change: &PasswordPolicyChange,
    ) -> Result<Applied, Fault> {
        let iam = cx.account.iam();
        match change {
            PasswordPolicyChange::Update { before, after } => {
                let number = |value: Option<u32>| value.and_then(|value| i32::try_from(value).ok());
                let call = iam
                    .update_account_password_policy()
                    .set_minimum_password_length(number(after.minimum_length))
                    .set_require_symbols(after.require_symbols)
                    .set_require_numbers(after.require_numbers)
                    .set_require_uppercase_characters(after.require_uppercase)
                    .set_require_lowercase_characters(after.require_lowercase)
                    .set_allow_users_to_change_password(after.allow_users_to_change)
                    .set_max_password_age(number(after.max_age_days))
                    .set_password_reuse_prevention(number(after.reuse_prevention))
                    .set_hard_expiry(after.hard_expiry)
                    .send();
                cx.call(Service::Iam, "UpdateAccountPasswordPolicy", call)
                    .await?;
                if before.is_none() {
                    cx.note_created(self.id());
                }
                Ok(Applied::Done)
            }
            PasswordPolicyChange::Delete(_) => {
                let call = iam.delete_account_password_policy().send();
                let answer = cx.call(Service::Iam, "DeleteAccountPasswordPolicy", call);
                Applied::gone(answer.await)
            }
        }
    }

    fn terraform(&self, seen: &Settings, _: &Labels) -> Vec<terraform::Piece> {
        let kind = "aws_iam_account_password_policy";
        let mut policy = terraform::Thing::new(kind, "iam-account-password-policy");
        let numbers = [
            ("minimum_password_length", seen.minimum_length),
            ("max_password_age", seen.max_age_days),
            ("password_reuse_prevention", seen.reuse_prevention),
        ];
        for (name, value) in numbers {
            if let Some(value) = value {
                policy = policy.set(name, value);
            }
        }
        let flags = [
            ("require_symbols", seen.require_symbols),
            ("require_numbers", seen.require_numbers),
            ("require_uppercase_characters", seen.require_uppercase),
            ("require_lowercase_characters", seen.require_lowercase),
            ("allow_users_to_change_password", seen.allow_users_to_change),
            ("hard_expiry", seen.hard_expiry),
        ];
        for (name, value) in flags {
            if let Some(value) = value {
                policy = policy.set(name, value);
            }
        }
        vec![policy.into()]
    }

    fn cloudformation(&self, _: &Settings, _: &Labels) -> Vec<cloudformation::Entry> {
        let note = "CloudFormation has no resource for the password policy of an account.";
        vec![cloudformation::Entry::Note(note.into())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_spec_does_not_name_is_written_again_as_it_is() {
        let named = Settings {
            minimum_length: Some(14),
            ..Settings::default()
        };
        let policy = AccountPasswordPolicy { settings: named };
        let seen = Settings {
            minimum_length: Some(8),
            require_symbols: Some(true),
            max_age_days: Some(90),
            ..Settings::default()
        };
        let changes = policy.plan(Some(&seen)).unwrap().changes;
        assert_eq!(
            changes[0].aws_cli(),
            "aws iam update-account-password-policy --minimum-password-length 14 --require-symbols --max-password-age 90"
        );
        let after = merged(&seen, &named);
        assert!(policy.plan(Some(&after)).unwrap().changes.is_empty());
    }
}
