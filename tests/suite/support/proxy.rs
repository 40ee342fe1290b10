//! A proxy of HTTP between the SDK and an emulator: logs each call by its name, and goes wrong on demand.
//!
//! Invariants:
//! - What goes wrong goes wrong on real connections: closed, reset, or never answered.
//! - A call that is passed on is passed on once, and whole, whatever becomes of its caller.
//! - A call that AWS's own API models forbid fails its test, whatever the emulator made of it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::wire::{Answer, Call, Fault, refusal};
use crate::aws::models;

/// How much longer a delayed call takes: well within every time-out here.
const DELAY: Duration = Duration::from_millis(120);

/// An answer in the place of the emulator's, or none.
pub type Script = Arc<dyn Fn(&Call) -> Option<Answer> + Send + Sync>;

/// How everything passes that no fault is planned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// At once.
    Open,
    /// After this long.
    Slowly(Duration),
    /// Not until it is open again.
    Closed,
    /// Calls that have this text in them: not until it is open again; others at once.
    ClosedAbout(&'static str),
}

impl Pass {
    fn holds(self, call: &Call) -> bool {
        match self {
            Self::Open | Self::Slowly(_) => false,
            Self::Closed => true,
            Self::ClosedAbout(text) => call.uri.contains(text) || call.body.contains(text),
        }
    }
}

#[derive(Default)]
struct Plan {
    log: Vec<Call>,
    /// Faults of the nth call of an operation, and where they last, of those after it.
    faults: Vec<Planned>,
    script: Option<Script>,
    /// What AWS's API models forbid about the calls so far.
    violations: Vec<String>,
}

struct Planned {
    call: String,
    nth: usize,
    fault: Fault,
    met: bool,
}

impl Planned {
    fn hits(&self, call: &Call) -> bool {
        let last = self.nth.saturating_add(self.fault.lasts() - 1);
        self.call == call.name() && (self.nth..=last).contains(&call.nth)
    }
}

/// A loopback proxy in front of an emulator; it ends when the last of these is dropped.
#[derive(Clone)]
pub struct Proxy {
    pub endpoint: String,
    inner: Arc<Inner>,
    _stop: Arc<DropGuard>,
}

struct Inner {
    plan: Mutex<Plan>,
    pass: watch::Sender<Pass>,
    /// One permit for each call that has lost its process.
    lost: Semaphore,
    behind: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// The proxies' own threads: what they do goes on when a test's process is lost.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    })
}

impl Proxy {
    /// A proxy in front of `endpoint`.
    pub fn before(endpoint: &str) -> Self {
        models::load();
        let listener = std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        listener.set_nonblocking(true).unwrap();
        let own = format!("http://{}", listener.local_addr().unwrap());
        let _entered = runtime().enter();
        let listener = TcpListener::from_std(listener).unwrap();
        // Each call has a connection of its own to the emulator: none meets one that is about to be closed.
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build_http();
        let (plan, pass, behind) = (
            Mutex::default(),
            watch::Sender::new(Pass::Open),
            endpoint.to_owned(),
        );
        let inner = Arc::new(Inner {
            plan,
            pass,
            lost: Semaphore::new(0),
            behind,
            client,
        });
        let stop = CancellationToken::new();
        runtime().spawn(listen(listener, inner.clone(), stop.clone()));
        Self {
            endpoint: own,
            inner,
            _stop: Arc::new(stop.drop_guard()),
        }
    }

    /// From now on the nth call by each name meets its fault. The log begins anew.
    pub fn break_calls<'a>(&self, faults: impl IntoIterator<Item = (&'a str, usize, Fault)>) {
        let planned = |(call, nth, fault): (&str, usize, Fault)| Planned {
            call: call.to_owned(),
            nth,
            fault,
            met: false,
        };
        let mut plan = self.inner.plan.lock().unwrap();
        plan.log.clear();
        plan.faults = faults.into_iter().map(planned).collect();
    }

    /// Nothing more goes wrong.
    pub fn mend(&self) {
        self.inner.plan.lock().unwrap().faults.clear();
    }

    /// Answers in the place of the emulator.
    pub fn script(&self, script: impl Fn(&Call) -> Option<Answer> + Send + Sync + 'static) {
        self.inner.plan.lock().unwrap().script = Some(Arc::new(script));
    }

    pub fn unscript(&self) {
        self.inner.plan.lock().unwrap().script = None;
    }

    /// How everything else passes.
    pub fn set(&self, pass: Pass) {
        self.inner.pass.send_replace(pass);
    }

    /// Whether every fault has been met.
    pub fn all_met(&self) -> bool {
        self.inner
            .plan
            .lock()
            .unwrap()
            .faults
            .iter()
            .all(|planned| planned.met)
    }

    /// Whether the answer to a call by this name was not passed on: its caller has gone, or never got it.
    pub fn left_unanswered(&self, name: &str) -> bool {
        self.inner
            .plan
            .lock()
            .unwrap()
            .log
            .iter()
            .any(|call| call.name() == name && call.ended.is_none())
    }

    /// The calls so far, those that are held among them.
    pub fn log(&self) -> Vec<Call> {
        self.inner.plan.lock().unwrap().log.clone()
    }

    /// The calls so far; the log begins anew.
    pub fn take_log(&self) -> Vec<Call> {
        self.refuse_violations();
        std::mem::take(&mut self.inner.plan.lock().unwrap().log)
    }

    fn refuse_violations(&self) {
        let violations = std::mem::take(&mut self.inner.plan.lock().unwrap().violations);
        assert!(
            violations.is_empty(),
            "AWS's API models forbid what was sent: {violations:#?}"
        );
    }

    /// Returns when a call has lost the process.
    pub async fn lost(&self) {
        self.inner
            .lost
            .acquire()
            .await
            .expect("it is never closed")
            .forget();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.refuse_violations();
        }
    }
}

async fn listen(listener: TcpListener, inner: Arc<Inner>, stop: CancellationToken) {
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => drop(runtime().spawn(serve(stream, inner.clone(), stop.clone()))),
            () = stop.cancelled() => return,
        }
    }
}

/// Why a connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("broken on demand")]
struct Broken;

/// Answers the calls of one connection, until one of them breaks it.
async fn serve(stream: TcpStream, inner: Arc<Inner>, stop: CancellationToken) {
    let reset = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request| Box::pin(answer(inner.clone(), request, reset.clone())));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)) => {}
        () = stop.cancelled() => {}
    }
    if reset.load(Ordering::Relaxed) {
        // Dropped like this, it is reset.
        drop(connection.into_parts().io.into_inner().set_zero_linger());
    }
}

async fn answer(
    inner: Arc<Inner>,
    request: Request<Incoming>,
    reset: Arc<AtomicBool>,
) -> Result<Response<Full<Bytes>>, Broken> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
    let (call, fault, scripted) = inner.arrive(Call::of(&head, &body));
    let request = Request::from_parts(head, Full::new(body));
    let answer = match (scripted, fault) {
        (Some(Answer::Now(status, body)), _) => Ok(response(status, body)),
        (None, None) => inner.pass(&call, request).await,
        (None, Some(fault)) => inner.go_wrong(fault, &call, request, &reset).await,
    };
    if let Ok(answer) = &answer {
        inner.answered(&call, answer);
    }
    answer
}

impl Inner {
    /// Writes a call down; what is planned for it.
    fn arrive(&self, mut call: Call) -> (Call, Option<Fault>, Option<Answer>) {
        let violations = models::violations(&call);
        let mut plan = self.plan.lock().unwrap();
        plan.violations.extend(violations);
        call.nth = plan
            .log
            .iter()
            .filter(|earlier| earlier.name() == call.name())
            .count();
        plan.log.push(call.clone());
        let hit = plan.faults.iter_mut().find(|planned| planned.hits(&call));
        let fault = hit.map(|planned| {
            planned.met = true;
            planned.fault
        });
        let script = plan.script.clone();
        drop(plan);
        let answer = script.and_then(|script| script(&call));
        (call, fault, answer)
    }

    fn answered(&self, call: &Call, answer: &Response<Full<Bytes>>) {
        let request_id = ["x-amzn-requestid", "x-amz-request-id"]
            .iter()
            .find_map(|name| answer.headers().get(*name));
        let mut plan = self.plan.lock().unwrap();
        if let Some(logged) = plan
            .log
            .iter_mut()
            .find(|logged| logged.began == call.began && logged.uri == call.uri)
        {
            logged.ended = Some(Instant::now());
            logged.status = Some(answer.status().as_u16());
            logged.request_id = request_id.and_then(|id| Some(id.to_str().ok()?.to_owned()));
        }
    }

    async fn pass(
        self: &Arc<Self>,
        call: &Call,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Full<Bytes>>, Broken> {
        let pass = *self.pass.borrow();
        match pass {
            Pass::Slowly(delay) => tokio::time::sleep(delay).await,
            Pass::Open | Pass::Closed | Pass::ClosedAbout(_) => drop(
                self.pass
                    .subscribe()
                    .wait_for(|pass| !pass.holds(call))
                    .await,
            ),
        }
        let answer = self.forward(request).await;
        drop(
            self.pass
                .subscribe()
                .wait_for(|pass| !pass.holds(call))
                .await,
        );
        answer
    }

    /// AWS acts, also when nobody waits for the answer any more.
    async fn forward(
        self: &Arc<Self>,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Full<Bytes>>, Broken> {
        let path = request
            .uri()
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default();
        *request.uri_mut() = format!("{}{path}", self.behind)
            .parse()
            .map_err(|_| Broken)?;
        let inner = self.clone();
        let answer = runtime().spawn(async move {
            let (mut head, body) = inner
                .client
                .request(request)
                .await
                .map_err(|_| Broken)?
                .into_parts();
            let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
            // The SDK keeps its connections, whatever the emulator does with ours.
            head.headers.remove(header::CONNECTION);
            Ok(Response::from_parts(head, Full::new(body)))
        });
        answer.await.map_err(|_| Broken)?
    }

    fn forward_after(self: &Arc<Self>, delay: Duration, request: Request<Full<Bytes>>) {
        let inner = self.clone();
        runtime().spawn(async move {
            tokio::time::sleep(delay).await;
            drop(inner.forward(request).await);
        });
    }

    async fn go_wrong(
        self: &Arc<Self>,
        fault: Fault,
        call: &Call,
        request: Request<Full<Bytes>>,
        reset: &AtomicBool,
    ) -> Result<Response<Full<Bytes>>, Broken> {
        if let Some(Answer::Now(status, body)) = refusal(call.service, fault) {
            return Ok(response(status, body));
        }
        match fault {
            Fault::ResetAfter | Fault::Late | Fault::LostAfter => {
                drop(self.forward(request).await?)
            }
            Fault::Delayed => {
                tokio::time::sleep(DELAY).await;
                return self.forward(request).await;
            }
            Fault::CutShort => {
                let (mut head, body) = self.forward(request).await?.into_parts();
                let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
                head.headers.remove(header::CONTENT_LENGTH);
                return Ok(Response::from_parts(
                    head,
                    Full::new(body.slice(..body.len() / 2)),
                ));
            }
            Fault::TooLate(after) | Fault::LostBetween(after) => self.forward_after(after, request),
            _ => {}
        }
        if fault.loses_the_process() {
            self.lost.add_permits(1);
        }
        match fault {
            Fault::Closed => Err(Broken),
            Fault::ResetBefore | Fault::ResetAfter => {
                reset.store(true, Ordering::Relaxed);
                Err(Broken)
            }
            // Until the caller gives up.
            _ => match std::future::pending::<Infallible>().await {},
        }
    }
}

fn response(status: u16, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    // S3 has another name for it than the others.
    for name in ["x-amzn-requestid", "x-amz-request-id"] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static("r"));
    }
    response
}
