//! A client of the service's API, with a token.

use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;

/// A client of one service.
#[derive(Clone)]
pub struct Api {
    pub url: String,
    bearer: String,
    client: Client,
}

impl Api {
    pub fn new(url: String, bearer: impl Into<String>) -> Self {
        Self { url, bearer: bearer.into(), client: Client::new() }
    }

    /// A request with the token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path).bearer_auth(&self.bearer)
    }

    /// A request without a token.
    pub fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.expect("an answer")
    }

    pub async fn post(&self, path: &str, body: &Value) -> Response {
        self.request(Method::POST, path).json(body).send().await.expect("an answer")
    }

    pub async fn post_empty(&self, path: &str) -> Response {
        self.request(Method::POST, path).send().await.expect("an answer")
    }

    /// The JSON at a path that answers 200.
    pub async fn json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        let status = response.status();
        let body = response.text().await.expect("a body");
        assert!(status.is_success(), "{path}: {status} {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// Asks for a job by a POST that answers 202, and waits for its end.
    pub async fn run(&self, path: &str, body: Option<&Value>) -> Value {
        let response = match body {
            Some(body) => self.post(path, body).await,
            None => self.post_empty(path).await,
        };
        let status = response.status();
        let job: Value = response.json().await.expect("JSON");
        assert_eq!(status, 202, "{job}");
        self.wait(job["id"].as_str().expect("an id")).await
    }

    /// Waits for a job's end.
    pub async fn wait(&self, id: &str) -> Value {
        for _ in 0..4 {
            let job = self.json(&format!("/v1/jobs/{id}?wait=30s")).await;
            if !matches!(job["state"].as_str(), Some("queued" | "running" | "waiting")) {
                return job;
            }
        }
        panic!("job {id} did not end: {}", self.json(&format!("/v1/jobs/{id}")).await);
    }

    /// Onboards, which has to succeed.
    pub async fn onboard(&self, body: &Value) -> Value {
        let job = self.run("/v1/apps", Some(body)).await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        job
    }

    /// Makes a token of a role.
    pub async fn token(&self, role: &str) -> String {
        let response = self.post("/v1/tokens", &serde_json::json!({"name": format!("a {role}"), "role": role})).await;
        assert_eq!(response.status(), 201);
        let token: Value = response.json().await.expect("JSON");
        token["token"].as_str().expect("a token").to_owned()
    }
}
