//! Fetches what an issuer publishes: its configuration (OpenID Connect Discovery 1.0) and its keys (RFC 7517).

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, Uri};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use crate::outbound::{AddressPolicy, Connector, HttpClient, client};

/// The longest that one request takes.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A larger document is none of an issuer.
const MAX_BODY: usize = 256 * 1024;

/// Why an issuer's keys could not be fetched.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{url}: {why}")]
pub struct FetchError {
    url: String,
    why: String,
}

impl FetchError {
    pub(super) fn new(url: &str, why: impl ToString) -> Self {
        Self {
            url: url.into(),
            why: why.to_string(),
        }
    }
}

impl FetchError {
    /// The keys of an issuer could not be fetched, or not as often as wanted.
    pub fn of_keys(issuer: &str) -> Self {
        Self::new(issuer, "its keys cannot be fetched now")
    }
}

/// What an issuer says of itself.
#[derive(Deserialize)]
pub(super) struct Configuration {
    issuer: String,
    jwks_uri: String,
    pub authorization_endpoint: Option<String>,
    pub token_endpoint: Option<String>,
    pub end_session_endpoint: Option<String>,
    pub device_authorization_endpoint: Option<String>,
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<Value>,
}

/// A client for documents of issuers. It follows no redirects.
#[derive(Clone)]
pub(super) struct Fetcher {
    client: Option<HttpClient>,
    allow_http: bool,
}

impl Fetcher {
    /// Without certificates of authorities on this machine, every fetch fails and says so.
    pub fn new(allow_http: bool) -> Self {
        Self {
            client: client(Connector::new(AddressPolicy::any(), None)),
            allow_http,
        }
    }

    /// The keys of an issuer.
    pub async fn keys(&self, issuer: &str) -> Result<Vec<Value>, FetchError> {
        let configuration = self.configuration(issuer).await?;
        let keys: Keys = self.get(&configuration.jwks_uri).await?;
        Ok(keys.keys)
    }

    /// What an issuer says of itself.
    pub async fn configuration(&self, issuer: &str) -> Result<Configuration, FetchError> {
        let url = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let configuration: Configuration = self.get(&url).await?;
        if configuration.issuer != issuer {
            let why = format!("the configuration is that of {}", configuration.issuer);
            return Err(FetchError::new(&url, why));
        }
        Ok(configuration)
    }

    /// Whether a URL may be asked.
    pub fn is_allowed(&self, url: &str) -> bool {
        url.parse()
            .is_ok_and(|url| is_allowed(&url, self.allow_http))
    }

    /// The answer to a form, whatever its status.
    pub async fn post_form(
        &self,
        url: &str,
        authorization: &str,
        form: String,
    ) -> Result<(StatusCode, Bytes), FetchError> {
        let request = Request::post(url)
            .header("accept", "application/json")
            .header("authorization", authorization)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.into())
            .map_err(|error| FetchError::new(url, error))?;
        self.answer(url, request).await
    }

    async fn get<T: DeserializeOwned>(&self, url: &str) -> Result<T, FetchError> {
        let request = Request::get(url)
            .header("accept", "application/json")
            .body(Full::default())
            .map_err(|error| FetchError::new(url, error))?;
        let (status, body) = self.answer(url, request).await?;
        if status != StatusCode::OK {
            return Err(FetchError::new(url, format!("the answer is {status}")));
        }
        serde_json::from_slice(&body).map_err(|error| FetchError::new(url, error))
    }

    async fn answer(
        &self,
        url: &str,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), FetchError> {
        let failed = |why: &dyn ToString| FetchError::new(url, why.to_string());
        if !is_allowed(request.uri(), self.allow_http) {
            return Err(failed(&"is not an https URL"));
        }
        let client = self
            .client
            .as_ref()
            .ok_or_else(|| failed(&"this machine has no certificates of authorities"))?;
        let answer = async {
            let response = client
                .request(request)
                .await
                .map_err(|error| failed(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
            Ok((status, body.map_err(|error| failed(&error))?.to_bytes()))
        };
        timeout(REQUEST_TIMEOUT, answer)
            .await
            .map_err(|_| failed(&"no answer in time"))?
    }
}

/// Whether a URL may be asked: an https one, or for tests an http one on this machine.
fn is_allowed(url: &Uri, allow_http: bool) -> bool {
    match url.scheme_str() {
        Some("https") => url.host().is_some(),
        Some("http") => {
            allow_http && matches!(url.host(), Some("127.0.0.1" | "localhost" | "[::1]"))
        }
        _ => false,
    }
}
