//! Sends requests to the service.
//!
//! Invariants:
//! - A request is sent again only if that cannot do twice what it asks for, or if the service says that it has done
//!   nothing.
//! - The token is sent to the service that it is for, and is in no error.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, Uri};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::error::ClientError;
use super::http_client::{self, HttpClient};
use super::request::{Body, Request};
use crate::api::problem::Problem;

/// The service answers at the latest after its request timeout, 60 s, and a long poll after 60 s more.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(130);
/// How long a request is repeated.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);
const FIRST_DELAY: Duration = Duration::from_millis(200);
const MAX_DELAY: Duration = Duration::from_secs(5);

/// A service, and who asks it.
pub struct Api {
    client: HttpClient,
    url: String,
    authorization: Option<HeaderValue>,
}

/// A response that is a success.
pub struct Reply {
    url: String,
    etag: Option<HeaderValue>,
    body: Bytes,
}

/// What became of one try.
enum Tried {
    Ok(Response<Incoming>),
    /// The service has not seen the request.
    NotSent(ClientError),
    /// Nobody knows whether the service has seen it.
    Lost(ClientError),
    /// The service has done nothing, and says when to come back.
    Later(ClientError, Option<Duration>),
    Failed(ClientError),
}

impl Api {
    /// A client of the service at `url`.
    pub fn new(url: &str, token: &SecretString) -> Result<Self, ClientError> {
        let bearer = format!("Bearer {}", token.expose_secret().trim());
        let mut authorization = HeaderValue::from_str(&bearer)
            .map_err(|_| ClientError::Usage("the token has characters that no token has".into()))?;
        authorization.set_sensitive(true);
        Ok(Self {
            authorization: Some(authorization),
            ..Self::without_token(url)?
        })
    }

    /// A client without a token, for what needs none.
    pub fn without_token(url: &str) -> Result<Self, ClientError> {
        let url = url.trim_end_matches('/').to_owned();
        let parsed: Option<Uri> = url.parse().ok();
        let scheme = parsed
            .as_ref()
            .filter(|uri| uri.host().is_some())
            .and_then(Uri::scheme_str);
        let client = match scheme {
            Some("https") => http_client::with_native_roots(),
            Some("http") => http_client::without_certificates(),
            _ => {
                return Err(ClientError::Usage(format!(
                    "{url} is not a URL of a service, such as https://slipway.example.com"
                )));
            }
        };
        let client = client.map_err(|error| ClientError::Failed(error.to_string()))?;
        Ok(Self {
            client,
            url,
            authorization: None,
        })
    }

    /// Where the service is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends a request and reads the answer.
    pub async fn send(&self, request: &Request) -> Result<Reply, ClientError> {
        self.reply(self.open(request).await?).await
    }

    /// Sends a request once and reads the answer. For who has retries of their own.
    pub async fn send_once(&self, request: &Request) -> Result<Reply, ClientError> {
        self.reply(self.open_once(request).await?).await
    }

    async fn reply(&self, response: Response<Incoming>) -> Result<Reply, ClientError> {
        let etag = response.headers().get(hyper::header::ETAG).cloned();
        let body = timeout(RESPONSE_TIMEOUT, response.into_body().collect())
            .await
            .map_err(|_| self.unreachable("the response broke off"))?
            .map_err(|error| self.unreachable(cause(&error)))?
            .to_bytes();
        Ok(Reply {
            url: self.url.clone(),
            etag,
            body,
        })
    }

    /// Sends a request, and sends it again while that is safe and useful. The answer's body is still to be read.
    pub async fn open(&self, request: &Request) -> Result<Response<Incoming>, ClientError> {
        let (until, mut delay, mut was_lost) = (Instant::now() + RETRY_TIMEOUT, FIRST_DELAY, false);
        loop {
            let (error, wait) = match self.try_once(request).await {
                Tried::Ok(response) => return Ok(response),
                Tried::Failed(error) => return Err(error),
                // A service that was there a moment ago may be restarting; another one is not there at all.
                Tried::NotSent(error) if was_lost => (error, delay),
                Tried::NotSent(error) => return Err(error),
                Tried::Lost(error) if request.repeatable => {
                    was_lost = true;
                    (error, delay)
                }
                Tried::Lost(error) => return Err(error),
                Tried::Later(error, after) => (error, after.unwrap_or(delay)),
            };
            if Instant::now() + wait > until {
                return Err(error);
            }
            sleep(wait).await;
            delay = (delay * 2).min(MAX_DELAY);
        }
    }

    /// Sends a request once. For who has retries of their own.
    pub async fn open_once(&self, request: &Request) -> Result<Response<Incoming>, ClientError> {
        match self.try_once(request).await {
            Tried::Ok(response) => Ok(response),
            Tried::NotSent(error)
            | Tried::Lost(error)
            | Tried::Failed(error)
            | Tried::Later(error, _) => Err(error),
        }
    }

    async fn try_once(&self, request: &Request) -> Tried {
        let made = match self.request(request) {
            Ok(made) => made,
            Err(error) => return Tried::Failed(error),
        };
        let response = match timeout(RESPONSE_TIMEOUT, self.client.request(made)).await {
            Err(_) => return Tried::Lost(self.unreachable("no response in time")),
            Ok(Err(error)) if error.is_connect() => {
                return Tried::NotSent(self.unreachable(cause(&error)));
            }
            Ok(Err(error)) => return Tried::Lost(self.unreachable(cause(&error))),
            Ok(Ok(response)) => response,
        };
        if response.status().is_success() {
            return Tried::Ok(response);
        }
        self.problem(response).await
    }

    fn request(&self, request: &Request) -> Result<hyper::Request<Full<Bytes>>, ClientError> {
        let mut builder = hyper::Request::builder()
            .method(request.method.clone())
            .uri(format!("{}{}", self.url, request.path))
            .header(ACCEPT, request.accept)
            .header("user-agent", concat!("slipway/", env!("CARGO_PKG_VERSION")));
        if let Some(authorization) = &self.authorization {
            builder = builder.header(AUTHORIZATION, authorization.clone());
        }
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        let body = match &request.body {
            Body::Json(body) => {
                builder = builder.header(CONTENT_TYPE, "application/json");
                Full::from(body.to_string())
            }
            Body::Form(fields) => {
                builder = builder.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
                Full::from(fields.clone())
            }
            Body::None => Full::default(),
        };
        builder
            .body(body)
            .map_err(|error| ClientError::Usage(format!("the request cannot be sent: {error}")))
    }

    /// What a response that is no success says.
    async fn problem(&self, response: Response<Incoming>) -> Tried {
        let status = response.status();
        let after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let body = match timeout(RESPONSE_TIMEOUT, response.into_body().collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            _ => return Tried::Lost(self.unreachable("the response broke off")),
        };
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) if problem.retryable => {
                Tried::Later(ClientError::Problem(Box::new(problem)), after)
            }
            Ok(problem) => Tried::Failed(ClientError::Problem(Box::new(problem))),
            // A proxy in between answers while the service restarts.
            Err(_) if matches!(status.as_u16(), 502..=504) => {
                Tried::Lost(self.unreachable(format!("the answer is {status}")))
            }
            Err(_) => Tried::Failed(ClientError::Unexpected {
                url: self.url.clone(),
                why: status.to_string(),
            }),
        }
    }

    fn unreachable(&self, why: impl Into<String>) -> ClientError {
        ClientError::Unreachable {
            url: self.url.clone(),
            why: why.into(),
        }
    }
}

/// The innermost reason of an error: the outer ones say that a client failed.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

impl Reply {
    /// The body as JSON.
    pub fn value(&self) -> Result<Value, ClientError> {
        self.read()
    }

    /// The body as what it should be.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|error| ClientError::Unexpected {
            url: self.url.clone(),
            why: error.to_string(),
        })
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The version of what was read, for `If-Match`.
    pub fn etag(&self) -> Option<String> {
        Some(self.etag.as_ref()?.to_str().ok()?.to_owned())
    }
}
