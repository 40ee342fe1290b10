//! An identity provider that people sign in with (OpenID Connect Core 1.0, authorization code flow).
//!
//! Invariants:
//! - Where a browser or the client's secret is sent to is what the provider's discovery document says, by TLS.
//! - A provider that cannot be reached is asked again after a short time at the earliest.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::oidc::fetch::{Configuration, FetchError, Fetcher};

/// How long a discovery document is used.
const FRESH_FOR: Duration = Duration::from_secs(3600);
/// The time between two attempts to fetch it.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// What this service is to the provider.
#[derive(Debug, Clone)]
pub struct Client {
    /// The issuer of the provider.
    pub issuer: String,
    /// The id that this service is registered by.
    pub id: String,
    /// The secret that goes with it.
    pub secret: SecretString,
}

/// Where the provider is to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// Where people sign in.
    pub authorization: String,
    token: String,
    /// Where people sign out of the provider, if it has such a page.
    pub end_session: Option<String>,
    /// Whether the provider names itself in what it sends back by the browser (RFC 9207).
    pub sends_issuer: bool,
}

/// Why a code is not redeemed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RedeemError {
    /// The provider does not accept the code, or this client.
    #[error("the identity provider answers {0}")]
    Refused(String),
    /// The provider gives no usable answer.
    #[error(transparent)]
    Unavailable(#[from] FetchError),
}

/// The answer of a token endpoint (RFC 6749, 5.1).
#[derive(Deserialize)]
struct Tokens {
    id_token: String,
}

/// The refusal of a token endpoint (RFC 6749, 5.2).
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

struct Known {
    endpoints: Option<(Arc<Endpoints>, Instant)>,
    failed: Option<(FetchError, Instant)>,
}

/// An identity provider.
pub struct Provider {
    /// What this service is to it.
    pub client: Client,
    fetcher: Fetcher,
    known: Mutex<Known>,
}

impl Provider {
    /// A provider that has not been asked yet. `allow_http` accepts one at http on this machine, for tests.
    pub fn new(client: Client, allow_http: bool) -> Self {
        Self {
            client,
            fetcher: Fetcher::new(allow_http),
            known: Mutex::new(Known {
                endpoints: None,
                failed: None,
            }),
        }
    }

    /// Where the provider is to be asked. Whoever needs it while it is fetched waits for the same answer.
    ///
    /// # Errors
    /// When the provider does not tell.
    pub async fn endpoints(&self) -> Result<Arc<Endpoints>, FetchError> {
        let mut known = self.known.lock().await;
        if let Some((endpoints, at)) = &known.endpoints
            && at.elapsed() < FRESH_FOR
        {
            return Ok(endpoints.clone());
        }
        if let Some((error, at)) = &known.failed
            && at.elapsed() < RETRY_INTERVAL
        {
            return known
                .endpoints
                .as_ref()
                .map(|(endpoints, _)| endpoints.clone())
                .ok_or_else(|| error.clone());
        }
        match self.discover().await {
            Ok(endpoints) => {
                let endpoints = Arc::new(endpoints);
                known.endpoints = Some((endpoints.clone(), Instant::now()));
                known.failed = None;
                Ok(endpoints)
            }
            Err(error) => {
                known.failed = Some((error.clone(), Instant::now()));
                // What the provider said before serves on.
                known
                    .endpoints
                    .as_ref()
                    .map(|(endpoints, _)| endpoints.clone())
                    .ok_or(error)
            }
        }
    }

    async fn discover(&self) -> Result<Endpoints, FetchError> {
        let issuer = &self.client.issuer;
        let configuration: Configuration = self.fetcher.configuration(issuer).await?;
        let given = |url: Option<String>, name: &str| {
            let url = url.ok_or_else(|| FetchError::new(issuer, format!("it has no {name}")))?;
            if self.fetcher.is_allowed(&url) {
                Ok(url)
            } else {
                Err(FetchError::new(&url, "is not an https URL"))
            }
        };
        let end_session = configuration.end_session_endpoint;
        Ok(Endpoints {
            authorization: given(
                configuration.authorization_endpoint,
                "authorization_endpoint",
            )?,
            token: given(configuration.token_endpoint, "token_endpoint")?,
            end_session: end_session.filter(|url| self.fetcher.is_allowed(url)),
            sends_issuer: configuration.authorization_response_iss_parameter_supported,
        })
    }

    /// Exchanges a code for an ID token. Nobody has verified that token yet.
    ///
    /// # Errors
    /// When the provider refuses the code, or does not answer.
    pub async fn redeem(
        &self,
        code: &str,
        verifier: &str,
        redirect_uri: &str,
    ) -> Result<String, RedeemError> {
        let endpoints = self.endpoints().await?;
        let url = &endpoints.token;
        let form = form(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier),
        ]);
        let (status, body) = self
            .fetcher
            .post_form(url, &self.credentials(), form)
            .await?;
        if status.is_success() {
            let tokens: Tokens = serde_json::from_slice(&body)
                .map_err(|_| FetchError::new(url, "the answer has no id_token"))?;
            return Ok(tokens.id_token);
        }
        let refusal = serde_json::from_slice::<Refusal>(&body).ok();
        let refusal = refusal.filter(|_| status.is_client_error());
        Err(refusal.map_or_else(
            || FetchError::new(url, format!("the answer is {status}")).into(),
            |refusal| RedeemError::Refused(refusal.error),
        ))
    }

    /// `client_secret_basic` (RFC 6749, 2.3.1): both parts are form-encoded first.
    fn credentials(&self) -> String {
        let (id, secret) = (
            encoded(&self.client.id),
            encoded(self.client.secret.expose_secret()),
        );
        format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
    }
}

/// Percent-encodes all but letters and digits, which suits forms and queries alike.
fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Fields as a form, or as the query of a URL.
pub fn form(fields: &[(&str, &str)]) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name}={}", encoded(value)))
        .collect();
    fields.join("&")
}
