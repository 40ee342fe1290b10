//! A process that is lost at any step between the receipt of a delivery and its job loses nothing and doubles nothing.

use std::time::Duration;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use reqwest::Method;
use serde_json::{Value, json};
use slipway::domain::hooks::rule::HookSettings;
use sqlx::Connection as _;

use super::{GITHUB_SECRET, repository_event};
use crate::aws::Options;
use crate::support::simulated::{Host, Process, runtime};

fn hooks() -> HookSettings {
    let rule = json!({
        "owner_id": "9919", "events": ["created"], "apps": ["acme-*"],
        "template": {"buckets": [], "repositories": [], "access_key": false},
    });
    serde_json::from_value(json!({"github": {"rules": [rule]}})).unwrap()
}

fn host() -> Host {
    let mut host = Host::new(Options::default());
    host.settings.hooks = hooks();
    host.settings.github_webhook_secret = Some(GITHUB_SECRET.to_owned().into());
    host
}

/// Sends the delivery; whether it was answered.
async fn deliver(process: &Process, body: &str) -> bool {
    let key = Key::new(HMAC_SHA256, GITHUB_SECRET.as_bytes());
    let signature = format!("sha256={}", hex::encode(sign(&key, body.as_bytes())));
    let request = process
        .anonymous(Method::POST, "/hooks/github")
        .header("content-type", "application/json")
        .header("x-hub-signature-256", signature)
        .header("x-github-event", "repository")
        .header("x-github-delivery", "d1")
        .body(body.to_owned());
    let Some(response) = process.answer(request).await else {
        return false;
    };
    assert_eq!(response.status(), 202);
    true
}

async fn jobs(process: &Process) -> Vec<Value> {
    let page = process.json("/v1/jobs").await;
    page["items"].as_array().unwrap().clone()
}

/// Waits until there is a job, and for longer than a second one would take.
async fn settled(process: &Process) -> Vec<Value> {
    for _ in 0..600 {
        if !jobs(process).await.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    tokio::time::sleep(Duration::from_secs(200)).await;
    jobs(process).await
}

/// What became of the deliveries, read behind the store's back.
async fn outcomes(host: &Host) -> Vec<String> {
    // A connection of the test's own is a thread that simulated time does not wait for.
    let _hold = host.clock.hold();
    let mut db = sqlx::AnyConnection::connect(&host.settings.database_url)
        .await
        .unwrap();
    let states = sqlx::query_scalar("SELECT state FROM hook_deliveries")
        .fetch_all(&mut db)
        .await
        .unwrap();
    db.close().await.unwrap();
    states
}

#[test]
fn a_process_lost_at_any_step_loses_and_doubles_nothing() {
    let body = repository_event("created", 7, "acme-shop").to_string();
    let runtime = runtime();
    let (mut unanswered, mut answered, mut resumed) = (0, 0, 0);
    for extra in 1.. {
        let ended = runtime.block_on(async {
            let host = host();
            let process = host.start().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let began = process.simulated.steps();
            process.simulated.kill_before(began + extra);
            let was_answered = deliver(&process, &body).await;
            for _ in 0..100 {
                if process.simulated.is_killed() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let outlived = !process.simulated.is_killed();
            process.kill().await;
            let next = host.start().await;
            let tasks = next.json("/v1/background").await.to_string();
            assert!(tasks.contains("handle_hooks") && tasks.contains("prune_hook_deliveries"));
            // Nobody delivers again what was answered.
            if !was_answered {
                assert!(deliver(&next, &body).await);
            }
            let jobs = settled(&next).await;
            let states: Vec<&Value> = jobs.iter().map(|job| &job["state"]).collect();
            assert_eq!(
                states,
                ["awaiting_approval"],
                "lost before step {extra}: {jobs:#?}"
            );
            assert_eq!(outcomes(&host).await, ["done"], "lost before step {extra}");
            next.kill().await;
            match (was_answered, outlived) {
                (false, _) => unanswered += 1,
                (true, false) => resumed += 1,
                (true, true) => answered += 1,
            }
            outlived
        });
        if ended {
            break;
        }
    }
    runtime.shutdown_timeout(Duration::from_secs(5));
    assert!(
        unanswered > 0 && resumed > 0 && answered == 1,
        "{unanswered} lost before the answer, {resumed} after it"
    );
}
