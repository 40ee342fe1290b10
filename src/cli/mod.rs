//! The command line: the service, the operator's commands on its database, and the client of its API.

mod client;
mod commands;
mod display;
mod error;
mod exit;
mod operator;
mod reencrypt;
mod serve;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

use client::ClientError;
use commands::account::AccountArgs;
use commands::app::AppArgs;
use commands::audit::AuditArgs;
use commands::job::JobArgs;
use commands::key::KeyArgs;
use commands::lifecycle::LifecycleArgs;
use commands::login::{LoginArgs, logout};
use commands::plan_and_apply::{ApplyArgs, PlanFileArgs};
use commands::token::{IssueArgs, ListArgs, RevokeArgs};
use commands::trust_rule::TrustRuleArgs;
use exit::Exit;
use operator::{CreateTokenArgs, OperatorCommand};

/// Provisions what apps need in AWS: IAM users with access keys, S3 buckets and ECR repositories.
#[derive(Debug, Parser)]
#[command(name = "slipway", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Client(ClientCommand),
    /// Manage API tokens.
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    #[command(flatten)]
    Operator(OperatorCommand),
}

/// Commands that call a running service.
#[derive(Debug, Subcommand)]
enum ClientCommand {
    /// Onboard, change, remove and look at apps.
    App(Box<AppArgs>),
    /// Follow, cancel, retry and approve jobs.
    Job(Box<JobArgs>),
    /// Rotate and claim access keys.
    Key(Box<KeyArgs>),
    /// Show what the apps in a slipway.yaml need. Changes nothing.
    Plan(Box<PlanFileArgs>),
    /// Make the apps in a slipway.yaml what the file says.
    Apply(Box<ApplyArgs>),
    /// Register and verify AWS accounts.
    Account(Box<AccountArgs>),
    /// Decide which pipelines get tokens by their ID tokens.
    TrustRule(Box<TrustRuleArgs>),
    /// Show who did what.
    Audit(Box<AuditArgs>),
    /// Try out ECR lifecycle policies.
    Lifecycle(Box<LifecycleArgs>),
    /// Check a token and save it for the commands that follow. Reads it from standard input.
    Login(LoginArgs),
    /// Remove the saved token.
    Logout,
    /// Print the completions of a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Create a token in the database while the service is stopped, and print it. It is shown only once.
    Create(CreateTokenArgs),
    /// Create a token on a running service. It is shown only once.
    Issue(IssueArgs),
    /// List tokens.
    List(ListArgs),
    /// Revoke a token. It stops working at once.
    Revoke(RevokeArgs),
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Client(command) => run_client(command.run()),
        Command::Token { command } => match command {
            TokenCommand::Create(args) => run_operator(args.run()),
            TokenCommand::Issue(args) => run_client(args.run()),
            TokenCommand::List(args) => run_client(args.run()),
            TokenCommand::Revoke(args) => run_client(args.run()),
        },
        Command::Operator(command) => run_operator(command.run()),
    }
}

/// Runs a client command on this thread: it does one thing after another, and is to start at once.
fn run_client(command: impl Future<Output = Result<Exit, ClientError>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => Err(ClientError::Failed(error.to_string())),
    };
    ended
        .unwrap_or_else(|error| {
            display::note(&display::printable(&format!("slipway: {error}")));
            for line in error.lines() {
                display::note(&display::printable(&format!("  {line}")));
            }
            error.exit()
        })
        .into()
}

fn run_operator(command: impl Future<Output = Result<(), error::CommandError>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(command).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("slipway: {error}");
            ExitCode::FAILURE
        }
    }
}

impl ClientCommand {
    async fn run(self) -> Result<Exit, ClientError> {
        match self {
            Self::App(args) => args.run().await,
            Self::Job(args) => args.run().await,
            Self::Key(args) => args.run().await,
            Self::Plan(args) => args.run().await,
            Self::Apply(args) => args.run().await,
            Self::Account(args) => args.run().await,
            Self::TrustRule(args) => args.run().await,
            Self::Audit(args) => args.run().await,
            Self::Lifecycle(args) => args.run().await,
            Self::Login(args) => args.run().await,
            Self::Logout => logout(),
            Self::Completions { shell } => {
                let mut text = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "slipway", &mut text);
                display::out(&String::from_utf8_lossy(&text));
                Ok(Exit::Done)
            }
        }
    }
}
