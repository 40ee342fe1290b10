//! The wire between the real SDK and the emulator: names each call, keeps a log, and goes wrong on demand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use tokio::sync::Notify;

/// What can happen to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Refused for too many requests; no effect.
    Throttled,
    /// Answered 500; no effect.
    ServerError,
    /// The connection is refused; no effect.
    Refused,
    /// The connection breaks before AWS acts.
    ResetBefore,
    /// AWS acts, and the connection breaks before the answer.
    ResetAfter,
    /// AWS acts, and the answer comes after the time-out.
    Late,
    /// The caller may not; no effect.
    Denied,
    /// The process is lost before AWS acts.
    LostBefore,
    /// AWS acts, and the process is lost before the answer.
    LostAfter,
    /// The caller's time-out passes, and AWS acts this long after the call.
    TooLate(Duration),
}

impl Fault {
    pub const ALL: [Self; 9] = [
        Self::Throttled,
        Self::ServerError,
        Self::Refused,
        Self::ResetBefore,
        Self::ResetAfter,
        Self::Late,
        Self::Denied,
        Self::LostBefore,
        Self::LostAfter,
    ];

    pub fn loses_the_process(self) -> bool {
        matches!(self, Self::LostBefore | Self::LostAfter)
    }
}

/// An answer in the place of the emulator's, or none.
pub type Script = Arc<dyn Fn(&Call) -> Option<Answer> + Send + Sync>;

/// A scripted answer.
#[derive(Debug, Clone)]
pub enum Answer {
    /// This status and body.
    Now(u16, String),
}

/// A call, named as AWS names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub service: &'static str,
    pub operation: String,
    pub uri: String,
    pub body: String,
    pub headers: BTreeMap<String, String>,
    /// How many calls of this operation came before.
    pub nth: usize,
}

impl Call {
    /// Whether it changes something in AWS.
    pub fn mutates(&self) -> bool {
        !["Get", "List", "Head", "Describe"].iter().any(|verb| self.operation.starts_with(verb))
    }

    pub fn name(&self) -> String {
        format!("{}:{}", self.service, self.operation)
    }
}

#[derive(Default)]
struct State {
    log: Vec<Call>,
    /// Faults of the nth call of an operation, each once.
    faults: Vec<Planned>,
    script: Option<Script>,
}

struct Planned {
    call: String,
    nth: usize,
    fault: Fault,
    met: bool,
}

/// The wire.
#[derive(Clone, Default)]
pub struct Wire {
    state: Arc<Mutex<State>>,
    lost: Arc<Notify>,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}

impl Wire {
    pub fn client(&self) -> SharedHttpClient {
        SharedHttpClient::new(WiredClient { wire: self.clone(), inner: aws_smithy_http_client::Builder::new().build_http() })
    }

    /// From now on the nth call by each name meets its fault, once.
    pub fn break_calls<'a>(&self, faults: impl IntoIterator<Item = (&'a str, usize, Fault)>) {
        let planned = |(call, nth, fault): (&str, usize, Fault)| Planned { call: call.to_owned(), nth, fault, met: false };
        let mut state = self.state.lock().unwrap();
        state.log.clear();
        state.faults = faults.into_iter().map(planned).collect();
    }

    /// Answers in the place of the emulator.
    pub fn script(&self, script: impl Fn(&Call) -> Option<Answer> + Send + Sync + 'static) {
        self.state.lock().unwrap().script = Some(Arc::new(script));
    }

    pub fn unscript(&self) {
        self.state.lock().unwrap().script = None;
    }

    /// Whether every fault has been met.
    pub fn all_met(&self) -> bool {
        self.state.lock().unwrap().faults.iter().all(|planned| planned.met)
    }

    /// The calls so far; the log begins anew.
    pub fn take_log(&self) -> Vec<Call> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }

    /// Returns when a call has lost the process.
    pub async fn lost(&self) {
        self.lost.notified().await;
    }

    fn arrive(&self, request: &HttpRequest) -> (Call, Option<Fault>, Option<Answer>) {
        let mut state = self.state.lock().unwrap();
        let mut call = named(request);
        call.nth = state.log.iter().filter(|earlier| earlier.name() == call.name()).count();
        state.log.push(call.clone());
        let hit = state.faults.iter_mut().find(|planned| !planned.met && planned.call == call.name() && planned.nth == call.nth);
        let fault = hit.map(|planned| {
            planned.met = true;
            planned.fault
        });
        let script = state.script.clone();
        drop(state);
        let answer = script.and_then(|script| script(&call));
        (call, fault, answer)
    }
}

#[derive(Debug)]
struct WiredClient {
    wire: Wire,
    inner: SharedHttpClient,
}

impl HttpClient for WiredClient {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(WiredConnector { wire: self.wire.clone(), inner })
    }
}

#[derive(Debug)]
struct WiredConnector {
    wire: Wire,
    inner: SharedHttpConnector,
}

impl HttpConnector for WiredConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (call, fault, answer) = self.wire.arrive(&request);
        let (inner, lost) = (self.inner.clone(), self.wire.lost.clone());
        HttpConnectorFuture::new(async move {
            match (answer, fault) {
                (Some(Answer::Now(status, body)), _) => Ok(response(status, body)),
                (None, None) => inner.call(request).await,
                (None, Some(fault)) => go_wrong(fault, &call, inner, request, &lost).await,
            }
        })
    }
}

async fn go_wrong(
    fault: Fault,
    call: &Call,
    inner: SharedHttpConnector,
    request: HttpRequest,
    lost: &Notify,
) -> Result<HttpResponse, ConnectorError> {
    let broken = || ConnectorError::io(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into());
    match fault {
        Fault::Throttled => Ok(refusal(call, if call.service == "s3" { 503 } else { 400 }, throttling_code(call.service))),
        Fault::ServerError => Ok(refusal(call, 500, "InternalFailure")),
        Fault::Denied => Ok(refusal(call, 403, if call.service == "ecr" { "AccessDeniedException" } else { "AccessDenied" })),
        Fault::Refused => Err(ConnectorError::io(std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into())),
        Fault::ResetBefore => Err(broken()),
        Fault::ResetAfter => {
            inner.call(request).await?;
            Err(broken())
        }
        Fault::Late => {
            inner.call(request).await?;
            tokio::time::sleep(Duration::from_secs(3600)).await;
            Err(broken())
        }
        Fault::TooLate(after) => {
            // The request lives on when the caller has given up.
            #[expect(clippy::disallowed_methods, reason = "it outlives the call, as it would in AWS")]
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                drop(inner.call(request).await);
            });
            std::future::pending().await
        }
        Fault::LostBefore => {
            lost.notify_one();
            std::future::pending().await
        }
        Fault::LostAfter => {
            inner.call(request).await?;
            lost.notify_one();
            std::future::pending().await
        }
    }
}

fn throttling_code(service: &str) -> &'static str {
    match service {
        "s3" => "SlowDown",
        "ecr" => "ThrottlingException",
        _ => "Throttling",
    }
}

/// A refusal in the protocol of the service.
pub fn refusal_body(service: &str, code: &str) -> String {
    match service {
        "ecr" => serde_json::json!({"__type": code, "message": "as scripted"}).to_string(),
        "s3" => format!("<Error><Code>{code}</Code><Message>as scripted</Message><RequestId>r</RequestId></Error>"),
        _ => format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>as scripted</Message></Error><RequestId>r</RequestId></ErrorResponse>"
        ),
    }
}

fn refusal(call: &Call, status: u16, code: &str) -> HttpResponse {
    response(status, refusal_body(call.service, code))
}

fn response(status: u16, body: String) -> HttpResponse {
    HttpResponse::new(status.try_into().expect("a status"), SdkBody::from(body))
}

/// The call as AWS names it: IAM and STS say it in the body, ECR in a header, S3 by method and query.
fn named(request: &HttpRequest) -> Call {
    let body = request.body().bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
    let headers: BTreeMap<String, String> = request.headers().iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let uri = request.uri().to_owned();
    let target = headers.get("x-amz-target").and_then(|target| target.rsplit('.').next());
    let action = body.split('&').find_map(|pair| pair.strip_prefix("Action="));
    let (service, operation) = match (target, action) {
        (Some(target), _) => ("ecr", target.to_owned()),
        (None, Some(action)) => (if body.contains("Version=2011-06-15") { "sts" } else { "iam" }, action.to_owned()),
        (None, None) => ("s3", s3_operation(request.method(), &uri)),
    };
    Call { service, operation, uri, body, headers, nth: 0 }
}

fn s3_operation(method: &str, uri: &str) -> String {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    let is_root = path.splitn(4, '/').nth(3).unwrap_or_default().is_empty();
    let thing = [
        ("tagging", "BucketTagging"),
        ("cors", "BucketCors"),
        ("publicAccessBlock", "PublicAccessBlock"),
        ("ownershipControls", "BucketOwnershipControls"),
    ]
    .iter()
    .find(|(name, _)| has(name));
    match (method, thing) {
        ("PUT", Some((_, thing))) => format!("Put{thing}"),
        ("GET", Some((_, thing))) => format!("Get{thing}"),
        ("PUT", None) => "CreateBucket".into(),
        ("HEAD", None) => "HeadBucket".into(),
        ("GET", None) if is_root => "ListBuckets".into(),
        (method, _) => format!("{method} {uri}"),
    }
}
