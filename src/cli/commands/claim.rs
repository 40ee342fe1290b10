//! Claims a secret from the service into the place that it is for.

use super::secret_output::{SecretArgs, SecretOutput};
use crate::cli::client::{Api, ClientError, IdempotencyArgs, Request};
use crate::cli::display::note;
use crate::cli::exit::Exit;

/// Claims a secret. `command` claims it, too, for whom the place fails.
pub async fn claim_to(
    api: &Api,
    request: Request,
    secret: &SecretArgs,
    idempotency: &IdempotencyArgs,
    command: &str,
) -> Result<Exit, ClientError> {
    claim_into(secret.open()?, api, request, &idempotency.key(), command).await
}

/// The same with a place that is open already.
pub async fn claim_into(
    place: SecretOutput,
    api: &Api,
    request: Request,
    repeat_key: &str,
    command: &str,
) -> Result<Exit, ClientError> {
    let mut text = api.send(&request.idempotent(repeat_key)).await?.text();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    match place.write(&text) {
        Ok(Some(path)) => {
            note(&format!(
                "The secret is in {}. It is not shown again.",
                path.display()
            ));
            Ok(Exit::Done)
        }
        Ok(None) => Ok(Exit::Done),
        Err(error) => {
            note(&format!(
                "Repeat the claim within ten minutes: {command} --idempotency-key {repeat_key} --to FILE"
            ));
            Err(error)
        }
    }
}
