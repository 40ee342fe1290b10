//! The service, and the commands of who operates it, on its settings and its database.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;

use crate::app::tokens;
use crate::clock::Clock;
use crate::config::Settings;
use crate::domain::names::{IamPath, RoleArn};
use crate::domain::role::Role;
use crate::provision::conventions::Conventions;
use crate::provision::permissions;
use crate::shutdown::Tasks;
use crate::store::{Store, backup};
use crate::vault::Vault;

use super::error::CommandError;
use super::reencrypt::reencrypt;
use super::serve;

/// Commands that work without a running service.
#[derive(Debug, Subcommand)]
pub enum OperatorCommand {
    /// Run the service.
    Serve(SettingsArgs),
    /// Generate a key for SLIPWAY_ENCRYPTION_KEY. Prints the key to standard output and its id to standard error.
    GenerateKey,
    /// Encrypt all secrets with SLIPWAY_ENCRYPTION_KEY that are still encrypted with a key in
    /// SLIPWAY_PREVIOUS_ENCRYPTION_KEYS.
    ///
    /// A running service does this itself, so use it only while the service is stopped. It can be interrupted and
    /// repeated.
    Reencrypt(SettingsArgs),
    /// Back up the SQLite database to a new file. The service can be running.
    Backup {
        /// The file to create.
        to: PathBuf,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Print the IAM policy that the service's role needs.
    RolePolicy {
        /// The AWS account id, 12 digits.
        #[arg(long, default_value = "123456789012", value_parser = parse_account_id)]
        account_id: String,
        /// The AWS partition.
        #[arg(long, default_value = "aws")]
        partition: String,
        /// Allow users under any IAM path. Required to adopt users that were created by hand.
        #[arg(long)]
        any_path: bool,
        /// The ARN of a role in a registered account. Repeat it for each account.
        #[arg(long = "assume-role", value_name = "ROLE_ARN", value_parser = RoleArn::parse)]
        assume_roles: Vec<RoleArn>,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Print the OpenAPI document.
    Openapi,
    /// Check whether a running service is healthy, for health checks of containers.
    Health {
        /// The address that the service listens on.
        #[arg(long, env = "SLIPWAY_LISTEN", default_value = "127.0.0.1:8080")]
        listen: std::net::SocketAddr,
    },
}

/// `slipway token create`
#[derive(Debug, Args)]
pub struct CreateTokenArgs {
    /// The person or program that uses the token.
    #[arg(long, value_parser = crate::app::tokens::parse_token_name)]
    name: String,
    /// The role: viewer, operator, approver or admin.
    #[arg(long, default_value = "operator", value_parser = parse_role)]
    role: Role,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// The settings file, and flags that override it.
#[derive(Debug, Clone, Default, Args)]
pub struct SettingsArgs {
    /// The settings file, in TOML.
    #[arg(long, env = "SLIPWAY_CONFIG")]
    config: Option<PathBuf>,
    /// The address to listen on.
    #[arg(long)]
    listen: Option<String>,
    /// The database URL: `sqlite://<path>` or `postgres://…`.
    #[arg(long)]
    database_url: Option<String>,
    /// The number of concurrent jobs.
    #[arg(long)]
    workers: Option<String>,
    /// How long a job may take before it fails.
    #[arg(long)]
    job_deadline: Option<String>,
    /// How long a worker holds a job without renewing its lease.
    #[arg(long)]
    lease_duration: Option<String>,
}

impl SettingsArgs {
    fn load(&self) -> Result<Settings, config::ConfigError> {
        let environment: Vec<(String, String)> = std::env::vars().collect();
        let flags = [
            ("listen", &self.listen),
            ("database_url", &self.database_url),
            ("workers", &self.workers),
            ("job_deadline", &self.job_deadline),
            ("lease_duration", &self.lease_duration),
        ];
        let flags: Vec<(&str, String)> = flags
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.clone()?)))
            .collect();
        Settings::load(self.config.as_deref(), &environment, &flags)
    }
}

impl OperatorCommand {
    pub async fn run(self) -> Result<(), CommandError> {
        match self {
            Self::Serve(args) => serve::serve(args.load()?).await?,
            Self::GenerateKey => {
                let key = Vault::new_key()?;
                eprintln!("key id: {}", Vault::parse(&key)?.id());
                println!("{}", key.expose_secret());
            }
            Self::Reencrypt(args) => reencrypt(&args.load()?).await?,
            Self::Backup { to, settings } => backup(&settings.load()?.database_url, &to).await?,
            Self::RolePolicy {
                account_id,
                partition,
                any_path,
                assume_roles,
                settings,
            } => {
                let settings = settings.load()?;
                let mut conventions = Conventions::new(&settings.defaults, partition, account_id);
                if any_path {
                    conventions.iam_path = IamPath::root();
                }
                let own = settings.role_arn.as_ref();
                let policy = permissions::own_role_policy(&conventions, own, &assume_roles);
                println!("{}", serde_json::to_string_pretty(&policy)?);
            }
            Self::Openapi => print!("{}", crate::api::router::yaml()?),
            Self::Health { listen } => serve::health(listen)
                .await
                .then_some(())
                .ok_or(CommandError::Down(listen))?,
        }
        Ok(())
    }
}

fn parse_role(text: &str) -> Result<Role, &'static str> {
    text.parse()
        .map_err(|_| "must be viewer, operator, approver or admin")
}

fn parse_account_id(text: &str) -> Result<String, &'static str> {
    let fits = text.len() == 12 && text.chars().all(|c| c.is_ascii_digit());
    if fits {
        Ok(text.to_owned())
    } else {
        Err("must be 12 digits")
    }
}

impl CreateTokenArgs {
    pub async fn run(self) -> Result<(), CommandError> {
        let settings = self.settings.load()?;
        let (clock, tasks) = (Clock::default(), Tasks::default());
        let store = Store::open(&settings.database_url, clock, &tasks).await?;
        let made =
            tokens::create_token(&store, &self.name, self.role, "slipway token create").await?;
        println!("{}", made.token);
        Ok(())
    }
}
