//! Several processes on one PostgreSQL database: each job ends once, by one worker at a time, whichever
//! process is lost; and whoever asks is told, whichever process he asks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::aws::{Emulator, Place};
use crate::support::database::new_database;
use crate::support::process::{Launch, Running};
use crate::support::proxy::{Pass, Proxy};
use crate::support::wire::Call;
use crate::support::{alone, aws_inspector, unique};

const REPLICAS: usize = 3;
const BACKLOG: usize = 100;
/// Between two kills.
const PEACE: Duration = Duration::from_millis(2500);
/// Longer than anything here takes that goes well.
const PATIENCE: Duration = Duration::from_secs(240);

/// A replica's launch: on a database that it shares, with the encryption key and token that all of them have.
fn replica(of: &Launch, database: &str) -> Launch {
    let place_of_its_own = Launch::at("http://127.0.0.1:1");
    let mut launch = of
        .clone()
        .with("SLIPWAY_DATABASE_URL", database)
        .with("SLIPWAY_LEASE_DURATION", "3s");
    // A look for drift at an app whose job has ended is no second worker, and calls as one.
    launch = launch.with("SLIPWAY_DRIFT_INTERVAL", "0s");
    launch.folder = place_of_its_own.folder;
    launch.with_short_waits()
}

/// What one process, from its start to its end, has called, by the app that the call was about.
struct Life {
    calls: Vec<Call>,
}

/// Starts the replica again and again, with a proxy of its own each time, and kills it when asked to. `started` counts
/// the starts of all replicas.
async fn live_and_die(
    launch: Launch,
    address: SocketAddr,
    endpoint: String,
    mut kills: watch::Receiver<usize>,
    started: watch::Sender<usize>,
    me: usize,
    done: CancellationToken,
) -> Vec<Life> {
    let mut lives = Vec::new();
    while !done.is_cancelled() {
        let proxy = Proxy::before(&endpoint);
        let server = launch
            .clone()
            .with("AWS_ENDPOINT_URL", &proxy.endpoint)
            .serve_at(address)
            .await;
        started.send_modify(|starts| *starts += 1);
        let killed = async {
            while kills.changed().await.is_ok() {
                if *kills.borrow() % REPLICAS == me {
                    return;
                }
            }
            // Nobody kills any more.
            std::future::pending().await
        };
        tokio::select! {
            () = killed => server.kill().await,
            () = done.cancelled() => server.stop().await,
        }
        lives.push(Life {
            calls: proxy.take_log(),
        });
    }
    lives
}

/// Asks processes that may be killed any moment, until one answers.
async fn ask(
    servers: &[String],
    token: &str,
    method: Method,
    path: &str,
    body: Option<Value>,
    key: Option<&str>,
) -> Value {
    let client = reqwest::Client::new();
    let until = Instant::now() + PATIENCE;
    let mut last = String::new();
    for turn in 0.. {
        let mut request = client
            .request(
                method.clone(),
                format!("{}{path}", servers[turn % servers.len()]),
            )
            .bearer_auth(token);
        if let Some(body) = &body {
            request = request.json(body);
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        match request.send().await {
            Ok(response) if response.status().is_success() => {
                if let Ok(answer) = response.json().await {
                    return answer;
                }
            }
            Ok(response) => last = format!("{response:?}"),
            Err(error) => last = format!("{error:?}"),
        }
        assert!(
            Instant::now() < until,
            "{method} {path} is not answered: {last}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    unreachable!()
}

/// All events of a job, page by page, from a process that may be killed any moment.
async fn events(server: &str, token: &str, job: &str) -> Vec<Value> {
    let (client, mut events, mut cursor) = (reqwest::Client::new(), Vec::new(), "0".to_owned());
    loop {
        let asked = client
            .get(format!("{server}/v1/jobs/{job}/events?cursor={cursor}"))
            .bearer_auth(token)
            .header("accept", "application/json");
        if let Ok(response) = asked.send().await
            && response.status() == StatusCode::OK
            && let Ok(page) = response.json::<Value>().await
        {
            events.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => return events,
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A place on the loopback for each replica, that it keeps when it is started again.
fn addresses() -> Vec<SocketAddr> {
    let listeners: Vec<_> = (0..REPLICAS)
        .map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    listeners
        .iter()
        .map(|listener| listener.local_addr().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_of_which_one_is_killed_every_few_seconds_end_every_job_once() {
    let _turn = alone().await;
    let place = Place::new(Emulator::Moto);
    let database = new_database().await;
    // Few jobs at once, so that most end between two kills.
    let first = Launch::new(&place).with("SLIPWAY_WORKERS", "4");
    let addresses = addresses();
    let done = CancellationToken::new();
    let (kill, kills) = watch::channel(0);
    let (started, mut starts) = watch::channel(0);
    let mut lives = JoinSet::new();
    for (me, address) in addresses.iter().enumerate() {
        let launch = replica(&first, &database);
        lives.spawn(live_and_die(
            launch,
            *address,
            place.endpoint.clone(),
            kills.clone(),
            started.clone(),
            me,
            done.clone(),
        ));
    }
    drop(started);
    let mut killing = JoinSet::new();
    let until = done.clone();
    killing.spawn(async move {
        let mut killed = 0;
        // On a slow machine, too, all of them live for a while before one is killed.
        while starts
            .wait_for(|starts| *starts >= REPLICAS + killed)
            .await
            .is_ok()
            && tokio::time::timeout(PEACE, until.cancelled())
                .await
                .is_err()
        {
            killed += 1;
            kill.send(killed).unwrap();
        }
        killed
    });

    let servers: Vec<String> = addresses
        .iter()
        .map(|address| format!("http://{address}"))
        .collect();
    let apps: Vec<String> = (0..BACKLOG).map(|_| unique("acme")).collect();
    let mut jobs = BTreeMap::new();
    for app in &apps {
        let job = ask(
            &servers,
            &first.admin_token,
            Method::POST,
            "/v1/apps",
            Some(json!({"name": app})),
            Some(app),
        )
        .await;
        jobs.insert(app.clone(), job["id"].as_str().unwrap().to_owned());
    }
    let mut attempts = BTreeMap::new();
    for (app, id) in &jobs {
        let until = Instant::now() + PATIENCE;
        loop {
            let job = ask(
                &servers,
                &first.admin_token,
                Method::GET,
                &format!("/v1/jobs/{id}?wait=1s"),
                None,
                None,
            )
            .await;
            if !matches!(
                job["state"].as_str(),
                Some("queued" | "running" | "waiting")
            ) {
                assert_eq!(job["state"], "succeeded", "{job:#}");
                attempts.insert(app.clone(), job["attempt"].as_u64().unwrap());
                let keys = aws_inspector::call(
                    &place,
                    "iam",
                    "list_access_keys",
                    json!({"UserName": app}),
                )
                .unwrap();
                let keys: Vec<_> = keys["AccessKeyMetadata"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|key| &key["AccessKeyId"])
                    .collect();
                assert_eq!(
                    keys,
                    [&job["result"]["access_key_id"]],
                    "{app} has one live key, which is the one that is known"
                );
                break;
            }
            assert!(Instant::now() < until, "the job does not end: {job:#}");
        }
    }
    for (app, id) in &jobs {
        let events = events(&servers[0], &first.admin_token, id).await;
        let ends = events
            .iter()
            .filter(|event| event["event"] == "job_succeeded")
            .count();
        assert_eq!(ends, 1, "the job of {app} ends once");
    }
    done.cancel();
    let killed = killing.join_all().await[0];
    let all: Vec<Life> = lives.join_all().await.into_iter().flatten().collect();
    assert_one_worker_at_a_time(&all, &attempts);
    let cut = attempts.values().filter(|attempts| **attempts > 1).count();
    println!(
        "{} jobs, {killed} kills, {} lives of processes, {cut} jobs were cut off and went on elsewhere",
        jobs.len(),
        all.len()
    );
    assert!(
        killed > 2 && cut > 0,
        "something was killed in the middle of something"
    );
}

/// The calls about an app come in blocks, one process a block, and no more blocks than attempts: two
/// workers at once would take turns.
fn assert_one_worker_at_a_time(lives: &[Life], attempts: &BTreeMap<String, u64>) {
    for (app, attempts) in attempts {
        let mut calls: Vec<(Instant, usize)> = Vec::new();
        for (life, Life { calls: log }) in lives.iter().enumerate() {
            calls.extend(
                log.iter()
                    .filter(|call| is_about(call, app))
                    .map(|call| (call.began, life)),
            );
        }
        assert!(calls.len() >= 5, "the log tells of {app}");
        calls.sort_unstable();
        let blocks = calls.chunk_by(|a, b| a.1 == b.1).count() as u64;
        assert!(
            blocks <= *attempts,
            "{app}: {blocks} blocks of calls in {attempts} attempts: {}",
            told(lives, app)
        );
    }
}

/// The calls about an app, for a person to see whose they were, and what for.
fn told(lives: &[Life], app: &str) -> String {
    let mut calls: Vec<(Instant, usize, String)> = Vec::new();
    for (life, Life { calls: log }) in lives.iter().enumerate() {
        calls.extend(
            log.iter()
                .filter(|call| is_about(call, app))
                .map(|call| (call.began, life, call.name())),
        );
    }
    calls.sort_unstable();
    let began = calls[0].0;
    calls
        .iter()
        .map(|(at, life, name)| format!("\n  {:?} life {life} {name}", *at - began))
        .collect()
}

fn is_about(call: &Call, app: &str) -> bool {
    call.things()
        .iter()
        .any(|thing| thing == app || thing.starts_with(&format!("{app}-")))
}

/// The events of a job as a stream tells them, to its end.
async fn streamed(server: &Running, job: &str) -> Vec<String> {
    let response = server
        .request(Method::GET, &format!("/v1/jobs/{job}/events"))
        .send()
        .await
        .unwrap();
    let text = response.text().await.unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("id: ").or(line.strip_prefix("id:")))
        .map(|id| id.trim().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_replica_is_asked_it_tells_what_the_others_do() {
    let place = Place::new(Emulator::Moto);
    let proxy = Proxy::before(&place.endpoint);
    proxy.set(Pass::Slowly(Duration::from_millis(60)));
    let database = new_database().await;
    let first = Launch::new(&place).with("AWS_ENDPOINT_URL", &proxy.endpoint);
    let (here, there) = (
        replica(&first, &database).serve().await,
        replica(&first, &database).serve().await,
    );
    for server in [&here, &there] {
        let job = server.ask(&unique("acme")).await;
        let id = job["id"].as_str().unwrap();
        let began = Instant::now();
        let (events, also, ended, as_well) = tokio::join!(
            streamed(&here, id),
            streamed(&there, id),
            here.ended(&job),
            there.ended(&job)
        );
        assert_eq!(ended["state"], "succeeded", "{ended:#}");
        assert_eq!(ended, as_well);
        assert_eq!(events, also, "one of the two does not run the job");
        assert!(events.len() > 10, "{events:?}");
        println!("followed at both in {:?}", began.elapsed());
    }
    // A cancel that one takes reaches the other's worker.
    proxy.set(Pass::Closed);
    let job = here.ask(&unique("acme")).await;
    let id = job["id"].as_str().unwrap();
    let until = Instant::now() + PATIENCE;
    while there.get(&format!("/v1/jobs/{id}")).await["state"] != "running" {
        assert!(Instant::now() < until, "the job is not taken up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for server in [&here, &there] {
        let asked = server.request(Method::POST, &format!("/v1/jobs/{id}/cancel"));
        assert_eq!(asked.send().await.unwrap().status(), StatusCode::ACCEPTED);
    }
    proxy.set(Pass::Open);
    assert_eq!(there.ended(&job).await["state"], "canceled");
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_stopped_for_longer_than_its_lease_calls_nothing_when_it_goes_on() {
    let _turn = alone().await;
    let place = Place::new(Emulator::Moto);
    let (proxy, other) = (
        Proxy::before(&place.endpoint),
        Proxy::before(&place.endpoint),
    );
    let database = new_database().await;
    let first = Launch::new(&place).with("SLIPWAY_WORKERS", "24");
    let launch = replica(&first, &database);
    let stopped = launch
        .clone()
        .with("AWS_ENDPOINT_URL", &proxy.endpoint)
        .serve()
        .await;
    // In the middle of its walk, whatever the machine's speed.
    proxy.set(Pass::ClosedAbout("Action=AttachUserPolicy"));
    let mut jobs = Vec::new();
    for _ in 0..24 {
        jobs.push(stopped.ask(&unique("acme")).await);
    }
    let until = Instant::now() + PATIENCE;
    let held = || -> BTreeSet<Vec<String>> {
        let log = proxy.log();
        let calls = log
            .iter()
            .filter(|call| call.name() == "iam:AttachUserPolicy");
        calls.map(Call::things).collect()
    };
    let mut calls = 0;
    // A request that is handed to its connection as the process stops is sent when it goes on, and nothing can call it
    // back. So everything but the held calls is over.
    while held().len() < jobs.len() || proxy.log().len() > calls {
        assert!(Instant::now() < until, "each job comes to the call");
        calls = proxy.log().len();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    stopped.signal("STOP").await;
    // What it was at takes effect, and it is answered while it sleeps.
    proxy.set(Pass::Open);
    let goes_on = replica(&first, &database)
        .with("AWS_ENDPOINT_URL", &other.endpoint)
        .serve()
        .await;
    let mut cut_off = 0;
    for job in &jobs {
        let job = goes_on.ended(job).await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        cut_off += usize::from(job["attempt"].as_u64() > Some(1));
    }
    assert_eq!(
        cut_off,
        jobs.len(),
        "all jobs were under way when the replica was stopped"
    );
    let again = Instant::now();
    stopped.signal("CONT").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    // That it may still work, and whether AWS takes the new keys, it can ask whoever has the jobs.
    let late = proxy
        .take_log()
        .into_iter()
        .filter(|call| call.began > again && call.service != "sts");
    let late: Vec<String> = late
        .map(|call| format!("{:?} {}", call.began - again, call.name()))
        .collect();
    assert!(late.is_empty(), "{late:?}");
    stopped.stop().await;
    goes_on.stop().await;
}
