//! `slipway trust-rule`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::spec_file::SpecFile;
use crate::cli::client::{ClientError, ConnectionArgs, Request, segment};
use crate::cli::display::{Column, Format, ask, details, note, out, print_list, print_value};
use crate::cli::exit::Exit;

/// `slipway trust-rule`
#[derive(Debug, Args)]
pub struct TrustRuleArgs {
    #[command(subcommand)]
    command: TrustRuleCommand,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Subcommand)]
enum TrustRuleCommand {
    /// Create a rule from a file in YAML or JSON: which ID tokens are accepted, and what for.
    Create {
        /// The file; `-` is standard input.
        #[arg(long, short = 'f', value_name = "FILE")]
        file: PathBuf,
    },
    /// List rules.
    List,
    /// Show a rule.
    Show {
        /// The ID of the rule.
        id: String,
    },
    /// Delete a rule. Tokens that were issued by it stop working.
    Delete {
        /// The ID of the rule.
        id: String,
        /// Do not ask. Required without a terminal.
        #[arg(long, short)]
        yes: bool,
    },
}

const RULES: [Column; 5] = [
    ("ID", "/id"),
    ("NAME", "/name"),
    ("ISSUER", "/issuer"),
    ("ROLE", "/role"),
    ("APPS", "/scope/apps"),
];

const RULE: [Column; 9] = [
    ("ID", "/id"),
    ("Name", "/name"),
    ("Issuer", "/issuer"),
    ("Audience", "/audience"),
    ("Claims", "/claims"),
    ("Role", "/role"),
    ("Apps", "/scope/apps"),
    ("Accounts", "/scope/accounts"),
    ("Created by", "/created_by"),
];

fn path(id: &str) -> String {
    format!("/v1/trust-rules/{}", segment(id))
}

impl TrustRuleArgs {
    pub async fn run(self) -> Result<Exit, ClientError> {
        let (api, format) = (self.connection.api()?, self.connection.output);
        match self.command {
            TrustRuleCommand::Create { file } => {
                let file = SpecFile::read(&file)?;
                let request = Request::post("/v1/trust-rules").json(file.document()?);
                let made = api.send(&request).await;
                let rule = made
                    .map_err(|error| file.locate(error, 0, str::to_owned))?
                    .value()?;
                print_rule(format, &rule)
            }
            TrustRuleCommand::List => {
                let found = api.send(&Request::get("/v1/trust-rules")).await?.value()?;
                let items = found["items"].as_array().cloned().unwrap_or_default();
                print_list(format, (items, false), &RULES)?;
                Ok(Exit::Done)
            }
            TrustRuleCommand::Show { id } => {
                print_rule(format, &api.send(&Request::get(path(&id))).await?.value()?)
            }
            TrustRuleCommand::Delete { id, yes } => {
                ask(&format!("Delete trust rule {id}?"), yes)?;
                api.send(&Request::delete(path(&id))).await?;
                note(&format!("Deleted: trust rule {id}."));
                Ok(Exit::Done)
            }
        }
    }
}

fn print_rule(format: Format, rule: &Value) -> Result<Exit, ClientError> {
    if !print_value(format, rule)? {
        out(&details(rule, &RULE));
    }
    Ok(Exit::Done)
}
