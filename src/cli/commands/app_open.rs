//! `slipway app open`

use super::plans::app_path;
use crate::cli::client::{Api, ClientError, Request, segment};
use crate::cli::display::{note, out};
use crate::cli::exit::Exit;

/// Opens an app's page of the console in the browser, or prints its URL.
pub async fn open(api: &Api, name: &str, print: bool) -> Result<Exit, ClientError> {
    api.send(&Request::get(app_path(name))).await?;
    let url = format!(
        "{}/console/apps/{}",
        api.url().trim_end_matches('/'),
        segment(name)
    );
    if print {
        out(&url);
        return Ok(Exit::Done);
    }
    note(&format!("Opening {url}"));
    open::that_detached(&url).map_err(|error| {
        ClientError::Failed(format!(
            "no browser could be started ({error}). Open {url} yourself"
        ))
    })?;
    Ok(Exit::Done)
}
