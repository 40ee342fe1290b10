//! The HTTP client for everything but AWS, whose SDK has its own.

use std::io;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};

/// Follows no redirects.
pub type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client that trusts the certificate authorities of this machine.
///
/// # Errors
/// When this machine has none.
pub fn with_native_roots() -> io::Result<HttpClient> {
    let builder = HttpsConnectorBuilder::new().with_provider_and_native_roots(default_provider())?;
    Ok(client(builder.https_or_http().enable_http1().build()))
}

/// A client for http URLs. It does not read the certificates of this machine, which takes longer than a request.
///
/// # Errors
/// When the TLS library refuses its own defaults.
pub fn without_certificates() -> io::Result<HttpClient> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let builder = HttpsConnectorBuilder::new().with_tls_config(config);
    Ok(client(builder.https_or_http().enable_http1().build()))
}

fn client(connector: HttpsConnector<HttpConnector>) -> HttpClient {
    Client::builder(TokioExecutor::new()).build(connector)
}
