//! The commands.

mod error;
mod reencrypt;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use secrecy::ExposeSecret as _;

use crate::clock::Clock;
use crate::config::Settings;
use crate::domain::names::IamPath;
use crate::domain::role::Role;
use crate::provision::permissions::role_policy;
use crate::provision::resource::Conventions;
use crate::shutdown::Tasks;
use crate::store::{Store, backup};
use crate::vault::Vault;

use error::CommandError;
use reencrypt::reencrypt;

/// Gives an app its place in an AWS account in one call.
#[derive(Debug, Parser)]
#[command(name = "slipway", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service.
    Serve(SettingsArgs),
    /// Print a new key for SLIPWAY_ENCRYPTION_KEY, and its id on standard error.
    GenerateKey,
    /// Move every sealed secret from the keys of SLIPWAY_PREVIOUS_ENCRYPTION_KEYS to that of SLIPWAY_ENCRYPTION_KEY. A running
    /// service does so by itself; this is for while it is stopped. Can be run again and cut off.
    Reencrypt(SettingsArgs),
    /// Manage API tokens, while the service is stopped.
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Copy the SQLite database, also of a running service, to a new file.
    Backup {
        /// The file to write.
        to: PathBuf,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Print the IAM policy that the service's role needs.
    RolePolicy {
        /// The account's 12 digits.
        #[arg(long, default_value = "123456789012", value_parser = parse_account_id)]
        account_id: String,
        /// The ARN partition.
        #[arg(long, default_value = "aws")]
        partition: String,
        /// Allow users under any path: adopting a user that was made by hand takes it.
        #[arg(long)]
        any_path: bool,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Print the API's document, as openapi.yaml holds it.
    Openapi,
    /// Ask a running service whether it is up; for health checks in containers.
    Health {
        /// Where it listens.
        #[arg(long, env = "SLIPWAY_LISTEN", default_value = "127.0.0.1:8080")]
        listen: std::net::SocketAddr,
    },
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token and print it, once.
    Create {
        /// Who or what will carry it.
        #[arg(long, value_parser = crate::api::v1::tokens::parse_name)]
        name: String,
        /// viewer, operator or admin.
        #[arg(long, default_value = "operator", value_parser = parse_role)]
        role: Role,
        #[command(flatten)]
        settings: SettingsArgs,
    },
}

/// Where settings come from, and the flags that override them.
#[derive(Debug, Clone, Default, Args)]
struct SettingsArgs {
    /// A TOML file with settings.
    #[arg(long, env = "SLIPWAY_CONFIG")]
    config: Option<PathBuf>,
    /// Where to listen.
    #[arg(long)]
    listen: Option<String>,
    /// The database.
    #[arg(long)]
    database_url: Option<String>,
    /// Jobs at once.
    #[arg(long)]
    workers: Option<String>,
    /// How long a job is tried.
    #[arg(long)]
    job_deadline: Option<String>,
    /// How long a job stays with a worker that gives no sign of life.
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

/// Runs the command that the process was started with.
pub async fn run() -> ExitCode {
    match Cli::parse().command.run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("slipway: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Command {
    async fn run(self) -> Result<(), CommandError> {
        match self {
            Self::Serve(args) => serve::serve(args.load()?).await?,
            Self::GenerateKey => {
                let key = Vault::new_key()?;
                eprintln!("the key's id is {}", Vault::parse(&key)?.id());
                println!("{}", key.expose_secret());
            }
            Self::Reencrypt(args) => reencrypt(&args.load()?).await?,
            Self::Token {
                command:
                    TokenCommand::Create {
                        name,
                        role,
                        settings,
                    },
            } => create_token(&settings.load()?, &name, role).await?,
            Self::Backup { to, settings } => backup(&settings.load()?.database_url, &to).await?,
            Self::RolePolicy {
                account_id,
                partition,
                any_path,
                settings,
            } => {
                let mut conventions =
                    Conventions::new(&settings.load()?.defaults, partition, account_id);
                if any_path {
                    conventions.iam_path = IamPath::root();
                }
                println!(
                    "{}",
                    serde_json::to_string_pretty(&role_policy(&conventions))?
                );
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
        .map_err(|_| "must be viewer, operator or admin")
}

fn parse_account_id(text: &str) -> Result<String, &'static str> {
    let fits = text.len() == 12 && text.chars().all(|c| c.is_ascii_digit());
    if fits {
        Ok(text.to_owned())
    } else {
        Err("must be 12 digits")
    }
}

async fn create_token(settings: &Settings, name: &str, role: Role) -> Result<(), CommandError> {
    let store = Store::open(&settings.database_url, Clock::default(), &Tasks::default()).await?;
    println!(
        "{}",
        crate::api::v1::tokens::make(&store, name, role, "slipway token create")
            .await?
            .token
    );
    Ok(())
}
