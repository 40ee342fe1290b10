//! Claims a secret from the service into the place that it is for.

use super::secret_output::SecretOutput;
use crate::cli::client::{Api, ClientError, Request};
use crate::cli::display::note;
use crate::cli::exit::Exit;

/// Claims a secret into a place that is open. `command` claims it, too, for whom the place fails.
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
