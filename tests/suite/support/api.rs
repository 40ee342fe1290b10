//! A client of the service's API, with a token.

use std::sync::Arc;

use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;

use super::simulated::InProcess;

/// A client of one service.
#[derive(Clone)]
pub struct Api {
    pub url: String,
    bearer: String,
    client: Client,
    /// The service, where it is in this process and no connection leads to it.
    in_process: Option<Arc<InProcess>>,
}

impl Api {
    pub fn new(url: String, bearer: impl Into<String>) -> Self {
        Self {
            url,
            bearer: bearer.into(),
            client: Client::new(),
            in_process: None,
        }
    }

    /// A client of a service in this process.
    pub fn in_process(client: Client, service: InProcess, bearer: impl Into<String>) -> Self {
        let url = "http://slipway.test".to_owned();
        Self {
            url,
            bearer: bearer.into(),
            client,
            in_process: Some(Arc::new(service)),
        }
    }

    /// The answer to a request; `None` when the service is lost before it answers.
    pub async fn answer(&self, request: RequestBuilder) -> Option<Response> {
        match &self.in_process {
            None => Some(request.send().await.expect("an answer")),
            Some(service) => service.answer(request.build().expect("a request")).await,
        }
    }

    /// The answer to a request.
    pub async fn send(&self, request: RequestBuilder) -> Response {
        self.answer(request).await.expect("an answer")
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
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Response {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    pub async fn post_empty(&self, path: &str) -> Response {
        self.send(self.request(Method::POST, path)).await
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
        // Simulated time costs nothing.
        let patience = if self.in_process.is_some() { 120 } else { 4 };
        for _ in 0..patience {
            let job = self.json(&format!("/v1/jobs/{id}?wait=30s")).await;
            if !matches!(
                job["state"].as_str(),
                Some("queued" | "running" | "waiting")
            ) {
                return job;
            }
        }
        panic!(
            "job {id} did not end: {}",
            self.json(&format!("/v1/jobs/{id}")).await
        );
    }

    /// Onboards, which has to succeed.
    pub async fn onboard(&self, body: &Value) -> Value {
        let job = self.run("/v1/apps", Some(body)).await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        job
    }

    /// Makes a token of a role.
    pub async fn token(&self, role: &str) -> String {
        let response = self
            .post(
                "/v1/tokens",
                &serde_json::json!({"name": format!("a {role}"), "role": role}),
            )
            .await;
        assert_eq!(response.status(), 201);
        let token: Value = response.json().await.expect("JSON");
        token["token"].as_str().expect("a token").to_owned()
    }
}
