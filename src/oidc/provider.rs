//! An identity provider that people sign in with: by the authorization code flow (OpenID Connect Core 1.0), and at a
//! terminal by the device flow (RFC 8628).
//!
//! Invariants:
//! - Where a browser or the client's secret is sent to is what the provider's discovery document says, by TLS.
//! - A provider that cannot be reached is asked again after a short time at the earliest.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::oidc::fetch::{Configuration, FetchError, Fetcher};
use crate::outbound::{encoded, form};

/// The grant type of a device code (RFC 8628, 3.4).
pub const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

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
    /// Where a sign-in at a terminal begins, if the provider has that.
    pub device_authorization: Option<String>,
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

/// A sign-in at a terminal that has begun (RFC 8628, 3.2).
#[derive(Serialize, Deserialize, ToSchema)]
pub struct DeviceAuthorization {
    /// What the terminal asks for its token with. A secret.
    #[schema(example = "GmRhmhcxhwAzkoEqiMEg_DnyEysNkuNhszIySk9eS")]
    pub device_code: String,
    /// What the person enters, or sees, in the browser.
    #[schema(example = "WDJB-MJHT")]
    pub user_code: String,
    /// Where the person goes to.
    #[schema(example = "https://login.example.com/device")]
    pub verification_uri: String,
    /// The same with the code in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "https://login.example.com/device?user_code=WDJB-MJHT")]
    pub verification_uri_complete: Option<String>,
    /// The seconds for which both codes are valid.
    #[schema(example = 600)]
    pub expires_in: u64,
    /// The seconds to wait between two requests for the token.
    #[serde(default = "default_interval")]
    #[schema(example = 5)]
    pub interval: u64,
}

/// Five seconds, where the provider does not say (RFC 8628, 3.2).
fn default_interval() -> u64 {
    5
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
        let device_authorization = configuration.device_authorization_endpoint;
        Ok(Endpoints {
            authorization: given(
                configuration.authorization_endpoint,
                "authorization_endpoint",
            )?,
            token: given(configuration.token_endpoint, "token_endpoint")?,
            end_session: end_session.filter(|url| self.fetcher.is_allowed(url)),
            device_authorization: device_authorization.filter(|url| self.fetcher.is_allowed(url)),
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
        let grant = form(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier),
        ]);
        self.id_token(grant).await
    }

    /// Begins a sign-in at a terminal; `None` if the provider has no such thing.
    ///
    /// # Errors
    /// When the provider refuses this client, or does not answer.
    pub async fn authorize_device(
        &self,
        scopes: &str,
    ) -> Result<Option<DeviceAuthorization>, RedeemError> {
        let endpoints = self.endpoints().await?;
        let Some(url) = &endpoints.device_authorization else {
            return Ok(None);
        };
        let fields = form(&[("client_id", self.client.id.as_str()), ("scope", scopes)]);
        self.ask(url, fields).await.map(Some)
    }

    /// Exchanges a device code for an ID token, once the person has signed in. Nobody has verified that token yet.
    ///
    /// # Errors
    /// When the person has not signed in, the provider refuses the code, or it does not answer.
    pub async fn redeem_device(&self, device_code: &str) -> Result<String, RedeemError> {
        let grant = form(&[("grant_type", DEVICE_GRANT), ("device_code", device_code)]);
        self.id_token(grant).await
    }

    async fn id_token(&self, grant: String) -> Result<String, RedeemError> {
        let endpoints = self.endpoints().await?;
        let tokens: Tokens = self.ask(&endpoints.token, grant).await?;
        Ok(tokens.id_token)
    }

    /// The answer to a form with this client's credentials.
    async fn ask<T: DeserializeOwned>(&self, url: &str, form: String) -> Result<T, RedeemError> {
        let credentials = self.credentials();
        let posted = self.fetcher.post_form(url, &credentials, form);
        let (status, body) = posted.await?;
        if status.is_success() {
            let answer = serde_json::from_slice(&body);
            return answer.map_err(|error| FetchError::new(url, error).into());
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
