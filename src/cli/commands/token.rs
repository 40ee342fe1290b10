//! `slipway token`, on a running service.

use clap::Args;
use serde_json::{Map, Value};

use super::secret_output::SecretArgs;
use crate::cli::client::{ClientError, ConnectionArgs, Request, segment};
use crate::cli::display::{Column, ask, note, print_list};
use crate::cli::exit::Exit;

const TOKENS: [Column; 7] = [
    ("ID", "/id"),
    ("NAME", "/name"),
    ("ROLE", "/role"),
    ("APPS", "/scope/apps"),
    ("ACCOUNTS", "/scope/accounts"),
    ("CREATED BY", "/created_by"),
    ("EXPIRES", "/expires_at"),
];

/// `slipway token list`
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// `slipway token issue`
#[derive(Debug, Args)]
pub struct IssueArgs {
    /// The person or program that uses the token.
    #[arg(long)]
    name: String,
    /// The role: viewer, operator, approver or admin.
    #[arg(long, default_value = "operator")]
    role: String,
    /// Only apps whose names match, such as acme-*. Repeat it for several.
    #[arg(long = "app", value_name = "PATTERN")]
    apps: Vec<String>,
    /// Only this account. Repeat it for several.
    #[arg(long = "account", value_name = "NAME")]
    accounts: Vec<String>,
    /// When the token expires, such as 90d.
    #[arg(long, value_name = "TIME")]
    expires_in: Option<String>,
    #[command(flatten)]
    secret: SecretArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// `slipway token revoke`
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// The ID of the token.
    id: String,
    /// Do not ask. Required without a terminal.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl ListArgs {
    pub async fn run(self) -> Result<Exit, ClientError> {
        let api = self.connection.api()?;
        let found = api.send(&Request::get("/v1/tokens")).await?.value()?;
        let items = found["items"].as_array().cloned().unwrap_or_default();
        print_list(self.connection.output, (items, false), &TOKENS)?;
        Ok(Exit::Done)
    }
}

impl IssueArgs {
    pub async fn run(self) -> Result<Exit, ClientError> {
        let (api, place) = (self.connection.api()?, self.secret.open()?);
        let request = Request::post("/v1/tokens").json(self.body());
        let made = api.send(&request).await?.value()?;
        let id = made["id"].as_str().unwrap_or_default();
        let token = made["token"]
            .as_str()
            .ok_or_else(|| ClientError::Failed("the service has sent no token".to_owned()))?;
        note(&format!("Created token {id}. It is shown once."));
        place.write(&format!("{token}\n")).inspect_err(|_| {
            note(&format!("Revoke it: slipway token revoke {id}"));
        })?;
        Ok(Exit::Done)
    }

    fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert("name".into(), self.name.as_str().into());
        body.insert("role".into(), self.role.as_str().into());
        let lists = [("apps", &self.apps), ("accounts", &self.accounts)];
        let scope: Map<String, Value> = lists
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(field, names)| (field.to_owned(), names.clone().into()))
            .collect();
        if !scope.is_empty() {
            body.insert("scope".into(), scope.into());
        }
        if let Some(time) = &self.expires_in {
            body.insert("expires_in".into(), time.as_str().into());
        }
        body.into()
    }
}

impl RevokeArgs {
    pub async fn run(self) -> Result<Exit, ClientError> {
        let api = self.connection.api()?;
        ask(
            &format!("Revoke token {}? It stops working at once.", self.id),
            self.yes,
        )?;
        api.send(&Request::delete(format!(
            "/v1/tokens/{}",
            segment(&self.id)
        )))
        .await?;
        note(&format!("Revoked: token {}.", self.id));
        Ok(Exit::Done)
    }
}
