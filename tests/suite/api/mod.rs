//! The HTTP contract, over real HTTP. Every response is checked against the OpenAPI document.

mod conditional;
mod credentials;
mod fields;
mod idempotency;
mod jobs;
mod lists;
mod onboard;
mod problems;
mod roles;
mod scopes;
mod service;
mod tokens;

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::openapi;
use crate::support::aws::{Emulator, Place};
use crate::support::server::{Server, Setup};

pub const NO_SUCH_ID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
/// What `/problems` says.
pub const PROBLEMS: &str = include_str!("../../../docs/http-status-codes.md");
pub const MINUTE: Duration = Duration::from_secs(60);
pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// An answer that fits the API's document.
pub struct Answer {
    path: String,
    pub status: u16,
    pub headers: HeaderMap,
    body: Vec<u8>,
}

/// Sends a request; whatever comes back has to be documented.
pub async fn ask(request: RequestBuilder) -> Answer {
    let (client, request) = request.build_split();
    let request = request.expect("a request");
    let (method, path) = (request.method().clone(), request.url().path().to_owned());
    let response = client.execute(request).await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.expect("a body").to_vec();
    let answer = Answer {
        path,
        status,
        headers,
        body,
    };
    let kind = answer
        .header("content-type")
        .split(';')
        .next()
        .unwrap_or_default();
    let body = if answer.header("content-encoding").is_empty() {
        answer.body.as_slice()
    } else {
        &[]
    };
    let misfits = openapi::misfits_of_answer(method.as_str(), &answer.path, status, kind, body);
    assert!(
        misfits.is_empty(),
        "{method} {}: {misfits:#?} in {}",
        answer.path,
        answer.text()
    );
    answer
}

impl Answer {
    /// A header's text, empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("text"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{}: {error}: {}", self.path, self.text()))
    }

    /// The JSON of an answer of this status.
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}: {}", self.path, self.text());
        self.json()
    }

    /// Whether it was given before.
    pub fn is_replay(&self) -> bool {
        self.header("idempotent-replayed") == "true"
    }

    /// The problem document, which has every member.
    pub fn problem(&self, status: u16, code: &str) -> Value {
        let problem = self.expect(status);
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{problem}"
        );
        assert!(!self.header("x-request-id").is_empty());
        for member in ["type", "title", "detail"] {
            assert!(
                problem[member]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{member}: {problem}"
            );
        }
        assert!(problem["retryable"].is_boolean(), "{problem}");
        assert_eq!(
            json!([problem["status"], problem["code"], problem["instance"]]),
            json!([status, code, self.path]),
            "{problem}"
        );
        assert_eq!(problem["type"], format!("/problems#{code}"));
        assert!(
            PROBLEMS.contains(&format!("`{code}`")),
            "/problems does not say what {code} means"
        );
        problem
    }
}

/// A service whose jobs run.
pub fn working() -> Setup {
    Setup::new(Place::new(Emulator::Moto))
}

/// A service whose jobs stay queued, for nobody takes them.
pub fn idle() -> Setup {
    let mut setup = working();
    setup.settings.workers = 0;
    setup
}

/// A body that asks for as little as there can be.
pub fn light(name: &str) -> Value {
    json!({"name": name, "buckets": [], "repositories": [], "access_key": false})
}

/// A path with its placeholders filled with names of nothing.
pub fn filled(path: &str) -> String {
    path.replace("{app}", "nobody")
        .replace("{id}", NO_SUCH_ID)
        .replace("{access_key_id}", "AKIANOBODY0123456789")
        .replace("{account}", "nobody")
        .replace("{email}", "ana@example.com")
}

pub async fn get(server: &Server, path: &str) -> Answer {
    ask(server.request(Method::GET, path)).await
}

pub async fn post(server: &Server, path: &str, body: &Value) -> Answer {
    ask(server.request(Method::POST, path).json(body)).await
}

pub async fn post_empty(server: &Server, path: &str) -> Answer {
    ask(server.request(Method::POST, path)).await
}

pub async fn keyed(server: &Server, path: &str, key: &str, body: &Value) -> Answer {
    ask(server
        .request(Method::POST, path)
        .header("idempotency-key", key)
        .json(body))
    .await
}

pub fn as_bearer(server: &Server, token: &str, method: Method, path: &str) -> RequestBuilder {
    server.anonymous(method, path).bearer_auth(token)
}

pub fn strings(values: &Value, member: &str) -> Vec<String> {
    let text = |value: &Value| {
        value[member]
            .as_str()
            .unwrap_or_else(|| panic!("{member} of {value}"))
            .to_owned()
    };
    values
        .as_array()
        .expect("a list")
        .iter()
        .map(text)
        .collect()
}

pub fn id(job: &Value) -> &str {
    job["id"].as_str().expect("an id")
}

pub async fn wait_for_state(server: &Server, job: &str, state: &str) -> Value {
    for _ in 0..400 {
        let found = server.json(&format!("/v1/jobs/{job}")).await;
        if found["state"] == state {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!(
        "{job} is not {state}: {}",
        server.json(&format!("/v1/jobs/{job}")).await
    );
}
