//! Signs a person in at a terminal with the identity provider (RFC 8628).

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use crate::cli::client::{Api, ClientError, Request};
use crate::cli::display::note;
use crate::oidc::{DEVICE_GRANT, DeviceAuthorization};

/// How much longer to wait between two requests once the service says that they come too often (RFC 8628, 3.5).
const SLOWER_BY: Duration = Duration::from_secs(5);

/// The answer of the token endpoint.
#[derive(Deserialize)]
struct Granted {
    access_token: SecretString,
}

/// Shows where to sign in, and waits for the token. `None` if nobody can sign in to this service at a terminal.
pub async fn sign_in(api: &Api) -> Result<Option<SecretString>, ClientError> {
    let request = Request::post("/v1/oauth/device_authorization");
    let begun: DeviceAuthorization = match api.send(&request).await {
        Ok(reply) => reply.read()?,
        Err(error) if matches!(error.code(), Some("not_found" | "unauthorized")) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let url = begun.verification_uri_complete.as_ref();
    note(&format!(
        "To log in, open {}\nand check that it shows the code {}. To paste a token instead, use --with-token.",
        url.unwrap_or(&begun.verification_uri),
        begun.user_code
    ));
    token(api, &begun).await.map(Some)
}

async fn token(api: &Api, begun: &DeviceAuthorization) -> Result<SecretString, ClientError> {
    let fields = [
        ("grant_type", DEVICE_GRANT),
        ("device_code", &begun.device_code),
    ];
    let request = Request::post("/v1/oauth/token").form(&fields);
    let until = Instant::now() + Duration::from_secs(begun.expires_in);
    let mut interval = Duration::from_secs(begun.interval);
    loop {
        sleep(interval).await;
        match api.send_once(&request).await {
            Ok(reply) => return Ok(reply.read::<Granted>()?.access_token),
            Err(error) if Instant::now() > until => return Err(error),
            Err(ClientError::Unreachable { .. }) => {}
            Err(error) => match error.code() {
                Some("authorization_pending" | "issuer_unavailable" | "overloaded") => {}
                Some("slow_down") => interval += SLOWER_BY,
                _ => return Err(error),
            },
        }
    }
}
