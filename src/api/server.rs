//! Connections: how many there are, how long they may be idle, and how they end.
//!
//! Invariants:
//! - A connection without a request in progress is closed after `idle_timeout`, whether its client has sent nothing,
//!   part of a request's head, or earlier requests. A connection whose client does not read its response for as long
//!   is closed too.
//! - What a connection can make the service buffer is limited: its head, its windows, its concurrent streams.
//! - Beyond `max_connections` a few more connections are accepted for a short time. On those, operators' endpoints
//!   respond and all other requests get 503. Beyond those, connections wait to be accepted.
//! - An error response is not lost to a connection reset because the request body was not read: a body that is
//!   already being sent is read and discarded.
//! - When the service stops, it accepts no more connections, answers requests in progress, and closes the rest.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Bytes, Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt as _;

use crate::api::limits::{Limits, QueueFull, semaphore};
use crate::app::service::Service;
use crate::shutdown::Tasks;

/// Connections beyond the limit that get an error response.
const SPARE_CONNECTIONS: usize = 64;
/// How long a spare connection may be open.
const SPARE_TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum size of a request's head, in bytes.
const MAX_HEAD_SIZE: usize = 32 * 1024;
/// Concurrent requests on one HTTP/2 connection.
const MAX_STREAMS: u32 = 100;
/// The flow-control windows of an HTTP/2 connection and of one of its streams, in bytes.
const CONNECTION_WINDOW: u32 = 256 * 1024;
const STREAM_WINDOW: u32 = 64 * 1024;
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long an idle connection stays open when the service stops.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the rest of the body of a refused request is read.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
/// File descriptors reserved for the database, AWS and the log.
const RESERVED_FILES: usize = 256;

/// Serves requests, also those for other `pages` than the API's, until the service stops and every connection has ended.
pub async fn serve(listener: TcpListener, service: Arc<Service>, pages: Router<Arc<Service>>) {
    let limits = Limits::new(&service);
    let router = crate::api::router::router(service.clone(), &limits, pages);
    let (idle, tasks) = (service.settings.idle_timeout, service.tasks.clone());
    let (permits, spare) = (
        Arc::new(semaphore(connections(service.settings.max_connections))),
        Arc::new(Semaphore::new(SPARE_CONNECTIONS)),
    );
    // Only the router and the tasks hold the service from here on.
    drop((service, limits));
    let graceful = GracefulShutdown::new();
    while let Some((stream, peer)) = accepted(&listener, &tasks).await {
        let Some(permit) = ConnectionPermit::take(&permits, &spare, &tasks).await else {
            break;
        };
        let connection = Connection {
            router: router.clone(),
            peer,
            idle,
            permit,
            tasks: tasks.clone(),
        };
        tasks.spawn(connection.serve(stream, graceful.watcher()));
    }
    drop((listener, router));
    graceful.shutdown().await;
}

/// The number of connections: the setting, or what the limit on open files allows.
fn connections(wanted: usize) -> usize {
    let files = u64::try_from(wanted.saturating_add(SPARE_CONNECTIONS + RESERVED_FILES))
        .unwrap_or(u64::MAX);
    let files = rlimit::increase_nofile_limit(files)
        .ok()
        .and_then(|files| usize::try_from(files).ok());
    let possible = files.map_or(wanted, |files| {
        files
            .saturating_sub(SPARE_CONNECTIONS + RESERVED_FILES)
            .max(1)
    });
    if possible < wanted {
        tracing::warn!(
            wanted,
            possible,
            "the limit on open files allows fewer connections than SLIPWAY_MAX_CONNECTIONS; raise it (ulimit -Hn)"
        );
    }
    wanted.min(possible)
}

/// The next connection; `None` when the service stops.
async fn accepted(listener: &TcpListener, tasks: &Tasks) -> Option<(TcpStream, SocketAddr)> {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = tasks.stopping() => return None,
        };
        match accepted {
            Ok(accepted) => return Some(accepted),
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                tracing::error!(%error, "failed to accept a connection; retrying");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

/// The permit of a connection.
struct ConnectionPermit {
    _permit: OwnedSemaphorePermit,
    over_limit: bool,
}

impl ConnectionPermit {
    async fn take(permits: &Arc<Semaphore>, spare: &Arc<Semaphore>, tasks: &Tasks) -> Option<Self> {
        if let Ok(permit) = permits.clone().try_acquire_owned() {
            return Some(Self {
                _permit: permit,
                over_limit: false,
            });
        }
        tokio::select! {
            permit = permits.clone().acquire_owned() => Some(Self { _permit: permit.ok()?, over_limit: false }),
            permit = spare.clone().acquire_owned() => Some(Self { _permit: permit.ok()?, over_limit: true }),
            () = tasks.stopping() => None,
        }
    }
}

/// An accepted connection.
struct Connection {
    router: Router,
    peer: SocketAddr,
    idle: Duration,
    permit: ConnectionPermit,
    tasks: Tasks,
}

impl Connection {
    async fn serve(self, stream: TcpStream, watcher: Watcher) {
        let over_limit = self.permit.over_limit;
        let open = Open::new();
        metrics::gauge!("slipway_http_connections").increment(1);
        let (router, peer, counted) = (self.router, ConnectInfo(self.peer), open.clone());
        let answer = tower::service_fn(move |request: Request<Incoming>| {
            let (router, in_progress) = (router.clone(), counted.begin());
            async move {
                let unread = Unread::of(&request);
                let (mut request, body) = shared(request);
                request.extensions_mut().insert(peer);
                if over_limit {
                    request.extensions_mut().insert(QueueFull);
                }
                let Ok(response) = router.oneshot(request).await;
                if unread == Unread::Body && is_refusal(response.status()) {
                    discard(body).await;
                }
                Ok::<_, Infallible>(response.map(|body| Held {
                    body,
                    _in_progress: in_progress,
                }))
            }
        });
        // Send small responses at once.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.idle));
        let builder = builder(self.idle, over_limit);
        let connection = builder.serve_connection(
            TokioIo::new(Box::pin(stream)),
            TowerToHyperService::new(answer),
        );
        tokio::select! {
            // An error is the peer's: it did not send HTTP, or disconnected.
            _ = watcher.watch(connection) => {}
            () = open.idle_for(self.idle) => {}
            () = async { self.tasks.stopping().await; open.idle_for(LINGER_TIMEOUT).await } => {}
            () = async { sleep(SPARE_TIMEOUT).await }, if over_limit => {}
        }
        metrics::gauge!("slipway_http_connections").decrement(1);
        drop(self.permit);
    }
}

fn builder(idle: Duration, over_limit: bool) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .max_buf_size(MAX_HEAD_SIZE)
        .keep_alive(!over_limit);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_INTERVAL)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_SIZE as u32)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_send_buf_size(STREAM_WINDOW as usize);
    builder
}

/// Whether the client sends a body without waiting for `100 Continue`.
#[derive(PartialEq, Eq)]
enum Unread {
    Body,
    None,
}

impl Unread {
    fn of(request: &Request<Incoming>) -> Self {
        let waits = request.headers().contains_key(header::EXPECT);
        if request.body().is_end_stream() || waits {
            Self::None
        } else {
            Self::Body
        }
    }
}

/// After a body timeout the client is not waited for again.
fn is_refusal(status: StatusCode) -> bool {
    (status.is_client_error() || status.is_server_error()) && status != StatusCode::REQUEST_TIMEOUT
}

/// A request body that can still be read after the request has been dropped.
#[derive(Clone)]
struct Shared(Arc<Mutex<Incoming>>);

fn shared(request: Request<Incoming>) -> (Request, Shared) {
    let (parts, body) = request.into_parts();
    let body = Shared(Arc::new(Mutex::new(body)));
    (Request::from_parts(parts, Body::new(body.clone())), body)
}

impl hyper::body::Body for Shared {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .size_hint()
    }
}

/// Reads and discards the rest of a body, within limits.
async fn discard(mut body: Shared) {
    let discarded = async {
        let mut left = crate::api::router::BODY_LIMIT;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    // What has not arrived by then is cut off.
    let _ = timeout(DISCARD_TIMEOUT, discarded).await;
}

/// A response body. The request is in progress until it ends.
struct Held {
    body: Body,
    _in_progress: InProgress,
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The number of requests in progress on a connection, and when it last changed.
#[derive(Clone)]
struct Open(Arc<(AtomicUsize, Mutex<Instant>)>);

/// A request in progress.
struct InProgress(Open);

impl Open {
    fn new() -> Self {
        Self(Arc::new((AtomicUsize::new(0), Mutex::new(Instant::now()))))
    }

    fn begin(&self) -> InProgress {
        self.0.0.fetch_add(1, Ordering::Relaxed);
        InProgress(self.clone())
    }

    /// Returns when no request has been in progress for this time.
    async fn idle_for(&self, time: Duration) {
        loop {
            let due = match self.0.0.load(Ordering::Acquire) {
                0 => *self.0.1.lock().unwrap_or_else(PoisonError::into_inner) + time,
                _ => Instant::now() + time,
            };
            if due <= Instant::now() {
                return;
            }
            sleep_until(due).await;
        }
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        *self.0.0.1.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.0.0.fetch_sub(1, Ordering::Release);
    }
}
