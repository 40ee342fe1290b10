//! A service of the test's own, over real HTTP, on a database file of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;
use slipway::clock::Clock;
use slipway::config::Settings;
use slipway::resources::Timing;
use slipway::service::{Outside, Service};
use slipway::shutdown::Tasks;
use slipway::vault::Vault;
use tokio::net::TcpListener;

use super::aws::Place;
use super::wire::Wire;

pub const ADMIN_TOKEN: &str = "the-admin-token-of-these-tests";

/// What a test's service is started with.
pub struct Setup {
    pub place: Place,
    pub wire: Wire,
    pub timing: Timing,
    pub clock: Clock,
    pub settings: Settings,
    pub folder: Arc<tempfile::TempDir>,
}

/// A running service.
pub struct Server {
    pub url: String,
    pub service: Arc<Service>,
    pub tasks: Tasks,
    client: Client,
}

impl Setup {
    pub fn new(place: Place) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let settings = Settings {
            database_url: format!("sqlite://{}", folder.path().join("slipway.db").display()),
            seal_key: Some(Vault::new_key().expect("a key")),
            admin_token: Some(ADMIN_TOKEN.to_owned().into()),
            allow_user_credentials: false,
            job_deadline: Duration::from_secs(60),
            ..Settings::default()
        };
        Self { place, wire: Wire::default(), timing: super::fast(), clock: Clock::default(), settings, folder }
    }

    pub fn database(&self) -> PathBuf {
        self.folder.path().join("slipway.db")
    }

    /// Starts the service, as often as wanted on the same database.
    pub async fn start(&self) -> Server {
        slipway::telemetry::metrics();
        let tasks = Tasks::default();
        let outside = Outside { sdk: Some(self.place.sdk(Some(self.wire.client()))), clock: self.clock.clone(), timing: self.timing };
        let service = Service::start(self.settings.clone(), outside, tasks.clone()).await.expect("the service starts");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tasks.spawn(slipway::http::serve(listener, service.clone()));
        Server { url, service, tasks, client: Client::new() }
    }
}

impl Server {
    /// A request with the admin token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).bearer_auth(ADMIN_TOKEN)
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

    /// Stops in good order; no job may be left active.
    pub async fn stop(self) {
        let active = self.service.store.active_jobs().await.expect("the database answers");
        assert!(active.is_empty(), "jobs are left over: {active:?}");
        self.tasks.stop();
        self.tasks.ended().await;
    }
}
