//! What settings must be, each by itself and together with others.
//!
//! Invariant: settings that do not work together are an error at the start, not at the first request.

use std::time::Duration;

use config::ConfigError;
use secrecy::{ExposeSecret, SecretString};

use super::settings::Settings;
use crate::domain::hooks::signature::standard_key;
use crate::domain::names::Origin;

impl Settings {
    pub(super) fn validate(mut self) -> Result<Self, ConfigError> {
        let counts = [
            ("WORKERS", self.workers),
            ("MAX_CONNECTIONS", self.max_connections),
            ("MAX_REQUESTS", self.max_requests),
            ("MAX_LONG_POLLS", self.max_long_polls),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(ConfigError::Message(format!(
                "SLIPWAY_{name} must be at least 1"
            )));
        }
        let times = [
            ("LEASE_DURATION", self.lease_duration),
            ("IDLE_TIMEOUT", self.idle_timeout),
            ("BODY_TIMEOUT", self.body_timeout),
            ("REQUEST_TIMEOUT", self.request_timeout),
        ];
        if let Some((name, _)) = times
            .iter()
            .find(|(_, time)| *time < Duration::from_secs(1))
        {
            return Err(ConfigError::Message(format!(
                "SLIPWAY_{name} must be at least 1s"
            )));
        }
        for (name, interval) in [
            ("DRIFT_INTERVAL", self.drift_interval),
            ("ACCOUNT_CHECK_INTERVAL", self.account_check_interval),
        ] {
            if !interval.is_zero() && interval < Duration::from_secs(1) {
                return Err(ConfigError::Message(format!(
                    "SLIPWAY_{name} must be at least 1s, or 0s for never"
                )));
            }
        }
        crate::telemetry::check_filter(&self.log)
            .map_err(|why| ConfigError::Message(format!("SLIPWAY_LOG is not a filter: {why}")))?;
        if let Some(wrong) = self.cors_origins().into_iter().find(|origin| {
            Origin::parse(origin).is_err() || (*origin != "*" && origin.contains('*'))
        }) {
            return Err(ConfigError::Message(format!(
                "SLIPWAY_CORS_ORIGINS must be origins such as https://ops.example.com, or * alone, not {wrong}"
            )));
        }
        if self.cors_origins().len() > 1 && self.cors_origins().contains(&"*") {
            return Err(ConfigError::Message(
                "SLIPWAY_CORS_ORIGINS must be * alone, or origins".into(),
            ));
        }
        self.defaults.check().map_err(ConfigError::Message)?;
        self.check_sign_in().map_err(ConfigError::Message)?;
        self.check_secrets().map_err(ConfigError::Message)?;
        self.check_chat().map_err(ConfigError::Message)?;
        self.load_hooks().map_err(ConfigError::Message)?;
        Ok(self)
    }

    /// An empty secret is one that everybody knows.
    fn check_secrets(&self) -> Result<(), String> {
        let secrets = [
            ("slack_signing_secret", &self.slack_signing_secret),
            ("mattermost_token", &self.mattermost_token),
            ("github_webhook_secret", &self.github_webhook_secret),
            ("gitlab_webhook_token", &self.gitlab_webhook_token),
        ];
        let is_empty = |secret: &Option<SecretString>| {
            let secret = secret.as_ref().map(ExposeSecret::expose_secret);
            secret.is_some_and(|secret| secret.trim().is_empty())
        };
        match secrets.iter().find(|(_, secret)| is_empty(secret)) {
            Some((name, _)) => Err(format!("{name} must not be empty")),
            None => Ok(()),
        }
    }

    fn check_chat(&self) -> Result<(), String> {
        let complete = |given: &[(&str, bool)]| {
            let missing = given.iter().find(|(_, is_given)| !is_given);
            let is_begun = given.iter().any(|(_, is_given)| *is_given);
            match missing {
                Some((name, _)) if is_begun => {
                    Err(format!("SLIPWAY_{name} must be set, too: chat needs it"))
                }
                _ => Ok(is_begun),
            }
        };
        let slack = complete(&[
            ("SLACK_SIGNING_SECRET", self.slack_signing_secret.is_some()),
            ("SLACK_BOT_TOKEN", self.slack_bot_token.is_some()),
        ])?;
        let mattermost = complete(&[
            ("MATTERMOST_URL", self.mattermost_url.is_some()),
            ("MATTERMOST_TOKEN", self.mattermost_token.is_some()),
            ("MATTERMOST_BOT_TOKEN", self.mattermost_bot_token.is_some()),
        ])?;
        if (slack || mattermost) && self.sign_in.is_none() {
            return Err(
                "chat needs [sign_in]: a chat user acts as a person who has signed in".into(),
            );
        }
        if self.chat_link_lifetime < Duration::from_secs(60) {
            return Err("SLIPWAY_CHAT_LINK_LIFETIME must be at least 1m".into());
        }
        Ok(())
    }

    fn check_sign_in(&self) -> Result<(), String> {
        let Some(sign_in) = &self.sign_in else {
            return Ok(());
        };
        sign_in.check()?;
        if self.public_url.is_none() {
            return Err("[sign_in] needs SLIPWAY_PUBLIC_URL: the identity provider sends browsers back there".into());
        }
        if self.sign_in_client_secret.is_none() {
            return Err("[sign_in] needs SLIPWAY_SIGN_IN_CLIENT_SECRET".into());
        }
        Ok(())
    }

    /// Reads the secrets of incoming webhooks that the settings name by file, and checks their rules.
    fn load_hooks(&mut self) -> Result<(), String> {
        for (name, source) in &mut self.hooks.standard {
            let path = source.secret_file.display();
            let text = std::fs::read_to_string(&source.secret_file)
                .map_err(|error| format!("[hooks.standard.{name}] cannot read {path}: {error}"))?;
            source.secret = Some(text.trim().to_owned().into());
        }
        self.hooks.check()?;
        let is_wrong = |token: &SecretString| standard_key(token).is_none();
        if self.gitlab_signing_token.as_ref().is_some_and(is_wrong) {
            return Err(
                "SLIPWAY_GITLAB_SIGNING_TOKEN must be a signing token such as whsec_…".into(),
            );
        }
        let secrets = [
            (
                "github",
                self.hooks.github.is_some(),
                self.github_webhook_secret.is_some(),
                "SLIPWAY_GITHUB_WEBHOOK_SECRET",
            ),
            (
                "gitlab",
                self.hooks.gitlab.is_some(),
                self.gitlab_signing_token.is_some() || self.gitlab_webhook_token.is_some(),
                "SLIPWAY_GITLAB_SIGNING_TOKEN or SLIPWAY_GITLAB_WEBHOOK_TOKEN",
            ),
        ];
        match secrets
            .iter()
            .find(|(_, is_on, has_secret, _)| *is_on && !has_secret)
        {
            Some((name, _, _, needed)) => Err(format!("[hooks.{name}] needs {needed}")),
            None => Ok(()),
        }
    }
}
