//! `slipway key`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::claim::claim_into;
use super::plans::app_path;
use super::review::{ReviewArgs, submit};
use super::secret_output::SecretArgs;
use crate::cli::client::{Api, ClientError, ConnectionArgs, IdempotencyArgs, Request, segment};
use crate::cli::display::{Column, Format, details, out, print_list, print_value};
use crate::cli::exit::Exit;

/// `slipway key`
#[derive(Debug, Args)]
pub struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// List an app's access keys with their age and last use, and the rotation.
    List {
        /// The name of the app.
        app: String,
    },
    /// Rotate an app's access key. The old key is deleted once it is no longer used.
    Rotate {
        /// The name of the app.
        app: String,
        /// Delete this key first, because AWS allows two.
        #[arg(long, value_name = "KEY")]
        replace: Option<String>,
        /// Deactivate the old key even if it is in use.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        review: ReviewArgs,
    },
    /// Undo a rotation: activate the old key again.
    Rollback {
        /// The name of the app.
        app: String,
        #[command(flatten)]
        review: ReviewArgs,
    },
    /// Claim the secret of an access key. It is shown once.
    Claim {
        /// The name of the app.
        app: String,
        /// The access key. Default: the app's only unclaimed one.
        key: Option<String>,
        /// The format: an environment file, or JSON.
        #[arg(long, value_parser = ["env", "json"], default_value = "env")]
        format: String,
        #[command(flatten)]
        secret: SecretArgs,
        #[command(flatten)]
        idempotency: IdempotencyArgs,
    },
    /// Activate an access key.
    Activate(OneKey),
    /// Deactivate an access key.
    Deactivate(OneKey),
    /// Delete an access key.
    Delete {
        #[command(flatten)]
        key: OneKey,
        /// Delete the key even if it is in use.
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Args)]
struct OneKey {
    /// The name of the app.
    app: String,
    /// The access key.
    key: String,
    #[command(flatten)]
    review: ReviewArgs,
}

const KEYS: [Column; 7] = [
    ("KEY", "/access_key_id"),
    ("STATE", "/state"),
    ("SECRET", "/secret"),
    ("READINESS", "/readiness"),
    ("CREATED", "/created_at"),
    ("LAST USED", "/last_used_at"),
    ("CLAIMED BY", "/claimed_by"),
];

const ROTATION: [Column; 6] = [
    ("Rotation", "/id"),
    ("Stage", "/stage"),
    ("New key", "/new_key"),
    ("Old key", "/old_key"),
    ("Due at", "/due_at"),
    ("Reason", "/reason"),
];

impl KeyArgs {
    pub async fn run(self) -> Result<Exit, ClientError> {
        let (api, format) = (self.connection.api()?, self.connection.output);
        match self.command {
            KeyCommand::List { app } => show(&api, format, &app).await,
            KeyCommand::Rotate {
                app,
                replace,
                force,
                review,
            } => {
                let deleted = replace
                    .iter()
                    .map(|key| format!(" Key {key} is deleted first."));
                let question = format!(
                    "Create a new access key for {app}?{}",
                    deleted.collect::<String>()
                );
                review.ask(&question)?;
                let request = Request::post(credentials(&app, "/rotate"))
                    .query("replace", replace)
                    .flag("force", force);
                submit(&api, format, &review, request).await
            }
            KeyCommand::Rollback { app, review } => {
                review.ask(&format!("Undo the rotation of {app}'s access key?"))?;
                submit(
                    &api,
                    format,
                    &review,
                    Request::post(credentials(&app, "/rollback")),
                )
                .await
            }
            KeyCommand::Claim {
                app,
                key,
                format,
                secret,
                idempotency,
            } => claim(&api, &app, key, &format, &secret, &idempotency).await,
            KeyCommand::Activate(key) => set(&api, format, &key, "activate", false).await,
            KeyCommand::Deactivate(key) => set(&api, format, &key, "deactivate", false).await,
            KeyCommand::Delete { key, force } => set(&api, format, &key, "delete", force).await,
        }
    }
}

fn credentials(app: &str, rest: &str) -> String {
    format!("{}/credentials{rest}", app_path(app))
}

async fn keys(api: &Api, app: &str) -> Result<Value, ClientError> {
    api.send(&Request::get(credentials(app, ""))).await?.value()
}

async fn show(api: &Api, format: Format, app: &str) -> Result<Exit, ClientError> {
    let found = keys(api, app).await?;
    let shown = json!({"items": found["items"], "rotation": found["rotation"]});
    if !print_value(format, &shown)? {
        let items = found["items"].as_array().cloned().unwrap_or_default();
        print_list(format, (items, false), &KEYS)?;
        if found["rotation"].is_object() {
            out(&format!("\n{}", details(&found["rotation"], &ROTATION)));
        }
    }
    Ok(Exit::Done)
}

/// Activates, deactivates or deletes a key.
async fn set(
    api: &Api,
    format: Format,
    args: &OneKey,
    verb: &str,
    force: bool,
) -> Result<Exit, ClientError> {
    let OneKey { app, key, review } = args;
    review.ask(&format!("{verb} access key {key} of {app}?"))?;
    let path = credentials(app, &format!("/{}/{verb}", segment(key)));
    submit(
        api,
        format,
        review,
        Request::post(path).flag("force", force),
    )
    .await
}

async fn claim(
    api: &Api,
    app: &str,
    key: Option<String>,
    format: &str,
    secret: &SecretArgs,
    idempotency: &IdempotencyArgs,
) -> Result<Exit, ClientError> {
    let place = secret.open()?;
    let key = match key {
        Some(key) => key,
        None => unclaimed(&keys(api, app).await?, app)?,
    };
    let media_type = if format == "json" {
        "application/json"
    } else {
        "text/plain"
    };
    let rest = format!("/{}/claim", segment(&key));
    let request = Request::post(credentials(app, &rest)).accept(media_type);
    let command = format!("slipway key claim {app} {key}");
    claim_into(place, api, request, &idempotency.key(), &command).await
}

/// The only key whose secret can be claimed.
fn unclaimed(found: &Value, app: &str) -> Result<String, ClientError> {
    let items = found["items"].as_array().into_iter().flatten();
    let claimable: Vec<&str> = items
        .filter(|key| key["claim"].is_string())
        .filter_map(|key| key["access_key_id"].as_str())
        .collect();
    match claimable[..] {
        [key] => Ok(key.to_owned()),
        [] => Err(ClientError::Failed(format!(
            "no secret of {app} can be claimed. For a new access key, rotate it with `slipway key rotate {app}`"
        ))),
        _ => Err(ClientError::Usage(format!(
            "several secrets of {app} can be claimed. Name the access key: {}",
            claimable.join(", ")
        ))),
    }
}
