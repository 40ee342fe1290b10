//! `slipway lifecycle`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::spec_file::SpecFile;
use crate::cli::client::{ClientError, ConnectionArgs, Request};
use crate::cli::display::{Format, note, out, print_value, table, text_at};
use crate::cli::exit::Exit;

/// `slipway lifecycle`
#[derive(Debug, Args)]
pub struct LifecycleArgs {
    #[command(subcommand)]
    command: LifecycleCommand,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Subcommand)]
enum LifecycleCommand {
    /// Show which images a lifecycle policy expires, and by which rule. Changes nothing.
    Simulate {
        /// `guide`, `protected`, or a file with an ECR lifecycle policy. Default: the repository's own policy.
        #[arg(long, value_name = "POLICY")]
        policy: Option<String>,
        /// The images of this repository.
        #[arg(long, value_name = "NAME", required_unless_present = "images")]
        repository: Option<String>,
        /// The region of the repository.
        #[arg(long, requires = "repository")]
        region: Option<String>,
        /// The account of the repository.
        #[arg(long, requires = "repository")]
        account: Option<String>,
        /// A file with a list of images, in YAML or JSON.
        #[arg(long, value_name = "FILE", conflicts_with = "repository")]
        images: Option<PathBuf>,
        /// Show why each image is kept or expires.
        #[arg(long)]
        explain: bool,
    },
}

impl LifecycleArgs {
    pub async fn run(self) -> Result<Exit, ClientError> {
        let LifecycleCommand::Simulate {
            policy,
            repository,
            region,
            account,
            images,
            explain,
        } = self.command;
        let mut body = Map::new();
        if let Some(policy) = policy {
            body.insert("policy".into(), policy_of(&policy)?);
        }
        if let Some(file) = images {
            body.insert("images".into(), SpecFile::read(&file)?.document()?);
        }
        if let Some(name) = repository {
            let mut place = json!({"name": name});
            for (field, value) in [("region", region), ("account", account)] {
                if let Some(value) = value {
                    place[field] = value.into();
                }
            }
            body.insert("repository".into(), place);
        }
        let request = Request::post("/v1/ecr/lifecycle/simulate").json(body.into());
        let found = self
            .connection
            .api()?
            .send(&request.harmless())
            .await?
            .value()?;
        print(self.connection.output, &found, explain)?;
        Ok(Exit::Done)
    }
}

fn policy_of(text: &str) -> Result<Value, ClientError> {
    match text {
        "guide" | "protected" => Ok(text.into()),
        file => SpecFile::read(Path::new(file))?.document(),
    }
}

fn print(format: Format, found: &Value, explain: bool) -> Result<(), ClientError> {
    if print_value(format, found)? {
        return Ok(());
    }
    let mut rows = Vec::new();
    for image in found["images"].as_array().into_iter().flatten() {
        let name = match text_at(image, "/tags") {
            tags if tags.is_empty() => text_at(image, "/digest"),
            tags => tags,
        };
        rows.push(vec![
            text_at(image, "/outcome"),
            text_at(image, "/rule_priority"),
            name,
        ]);
        let findings = image["findings"].as_array().into_iter().flatten();
        for finding in findings.filter(|_| explain) {
            rows.push(vec![
                String::new(),
                String::new(),
                format!("  {}", text_at(finding, "/text")),
            ]);
        }
    }
    if !rows.is_empty() {
        out(&table(&["OUTCOME", "RULE", "IMAGE"], rows));
    }
    note(&format!(
        "{} expire, {} are kept.",
        text_at(found, "/expiring"),
        text_at(found, "/kept")
    ));
    Ok(())
}
