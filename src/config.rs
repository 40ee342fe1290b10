//! The settings of the service. docs/configuration.md describes them.
//!
//! Sources, each over the one before: built-in defaults, a TOML file (`--config` or `SLIPWAY_CONFIG`), `SLIPWAY_*`
//! environment variables, flags. `AWS_*` variables are the SDK's own.
//!
//! Invariant: a misspelt setting is an error, in the file and in the environment; secrets are never shown, not even in
//! debug form.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{Config, ConfigError, Environment, File, FileFormat, Map};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::domain::approval::ApprovalRules;
use crate::domain::chat::Platform;
use crate::domain::hooks::rule::HookSettings;
use crate::domain::hooks::signature::standard_key;
use crate::domain::names::{Origin, Region, RoleArn};
use crate::domain::public_url::PublicUrl;
use crate::domain::service_url::ServiceUrl;
use crate::domain::sign_in::SignInSettings;
use crate::domain::spec::Defaults;
use crate::outbound::Cidr;
use crate::provision::timing::Timing;
use crate::vault::{Vault, VaultError};

/// Settings that come from the environment as `SLIPWAY_` and their name in capitals.
const NAMES: [&str; 45] = [
    "listen",
    "database_url",
    "encryption_key",
    "previous_encryption_keys",
    "admin_token",
    "allow_user_credentials",
    "role_arn",
    "workers",
    "job_deadline",
    "lease_duration",
    "cors_origins",
    "regions",
    "shutdown_timeout",
    "retention",
    "quarantine",
    "rotation_idle_period",
    "rotation_delete_delay",
    "drift_interval",
    "account_check_interval",
    "oidc_allow_http",
    "public_url",
    "sign_in_client_secret",
    "webhook_allowed_cidrs",
    "webhook_allow_http",
    "slack_signing_secret",
    "slack_bot_token",
    "slack_url",
    "mattermost_url",
    "mattermost_token",
    "mattermost_bot_token",
    "chat_link_lifetime",
    "github_webhook_secret",
    "github_token",
    "gitlab_webhook_token",
    "gitlab_signing_token",
    "gitlab_token",
    "key_unused_after",
    "log",
    "max_connections",
    "max_requests",
    "max_long_polls",
    "rate_limit",
    "idle_timeout",
    "body_timeout",
    "request_timeout",
];

/// Variables with the prefix that are not settings: those of the command line.
const OTHER_VARIABLES: [&str; 3] = ["SLIPWAY_CONFIG", "SLIPWAY_URL", "SLIPWAY_TOKEN"];
const PREFIX: &str = "SLIPWAY_";
/// `SLIPWAY_ADMIN_TOKEN_FILE` names the file that holds the admin token, and so for every setting.
const FILE_SUFFIX: &str = "_FILE";
const TEST_PREFIX: &str = "SLIPWAY_TEST_";

/// The settings of `slipway serve`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The database: `sqlite://PATH`, or `postgres://…` for several replicas.
    pub database_url: String,
    /// 32 bytes in base64 that encrypt secrets; `slipway generate-key` prints a new one.
    pub encryption_key: Option<SecretString>,
    /// Earlier encryption keys, separated by commas: they decrypt secrets and encrypt none. The service moves their
    /// secrets to the present key, as `slipway reencrypt` does; then they can go.
    pub previous_encryption_keys: Option<SecretString>,
    /// A bearer token with the admin role, to create others with.
    pub admin_token: Option<SecretString>,
    /// Whether to start with an IAM user's credentials. The root user's are always refused.
    pub allow_user_credentials: bool,
    /// The ARN of the service's own role, if it has a path: AWS does not tell it.
    pub role_arn: Option<RoleArn>,
    /// Jobs at once.
    pub workers: usize,
    /// How long a job is tried.
    #[serde(with = "humantime_serde")]
    pub job_deadline: Duration,
    /// How long a job stays with a worker that gives no sign of life.
    #[serde(with = "humantime_serde")]
    pub lease_duration: Duration,
    /// Origins whose pages may call the API, separated by commas; `*` for all.
    pub cors_origins: String,
    /// Regions that apps may use beyond those that AWS's partition has, separated by commas: regions of a private
    /// partition or an emulator, and new ones that this version does not know.
    pub regions: Regions,
    /// How long to finish work in progress when told to stop.
    #[serde(with = "humantime_serde")]
    pub shutdown_timeout: Duration,
    /// How long jobs that have ended are kept, with their steps and events.
    #[serde(with = "humantime_serde")]
    pub retention: Duration,
    /// How long a removed app stays in quarantine, its keys inactive, before its user is deleted.
    #[serde(with = "humantime_serde")]
    pub quarantine: Duration,
    /// How long an access key has to be unused before a rotation deactivates it.
    #[serde(with = "humantime_serde")]
    pub rotation_idle_period: Duration,
    /// How long a rotated key stays inactive before it is deleted. Until then it can be rolled back.
    #[serde(with = "humantime_serde")]
    pub rotation_delete_delay: Duration,
    /// How often each app is checked for drift. 0s is never.
    #[serde(with = "humantime_serde")]
    pub drift_interval: Duration,
    /// How often it is checked whether the role of each registered account can be assumed. 0s is never.
    #[serde(with = "humantime_serde")]
    pub account_check_interval: Duration,
    /// Whether issuers of ID tokens may be at http on this machine. For tests.
    pub oidc_allow_http: bool,
    /// The URL at which browsers reach this service.
    pub public_url: Option<PublicUrl>,
    /// The secret of the client that Slipway is to the identity provider that people sign in with.
    pub sign_in_client_secret: Option<SecretString>,
    /// Ranges of addresses that webhooks may be sent to beside public ones, separated by commas.
    pub webhook_allowed_cidrs: Cidrs,
    /// Whether webhooks may be sent by http.
    pub webhook_allow_http: bool,
    /// The signing secret of the Slack app.
    pub slack_signing_secret: Option<SecretString>,
    /// The bot token of the Slack app.
    pub slack_bot_token: Option<SecretString>,
    /// The URL of Slack's API.
    pub slack_url: ServiceUrl,
    /// The URL of the Mattermost server.
    pub mattermost_url: Option<ServiceUrl>,
    /// The token of Mattermost's slash command.
    pub mattermost_token: Option<SecretString>,
    /// The token of the bot account that writes messages in Mattermost.
    pub mattermost_bot_token: Option<SecretString>,
    /// How long after a sign-in a chat user acts as the person.
    #[serde(with = "humantime_serde")]
    pub chat_link_lifetime: Duration,
    /// The secret that GitHub signs its deliveries with.
    pub github_webhook_secret: Option<SecretString>,
    /// A token of GitHub that may read the contents of the repositories.
    pub github_token: Option<SecretString>,
    /// The secret token that GitLab sends with its deliveries.
    pub gitlab_webhook_token: Option<SecretString>,
    /// The signing token that GitLab signs its deliveries with.
    pub gitlab_signing_token: Option<SecretString>,
    /// A token of GitLab that may read the repositories.
    pub gitlab_token: Option<SecretString>,
    /// How long an access key has to be unused before webhooks are told. 0s is never.
    #[serde(with = "humantime_serde")]
    pub key_unused_after: Duration,
    /// What to log, in the terms of `tracing-subscriber`'s filters.
    pub log: String,
    /// Connections at once. Those beyond are refused, or wait to be accepted. Each is an open file: the
    /// process raises its own limit as far as the system's hard one allows, and says so when that is too low.
    pub max_connections: usize,
    /// Requests at work at once; those beyond are refused with 503 before their bodies are read.
    pub max_requests: usize,
    /// Event streams, `?wait=` and bodies on their way, at once; those beyond are refused with 503.
    pub max_long_polls: usize,
    /// Requests a second from one caller, with ten seconds' worth at once; those beyond are refused with 429.
    /// A caller is a valid token, or the address of a connection that brings none. 0 is no limit.
    pub rate_limit: u32,
    /// How long a connection may be without a request under way, or take to send a request's head, or take in
    /// nothing of its answer.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// How long a request's body may take to arrive.
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// How long a request may take, without its body and `?wait=`.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// The organisation's conventions.
    pub defaults: Defaults,
    /// Sign-in of people.
    pub sign_in: Option<SignInSettings>,
    /// Incoming webhooks.
    pub hooks: HookSettings,
    /// Which jobs need an approval.
    pub approvals: ApprovalRules,
    /// Timeouts and delays of calls to AWS.
    pub timing: Timing,
}

/// Regions, separated by commas.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(try_from = "String")]
pub struct Regions(pub Vec<Region>);

impl TryFrom<String> for Regions {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let names = text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        let parsed = names.map(|name| {
            Region::parse(name).map_err(|why| format!("SLIPWAY_REGIONS: {name} {why}"))
        });
        parsed.collect::<Result<_, _>>().map(Self)
    }
}

/// Ranges of addresses, separated by commas.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(try_from = "String")]
pub struct Cidrs(pub Vec<Cidr>);

impl TryFrom<String> for Cidrs {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let ranges = text
            .split(',')
            .map(str::trim)
            .filter(|range| !range.is_empty());
        let parsed = ranges.map(|range| {
            let wrong = |why| format!("SLIPWAY_WEBHOOK_ALLOWED_CIDRS: {range} {why}");
            range.parse().map_err(wrong)
        });
        parsed.collect::<Result<_, _>>().map(Self)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            database_url: "sqlite://slipway.db".into(),
            encryption_key: None,
            previous_encryption_keys: None,
            admin_token: None,
            allow_user_credentials: false,
            role_arn: None,
            workers: 16,
            job_deadline: Duration::from_secs(15 * 60),
            lease_duration: Duration::from_secs(30),
            cors_origins: String::new(),
            regions: Regions::default(),
            shutdown_timeout: Duration::from_secs(25),
            retention: Duration::from_secs(180 * 24 * 3600),
            quarantine: Duration::from_secs(7 * 24 * 3600),
            rotation_idle_period: Duration::from_secs(24 * 3600),
            rotation_delete_delay: Duration::from_secs(24 * 3600),
            drift_interval: Duration::from_secs(24 * 3600),
            account_check_interval: Duration::from_secs(3600),
            oidc_allow_http: false,
            public_url: None,
            sign_in_client_secret: None,
            webhook_allowed_cidrs: Cidrs::default(),
            webhook_allow_http: false,
            slack_signing_secret: None,
            slack_bot_token: None,
            slack_url: ServiceUrl::of_slack(),
            mattermost_url: None,
            mattermost_token: None,
            mattermost_bot_token: None,
            chat_link_lifetime: Duration::from_secs(7 * 24 * 3600),
            github_webhook_secret: None,
            github_token: None,
            gitlab_webhook_token: None,
            gitlab_signing_token: None,
            gitlab_token: None,
            key_unused_after: Duration::from_secs(90 * 24 * 3600),
            log: "info".into(),
            max_connections: 4096,
            max_requests: 512,
            max_long_polls: 2048,
            rate_limit: 100,
            idle_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(60),
            defaults: Defaults::default(),
            sign_in: None,
            hooks: HookSettings::default(),
            approvals: ApprovalRules::default(),
            timing: Timing::default(),
        }
    }
}

impl Settings {
    /// The settings from a file, the environment and flags, each over the one before.
    ///
    /// # Errors
    /// When the file cannot be read, or a setting is unknown or does not parse.
    pub fn load(
        file: Option<&Path>,
        environment: &[(String, String)],
        flags: &[(&str, String)],
    ) -> Result<Self, ConfigError> {
        let mut builder = Config::builder();
        if let Some(file) = file {
            builder = builder.add_source(File::new(
                &PathBuf::from(file).to_string_lossy(),
                FileFormat::Toml,
            ));
        }
        let known = known_variables(environment)?;
        // No guessing of types: a token of digits stays a text.
        builder = builder.add_source(Environment::with_prefix("SLIPWAY").source(Some(known)));
        for (name, value) in flags {
            builder = builder.set_override(*name, value.clone())?;
        }
        let settings: Self = builder.build()?.try_deserialize()?;
        settings.validate()
    }

    fn validate(mut self) -> Result<Self, ConfigError> {
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

    /// Whether chat users of a platform can ask for anything.
    pub fn has_chat(&self, platform: Platform) -> bool {
        match platform {
            Platform::Slack => self.slack_signing_secret.is_some(),
            Platform::Mattermost => self.mattermost_token.is_some(),
        }
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

    /// The vault of the encryption keys.
    ///
    /// # Errors
    /// When there is none, or one is not a key.
    pub fn vault(&self) -> Result<Vault, VaultError> {
        let vault = Vault::parse(self.encryption_key.as_ref().ok_or(VaultError::NotAKey)?)?;
        match &self.previous_encryption_keys {
            Some(keys) => vault.with_previous_keys(keys),
            None => Ok(vault),
        }
    }

    /// The origins whose pages may call the API.
    pub fn cors_origins(&self) -> Vec<&str> {
        self.cors_origins
            .split(',')
            .map(str::trim)
            .filter(|origin| !origin.is_empty())
            .collect()
    }
}

/// The settings in the environment; an empty one is unset.
fn known_variables(environment: &[(String, String)]) -> Result<Map<String, String>, ConfigError> {
    let mut known = Map::new();
    let variables = environment.iter().filter(|(name, value)| {
        name.starts_with(PREFIX)
            && !name.starts_with(TEST_PREFIX)
            && !OTHER_VARIABLES.contains(&name.as_str())
            && !is_service_link(name, value)
    });
    for (name, value) in variables {
        let (setting, value) = match name
            .strip_suffix(FILE_SUFFIX)
            .filter(|name| is_setting(name))
        {
            Some(setting) => (setting, in_file(name, value)?),
            None if is_setting(name) => (name.as_str(), value.clone()),
            None => return Err(unknown_variable(name)),
        };
        if !value.is_empty() && known.insert(setting.to_owned(), value).is_some() {
            return Err(ConfigError::Message(format!(
                "{setting} and {setting}{FILE_SUFFIX} are both set. Unset one of them"
            )));
        }
    }
    Ok(known)
}

fn is_setting(name: &str) -> bool {
    NAMES.iter().any(|setting| name == variable(setting))
}

/// What the file holds that a variable names, without the line break at its end.
fn in_file(variable: &str, path: &str) -> Result<String, ConfigError> {
    if path.is_empty() {
        return Ok(String::new());
    }
    let text = std::fs::read_to_string(path).map_err(|error| {
        ConfigError::Message(format!("{variable}: cannot read {path}: {error}"))
    })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Whether Kubernetes has set the variable, for a Service whose name begins with `slipway`: such as
/// `SLIPWAY_SERVICE_HOST`, `SLIPWAY_PORT=tcp://…` and `SLIPWAY_PORT_8080_TCP_ADDR`.
/// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>
fn is_service_link(name: &str, value: &str) -> bool {
    let numbered = |rest: &str| rest.starts_with(|first: char| first.is_ascii_digit());
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT") && value.contains("://")
        || name
            .split_once("_PORT_")
            .is_some_and(|(_, rest)| numbered(rest))
}

fn variable(setting: &str) -> String {
    format!("{PREFIX}{}", setting.to_uppercase())
}

fn unknown_variable(name: &str) -> ConfigError {
    let setting = name.strip_prefix(PREFIX).unwrap_or(name).to_lowercase();
    let similarity = |known: &str| strsim::jaro_winkler(&setting, known);
    let nearest = NAMES
        .iter()
        .max_by(|one, other| similarity(one).total_cmp(&similarity(other)))
        .map(|setting| variable(setting))
        .unwrap_or_default();
    ConfigError::Message(format!(
        "{name} is not a setting. Did you mean {nearest}? Unset it, or see docs/configuration.md for all settings"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn each_source_over_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("slipway.toml");
        std::fs::write(
            &file,
            "workers = 3\nlease_duration = \"5s\"\n[defaults]\ngroup = \"Guests\"\nlifecycle = \"protected\"\n[timing]\nanswer = \"3s\"\n",
        )
        .unwrap();
        let environment = env(&[
            ("SLIPWAY_WORKERS", "4"),
            ("SLIPWAY_ADMIN_TOKEN", "0123"),
            ("SLIPWAY_TEST_POSTGRES", "x"),
            ("SLIPWAY_CONFIG", "slipway.toml"),
            ("SLIPWAY_URL", "https://slipway.example.com"),
            ("SLIPWAY_TOKEN", "x"),
            ("SLIPWAY", "http://127.0.0.1:8080"),
            ("SLIPWAY_SERVICE_HOST", "10.0.0.1"),
            ("SLIPWAY_SERVICE_PORT_HTTP", "8080"),
            ("SLIPWAY_PORT", "tcp://10.0.0.1:8080"),
            ("SLIPWAY_API_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("SLIPWAY_JOB_DEADLINE", "2m"),
        ]);
        let settings = Settings::load(
            Some(&file),
            &environment,
            &[("listen", "127.0.0.1:1".into())],
        )
        .unwrap();
        assert_eq!(
            (
                settings.workers,
                settings.lease_duration,
                settings.job_deadline
            ),
            (4, Duration::from_secs(5), Duration::from_secs(120))
        );
        assert_eq!(
            settings.admin_token.as_ref().unwrap().expose_secret(),
            "0123",
            "a token of digits stays a text"
        );
        assert_eq!(settings.defaults.group.as_str(), "Guests");
        assert_eq!(
            settings.timing,
            Timing {
                answer: Duration::from_secs(3),
                ..Timing::default()
            }
        );
        assert_eq!(settings.defaults.policy.as_str(), "MediaManagement");
        assert_eq!(settings.listen.port(), 1);
        assert!(
            !format!("{settings:?}").contains("0123"),
            "a secret is not shown"
        );
    }

    #[test]
    fn an_unknown_variable_is_an_error_that_names_the_nearest_setting() {
        for (unknown, nearest) in [
            ("SLIPWAY_ENCRYPTON_KEY", "SLIPWAY_ENCRYPTION_KEY"),
            ("SLIPWAY_MAX_WAITING", "SLIPWAY_MAX_"),
            ("SLIPWAY_LEASE", "SLIPWAY_LEASE_DURATION"),
            ("SLIPWAY_ROTATION_IDLE", "SLIPWAY_ROTATION_IDLE_PERIOD"),
            ("SLIPWAY_workers", "SLIPWAY_WORKERS"),
            ("SLIPWAY_PORT", "SLIPWAY_"),
        ] {
            for value in ["x", ""] {
                let error = Settings::load(None, &env(&[(unknown, value)]), &[])
                    .unwrap_err()
                    .to_string();
                assert!(
                    error.starts_with(&format!(
                        "{unknown} is not a setting. Did you mean {nearest}"
                    )),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn a_variable_can_name_a_file_that_holds_the_value() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_string_lossy().into_owned()
        };
        let (token, empty) = (write("token", "0123\n"), write("empty", "\n"));
        let load = |pairs: &[(&str, &str)]| Settings::load(None, &env(pairs), &[]);
        let settings = load(&[
            ("SLIPWAY_ADMIN_TOKEN_FILE", &token),
            ("SLIPWAY_PREVIOUS_ENCRYPTION_KEYS_FILE", &empty),
            ("SLIPWAY_WORKERS_FILE", ""),
        ])
        .unwrap();
        assert_eq!(
            settings.admin_token.as_ref().unwrap().expose_secret(),
            "0123"
        );
        assert!(settings.previous_encryption_keys.is_none());
        let missing = folder.path().join("missing");
        let missing = missing.to_string_lossy().into_owned();
        for (variables, problem) in [
            (
                vec![
                    ("SLIPWAY_ADMIN_TOKEN", "x"),
                    ("SLIPWAY_ADMIN_TOKEN_FILE", token.as_str()),
                ],
                "SLIPWAY_ADMIN_TOKEN and SLIPWAY_ADMIN_TOKEN_FILE are both set",
            ),
            (
                vec![("SLIPWAY_ADMIN_TOKEN_FILE", missing.as_str())],
                "SLIPWAY_ADMIN_TOKEN_FILE: cannot read",
            ),
            (
                vec![("SLIPWAY_ADMIN_TOKENS_FILE", token.as_str())],
                "SLIPWAY_ADMIN_TOKENS_FILE is not a setting",
            ),
        ] {
            let error = load(&variables).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("slipway.toml");
        std::fs::write(&file, "worker = 3\n").unwrap();
        assert!(
            Settings::load(Some(&file), &[], &[])
                .unwrap_err()
                .to_string()
                .contains("worker")
        );
        std::fs::write(&file, "[timing]\nanswers = \"3s\"\n").unwrap();
        assert!(
            Settings::load(Some(&file), &[], &[])
                .unwrap_err()
                .to_string()
                .contains("answers")
        );
        for (name, least) in [
            ("WORKERS", "1"),
            ("MAX_CONNECTIONS", "1"),
            ("MAX_REQUESTS", "1"),
            ("MAX_LONG_POLLS", "1"),
            ("LEASE_DURATION", "1s"),
            ("IDLE_TIMEOUT", "1s"),
            ("BODY_TIMEOUT", "1s"),
            ("REQUEST_TIMEOUT", "1s"),
        ] {
            let name = format!("SLIPWAY_{name}");
            let load = |value: &str| Settings::load(None, &env(&[(&name, value)]), &[]);
            assert!(load(least).is_ok(), "{name}");
            let told = load(&least.replace('1', "0")).unwrap_err().to_string();
            assert!(
                told.contains(&format!("{name} must be at least {least}")),
                "{told}"
            );
        }
        let every = |text: &str| {
            Settings::load(None, &env(&[("SLIPWAY_DRIFT_INTERVAL", text)]), &[])
                .map(|settings| settings.drift_interval)
        };
        assert_eq!(
            (every("0s").unwrap(), every("2h").unwrap()),
            (Duration::ZERO, Duration::from_secs(7200))
        );
        assert!(
            every("10ms")
                .unwrap_err()
                .to_string()
                .contains("SLIPWAY_DRIFT_INTERVAL must be at least 1s")
        );
        assert_eq!(
            Settings::load(None, &env(&[("SLIPWAY_RATE_LIMIT", "0")]), &[])
                .unwrap()
                .rate_limit,
            0
        );
        assert!(Settings::load(None, &env(&[("SLIPWAY_WORKERS", "many")]), &[]).is_err());
        assert!(
            Settings::load(
                None,
                &env(&[("SLIPWAY_ALLOW_USER_CREDENTIALS", "true")]),
                &[]
            )
            .unwrap()
            .allow_user_credentials
        );
        for origins in ["https://*.acme.example", "*,https://a.example", "nonsense"] {
            assert!(
                Settings::load(None, &env(&[("SLIPWAY_CORS_ORIGINS", origins)]), &[]).is_err(),
                "{origins}"
            );
        }
        assert!(Settings::load(Some(Path::new("/nowhere.toml")), &[], &[]).is_err());
        let regions = |text: &str| {
            Settings::load(None, &env(&[("SLIPWAY_REGIONS", text)]), &[])
                .map(|settings| settings.regions.0)
        };
        assert_eq!(
            regions("xx-lab-1, xx-lab-2")
                .unwrap()
                .iter()
                .map(Region::as_str)
                .collect::<Vec<_>>(),
            ["xx-lab-1", "xx-lab-2"]
        );
        assert!(
            regions("xx-lab-1,nowhere")
                .unwrap_err()
                .to_string()
                .contains("SLIPWAY_REGIONS: nowhere must be an AWS region code")
        );
    }
}
