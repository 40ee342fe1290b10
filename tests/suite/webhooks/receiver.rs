//! A receiver of webhooks on loopback, which replies as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::PATIENCE;
use crate::support::aws::required;
use crate::support::fake_server::serve;
use crate::support::script;

/// A request that was received.
#[derive(Clone)]
pub struct Received {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no header {name}"))
            .to_str()
            .unwrap()
    }

    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }
}

/// How the receiver replies to one request.
#[derive(Clone)]
pub enum Reply {
    Status(u16),
    With(u16, &'static str, String),
    /// 200 after this time.
    Slow(Duration),
    /// 200, and the connection breaks before the body is there.
    BreakOff,
}

#[derive(Default)]
struct Shared {
    received: Mutex<Vec<Received>>,
    replies: Mutex<VecDeque<Reply>>,
}

pub struct Receiver {
    pub url: String,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl Receiver {
    /// A receiver that replies so to the first requests, and 200 to all others.
    pub async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let shared = Arc::new(Shared::default());
        shared.replies.lock().unwrap().extend(replies);
        let app = Router::new().fallback(receive).with_state(shared.clone());
        let (url, _tasks) = serve(app).await;
        Self {
            url: format!("{url}/hook"),
            shared,
            _tasks,
        }
    }

    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// The requests, once there are so many.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        let until = Instant::now() + PATIENCE;
        loop {
            let received = self.received();
            if received.len() >= count {
                return received;
            }
            assert!(
                Instant::now() < until,
                "{} requests, not {count}",
                received.len()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Fails if there are more than so many requests within a while.
    pub async fn stays_at(&self, count: usize) {
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(self.received().len(), count);
    }
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    shared.received.lock().unwrap().push(Received {
        path: uri.path().to_owned(),
        headers,
        body,
    });
    let reply = shared.replies.lock().unwrap().pop_front();
    match reply.unwrap_or(Reply::Status(200)) {
        Reply::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Reply::With(status, name, value) => {
            (StatusCode::from_u16(status).unwrap(), [(name, value)]).into_response()
        }
        Reply::Slow(time) => {
            tokio::time::sleep(time).await;
            StatusCode::OK.into_response()
        }
        Reply::BreakOff => {
            let broken = std::io::Error::other("the receiver is killed");
            let parts = [Ok(Bytes::from_static(b"half of it")), Err(broken)];
            // The first part is on its way before the connection breaks.
            let parts = futures::stream::iter(parts).then(|part| async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                part
            });
            Response::new(Body::from_stream(parts))
        }
    }
}

/// What the libraries of PyPI and npm say of a request.
pub fn verify(secret: &str, request: &Received) -> Vec<Result<Value, String>> {
    let headers: serde_json::Map<String, Value> =
        ["webhook-id", "webhook-timestamp", "webhook-signature"]
            .map(|name| (name.to_owned(), json!(request.header(name))))
            .into_iter()
            .collect();
    let body = String::from_utf8(request.body.to_vec()).unwrap();
    let input = json!([{"secret": secret, "headers": headers, "body": body}]);
    [
        (
            required("SLIPWAY_TEST_PYTHON"),
            "webhook_verifier/verify.py",
        ),
        ("node".to_owned(), "webhook_verifier/verify.mjs"),
    ]
    .map(|(program, script)| verified(script::answer(&program, script, &input)))
    .into()
}

fn verified(mut answer: Value) -> Result<Value, String> {
    match answer[0]["payload"].take() {
        Value::Null => Err(answer[0]["error"].to_string()),
        payload => Ok(payload),
    }
}
