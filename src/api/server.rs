//! Connections: how many there are, how long they may be silent, and how they end.
//!
//! Invariants:
//! - A connection without a request under way is closed after `idle_timeout`, whether it has sent nothing,
//!   half a request's head, or a whole conversation before. One that takes in nothing of its answer for as
//!   long is closed too.
//! - What a connection can make us keep is bounded: its head, its windows, its streams at once.
//! - Beyond `max_connections` there are a few more places, for a short time each, where operators' calls are
//!   answered and all others are refused with 503. Beyond those, connections wait to be accepted.
//! - A refusal is not lost to a connection that is reset because the request's body was left unread: a body
//!   that is as good as there is taken in and thrown away.
//! - Told to stop, it accepts no more; requests under way are answered; the rest is closed.

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

use crate::api::limits::{Limits, QueueFull, seats};
use crate::app::service::Service;
use crate::shutdown::Tasks;

/// Connections beyond the bound that are told so.
const SPARE: usize = 64;
/// How long each of those may take.
const SPARE_TIME: Duration = Duration::from_secs(5);
/// The longest head of a request, in bytes.
const HEAD: usize = 32 * 1024;
/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 100;
/// What is kept of one HTTP/2 connection's bodies before they are read, and for a stream of it.
const WINDOW: u32 = 256 * 1024;
const STREAM_WINDOW: u32 = 64 * 1024;
/// An HTTP/2 peer is asked for a sign of life this often.
const PING: Duration = Duration::from_secs(20);
/// How long a connection whose answers are given may take to end when the service stops.
const LINGER: Duration = Duration::from_secs(1);
/// How long the rest of a refused request's body is taken in.
const DISCARD: Duration = Duration::from_secs(5);
/// Files that are kept for everything but connections: the database, AWS, the log.
const OTHER_FILES: usize = 256;

/// Answers what comes in, until the service is told to stop and every connection has ended.
pub async fn serve(listener: TcpListener, service: Arc<Service>) {
    let limits = Limits::new(&service);
    let router = crate::api::router::router(service.clone(), &limits);
    let (idle, tasks) = (service.settings.idle_timeout, service.tasks.clone());
    let (places, spare) = (
        Arc::new(seats(connections(service.settings.max_connections))),
        Arc::new(Semaphore::new(SPARE)),
    );
    // From here on the service is held by its router and tasks alone.
    drop((service, limits));
    let graceful = GracefulShutdown::new();
    while let Some((stream, peer)) = accepted(&listener, &tasks).await {
        let Some(place) = Place::take(&places, &spare, &tasks).await else {
            break;
        };
        let connection = Connection {
            router: router.clone(),
            peer,
            idle,
            place,
            tasks: tasks.clone(),
        };
        tasks.spawn(connection.converse(stream, graceful.watcher()));
    }
    drop((listener, router));
    graceful.shutdown().await;
}

/// As many connections as wanted, or as there can be open files.
fn connections(wanted: usize) -> usize {
    let files = u64::try_from(wanted.saturating_add(SPARE + OTHER_FILES)).unwrap_or(u64::MAX);
    let files = rlimit::increase_nofile_limit(files)
        .ok()
        .and_then(|files| usize::try_from(files).ok());
    let possible = files.map_or(wanted, |files| {
        files.saturating_sub(SPARE + OTHER_FILES).max(1)
    });
    if possible < wanted {
        tracing::warn!(
            wanted,
            possible,
            "fewer connections than SLIPWAY_MAX_CONNECTIONS: raise the limit of open files (ulimit -Hn)"
        );
    }
    wanted.min(possible)
}

/// The next connection; `None` when it is time to stop.
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
                tracing::error!(%error, "no connection can be accepted; trying again");
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

/// A connection's place.
struct Place {
    _permit: OwnedSemaphorePermit,
    crowded: bool,
}

impl Place {
    async fn take(places: &Arc<Semaphore>, spare: &Arc<Semaphore>, tasks: &Tasks) -> Option<Self> {
        if let Ok(permit) = places.clone().try_acquire_owned() {
            return Some(Self {
                _permit: permit,
                crowded: false,
            });
        }
        tokio::select! {
            permit = places.clone().acquire_owned() => Some(Self { _permit: permit.ok()?, crowded: false }),
            permit = spare.clone().acquire_owned() => Some(Self { _permit: permit.ok()?, crowded: true }),
            () = tasks.stopping() => None,
        }
    }
}

/// A connection to be conversed on.
struct Connection {
    router: Router,
    peer: SocketAddr,
    idle: Duration,
    place: Place,
    tasks: Tasks,
}

impl Connection {
    async fn converse(self, stream: TcpStream, watcher: Watcher) {
        let crowded = self.place.crowded;
        let open = Open::new();
        metrics::gauge!("slipway_http_connections").increment(1);
        let (router, peer, counted) = (self.router, ConnectInfo(self.peer), open.clone());
        let answer = tower::service_fn(move |request: Request<Incoming>| {
            let (router, under_way) = (router.clone(), counted.begin());
            async move {
                let unread = Unread::of(&request);
                let (mut request, body) = shared(request);
                request.extensions_mut().insert(peer);
                if crowded {
                    request.extensions_mut().insert(QueueFull);
                }
                let Ok(response) = router.oneshot(request).await;
                if unread == Unread::ToBeDiscarded && is_refusal(response.status()) {
                    discard(body).await;
                }
                Ok::<_, Infallible>(response.map(|body| Held {
                    body,
                    _under_way: under_way,
                }))
            }
        });
        // Small answers are not to wait for more.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.idle));
        let builder = builder(self.idle, crowded);
        let connection = builder.serve_connection(
            TokioIo::new(Box::pin(stream)),
            TowerToHyperService::new(answer),
        );
        tokio::select! {
            // Errors are the peer's: what it sent was no HTTP, or it went away.
            _ = watcher.watch(connection) => {}
            () = open.idle_for(self.idle) => {}
            () = async { self.tasks.stopping().await; open.idle_for(LINGER).await } => {}
            () = async { sleep(SPARE_TIME).await }, if crowded => {}
        }
        metrics::gauge!("slipway_http_connections").decrement(1);
        drop(self.place);
    }
}

fn builder(idle: Duration, crowded: bool) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .max_buf_size(HEAD)
        .keep_alive(!crowded);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD as u32)
        .initial_connection_window_size(WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_send_buf_size(STREAM_WINDOW as usize);
    builder
}

/// Whether a request has a body that its client sends without being asked.
#[derive(PartialEq, Eq)]
enum Unread {
    ToBeDiscarded,
    Nothing,
}

impl Unread {
    fn of(request: &Request<Incoming>) -> Self {
        let asks_first = request.headers().contains_key(header::EXPECT);
        if request.body().is_end_stream() || asks_first {
            Self::Nothing
        } else {
            Self::ToBeDiscarded
        }
    }
}

/// A client whose body did not come in time is not waited for again.
fn is_refusal(status: StatusCode) -> bool {
    (status.is_client_error() || status.is_server_error()) && status != StatusCode::REQUEST_TIMEOUT
}

/// A request's body that can still be read when the request has been dropped.
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

/// Takes in what is left of a body, within bounds, and keeps nothing of it.
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
    // What has not come by then is cut off.
    let _ = timeout(DISCARD, discarded).await;
}

/// An answer's body, until whose end the request is under way.
struct Held {
    body: Body,
    _under_way: UnderWay,
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

/// The requests under way on a connection.
#[derive(Clone)]
struct Open(Arc<(AtomicUsize, Mutex<Instant>)>);

/// A request under way.
struct UnderWay(Open);

impl Open {
    fn new() -> Self {
        Self(Arc::new((AtomicUsize::new(0), Mutex::new(Instant::now()))))
    }

    fn begin(&self) -> UnderWay {
        self.0.0.fetch_add(1, Ordering::Relaxed);
        UnderWay(self.clone())
    }

    /// Returns when there has been no request under way for this long.
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

impl Drop for UnderWay {
    fn drop(&mut self) {
        *self.0.0.1.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.0.0.fetch_sub(1, Ordering::Release);
    }
}
