//! Sign-in of people by an identity provider: its settings, and what follows from a person's groups.
//!
//! Invariants:
//! - A person is known by issuer and subject. Names and e-mail addresses are only shown.
//! - Who is in no group of the settings may do nothing.
//! - After a sign-in, a browser is sent to a path of this service alone.

use std::time::Duration;

use serde::Deserialize;

use crate::domain::role::Role;
use crate::domain::scope::Scope;

/// How recent a sign-in has to be before a secret is shown.
pub const RECENT: Duration = Duration::from_secs(5 * 60);

/// The `[sign_in]` section of the settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignInSettings {
    /// The issuer, exactly as its discovery document has it.
    pub issuer: String,
    /// The client that Slipway is registered as.
    pub client_id: String,
    /// What is asked of the provider, separated by spaces. `openid` is always among it.
    pub scopes: String,
    /// The claim of the ID token that has the person's groups.
    pub groups_claim: String,
    /// What the members of groups may do. The first entry whose group a person is in decides.
    pub groups: Vec<GroupRule>,
    /// How long a session may be unused.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// How long a session lasts at most.
    #[serde(with = "humantime_serde")]
    pub session_lifetime: Duration,
}

impl Default for SignInSettings {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            client_id: String::new(),
            scopes: "openid profile email".into(),
            groups_claim: "groups".into(),
            groups: Vec::new(),
            idle_timeout: Duration::from_secs(3600),
            session_lifetime: Duration::from_secs(12 * 3600),
        }
    }
}

/// What the members of a group may do.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRule {
    /// The group, as the claim has it.
    pub group: String,
    /// What its members may do.
    pub role: Role,
    /// Where. Everywhere when absent.
    #[serde(default)]
    pub scope: Scope,
}

impl SignInSettings {
    /// Checks the settings.
    ///
    /// # Errors
    /// Which one is wrong, and why.
    pub fn check(&self) -> Result<(), String> {
        let given = [
            ("issuer", &self.issuer),
            ("client_id", &self.client_id),
            ("groups_claim", &self.groups_claim),
        ];
        if let Some((name, _)) = given.iter().find(|(_, value)| value.trim().is_empty()) {
            return Err(format!("[sign_in] {name} must be set"));
        }
        if self.groups.is_empty() {
            return Err(
                "[sign_in] needs at least one [[sign_in.groups]]: nobody could do anything".into(),
            );
        }
        if self.groups.iter().any(|rule| rule.group.is_empty()) {
            return Err("[[sign_in.groups]] group must be set".into());
        }
        if !self.scopes.split(' ').any(|scope| scope == "openid") {
            return Err("[sign_in] scopes must have openid".into());
        }
        if self.idle_timeout < Duration::from_secs(60) || self.session_lifetime < self.idle_timeout
        {
            return Err(
                "[sign_in] idle_timeout must be at least 1m, and session_lifetime no less than that".into(),
            );
        }
        Ok(())
    }

    /// What a person with these groups may do, and where. `None` for nothing.
    pub fn rule_for(&self, groups: &[&str]) -> Option<&GroupRule> {
        self.groups
            .iter()
            .find(|rule| groups.contains(&rule.group.as_str()))
    }
}

/// A path of this service to go to after a sign-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnTo(String);

/// A longer path is none of a page.
const MAX_RETURN_TO: usize = 2048;

impl ReturnTo {
    /// Parses a path with its query. Browsers take `//host` and `/\host` for other servers, leave out tabs and line breaks,
    /// and read a backslash as a slash.
    ///
    /// # Errors
    /// When it could lead to another server.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let is_plain = |c: char| c.is_ascii_graphic() && c != '\\';
        let is_path = text.starts_with('/') && !text.starts_with("//");
        if is_path && text.len() <= MAX_RETURN_TO && text.chars().all(is_plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err("must be a path of this server, such as /console")
        }
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for ReturnTo {
    fn default() -> Self {
        Self("/".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_returns_to_a_path_of_this_server_alone() {
        for path in [
            "/",
            "/console",
            "/console/apps?filter=a%20b&x=//y#top",
            "/a//b",
        ] {
            assert_eq!(ReturnTo::parse(path).unwrap().as_str(), path);
        }
        let long = format!("/{}", "a".repeat(MAX_RETURN_TO));
        for path in [
            "",
            "console",
            "//evil.example",
            "///evil.example",
            r"/\evil.example",
            r"\\evil.example",
            r"/a\b",
            "/\t/evil.example",
            "/\n/evil.example",
            "\t//evil.example",
            " /console",
            "/a b",
            "/é",
            "/\u{0}",
            "https://evil.example",
            "javascript:alert(1)",
            &long,
        ] {
            assert!(ReturnTo::parse(path).is_err(), "{path}");
        }
    }

    #[test]
    fn the_first_group_of_the_settings_decides() {
        let rule = |group: &str, role| GroupRule {
            group: group.into(),
            role,
            scope: Scope::default(),
        };
        let settings = SignInSettings {
            groups: vec![rule("leads", Role::Admin), rule("staff", Role::Viewer)],
            ..SignInSettings::default()
        };
        let role = |groups: &[&str]| settings.rule_for(groups).map(|rule| rule.role);
        assert_eq!(role(&["staff", "leads"]), Some(Role::Admin));
        assert_eq!(role(&["others", "staff"]), Some(Role::Viewer));
        assert_eq!(role(&["Leads", "lead", "leads "]), None);
        assert_eq!(role(&[]), None);
    }
}
