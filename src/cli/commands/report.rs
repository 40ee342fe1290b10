//! Drift reports and exports, of apps and of the set-ups of accounts.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::plans::views;
use crate::cli::client::{Api, ClientError, Request};
use crate::cli::display::{Format, Paint, PlanView, note, out, plan_text, print_value, text_at};
use crate::cli::exit::Exit;

/// Which drift report is shown.
#[derive(Debug, Args)]
pub struct DriftArgs {
    /// Check now. Without it, shows the last report.
    #[arg(long)]
    check: bool,
    /// Exit with 5 if AWS has drifted.
    #[arg(long)]
    exit_code: bool,
}

/// For which tool, and where to.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The format.
    #[arg(long, value_parser = ["terraform", "cloudformation", "aws-cli", "dotenv"])]
    format: String,
    /// The region of a CloudFormation stack.
    #[arg(long)]
    region: Option<String>,
    /// Write to this file. Default: standard output.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

impl DriftArgs {
    /// The report at a path.
    pub async fn report(&self, api: &Api, path: &str) -> Result<Value, ClientError> {
        let request = if self.check {
            Request::post(path).harmless()
        } else {
            Request::get(path)
        };
        api.send(&request).await?.value()
    }
}

/// Prints a drift report. `repair` is the command that removes what nobody asked for.
pub fn print_drift(
    format: Format,
    args: &DriftArgs,
    report: &Value,
    repair: &str,
) -> Result<Exit, ClientError> {
    if !print_value(format, report)? {
        let view: PlanView = views(std::slice::from_ref(report))?.remove(0);
        out(&plan_text(&view, false, Paint::stdout()));
        for unexpected in report["unexpected"].as_array().into_iter().flatten() {
            let (detail, resource) = (
                text_at(unexpected, "/detail"),
                text_at(unexpected, "/resource"),
            );
            out(&format!(
                "  ? {detail} To remove it: {repair} --remove {resource}"
            ));
        }
        for retained in report["retained"].as_array().into_iter().flatten() {
            out(&format!("  Retained: {}", text_at(retained, "/detail")));
        }
        let error = text_at(report, "/error/detail");
        if !error.is_empty() {
            out(&format!("The comparison is incomplete: {error}"));
        }
        out(&format!("Checked {}.", text_at(report, "/checked_at")));
    }
    let drifted = report["drifted"] == true;
    Ok(if args.exit_code && drifted {
        Exit::Changes
    } else {
        Exit::Done
    })
}

/// Writes the export at a path to where it belongs.
pub async fn print_export(api: &Api, path: &str, args: &ExportArgs) -> Result<Exit, ClientError> {
    let request = Request::get(path)
        .accept("*/*")
        .query("format", Some(&args.format))
        .query("region", args.region.as_deref());
    let text = api.send(&request).await?.text();
    match &args.to {
        Some(path) => {
            std::fs::write(path, text).map_err(ClientError::file(path))?;
            note(&format!("Written to {}.", path.display()));
        }
        None => out(&text),
    }
    Ok(Exit::Done)
}
