//! The settings in the environment, each by its name or by the name of a file that holds it.
//!
//! Invariant: a variable with the prefix is a setting, known to be none, or an error that names the nearest setting.

use config::{ConfigError, Map};

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

/// The settings in the environment; an empty one is unset.
pub(super) fn known_variables(
    environment: &[(String, String)],
) -> Result<Map<String, String>, ConfigError> {
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
