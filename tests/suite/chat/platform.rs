//! A chat platform on loopback: the API of Slack, that of Mattermost, and the URLs that replies go to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::fake_server::serve;

/// Longer than anything here takes that goes well.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A request that the platform got.
#[derive(Debug, Clone)]
pub struct Sent {
    pub path: String,
    pub authorization: String,
    pub body: Value,
    /// Whether the platform took it.
    pub taken: bool,
}

impl Sent {
    pub fn text(&self) -> &str {
        let field = if self.body["text"].is_string() {
            "text"
        } else {
            "message"
        };
        self.body[field].as_str().unwrap_or_default()
    }

    /// The commands of the buttons.
    pub fn buttons(&self) -> Vec<String> {
        let elements = self.body["blocks"][1]["elements"].as_array();
        let value = |button: &Value| button["value"].as_str().unwrap().to_owned();
        elements.into_iter().flatten().map(value).collect()
    }
}

/// How the platform answers one request instead of taking it.
#[derive(Clone)]
pub enum Trouble {
    /// 429 with this `Retry-After`.
    Busy(u64),
    Status(u16),
    /// Takes it after this time.
    Slow(Duration),
    /// Slack's answer that it does not do it.
    Error(&'static str),
}

#[derive(Default)]
struct Shared {
    sent: Mutex<Vec<Sent>>,
    trouble: Mutex<VecDeque<Trouble>>,
}

pub struct ChatPlatform {
    pub url: String,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

impl ChatPlatform {
    pub async fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let app = Router::new().fallback(receive).with_state(shared.clone());
        let (url, _server) = serve(app).await;
        Self {
            url,
            shared,
            _server,
        }
    }

    /// The next requests meet these.
    pub fn trouble(&self, trouble: impl IntoIterator<Item = Trouble>) {
        self.shared.trouble.lock().unwrap().extend(trouble);
    }

    /// From now on everything is taken.
    pub fn clear(&self) {
        self.shared.trouble.lock().unwrap().clear();
    }

    /// Everything that the platform got.
    pub fn sent(&self) -> Vec<Sent> {
        self.shared.sent.lock().unwrap().clone()
    }

    /// Whether some text was sent, in whatever request.
    pub fn has_got(&self, text: &str) -> bool {
        let is_in = |sent: &Sent| sent.path.contains(text) || sent.body.to_string().contains(text);
        self.sent().iter().any(is_in)
    }

    /// The first request that was taken and of which `wanted` is true.
    pub async fn wait_for(&self, wanted: impl Fn(&Sent) -> bool) -> Sent {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self.sent().into_iter().find(|it| it.taken && wanted(it));
            if let Some(found) = found {
                return found;
            }
            assert!(Instant::now() < until, "{:#?}", self.sent());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The reply with this text to the user alone.
    pub async fn reply(&self, says: &str) -> Sent {
        self.wait_for(|it| it.path == "/reply" && it.text().contains(says))
            .await
    }

    /// The writing or an update of a message with this text.
    pub async fn message(&self, says: &str) -> Sent {
        self.wait_for(|it| it.path != "/reply" && it.text().contains(says))
            .await
    }

    /// The number of messages that were written.
    pub fn written(&self) -> usize {
        let is_new = |it: &Sent| it.path.ends_with("postMessage") || it.path.ends_with("/posts");
        self.sent()
            .iter()
            .filter(|it| it.taken && is_new(it))
            .count()
    }
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let trouble = shared.trouble.lock().unwrap().pop_front();
    let authorization = headers.get("authorization").map(|it| it.to_str().unwrap());
    let path = uri.path().to_owned();
    let taken = matches!(trouble, None | Some(Trouble::Slow(_)));
    shared.sent.lock().unwrap().push(Sent {
        path: path.clone(),
        authorization: authorization.unwrap_or_default().to_owned(),
        body: serde_json::from_slice(&body).unwrap(),
        taken,
    });
    match trouble {
        Some(Trouble::Busy(seconds)) => {
            let retry_after = [("retry-after", seconds.to_string())];
            return (StatusCode::TOO_MANY_REQUESTS, retry_after).into_response();
        }
        Some(Trouble::Status(status)) => {
            return StatusCode::from_u16(status).unwrap().into_response();
        }
        Some(Trouble::Error(error)) => {
            return Json(json!({"ok": false, "error": error})).into_response();
        }
        Some(Trouble::Slow(time)) => tokio::time::sleep(time).await,
        None => {}
    }
    if path.starts_with("/api/v4/") {
        Json(json!({"id": "post1"})).into_response()
    } else if path == "/reply" {
        "ok".into_response()
    } else {
        Json(json!({"ok": true, "channel": "C1", "ts": "1700000000.000100"})).into_response()
    }
}
