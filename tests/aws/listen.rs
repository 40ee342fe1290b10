//! The AWS in memory over real HTTP, for clients that are not the SDK in this process.
//!
//! Invariant: what it answers is what the SDK's connector would get, faults left out.

use std::convert::Infallible;
use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Aws;
use crate::support::wire::Call;

/// Where it listens; it ends when this is dropped.
pub struct Listening {
    pub endpoint: String,
    _stop: DropGuard,
}

/// Listens on a port of its own, in the current runtime.
pub fn on_loopback(aws: &Aws) -> Listening {
    let listener = std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listener.set_nonblocking(true).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let listener = TcpListener::from_std(listener).unwrap();
    let stop = CancellationToken::new();
    let (aws, stopped) = (aws.clone(), stop.clone());
    tokio::runtime::Handle::current().spawn(async move {
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => accepted.unwrap().0,
                () = stopped.cancelled() => return,
            };
            let (aws, stopped) = (aws.clone(), stopped.clone());
            let service = service_fn(move |request| answer(aws.clone(), request));
            tokio::runtime::Handle::current().spawn(async move {
                tokio::select! {
                    _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service) => {}
                    () = stopped.cancelled() => {}
                }
            });
        }
    });
    Listening {
        endpoint,
        _stop: stop.drop_guard(),
    }
}

async fn answer(
    aws: Aws,
    request: http::Request<Incoming>,
) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let reply = aws.pass(&Call::of(&head, &body)).await;
    let mut response = http::Response::new(Full::new(reply.body.into()));
    *response.status_mut() = http::StatusCode::from_u16(reply.status).expect("a status");
    *response.headers_mut() = reply.headers;
    Ok(response)
}
