//! The HTTP client, its requests, and the one that a webhook is.

use std::error::Error;
use std::sync::LazyLock;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderName, HeaderValue, RETRY_AFTER};
use hyper::http::response::Parts;
use hyper::{Method, Request, Uri};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use tokio::time::timeout;

use crate::outbound::connector::Connector;

/// A client that follows no redirects and uses no proxy.
pub type HttpClient = Client<HttpsConnector<Connector>, Full<Bytes>>;

/// What is read of a response, so that its connection can be used again.
const MAX_BODY: usize = 64 * 1024;
const MAX_IDLE: usize = 4;
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// TLS with the authorities that this machine trusts, read once.
static TLS: LazyLock<Option<ClientConfig>> = LazyLock::new(|| {
    let builder = ClientConfig::builder_with_provider(default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())
        .and_then(|builder| {
            builder
                .with_native_roots()
                .map_err(|error| error.to_string())
        });
    builder
        .map(|builder| builder.with_no_client_auth())
        .inspect_err(|error| tracing::warn!(error, "no certificates of authorities"))
        .ok()
});

/// A client that connects by this connector; `None` without certificates of authorities on this machine.
pub fn client(connector: Connector) -> Option<HttpClient> {
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(TLS.clone()?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(hyper_util::rt::TokioTimer::new())
        .pool_max_idle_per_host(MAX_IDLE)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .build(connector);
    Some(client)
}

/// What a receiver replied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status code.
    pub status: u16,
    /// The header `Retry-After`.
    pub retry_after: Option<String>,
}

/// A response with its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullReply {
    /// The status and what goes with it.
    pub head: Reply,
    /// The body. Empty if it was longer than is read.
    pub body: Bytes,
}

/// Why a receiver has not replied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// The request cannot be made.
    #[error("{0}")]
    Request(String),
    /// The connection failed, or broke before the whole response had arrived.
    #[error("{0}")]
    Connection(String),
    /// The response did not arrive in time.
    #[error("no response within {} s", .0.as_secs())]
    TimedOut(Duration),
}

/// Posts a body and waits for the whole response, of which only the status is kept.
///
/// # Errors
/// When no whole response arrives in time.
pub async fn post(
    client: &HttpClient,
    url: &Uri,
    headers: impl IntoIterator<Item = (HeaderName, String)>,
    body: Bytes,
    limit: Duration,
) -> Result<Reply, PostError> {
    let reply = send(client, Method::POST, url, headers, body, limit).await?;
    Ok(reply.head)
}

/// Sends a request and waits for the whole response.
///
/// # Errors
/// When no whole response arrives in time.
pub async fn send(
    client: &HttpClient,
    method: Method,
    url: &Uri,
    headers: impl IntoIterator<Item = (HeaderName, String)>,
    body: Bytes,
    limit: Duration,
) -> Result<FullReply, PostError> {
    let request = request(method, url.clone(), headers, body)?;
    let exchange = async {
        let (head, body) = respond(client, request).await?;
        let body = match Limited::new(body, MAX_BODY).collect().await {
            Ok(body) => body.to_bytes(),
            // What is longer is not read: nobody sees it.
            Err(error) if error.is::<LengthLimitError>() => Bytes::new(),
            Err(error) => return Err(broken_off(error.as_ref())),
        };
        let retry_after = head.headers.get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok());
        let head = Reply {
            status: head.status.as_u16(),
            retry_after: retry_after.map(str::to_owned),
        };
        Ok(FullReply { head, body })
    };
    within(limit, exchange).await
}

/// Gets a document of at most `most` bytes. Returns the status and the whole body.
///
/// # Errors
/// When no whole response arrives in time, or it is longer.
pub async fn get(
    client: &HttpClient,
    url: &str,
    headers: impl IntoIterator<Item = (HeaderName, String)>,
    most: usize,
    limit: Duration,
) -> Result<(u16, Bytes), PostError> {
    let url = Uri::try_from(url).map_err(|error| PostError::Request(error.to_string()))?;
    let request = request(Method::GET, url, headers, Bytes::new())?;
    let exchange = async {
        let (head, body) = respond(client, request).await?;
        let body = Limited::new(body, most).collect().await;
        let body = body.map_err(|error| broken_off(error.as_ref()))?;
        Ok((head.status.as_u16(), body.to_bytes()))
    };
    within(limit, exchange).await
}

fn request(
    method: Method,
    url: Uri,
    headers: impl IntoIterator<Item = (HeaderName, String)>,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, PostError> {
    let mut request = Request::builder()
        .method(method)
        .uri(url)
        .body(Full::new(body))
        .map_err(|error| PostError::Request(error.to_string()))?;
    for (name, value) in headers {
        let value =
            HeaderValue::try_from(value).map_err(|error| PostError::Request(error.to_string()))?;
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

async fn respond(
    client: &HttpClient,
    request: Request<Full<Bytes>>,
) -> Result<(Parts, Incoming), PostError> {
    let response = client.request(request).await;
    let response = response.map_err(|error| PostError::Connection(with_causes(&error)))?;
    Ok(response.into_parts())
}

fn broken_off(error: &(dyn Error + 'static)) -> PostError {
    let cause = with_causes(error);
    PostError::Connection(format!("the response broke off: {cause}"))
}

async fn within<T>(
    limit: Duration,
    exchange: impl Future<Output = Result<T, PostError>>,
) -> Result<T, PostError> {
    timeout(limit, exchange)
        .await
        .unwrap_or(Err(PostError::TimedOut(limit)))
}

/// An error with what caused it: the outer ones of a client only say that a request failed.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
