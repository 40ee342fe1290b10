//! `slipway account setup`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::audit::COLUMNS as HISTORY;
use super::claim::claim_into;
use super::plans::{PlanArgs, dry_run, is_present, print_plans, views};
use super::report::{DriftArgs, ExportArgs, print_drift, print_export};
use super::review::{ReviewArgs, submit};
use super::secret_output::SecretArgs;
use super::spec_file::SpecFile;
use crate::cli::client::{
    Api, ClientError, IdempotencyArgs, PageArgs, Reply, Request, list, segment,
};
use crate::cli::display::{
    Column, Format, details, note, out, print_list, print_value, table, text_at,
};
use crate::cli::exit::Exit;

/// Set up an account for people: alias, groups, users and password policy.
#[derive(Debug, Subcommand)]
pub enum SetupCommand {
    /// Show the set-up of an account.
    Show {
        /// The name of the account.
        account: String,
    },
    /// Show what applying a set-up would do. Changes nothing.
    Plan {
        #[command(flatten)]
        change: SetupArgs,
        #[command(flatten)]
        plan: PlanArgs,
    },
    /// Make the account what a file says: show the plan, ask, and follow the job.
    Apply {
        #[command(flatten)]
        change: SetupArgs,
        #[command(flatten)]
        review: ReviewArgs,
    },
    /// Show how AWS differs from the set-up.
    Drift {
        /// The name of the account.
        account: String,
        #[command(flatten)]
        drift: DriftArgs,
    },
    /// Bring AWS back to the set-up.
    Repair {
        /// The name of the account.
        account: String,
        /// Also delete this retained resource. Repeat it for several.
        #[arg(long, value_name = "RESOURCE")]
        remove: Vec<String>,
        #[command(flatten)]
        review: ReviewArgs,
    },
    /// Claim the first console password of a person. It is shown once.
    Claim {
        /// The name of the account.
        account: String,
        /// The e-mail address of the person.
        email: String,
        #[command(flatten)]
        secret: SecretArgs,
        #[command(flatten)]
        idempotency: IdempotencyArgs,
    },
    /// Export the set-up for another tool. Contains no password.
    Export {
        /// The name of the account.
        account: String,
        #[command(flatten)]
        export: ExportArgs,
    },
    /// Show who did what to the set-up.
    History {
        /// The name of the account.
        account: String,
        /// Only this action.
        #[arg(long)]
        action: Option<String>,
        #[command(flatten)]
        page: PageArgs,
    },
}

/// A set-up, and what applying it may do.
#[derive(Debug, Args)]
pub struct SetupArgs {
    /// The name of the account.
    account: String,
    /// A file with the set-up, in YAML or JSON; `-` is standard input.
    #[arg(long, short, value_name = "FILE")]
    file: PathBuf,
    /// Delete from AWS the people, groups and settings that the file does not name.
    #[arg(long)]
    remove: bool,
}

const SETUP: [Column; 6] = [
    ("Account", "/account"),
    ("State", "/state"),
    ("Alias", "/spec/alias"),
    ("Drifted", "/drift/drifted"),
    ("Active job", "/active_job"),
    ("Billing attested by", "/billing_attestation/attested_by"),
];

impl SetupArgs {
    fn request(&self) -> Result<Request, ClientError> {
        let request = Request::put(path(&self.account, "")).flag("remove", self.remove);
        Ok(request.json(SpecFile::read(&self.file)?.document()?))
    }
}

fn path(account: &str, rest: &str) -> String {
    format!("/v1/accounts/{}/setup{rest}", segment(account))
}

impl SetupCommand {
    pub async fn run(self, api: &Api, format: Format) -> Result<Exit, ClientError> {
        match self {
            Self::Show { account } => show(api, format, &account).await,
            Self::Plan { change, plan } => {
                let shown = dry_run(api, &change.request()?).await?;
                print_plans(format, &plan, &[shown], true)
            }
            Self::Apply { change, review } => apply(api, format, &change, &review).await,
            Self::Drift { account, drift } => {
                let report = drift.report(api, &path(&account, "/drift")).await?;
                let repair = format!("slipway account setup repair {account}");
                print_drift(format, &drift, &report, &repair)
            }
            Self::Repair {
                account,
                remove,
                review,
            } => repair(api, format, &account, &remove, &review).await,
            Self::Claim {
                account,
                email,
                secret,
                idempotency,
            } => {
                let rest = format!("/people/{}/claim", segment(&email));
                let command = format!("slipway account setup claim {account} {email}");
                let request = Request::post(path(&account, &rest));
                claim_into(secret.open()?, api, request, &idempotency.key(), &command).await
            }
            Self::Export { account, export } => {
                print_export(api, &path(&account, "/export"), &export).await
            }
            Self::History {
                account,
                action,
                page,
            } => {
                let request = Request::get(path(&account, "/history")).query("action", action);
                print_list(format, list(api, &request, &page).await?, &HISTORY)?;
                Ok(Exit::Done)
            }
        }
    }
}

/// The set-up, if the account has one.
async fn find_setup(api: &Api, account: &str) -> Result<Option<Reply>, ClientError> {
    match api.send(&Request::get(path(account, ""))).await {
        Ok(reply) => Ok(Some(reply)),
        Err(error) if error.code() == Some("not_found") => Ok(None),
        Err(error) => Err(error),
    }
}

async fn show(api: &Api, format: Format, account: &str) -> Result<Exit, ClientError> {
    let setup = api.send(&Request::get(path(account, ""))).await?.value()?;
    if print_value(format, &setup)? {
        return Ok(Exit::Done);
    }
    out(&details(&setup, &SETUP));
    let groups = rows(&setup, "/spec/groups", ["/name", "/policies"]);
    print_rows(["GROUP", "POLICIES"], groups);
    let people = rows(&setup, "/spec/people", ["/email", "/groups", "/console"]);
    print_rows(["PERSON", "GROUPS", "CONSOLE"], people);
    let passwords = setup["passwords"].as_array().into_iter().flatten();
    for password in passwords.filter(|password| password["claim"].is_string()) {
        let email = text_at(password, "/person");
        out(&format!(
            "\nFirst password to claim: slipway account setup claim {account} {email} --to FILE"
        ));
    }
    for retained in setup["retained"].as_array().into_iter().flatten() {
        out(&format!("\nRetained: {}", text_at(retained, "/detail")));
    }
    Ok(Exit::Done)
}

fn rows<const N: usize>(setup: &Value, list: &str, columns: [&str; N]) -> Vec<Vec<String>> {
    let items = setup.pointer(list).and_then(Value::as_array);
    let row = |item: &Value| columns.map(|column| text_at(item, column)).to_vec();
    items.into_iter().flatten().map(row).collect()
}

fn print_rows<const N: usize>(heads: [&str; N], rows: Vec<Vec<String>>) {
    if !rows.is_empty() {
        out(&format!("\n{}", table(&heads, rows)));
    }
}

async fn apply(
    api: &Api,
    format: Format,
    args: &SetupArgs,
    review: &ReviewArgs,
) -> Result<Exit, ClientError> {
    let mut request = args.request()?;
    let present = find_setup(api, &args.account).await?;
    let plan = dry_run(api, &request).await?;
    let shown = views(std::slice::from_ref(&plan))?;
    if let Some(reply) = &present {
        let setup = reply.value()?;
        if is_present(&setup, &plan, &shown) {
            note(&format!(
                "Nothing to change: account {} is as the file says.",
                args.account
            ));
            return Ok(Exit::Done);
        }
        if let Some(etag) = reply.etag() {
            request = request.header("if-match", etag);
        }
    }
    review.review(&shown, &format!("Set up account {}?", args.account))?;
    submit(api, format, review, request).await
}

async fn repair(
    api: &Api,
    format: Format,
    account: &str,
    remove: &[String],
    review: &ReviewArgs,
) -> Result<Exit, ClientError> {
    let report = Request::post(path(account, "/drift")).harmless();
    let report = api.send(&report).await?.value()?;
    for resource in remove {
        note(&format!("  - remove {resource}"));
    }
    review.review(&views(&[report])?, &format!("Repair account {account}?"))?;
    let mut request = Request::post(path(account, "/repair"));
    if !remove.is_empty() {
        request = request.json(json!({ "remove": remove }));
    }
    submit(api, format, review, request).await
}
