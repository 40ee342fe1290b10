//! Incoming webhooks, signed by the forges' own libraries, against a real service on the AWS in memory.

mod applied;
mod forge;
mod lost;
mod proposed;
mod signatures;

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::aws::listen::{Listening, on_loopback};
use crate::aws::{Aws, Options};
use crate::support::process::{Launch, Running};
use crate::support::script;

const ACCOUNT: &str = "123456789012";
const GITHUB_SECRET: &str = "It's a Secret to Everybody";
const STANDARD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const FORGE_TOKEN: &str = "the-token-of-the-forge";
/// Longer than anything here takes that goes well.
const PATIENCE: Duration = Duration::from_secs(60);

/// A light spec, for apps whose jobs take no time.
const TEMPLATE: &str = "template = { buckets = [], repositories = [], access_key = false, tags = { Team = \"Shop\" } }";

/// An AWS, and how a service is started on it.
struct Host {
    aws: Aws,
    launch: Launch,
    _listening: Listening,
}

impl Host {
    /// With `[hooks]` as in the text, and secrets for all that it may name.
    fn new(hooks: &str) -> Self {
        let aws = Aws::new(Options::default());
        let listening = on_loopback(&aws);
        let session = aws.role_session(ACCOUNT, "slipway", None);
        let launch = Launch::at(&listening.endpoint)
            .with_credentials(&session)
            .with_short_waits()
            .with("SLIPWAY_GITHUB_WEBHOOK_SECRET", GITHUB_SECRET)
            .with("SLIPWAY_GITHUB_TOKEN", FORGE_TOKEN)
            .with("SLIPWAY_GITLAB_SIGNING_TOKEN", STANDARD_SECRET)
            .with("SLIPWAY_GITLAB_TOKEN", FORGE_TOKEN);
        std::fs::write(launch.file("ci-secret"), format!("{STANDARD_SECRET}\n")).unwrap();
        let path = launch.file("slipway.toml");
        let before = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, format!("{before}\n{hooks}")).unwrap();
        Self {
            aws,
            launch,
            _listening: listening,
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.aws.refuse_violations();
    }
}

/// A delivery, as it is sent.
#[derive(Clone)]
struct Sent {
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Sent {
    fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    fn body(mut self, body: &str) -> Self {
        self.body = body.to_owned();
        self
    }
}

/// What npm's libraries sign a delivery with.
fn signed(delivery: &Value) -> Vec<(String, String)> {
    let headers = script::answer("node", "webhook_verifier/sign.mjs", &json!([delivery]));
    let headers = headers[0].as_object().unwrap().iter();
    headers
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect()
}

/// A delivery of GitHub.
fn github(event: &str, id: &str, body: &Value) -> Sent {
    let body = body.to_string();
    let headers = signed(&json!({"kind": "github", "secret": GITHUB_SECRET, "body": body}));
    Sent {
        path: "/hooks/github".into(),
        headers,
        body,
    }
    .header("content-type", "application/json")
    .header("x-github-event", event)
    .header("x-github-delivery", id)
}

/// A delivery that is signed as Standard Webhooks has it, `age` seconds ago.
fn standard(path: &str, id: &str, age: i64, body: &Value) -> Sent {
    let body = body.to_string();
    let timestamp = crate::support::issuer::now() - age;
    let headers = signed(&json!({
        "kind": "standard", "secret": STANDARD_SECRET, "id": id, "timestamp": timestamp, "body": body,
    }));
    Sent {
        path: path.into(),
        headers,
        body,
    }
    .header("content-type", "application/json")
}

/// A repository's event, as GitHub tells it.
fn repository_event(action: &str, id: u64, name: &str) -> Value {
    json!({
        "action": action,
        "repository": {
            "id": id, "full_name": format!("acme/{name}"), "default_branch": "main", "owner": {"id": 9919},
            "updated_at": format!("{}", fastrand::u64(..)),
        },
    })
}

async fn send(server: &Running, sent: &Sent) -> (u16, Value) {
    let mut request = server.api.anonymous(Method::POST, &sent.path);
    for (name, value) in &sent.headers {
        request = request.header(name, value);
    }
    let response = request.body(sent.body.clone()).send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap_or_default())
}

/// Sends a delivery that is accepted; returns whether anything follows from it.
async fn accept(server: &Running, sent: &Sent) -> bool {
    let (status, answer) = send(server, sent).await;
    assert_eq!(status, 202, "{answer}");
    answer["accepted"].as_bool().unwrap()
}

/// The jobs of an app, the newest first.
async fn jobs(server: &Running, app: &str) -> Vec<Value> {
    let page = server.get(&format!("/v1/jobs?app={app}")).await;
    page["items"].as_array().unwrap().clone()
}

/// The newest job of an app, when it has so many.
async fn job(server: &Running, app: &str, number: usize) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        let mut jobs = jobs(server, app).await;
        if jobs.len() == number {
            return jobs.remove(0);
        }
        assert!(
            Instant::now() < until && jobs.len() < number,
            "{app} has {} jobs, not {number}",
            jobs.len()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the service has logged a text so often.
async fn logged(host: &Host, text: &str, times: usize) {
    let until = Instant::now() + PATIENCE;
    while host.launch.log().matches(text).count() < times {
        assert!(
            Instant::now() < until,
            "{text:?} is not logged {times} times in\n{}",
            host.launch.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Approves a job's plan; the job, when it has ended.
async fn approve(server: &Running, job: &Value) -> Value {
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let approval = server.get(&format!("{path}/approval")).await;
    let body = json!({"plan_digest": approval["plan_digest"]});
    let request = server.request(Method::POST, &format!("{path}/approve"));
    server.text(request.json(&body)).await;
    server.ended(job).await
}
