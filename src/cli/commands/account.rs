//! `slipway account`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::account_setup::SetupCommand;
use super::spec_file::SpecFile;
use crate::cli::client::{ClientError, ConnectionArgs, Request, segment};
use crate::cli::display::{
    Column, Format, ask, details, note, out, print_list, print_value, table, text_at,
};
use crate::cli::exit::Exit;

/// `slipway account`
#[derive(Debug, Args)]
pub struct AccountArgs {
    #[command(subcommand)]
    command: AccountCommand,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Subcommand)]
enum AccountCommand {
    /// Register an AWS account.
    Add {
        /// The name of the account.
        name: String,
        /// The AWS account ID, 12 digits.
        #[arg(long)]
        account_id: String,
        /// The ARN of the role that Slipway assumes in the account.
        #[arg(long)]
        role_arn: String,
        /// The default region of the account's apps.
        #[arg(long)]
        region: Option<String>,
        /// A file with the defaults of the account's apps, in YAML or JSON.
        #[arg(long, value_name = "FILE")]
        defaults: Option<PathBuf>,
    },
    /// List accounts.
    List,
    /// Show an account.
    Show {
        /// The name of the account.
        name: String,
    },
    /// Check that Slipway can work in an account.
    Verify {
        /// The name of the account.
        name: String,
    },
    /// Print what the owner of an account runs once: it creates the role that Slipway assumes.
    Bootstrap {
        /// The name of the account.
        name: String,
        /// The format of the document.
        #[arg(long, value_parser = ["cloudformation", "terraform", "aws-cli"])]
        format: String,
    },
    /// Set up an account for people: alias, groups, users and password policy.
    Setup {
        #[command(subcommand)]
        command: Box<SetupCommand>,
    },
    /// Delete the registration of an account without apps. Changes nothing in AWS.
    Delete {
        /// The name of the account.
        name: String,
        /// Do not ask. Required without a terminal.
        #[arg(long, short)]
        yes: bool,
    },
}

const ACCOUNTS: [Column; 6] = [
    ("NAME", "/name"),
    ("ACCOUNT ID", "/account_id"),
    ("STATE", "/state"),
    ("APPS", "/apps"),
    ("CHECKED", "/checked_at"),
    ("REASON", "/reason"),
];

const ACCOUNT: [Column; 10] = [
    ("Name", "/name"),
    ("Account ID", "/account_id"),
    ("Role", "/role_arn"),
    ("External ID", "/external_id"),
    ("Region", "/region"),
    ("State", "/state"),
    ("Reason", "/reason"),
    ("Apps", "/apps"),
    ("Checked", "/checked_at"),
    ("Created by", "/created_by"),
];

fn path(name: &str, rest: &str) -> String {
    format!("/v1/accounts/{}{rest}", segment(name))
}

impl AccountArgs {
    pub async fn run(self) -> Result<Exit, ClientError> {
        let (api, format) = (self.connection.api()?, self.connection.output);
        match self.command {
            AccountCommand::Add {
                name,
                account_id,
                role_arn,
                region,
                defaults,
            } => {
                let body = registration(&name, account_id, role_arn, region, defaults)?;
                let account = api
                    .send(&Request::post("/v1/accounts").json(body))
                    .await?
                    .value()?;
                print_account(format, &account)?;
                note(&format!(
                    "Next, let the owner of the account run `slipway account bootstrap {name} --format FORMAT`, then `slipway account verify {name}`."
                ));
                Ok(Exit::Done)
            }
            AccountCommand::List => {
                let found = api.send(&Request::get("/v1/accounts")).await?.value()?;
                let items = found["items"].as_array().cloned().unwrap_or_default();
                print_list(format, (items, false), &ACCOUNTS)?;
                Ok(Exit::Done)
            }
            AccountCommand::Show { name } => {
                let account = api.send(&Request::get(path(&name, ""))).await?.value()?;
                print_account(format, &account)?;
                Ok(Exit::Done)
            }
            AccountCommand::Verify { name } => {
                let report = api
                    .send(&Request::post(path(&name, "/verify")))
                    .await?
                    .value()?;
                print_report(format, &report)
            }
            AccountCommand::Bootstrap { name, format } => {
                let request = Request::get(path(&name, "/bootstrap"))
                    .accept("*/*")
                    .query("format", Some(format));
                out(&api.send(&request).await?.text());
                Ok(Exit::Done)
            }
            AccountCommand::Setup { command } => command.run(&api, format).await,
            AccountCommand::Delete { name, yes } => {
                ask(&format!("Delete the registration of account {name}?"), yes)?;
                api.send(&Request::delete(path(&name, ""))).await?;
                note(&format!("Deleted: account {name}."));
                Ok(Exit::Done)
            }
        }
    }
}

fn registration(
    name: &str,
    account_id: String,
    role_arn: String,
    region: Option<String>,
    defaults: Option<PathBuf>,
) -> Result<Value, ClientError> {
    let mut body = Map::new();
    body.insert("name".into(), name.into());
    body.insert("account_id".into(), account_id.into());
    body.insert("role_arn".into(), role_arn.into());
    if let Some(region) = region {
        body.insert("region".into(), region.into());
    }
    if let Some(file) = defaults {
        body.insert("defaults".into(), SpecFile::read(&file)?.document()?);
    }
    Ok(body.into())
}

fn print_account(format: Format, account: &Value) -> Result<(), ClientError> {
    if !print_value(format, account)? {
        out(&details(account, &ACCOUNT));
    }
    Ok(())
}

fn print_report(format: Format, report: &Value) -> Result<Exit, ClientError> {
    if !print_value(format, report)? {
        let checks = report["checks"].as_array().into_iter().flatten();
        let rows = checks.map(|check| {
            ["/outcome", "/check", "/detail", "/remedy"]
                .map(|pointer| text_at(check, pointer))
                .to_vec()
        });
        out(&table(&["OUTCOME", "CHECK", "DETAIL", "WHAT TO DO"], rows));
        let missing = text_at(report, "/missing_actions");
        if !missing.is_empty() {
            out(&format!("Missing actions: {missing}"));
        }
        out(&format!("State: {}", text_at(report, "/state")));
    }
    Ok(if report["state"] == "ready" {
        Exit::Done
    } else {
        Exit::NeedsAttention
    })
}
