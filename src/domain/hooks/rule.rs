//! The `[hooks]` section of the settings: whose deliveries are accepted, and what follows from them.
//!
//! Invariants:
//! - Account, apps and template are the rule's. Nothing in a payload chooses them.
//! - Repositories and their owners are known by id. Names can be given to another one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use http::Uri;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::domain::hooks::event::{EventKind, RepositoryEvent, Source};
use crate::domain::hooks::signature::standard_key;
use crate::domain::names::AccountName;
use crate::domain::scope::{AppPattern, Scope};
use crate::domain::spec::default_account;

/// The `[hooks]` section of the settings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HookSettings {
    /// GitHub.
    pub github: Option<ForgeSettings>,
    /// GitLab.
    pub gitlab: Option<ForgeSettings>,
    /// Sources of Standard Webhooks, by their names.
    pub standard: BTreeMap<String, StandardSettings>,
}

/// A forge.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ForgeSettings {
    /// Where its API is. That of the public forge when absent.
    pub api_url: Option<String>,
    /// What its repositories may ask for. The first rule that fits decides.
    pub rules: Vec<HookRule>,
}

/// A source of Standard Webhooks.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandardSettings {
    /// The file with the secret that it signs with, which begins with `whsec_`.
    pub secret_file: PathBuf,
    /// The secret. Read from the file when the settings are loaded.
    #[serde(skip)]
    pub secret: Option<SecretString>,
    /// What its repositories may ask for. The first rule that fits decides.
    #[serde(default)]
    pub rules: Vec<HookRule>,
}

/// What some repositories may ask for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookRule {
    /// The repositories, by id.
    #[serde(default)]
    pub repository_ids: BTreeSet<String>,
    /// All repositories of an owner, by its id. Only for `created`.
    #[serde(default)]
    pub owner_id: Option<String>,
    /// The events that it is for.
    pub events: BTreeSet<EventKind>,
    /// The account of the apps.
    #[serde(default = "default_account")]
    pub account: AccountName,
    /// The apps that may be asked for: names, or prefixes that end with `*`.
    pub apps: Vec<AppPattern>,
    /// The spec of the app of a new repository, without name and account.
    #[serde(default)]
    pub template: Option<Map<String, Value>>,
}

impl HookRule {
    fn fits(&self, event: &RepositoryEvent) -> bool {
        let repository = &event.repository;
        let is_of_owner = self.owner_id.is_some() && self.owner_id == repository.owner_id;
        self.events.contains(&event.kind)
            && (is_of_owner || self.repository_ids.contains(&repository.id))
    }

    /// The apps and the account that it is for.
    ///
    /// # Errors
    /// When it names too many apps, or none.
    pub fn scope(&self) -> Result<Scope, String> {
        let value = json!({"apps": self.apps, "accounts": [self.account]});
        Scope::parse(&value, "").map_err(|errors| {
            let errors = errors.iter();
            let texts: Vec<String> = errors
                .map(|error| {
                    format!(
                        "{} {}",
                        error.pointer.trim_start_matches('/'),
                        error.message
                    )
                })
                .collect();
            texts.join("; ")
        })
    }

    fn check(&self) -> Result<(), String> {
        self.scope()?;
        let is_for = |kind| self.events.contains(&kind);
        if self.events.is_empty() {
            return Err("events must name at least one of created, pushed and archived".into());
        }
        if self.repository_ids.is_empty() && self.owner_id.is_none() {
            return Err("needs repository_ids or owner_id".into());
        }
        if self.owner_id.is_some() && (is_for(EventKind::Pushed) || is_for(EventKind::Archived)) {
            return Err("owner_id is for the event created alone. A repository that may change or remove apps is named by its id in repository_ids".into());
        }
        match &self.template {
            None if is_for(EventKind::Created) => Err("the event created needs a template".into()),
            Some(template) if template.contains_key("name") || template.contains_key("account") => {
                Err("the template must have neither name nor account: they follow from the repository and the rule".into())
            }
            _ => Ok(()),
        }
    }
}

impl HookSettings {
    /// The rules for a source; empty if it is not configured.
    pub fn rules(&self, source: &Source) -> &[HookRule] {
        let rules = match source {
            Source::GitHub => self.github.as_ref().map(|it| it.rules.as_slice()),
            Source::GitLab => self.gitlab.as_ref().map(|it| it.rules.as_slice()),
            Source::Standard(name) => self.standard.get(name).map(|it| it.rules.as_slice()),
        };
        rules.unwrap_or_default()
    }

    /// Whether anybody may send anything.
    pub fn is_configured(&self) -> bool {
        self.github.is_some() || self.gitlab.is_some() || !self.standard.is_empty()
    }

    /// The rule that decides what follows from an event; `None` if nothing follows.
    pub fn rule_for(&self, source: &Source, event: &RepositoryEvent) -> Option<&HookRule> {
        self.rules(source).iter().find(|rule| rule.fits(event))
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// Which one is wrong, and why.
    pub fn check(&self) -> Result<(), String> {
        let forges = [("github", &self.github), ("gitlab", &self.gitlab)];
        for (name, forge) in forges {
            let Some(forge) = forge else { continue };
            if forge.api_url.as_deref().is_some_and(|url| !is_api_url(url)) {
                return Err(format!(
                    "[hooks.{name}] api_url must be an https URL; http is only for 127.0.0.1, [::1] and localhost"
                ));
            }
            check_rules(&format!("hooks.{name}"), &forge.rules)?;
        }
        for (name, source) in &self.standard {
            let section = format!("hooks.standard.{name}");
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if name.is_empty() || name.len() > 32 || !name.chars().all(is_name) {
                return Err(format!(
                    "[{section}] must be named by up to 32 letters, digits, - and _"
                ));
            }
            if source.secret.as_ref().and_then(standard_key).is_none() {
                return Err(format!(
                    "[{section}] secret_file must hold a secret such as whsec_…"
                ));
            }
            if source
                .rules
                .iter()
                .any(|rule| rule.events.contains(&EventKind::Pushed))
            {
                return Err(format!(
                    "[[{section}.rules]] pushed is an event of github and gitlab alone"
                ));
            }
            check_rules(&section, &source.rules)?;
        }
        Ok(())
    }
}

fn check_rules(section: &str, rules: &[HookRule]) -> Result<(), String> {
    for (rule, number) in rules.iter().zip(1..) {
        rule.check()
            .map_err(|why| format!("[[{section}.rules]], rule {number}: {why}"))?;
    }
    Ok(())
}

/// Whether a URL may be asked with a token.
fn is_api_url(text: &str) -> bool {
    text.parse::<Uri>().is_ok_and(|url| match url.scheme_str() {
        Some("https") => url.host().is_some(),
        Some("http") => matches!(url.host(), Some("127.0.0.1" | "localhost" | "[::1]")),
        _ => false,
    })
}
