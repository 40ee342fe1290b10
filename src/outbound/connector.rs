//! Connects to a host: resolves its name, checks the addresses, and connects to one of those that were checked.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tower::Service;

use crate::outbound::address::AddressPolicy;

/// How long one of several addresses may take to accept a connection before the next one is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Finds the addresses of a host. Tests replace it.
pub trait Resolver: Send + Sync {
    /// The addresses of the host, with the port.
    fn resolve(&self, host: String, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;
}

/// The resolver of the system.
struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve(&self, host: String, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        async move { Ok(lookup_host((host.as_str(), port)).await?.collect()) }.boxed()
    }
}

/// Makes connections to addresses that its policy allows.
#[derive(Clone)]
pub struct Connector {
    policy: Arc<AddressPolicy>,
    resolver: Arc<dyn Resolver>,
}

impl Connector {
    /// A connector to addresses of this policy.
    pub fn new(policy: AddressPolicy, resolver: Option<Arc<dyn Resolver>>) -> Self {
        Self {
            policy: Arc::new(policy),
            resolver: resolver.unwrap_or_else(|| Arc::new(SystemResolver)),
        }
    }

    /// The address that the host of a URL is, if it may not be connected to.
    pub fn refused_literal(&self, url: &str) -> Option<IpAddr> {
        let url: Uri = url.parse().ok()?;
        literal(url.host()?).filter(|address| !self.policy.allows(*address))
    }

    async fn connect(self, url: Uri) -> io::Result<TokioIo<TcpStream>> {
        let addresses = self.addresses(&url).await?;
        let mut last = None;
        for (position, address) in addresses.iter().enumerate() {
            let connecting = TcpStream::connect(address);
            let connected = if position + 1 == addresses.len() {
                connecting.await
            } else {
                let late = |_| Err(io::ErrorKind::TimedOut.into());
                timeout(CONNECT_TIMEOUT, connecting)
                    .await
                    .unwrap_or_else(late)
            };
            match connected {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(TokioIo::new(stream));
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::other("the host has no address")))
    }

    /// The addresses of the host that may be connected to. Only these are connected to: the name is not resolved again.
    async fn addresses(&self, url: &Uri) -> io::Result<Vec<SocketAddr>> {
        let host = url.host().unwrap_or_default();
        let is_https = url.scheme_str() == Some("https");
        let port = url.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let found = match literal(host) {
            Some(address) => vec![SocketAddr::new(address, port)],
            None => self.resolver.resolve(host.to_owned(), port).await?,
        };
        let (allowed, refused): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|address| self.policy.allows(address.ip()));
        match refused.first() {
            Some(refused) if allowed.is_empty() => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("{} is not a public address", refused.ip()),
            )),
            _ => Ok(allowed),
        }
    }
}

/// The address that the host of a URL is, if it is one.
fn literal(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        self.clone().connect(url).boxed()
    }
}
