//! Where the service is, and which token a command uses.

use std::path::PathBuf;

use clap::Args;
use secrecy::SecretString;

use super::api::Api;
use super::error::ClientError;
use super::saved_login::SavedLogin;
use crate::cli::display::Format;

/// Where `slipway serve` listens by default.
const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// The options of every client command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection and output")]
pub struct ConnectionArgs {
    /// The URL of the service. Default: the one that you have logged in to, else http://127.0.0.1:8080.
    #[arg(long, env = "SLIPWAY_URL", global = true, value_name = "URL")]
    pub url: Option<String>,
    /// A file with the token. Default: SLIPWAY_TOKEN, else the token that `slipway login` has saved.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// How to print the result.
    #[arg(long, short, global = true, value_enum, default_value_t)]
    pub output: Format,
}

impl ConnectionArgs {
    /// A client of the service.
    pub fn api(&self) -> Result<Api, ClientError> {
        let saved = SavedLogin::read();
        let given = self.url.as_deref().filter(|url| !url.is_empty());
        let url = match (given, &saved) {
            (Some(url), _) => url.to_owned(),
            (None, Ok(Some(saved))) => saved.url.clone(),
            (None, _) => DEFAULT_URL.to_owned(),
        };
        let token = match self.given_token()? {
            Some(token) => token,
            None => saved_token(saved?, &url)?,
        };
        Api::new(&url, &token)
    }

    /// The token of `--token-file` or SLIPWAY_TOKEN.
    fn given_token(&self) -> Result<Option<SecretString>, ClientError> {
        if let Some(path) = &self.token_file {
            let text = std::fs::read_to_string(path).map_err(ClientError::file(path))?;
            return Ok(Some(text.trim().into()));
        }
        let token = std::env::var("SLIPWAY_TOKEN").ok();
        Ok(token.filter(|token| !token.is_empty()).map(Into::into))
    }
}

fn saved_token(saved: Option<SavedLogin>, url: &str) -> Result<SecretString, ClientError> {
    match saved {
        Some(saved) if is_same(&saved.url, url) => Ok(saved.token),
        Some(saved) => Err(ClientError::Usage(format!(
            "the saved token is for {}, not for {url}. Run `slipway login --url {url}`, or set SLIPWAY_TOKEN or --token-file",
            saved.url
        ))),
        None => Err(ClientError::Usage(format!(
            "there is no token for {url}. Run `slipway login --url {url}`, or set SLIPWAY_TOKEN or --token-file"
        ))),
    }
}

fn is_same(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}
