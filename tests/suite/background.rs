//! The background tasks, as `GET /v1/background` and the metrics show them.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::aws::Options;
use crate::support::simulated::{Host, Process, runtime};

fn simulated(test: impl AsyncFnOnce(Host)) {
    let runtime = runtime();
    runtime.block_on(test(Host::new(Options::default())));
    runtime.shutdown_timeout(Duration::from_secs(5));
}

async fn task(process: &Process, name: &str) -> Value {
    let tasks = process.json("/v1/background").await["tasks"].take();
    tasks
        .as_array()
        .unwrap()
        .iter()
        .find(|task| task["name"] == name)
        .unwrap_or_else(|| panic!("no task {name} in {tasks:#}"))
        .clone()
}

async fn execute(host: &Host, sql: &'static str) {
    // A connection of the test's own is a thread that simulated time does not wait for.
    let _hold = host.clock.hold();
    let mut db = sqlx::AnyConnection::connect(&host.settings.database_url)
        .await
        .unwrap();
    sqlx::query(sql).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
}

#[test]
fn each_task_shows_when_it_ran_and_for_how_long() {
    slipway::telemetry::metrics();
    simulated(async |host| {
        let process = host.start().await;
        tokio::time::sleep(Duration::from_secs(35)).await;
        let tasks = process.json("/v1/background").await["tasks"].take();
        let names: Vec<&str> = tasks
            .as_array()
            .unwrap()
            .iter()
            .map(|task| task["name"].as_str().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "expire_secrets",
                "expire_tokens",
                "expire_approvals",
                "prune_idempotency",
                "reencrypt",
                "verify_keys",
                "checkpoint",
                "prune_history",
                "start_due_removals",
                "advance_rotations",
                "start_due_rotations",
                "deliver_webhooks",
                "report_keys",
                "check_accounts",
            ],
            "drift checks are off"
        );
        for task in tasks.as_array().unwrap() {
            assert_eq!(
                (&task["running"], &task["last_error"]),
                (&json!(false), &Value::Null),
                "{task:#}"
            );
            for field in ["last_started_at", "last_succeeded_at", "last_duration_ms"] {
                assert!(!task[field].is_null(), "{field} of {task:#}");
            }
        }
        let runs = async |name| task(&process, name).await["runs"].as_u64().unwrap();
        assert_eq!(
            (runs("expire_secrets").await, runs("prune_history").await),
            (2, 1),
            "each by its period"
        );
        let metrics = process.get("/metrics").await.text().await.unwrap();
        for metric in [
            r#"slipway_background_runs_total{task="prune_history",outcome="success"}"#,
            r#"slipway_background_run_seconds_count{task="prune_history"}"#,
            r#"slipway_background_last_success_timestamp_seconds{task="prune_history"} 1"#,
        ] {
            assert!(metrics.contains(metric), "{metric} in {metrics}");
        }
        process.stop().await;
    });
}

#[test]
fn a_task_that_fails_shows_why_and_runs_again() {
    simulated(async |host| {
        let process = host.start().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let once = task(&process, "prune_idempotency").await;
        execute(&host, "ALTER TABLE idempotency RENAME TO lost").await;
        tokio::time::sleep(Duration::from_secs(35)).await;
        let failed = task(&process, "prune_idempotency").await;
        let error = failed["last_error"].as_str().unwrap();
        assert!(error.contains("idempotency"), "{failed:#}");
        assert_eq!(failed["last_succeeded_at"], once["last_succeeded_at"]);
        assert_eq!(
            task(&process, "expire_secrets").await["last_error"],
            Value::Null,
            "the others go on"
        );
        execute(&host, "ALTER TABLE lost RENAME TO idempotency").await;
        tokio::time::sleep(Duration::from_secs(35)).await;
        let mended = task(&process, "prune_idempotency").await;
        assert_eq!(mended["last_error"], Value::Null, "{mended:#}");
        assert!(mended["runs"].as_u64() > failed["runs"].as_u64());
        process.stop().await;
    });
}

#[test]
fn a_new_key_activates_its_verification_before_the_period_is_over() {
    simulated(async |host| {
        let process = host.start().await;
        process.onboard(&json!({"name": "acme"})).await;
        let before = host.clock.now();
        let ready = async || {
            let app = process.json("/v1/apps/acme/credentials").await;
            app.to_string().contains(r#""readiness":"ready""#)
        };
        while !ready().await {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let waited = host.clock.now().since(before);
            assert!(waited < Duration::from_secs(25), "only by its period");
        }
        process.stop().await;
    });
}
