//! `slipway login` and `slipway logout`
//!
//! Invariant: a token is saved only once the service has accepted it.

use std::io::{self, BufRead as _, IsTerminal as _};

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};

use super::device_login;
use crate::cli::client::{Api, ClientError, Request, SavedLogin};
use crate::cli::display::{note, warn};
use crate::cli::exit::Exit;

/// `slipway login`
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// The URL of the service.
    #[arg(
        long,
        env = "SLIPWAY_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080"
    )]
    url: String,
    /// Give a token on standard input, and do not sign in with the identity provider.
    #[arg(long)]
    with_token: bool,
}

impl LoginArgs {
    pub async fn run(self) -> Result<Exit, ClientError> {
        let token = self.token().await?;
        if token.expose_secret().is_empty() {
            return Err(ClientError::Usage("no token was given".into()));
        }
        let api = Api::new(&self.url, &token)?;
        api.send(&Request::get("/v1/identity")).await?;
        let saved = SavedLogin {
            url: api.url().to_owned(),
            token,
        };
        let path = saved.write()?;
        if is_in_clear(&saved.url) {
            warn("the token is sent in clear to an http URL. Use https where others can listen.");
        }
        note(&format!(
            "Logged in to {}. The token is in {}.",
            saved.url,
            path.display()
        ));
        Ok(Exit::Done)
    }

    /// A token: of a sign-in, where a person is at a terminal and the service lets people sign in, or else one that is given.
    async fn token(&self) -> Result<SecretString, ClientError> {
        if !self.with_token
            && io::stdin().is_terminal()
            && let Some(token) = device_login::sign_in(&Api::without_token(&self.url)?).await?
        {
            return Ok(token);
        }
        read_token(&self.url)
    }
}

/// Asks for the token without showing it, or reads it from a pipe.
fn read_token(url: &str) -> Result<SecretString, ClientError> {
    let failed = |error: io::Error| ClientError::Failed(format!("cannot read the token: {error}"));
    let text = if io::stdin().is_terminal() {
        rpassword::prompt_password(format!("Token for {url}: ")).map_err(failed)?
    } else {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map_err(failed)?;
        line
    };
    Ok(text.trim().into())
}

fn is_in_clear(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else {
        return false;
    };
    !["127.0.0.1", "localhost", "[::1]"].iter().any(|host| {
        rest.strip_prefix(host)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    })
}

/// Removes the saved login.
pub fn logout() -> Result<Exit, ClientError> {
    if SavedLogin::remove()? {
        note("Logged out. The token stays valid until it expires or is revoked.");
    } else {
        note("There is no saved login.");
    }
    Ok(Exit::Done)
}
