//! Which apps and accounts a caller may see and change.
//!
//! Invariants:
//! - A scope is decided here and, for lists, by the same rules in `store::scope`.
//! - App names compare without regard to case, as everywhere.
//! - Nobody grants a scope that is not within his own.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::names::{AccountName, AppName, NameError};
use crate::domain::validation::{FieldError, Fields, text};

/// Patterns or accounts in one scope.
const MAX_ITEMS: usize = 50;

/// The name of an app, or the beginning of names followed by `*`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(
    example = "acme-*",
    min_length = 1,
    max_length = 65,
    pattern = r"^[A-Za-z0-9][A-Za-z0-9_+=,.@-]*\*?$"
)]
pub struct AppPattern(String);

impl AppPattern {
    /// Parses a name, or a prefix that ends with `*`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(pattern: &str) -> Result<Self, NameError> {
        // Letters are ASCII, so this is the key of a name.
        AppName::parse(pattern.strip_suffix('*').unwrap_or(pattern))
            .map(|_| Self(pattern.to_ascii_lowercase()))
            .map_err(|_| {
                NameError::new(
                    "must be the name of an app, or the beginning of names followed by *, such as acme-*. To allow all apps, omit `apps`",
                )
            })
    }

    /// The name or the prefix, in lower case.
    pub fn text(&self) -> &str {
        self.0.strip_suffix('*').unwrap_or(&self.0)
    }

    /// Whether all names that begin with the text match.
    pub fn is_prefix(&self) -> bool {
        self.0.ends_with('*')
    }

    fn matches(&self, key: &str) -> bool {
        if self.is_prefix() {
            key.starts_with(self.text())
        } else {
            key == self.text()
        }
    }

    /// Whether every name that matches `other` matches this.
    fn covers(&self, other: &Self) -> bool {
        self.matches(other.text()) && (self.is_prefix() || !other.is_prefix())
    }
}

impl TryFrom<String> for AppPattern {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<AppPattern> for String {
    fn from(pattern: AppPattern) -> Self {
        pattern.0
    }
}

/// The apps and accounts that a caller may see and change. Empty for all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Names of apps, or prefixes that end with `*`. Absent for all apps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 50, nullable = false)]
    apps: Option<Vec<AppPattern>>,
    /// Names of accounts. Absent for all accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 50, nullable = false)]
    accounts: Option<Vec<AccountName>>,
}

impl Scope {
    /// Parses the `scope` of a request.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn parse(value: &Value, pointer: &str) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::of(value, pointer);
        let apps = fields.list("apps", MAX_ITEMS, |item, at, errors| {
            parse_item(item, at, errors, AppPattern::parse)
        });
        let accounts = fields.list("accounts", MAX_ITEMS, |item, at, errors| {
            parse_item(item, at, errors, AccountName::parse)
        });
        for (name, is_empty) in [
            ("apps", apps.as_ref().is_some_and(Vec::is_empty)),
            ("accounts", accounts.as_ref().is_some_and(Vec::is_empty)),
        ] {
            let has_items = value.get(name).and_then(Value::as_array);
            if is_empty && has_items.is_some_and(Vec::is_empty) {
                fields.error(name, "must name at least one; omit the field to allow all");
            }
        }
        let errors = fields.finish();
        if errors.is_empty() {
            Ok(Self { apps, accounts })
        } else {
            Err(errors)
        }
    }

    /// The field `scope` of a request; everything when it is absent.
    pub fn of_field(fields: &mut Fields<'_>) -> Self {
        let Some(value) = fields.get("scope") else {
            return Self::default();
        };
        Self::parse(value, &fields.at("scope")).unwrap_or_else(|errors| {
            fields.extend(errors);
            Self::default()
        })
    }

    /// Whether it leaves nothing out.
    pub fn is_all(&self) -> bool {
        self.apps.is_none() && self.accounts.is_none()
    }

    /// Whether it leaves out no app by its name.
    pub fn is_all_apps(&self) -> bool {
        self.apps.is_none()
    }

    /// The names of apps; `None` for all.
    pub fn apps(&self) -> Option<&[AppPattern]> {
        self.apps.as_deref()
    }

    /// The names of accounts; `None` for all.
    pub fn accounts(&self) -> Option<&[AccountName]> {
        self.accounts.as_deref()
    }

    /// Whether an app by this name, in this account, is within it.
    pub fn allows(&self, app: &AppName, account: &AccountName) -> bool {
        self.allows_name(app) && self.allows_account(account)
    }

    /// Whether apps by this name are within it, in some account. The set-up of an account is no app: its account decides.
    pub fn allows_name(&self, app: &AppName) -> bool {
        if app.is_of_setup() {
            return true;
        }
        let key = app.key();
        self.apps
            .as_ref()
            .is_none_or(|apps| apps.iter().any(|pattern| pattern.matches(&key)))
    }

    /// Whether the account is within it.
    pub fn allows_account(&self, account: &AccountName) -> bool {
        self.accounts
            .as_ref()
            .is_none_or(|accounts| accounts.contains(account))
    }

    /// Whether everything within `other` is within this.
    pub fn covers(&self, other: &Self) -> bool {
        let apps = match (&self.apps, &other.apps) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(mine), Some(theirs)) => theirs
                .iter()
                .all(|pattern| mine.iter().any(|own| own.covers(pattern))),
        };
        let accounts = match (&self.accounts, &other.accounts) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(mine), Some(theirs)) => theirs.iter().all(|name| mine.contains(name)),
        };
        apps && accounts
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let apps = self.apps.as_ref().map(|apps| {
            let patterns: Vec<&str> = apps.iter().map(|pattern| pattern.0.as_str()).collect();
            format!("the apps {}", patterns.join(", "))
        });
        let accounts = self.accounts.as_ref().map(|accounts| {
            let names: Vec<&str> = accounts.iter().map(AccountName::as_str).collect();
            format!("the accounts {}", names.join(", "))
        });
        match (apps, accounts) {
            (None, None) => f.write_str("everything"),
            (Some(apps), None) => f.write_str(&apps),
            (None, Some(accounts)) => f.write_str(&accounts),
            (Some(apps), Some(accounts)) => write!(f, "{apps} in {accounts}"),
        }
    }
}

fn parse_item<T>(
    item: &Value,
    pointer: String,
    errors: &mut Vec<FieldError>,
    parse: impl Fn(&str) -> Result<T, NameError>,
) -> Option<T> {
    let text = text(item, &pointer, errors)?;
    parse(text)
        .map_err(|why| errors.push(FieldError::new(pointer, why)))
        .ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scope(value: Value) -> Scope {
        Scope::parse(&value, "/scope").unwrap()
    }

    fn app(name: &str) -> AppName {
        AppName::parse(name).unwrap()
    }

    fn account(name: &str) -> AccountName {
        AccountName::parse(name).unwrap()
    }

    #[test]
    fn a_scope_allows_its_names_and_no_tricks_with_them() {
        let scope = scope(json!({"apps": ["Acme-*", "shop"], "accounts": ["prod"]}));
        for name in ["acme-a", "ACME-a", "acme-", "shop", "SHOP"] {
            let name = app(name);
            assert!(scope.allows(&name, &account("prod")), "{name}");
            assert!(!scope.allows(&name, &account("other")), "{name}");
        }
        for name in [
            "acme", "acm", "shop1", "sho", "xacme-a", "acme_a", "acme.-a",
        ] {
            assert!(!scope.allows_name(&app(name)), "{name}");
        }
        // Letters that look like ASCII ones or become so in another case are not valid in names at all.
        for name in [
            "аcme-a",
            "acme\u{2010}a",
            "ACME\u{ff0d}a",
            "\u{17f}hop",
            "acme-a\0",
            "acme-*",
        ] {
            assert!(AppName::parse(name).is_err(), "{name}");
        }
        assert!(Scope::default().allows(&app("any"), &account("any")));
    }

    #[test]
    fn what_is_no_scope_says_why() {
        for (value, pointer) in [
            (json!([]), "/scope"),
            (json!({"apps": []}), "/scope/apps"),
            (json!({"accounts": []}), "/scope/accounts"),
            (json!({"apps": ["*"]}), "/scope/apps/0"),
            (json!({"apps": [""]}), "/scope/apps/0"),
            (json!({"apps": ["a*b"]}), "/scope/apps/0"),
            (json!({"apps": ["*a"]}), "/scope/apps/0"),
            (json!({"apps": ["a**"]}), "/scope/apps/0"),
            (json!({"apps": ["a%"]}), "/scope/apps/0"),
            (json!({"apps": ["\u{0430}cme-*"]}), "/scope/apps/0"),
            (json!({"apps": "acme-*"}), "/scope/apps"),
            (json!({"apps": null}), "/scope/apps"),
            (json!({"accounts": ["a*"]}), "/scope/accounts/0"),
            (json!({"account": ["a"]}), "/scope/account"),
        ] {
            let errors = Scope::parse(&value, "/scope").unwrap_err();
            assert_eq!(errors[0].pointer, pointer, "{value}: {errors:?}");
        }
    }

    #[test]
    fn a_scope_covers_what_is_within_it_only() {
        let all = Scope::default();
        let mine = scope(json!({"apps": ["acme-*", "shop"], "accounts": ["a", "b"]}));
        for (value, covered) in [
            (json!({"apps": ["acme-*"], "accounts": ["a"]}), true),
            (json!({"apps": ["ACME-shop-*"], "accounts": ["b"]}), true),
            (
                json!({"apps": ["acme-x", "shop"], "accounts": ["a", "b"]}),
                true,
            ),
            (json!({"apps": ["shop*"], "accounts": ["a"]}), false),
            (json!({"apps": ["acme*"], "accounts": ["a"]}), false),
            (
                json!({"apps": ["acme-*", "other"], "accounts": ["a"]}),
                false,
            ),
            (json!({"apps": ["acme-*"], "accounts": ["c"]}), false),
            (json!({"apps": ["acme-*"]}), false),
            (json!({"accounts": ["a"]}), false),
            (json!({}), false),
        ] {
            assert_eq!(mine.covers(&scope(value.clone())), covered, "{value}");
            assert!(all.covers(&scope(value.clone())), "{value}");
        }
        assert!(mine.covers(&mine) && all.covers(&all) && !mine.covers(&all));
    }

    #[test]
    fn a_scope_is_written_as_it_is_read() {
        let value = json!({"apps": ["acme-*", "shop"], "accounts": ["a"]});
        let read: Scope = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), value);
        assert_eq!(read.to_string(), "the apps acme-*, shop in the accounts a");
        assert_eq!(serde_json::to_value(Scope::default()).unwrap(), json!({}));
        assert!(serde_json::from_value::<Scope>(json!({"apps": ["*"]})).is_err());
    }
}
