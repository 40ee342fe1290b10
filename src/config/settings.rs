//! Each setting with its default, and what follows from some of them.

use std::net::SocketAddr;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use crate::domain::approval::ApprovalRules;
use crate::domain::chat::Platform;
use crate::domain::hooks::rule::HookSettings;
use crate::domain::names::{Region, RoleArn};
use crate::domain::public_url::PublicUrl;
use crate::domain::service_url::ServiceUrl;
use crate::domain::sign_in::SignInSettings;
use crate::domain::spec::Defaults;
use crate::outbound::Cidr;
use crate::provision::timing::Timing;
use crate::vault::{Vault, VaultError};

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
    /// Whether chat users of a platform can ask for anything.
    pub fn has_chat(&self, platform: Platform) -> bool {
        match platform {
            Platform::Slack => self.slack_signing_secret.is_some(),
            Platform::Mattermost => self.mattermost_token.is_some(),
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
