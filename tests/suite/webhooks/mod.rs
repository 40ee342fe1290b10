//! Webhooks: what is told to whom, in which order, and what a receiver can and cannot do to the service.

mod addresses;
mod events;
mod failing;
pub mod receiver;
mod replicas;
mod requests;
mod sending;

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Answer, ask, get, id, idle, post};
use crate::support::server::{Server, Setup};
use receiver::Receiver;

/// Longer than anything here takes that goes well.
const PATIENCE: Duration = Duration::from_secs(30);

/// A service that may send to receivers on this machine. Its jobs stay queued.
fn setup() -> Setup {
    let mut setup = idle();
    allow_local(&mut setup);
    setup
}

fn allow_local(setup: &mut Setup) {
    setup.settings.webhook_allow_http = true;
    setup.settings.webhook_allowed_cidrs = "127.0.0.0/8".to_owned().try_into().unwrap();
}

/// A webhook for everything at the receiver: with its secret.
async fn webhook(server: &Server, receiver: &Receiver) -> Value {
    create(server, &json!({"url": receiver.url})).await
}

async fn create(server: &Server, body: &Value) -> Value {
    post(server, "/v1/webhooks", body).await.expect(201)
}

fn path(webhook: &Value) -> String {
    format!("/v1/webhooks/{}", id(webhook))
}

/// The id of a test event, which is to be delivered.
async fn test(server: &Server, webhook: &Value) -> String {
    let path = format!("{}/test", path(webhook));
    let delivery = ask(server.request(Method::POST, &path)).await.expect(200);
    assert_eq!(delivery["state"], "pending", "{delivery}");
    id(&delivery).to_owned()
}

async fn change(server: &Server, webhook: &Value, body: &Value) -> Answer {
    ask(server.request(Method::PATCH, &path(webhook)).json(body)).await
}

async fn now(server: &Server, webhook: &Value) -> Value {
    get(server, &path(webhook)).await.expect(200)
}

async fn deliveries(server: &Server, webhook: &Value) -> Vec<Value> {
    let path = format!("{}/deliveries?limit=200", path(webhook));
    let page = get(server, &path).await.expect(200);
    page["items"].as_array().unwrap().clone()
}

/// The delivery of an event, when `wanted` is true of it.
async fn delivery(
    server: &Server,
    webhook: &Value,
    event: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    let mut last = Value::Null;
    for _ in 0..600 {
        let found = deliveries(server, webhook).await;
        if let Some(found) = found.into_iter().find(|it| id(it) == event) {
            if wanted(&found) {
                return found;
            }
            last = found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the delivery is not so: {last:#}");
}

/// The webhook, when `wanted` is true of it.
async fn becomes(server: &Server, webhook: &Value, wanted: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..600 {
        let found = now(server, webhook).await;
        if wanted(&found) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the webhook is not so: {:#}", now(server, webhook).await);
}
