//! `slipway serve`: runs the service and shuts it down gracefully.
//!
//! Invariants:
//! - The address is bound first, so that a start fails at once if it is in use. Requests are served when the AWS
//!   identity is known and the workers run.
//! - On a signal, the service claims no more jobs, closes streams, lets current changes end within the shutdown
//!   timeout, and exits 0. What is interrupted continues at the next start.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::timeout;

use crate::app::service::{Overrides, Service, StartError};
use crate::cli::service_manager::{State, notify};
use crate::config::Settings;
use crate::shutdown::{Tasks, signalled};
use crate::telemetry;

/// Connections that may wait in the kernel until they are accepted. What exceeds it, a client may believe to be connected.
const BACKLOG: u32 = 4096;

/// Runs the service until a signal stops it.
pub async fn serve(settings: Settings) -> Result<(), StartError> {
    telemetry::start(&settings.log)?;
    telemetry::metrics();
    let ended = run(settings).await;
    telemetry::end_traces().await;
    ended
}

async fn run(settings: Settings) -> Result<(), StartError> {
    let tasks = Tasks::default();
    let (listen, shutdown_timeout) = (settings.listen, settings.shutdown_timeout);
    stop_when_signalled(&tasks);
    let cannot = |error| StartError::Listen(listen, error);
    let listener = bind(listen).map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    let overrides = Overrides {
        timing: settings.timing,
        ..Overrides::default()
    };
    let service = tokio::select! {
        started = Service::start(settings, overrides, tasks.clone()) => started?,
        () = tasks.stopping() => return Ok(()),
    };
    crate::background::start(&service);
    tracing::info!(listen = %address, "listening");
    notify(State::Ready);
    let pages = crate::console::router(&service);
    let server = crate::api::server::serve(listener, service, pages);
    let ended = async {
        server.await;
        tasks.ended().await;
    };
    tokio::pin!(ended);
    tokio::select! {
        () = &mut ended => {}
        () = async { tasks.stopping().await; tokio::time::sleep(shutdown_timeout).await } => {
            tracing::warn!("shutdown timeout reached; interrupted jobs continue at the next start");
            return Ok(());
        }
    }
    // The store's writer ends with the last reference to the store. A reference that remains must not delay the exit.
    let _ = timeout(Duration::from_secs(1), tasks.all_ended()).await;
    tracing::info!("stopped");
    Ok(())
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A service that has ended just now leaves connections that would hold the address.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Stops the tasks on the first signal. The second one ends the process.
fn stop_when_signalled(tasks: &Tasks) {
    let stop = tasks.clone();
    #[expect(clippy::disallowed_methods, reason = "the task ends with the process")]
    tokio::spawn(async move {
        signalled().await;
        tracing::info!("stopping");
        notify(State::Stopping);
        stop.stop();
    });
}

/// Whether the service at this address is healthy.
pub async fn health(listen: SocketAddr) -> bool {
    let host = if listen.ip().is_unspecified() {
        SocketAddr::from(([127, 0, 0, 1], listen.port()))
    } else {
        listen
    };
    let Ok(uri) = format!("http://{host}/healthz").parse() else {
        return false;
    };
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let answer = timeout(Duration::from_secs(3), client.get(uri)).await;
    matches!(answer, Ok(Ok(response)) if response.status().is_success())
}
