//! The database in trouble: requests get a 503 that says so, nothing that was accepted is lost, and the
//! service goes on by itself when the database does.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::support::aws::{Emulator, Place};
use crate::support::database::{Cable, Cluster, new_database};
use crate::support::process::{Launch, Running};
use crate::support::proxy::{Pass, Proxy};
use crate::support::{aws_inspector, unique};

/// Longer than anything here takes that goes well.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks for an app, with its name as the Idempotency-Key.
async fn ask(server: &Running, app: &str) -> (StatusCode, Value) {
    let request = server
        .request(Method::POST, "/v1/apps")
        .header("idempotency-key", app)
        .json(&json!({"name": app}));
    let response = request.send().await.unwrap();
    let (status, kind) = (
        response.status(),
        response.headers().get("content-type").cloned(),
    );
    let body: Value = response.json().await.unwrap();
    if !status.is_success() {
        assert_eq!(kind.unwrap(), "application/problem+json", "{status} {body}");
    }
    (status, body)
}

/// Asks until the service refuses; the names that it accepted.
async fn ask_until_refused(server: &Running, accepted: &mut Vec<String>) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        let app = unique("acme");
        match ask(server, &app).await {
            (StatusCode::ACCEPTED, _) => accepted.push(app),
            (StatusCode::SERVICE_UNAVAILABLE, problem) => return problem,
            (status, body) => panic!("{status} {body}"),
        }
        assert!(
            Instant::now() < until,
            "the service accepts although its database is in trouble"
        );
    }
}

fn assert_tells_of_the_database(problem: &Value) {
    assert_eq!(
        (&problem["status"], &problem["retryable"]),
        (&json!(503), &json!(true)),
        "{problem:#}"
    );
    assert!(
        problem["detail"].as_str().unwrap().contains("database"),
        "{problem:#}"
    );
    assert!(problem["remedy"].is_string(), "{problem:#}");
}

/// Asks again while the service refuses, as the refusal says: a connection attempt from before the database was back
/// may refuse a request after it.
async fn ask_until_accepted(server: &Running, app: &str) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        match ask(server, app).await {
            (StatusCode::ACCEPTED, job) => return job,
            (StatusCode::SERVICE_UNAVAILABLE, problem) => assert_tells_of_the_database(&problem),
            (status, body) => panic!("{status} {body}"),
        }
        assert!(Instant::now() < until, "requests are not accepted again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Every accepted app is onboarded by itself, with one key; and new ones are taken again.
async fn assert_nothing_is_lost(server: &Running, place: &Place, accepted: &[String]) {
    let late = unique("late");
    ask_until_accepted(server, &late).await;
    for app in accepted.iter().chain([&late]) {
        let job = ask_until_accepted(server, app).await;
        let job = server.ended(&job).await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        let keys = aws_inspector::call(place, "iam", "list_access_keys", json!({"UserName": app}))
            .unwrap();
        let keys = keys["AccessKeyMetadata"].as_array().unwrap();
        assert_eq!(keys.len(), 1, "{app}: {keys:?}");
        assert_eq!(keys[0]["AccessKeyId"], job["result"]["access_key_id"]);
    }
}

/// Jobs under way that take long enough for something to happen meanwhile.
async fn busy(launch: &Launch, proxy: &Proxy) -> (Running, Vec<String>) {
    proxy.set(Pass::Slowly(Duration::from_millis(100)));
    let server = launch.serve().await;
    let apps: Vec<_> = (0..6).map(|_| unique("acme")).collect();
    for app in &apps {
        assert_eq!(ask(&server, app).await.0, StatusCode::ACCEPTED);
    }
    tokio::time::sleep(Duration::from_millis(250)).await;
    (server, apps)
}

async fn place_and_proxy() -> (Place, Proxy, Launch) {
    let place = Place::new(Emulator::Moto);
    let proxy = Proxy::before(&place.endpoint);
    let launch = Launch::new(&place)
        .with("AWS_ENDPOINT_URL", &proxy.endpoint)
        .with("SLIPWAY_LEASE_DURATION", "3s");
    (place, proxy, launch)
}

/// How far into any file a running process may write, which stands for a full disk.
fn limit_files(server: &Running, bytes: &str) {
    let (process, limit) = (server.id().to_string(), format!("--fsize={bytes}:"));
    assert!(
        std::process::Command::new("prlimit")
            .args(["--pid", &process, &limit])
            .status()
            .unwrap()
            .success()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_nothing() {
    let (place, proxy, launch) = place_and_proxy().await;
    let (server, mut accepted) = busy(&launch, &proxy).await;
    limit_files(&server, "4096");
    let problem = ask_until_refused(&server, &mut accepted).await;
    assert_tells_of_the_database(&problem);
    assert_eq!(
        server
            .request(Method::GET, "/readyz")
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(
        server
            .request(Method::GET, "/healthz")
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::OK
    );
    proxy.set(Pass::Open);
    tokio::time::sleep(Duration::from_secs(4)).await;
    limit_files(&server, "unlimited");
    assert_nothing_is_lost(&server, &place, &accepted).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_does_not_fit_leaves_no_file_and_can_be_made_again() {
    let (_place, _proxy, launch) = place_and_proxy().await;
    launch.serve().await.stop().await;
    let to = launch.file("backup.db");
    let mut command = tokio::process::Command::new("sh");
    // 64 KiB: less than the database, and enough for what SQLite keeps beside it.
    command.args([
        "-c",
        "trap '' XFSZ; ulimit -f 128; exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_slipway"),
        "backup",
    ]);
    let output = command
        .arg(&to)
        .env_clear()
        .envs(launch.environment())
        .output()
        .await
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success()
            && told.contains("no backup was written to")
            && told.contains("backup.db"),
        "{told}"
    );
    let left = std::fs::read_dir(launch.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(
        left.into_iter().all(|name| !name.starts_with("backup.db")),
        "nothing is left of it"
    );
    let output = launch.run(&["backup", to.to_str().unwrap()]).await;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(std::fs::metadata(&to).unwrap().len() > 65536);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_database_loses_nothing() {
    let (place, proxy, launch) = place_and_proxy().await;
    let (server, mut accepted) = busy(&launch, &proxy).await;
    let mut other = sqlx::SqliteConnection::connect(&format!(
        "sqlite://{}",
        launch.file("slipway.db").display()
    ))
    .await
    .unwrap();
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();
    let problem = ask_until_refused(&server, &mut accepted).await;
    assert_tells_of_the_database(&problem);
    proxy.set(Pass::Open);
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    assert_nothing_is_lost(&server, &place, &accepted).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_lasts_from_when_it_was_asked_for_however_late_the_answer_comes() {
    let (_place, proxy, launch) = place_and_proxy().await;
    let server = launch
        .clone()
        .with("SLIPWAY_WORKERS", "1")
        .with("SLIPWAY_DRIFT_INTERVAL", "0s")
        .serve()
        .await;
    proxy.set(Pass::Closed);
    let mut jobs = Vec::new();
    for _ in 0..2 {
        // Without a key: its worker waits for no write until its end.
        let body =
            json!({"name": unique("acme"), "access_key": false, "buckets": [], "repositories": []});
        let accepted = server
            .request(Method::POST, "/v1/apps")
            .json(&body)
            .send()
            .await
            .unwrap();
        jobs.push(accepted.json::<Value>().await.unwrap());
    }
    let mut other = sqlx::SqliteConnection::connect(&format!(
        "sqlite://{}",
        launch.file("slipway.db").display()
    ))
    .await
    .unwrap();
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();
    // The first job ends, and the second is asked for, but for the commit. Its lease is three seconds.
    proxy.set(Pass::Open);
    tokio::time::sleep(Duration::from_secs(4)).await;
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    assert_eq!(server.ended(&jobs[0]).await["state"], "succeeded");
    let second = server.ended(&jobs[1]).await;
    assert_eq!(
        (&second["state"], second["attempt"].as_u64() > Some(1)),
        (&json!("succeeded"), true),
        "{second:#}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_written_to_a_deleted_file_is_not_accepted() {
    let (place, proxy, launch) = place_and_proxy().await;
    let (server, mut accepted) = busy(&launch, &proxy).await;
    for name in ["slipway.db", "slipway.db-wal"] {
        let away = launch.file("away");
        std::fs::rename(launch.file(name), &away).unwrap();
        let problem = ask_until_refused(&server, &mut accepted).await;
        assert_tells_of_the_database(&problem);
        let ready = server
            .request(Method::GET, "/readyz")
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert!(ready.contains("deleted, moved or replaced"), "{ready}");
        let read = server
            .request(Method::GET, "/v1/jobs")
            .send()
            .await
            .unwrap();
        assert_eq!(read.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(
            !launch.file(name).exists(),
            "no empty one is put in its place"
        );
        std::fs::rename(&away, launch.file(name)).unwrap();
    }
    proxy.set(Pass::Open);
    assert_nothing_is_lost(&server, &place, &accepted).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_stopped_and_started_in_the_middle_of_jobs_loses_nothing() {
    let mut cluster = Cluster::start();
    let (place, proxy, launch) = place_and_proxy().await;
    let launch = launch.with("SLIPWAY_DATABASE_URL", &cluster.database().await);
    let (server, mut accepted) = busy(&launch, &proxy).await;
    cluster.stop();
    let problem = ask_until_refused(&server, &mut accepted).await;
    assert_tells_of_the_database(&problem);
    proxy.set(Pass::Open);
    cluster.start_again();
    assert_nothing_is_lost(&server, &place, &accepted).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_in_mid_request_loses_nothing() {
    let cable = Cable::to(&new_database().await).await;
    let (place, proxy, launch) = place_and_proxy().await;
    let launch = launch.with("SLIPWAY_DATABASE_URL", &cable.url);
    let (server, mut accepted) = busy(&launch, &proxy).await;
    for _ in 0..30 {
        let app = unique("acme");
        let (answer, ()) = tokio::join!(ask(&server, &app), async {
            tokio::time::sleep(Duration::from_micros(fastrand::u64(0..6000))).await;
            cable.cut();
        });
        match answer {
            (StatusCode::ACCEPTED, _) => accepted.push(app),
            (StatusCode::SERVICE_UNAVAILABLE, problem) => {
                assert_tells_of_the_database(&problem);
                // Whether it was committed is not known to the asker, who asks again: one job either way.
                accepted.push(app);
            }
            (status, body) => panic!("{status} {body}"),
        }
    }
    proxy.set(Pass::Open);
    for app in &accepted {
        ask_until_accepted(&server, app).await;
    }
    cable.unplug();
    assert_tells_of_the_database(&ask_until_refused(&server, &mut accepted).await);
    cable.plug_in();
    assert_nothing_is_lost(&server, &place, &accepted).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgresql_is_down_each_request_is_refused_within_six_seconds() {
    let mut cluster = Cluster::start();
    let place = Place::new(Emulator::Moto);
    let launch = Launch::new(&place).with("SLIPWAY_DATABASE_URL", &cluster.database().await);
    let server = launch.serve().await;
    cluster.stop();
    let asked = (0..60).map(|_| async {
        let began = Instant::now();
        let (status, problem) = ask(&server, &unique("acme")).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
        began.elapsed()
    });
    let longest = futures::future::join_all(asked)
        .await
        .into_iter()
        .max()
        .unwrap();
    assert!(longest < Duration::from_secs(6), "{longest:?}");
    cluster.start_again();
    server.stop().await;
}

/// Longer than it takes to find out that a connection is silent.
const RECOVERY: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_go_silent_are_replaced_and_nothing_is_lost() {
    let direct = new_database().await;
    let cable = Cable::to(&direct).await;
    let (place, proxy, launch) = place_and_proxy().await;
    let launch = launch.with("SLIPWAY_DATABASE_URL", &cable.url);
    let (server, mut accepted) = busy(&launch, &proxy).await;
    for _ in 0..2 {
        proxy.set(Pass::Closed);
        let followed = ask_until_accepted(&server, &unique("acme")).await;
        let events = server.request(
            Method::GET,
            &format!("/v1/jobs/{}/events", followed["id"].as_str().unwrap()),
        );
        let mut events = events.send().await.unwrap();
        assert!(events.chunk().await.unwrap().is_some());
        cable.silence();
        let silent = Instant::now();
        let listening = now_of(&direct).await;
        // More than there are connections.
        let apps: Vec<_> = (0..20).map(|_| unique("acme")).collect();
        let asked = apps.iter().map(|app| async {
            let (status, body) = ask(&server, app).await;
            assert!(
                [StatusCode::ACCEPTED, StatusCode::SERVICE_UNAVAILABLE].contains(&status),
                "{status} {body}"
            );
        });
        let read = (0..20).map(|_| async {
            server
                .request(Method::GET, "/v1/jobs")
                .send()
                .await
                .unwrap()
                .status()
        });
        futures::future::join(
            futures::future::join_all(asked),
            futures::future::join_all(read),
        )
        .await;
        proxy.set(Pass::Open);
        while server
            .request(Method::GET, "/readyz")
            .send()
            .await
            .unwrap()
            .status()
            != StatusCode::OK
        {
            assert!(silent.elapsed() < RECOVERY, "it is not ready");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        // The stream goes on, or ends, for its client to come back.
        let rest = async { while events.chunk().await.unwrap().is_some() {} };
        tokio::time::timeout(RECOVERY, rest)
            .await
            .expect("the stream does not hang");
        while listeners_since(&direct, listening).await == 0 {
            assert!(
                silent.elapsed() < RECOVERY,
                "nobody listens to other replicas"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        accepted.extend(apps);
    }
    for app in &accepted {
        ask_until_accepted(&server, app).await;
    }
    assert_nothing_is_lost(&server, &place, &accepted).await;
    server.stop().await;
}

async fn number(database: &str, sql: String) -> i64 {
    let mut db = sqlx::AnyConnection::connect(database).await.unwrap();
    let number = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .fetch_one(&mut db)
        .await
        .unwrap();
    db.close().await.unwrap();
    number
}

/// The database's time, in milliseconds.
async fn now_of(database: &str) -> i64 {
    number(
        database,
        "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)".into(),
    )
    .await
}

/// Connections made since then that listen to other replicas.
async fn listeners_since(database: &str, since: i64) -> i64 {
    let listens = format!(
        "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %' \
         AND EXTRACT(EPOCH FROM backend_start) * 1000 > {since}"
    );
    number(database, listens).await
}
