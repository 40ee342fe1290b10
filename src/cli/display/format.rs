//! The formats of results.

use clap::ValueEnum;
use serde_json::Value;

use super::streams::out;
use crate::cli::client::ClientError;

/// How to print a result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people. Its columns may change.
    #[default]
    Table,
    /// The JSON of the API. Stable, for programs.
    Json,
    /// The same as YAML.
    Yaml,
}

/// Prints a value for programs. False if the format is for people.
pub fn print_value(format: Format, value: &Value) -> Result<bool, ClientError> {
    let text = match format {
        Format::Table => return Ok(false),
        Format::Json => serde_json::to_string_pretty(value).map_err(|error| error.to_string()),
        Format::Yaml => yaml_serde::to_string(value).map_err(|error| error.to_string()),
    };
    out(&text.map_err(ClientError::Failed)?);
    Ok(true)
}
