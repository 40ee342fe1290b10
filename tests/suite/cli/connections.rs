//! Broken connections, lost answers, and a service that is killed in the middle.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use reqwest::Method;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStderr};

use super::{Host, Person, assert_has, ended};

/// How a line says that a step is done.
fn done(resource: &str) -> String {
    format!("{:<15}  {resource}", "done")
}

/// Reads what a command says until it has said this.
async fn said(child: &mut Child, text: &str) -> (BufReader<ChildStderr>, String) {
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut all = String::new();
    while !all.contains(text) {
        let read = tokio::time::timeout(super::PATIENCE, lines.read_line(&mut all));
        assert!(
            read.await.expect("it goes on").unwrap() > 0,
            "it ended:\n{all}"
        );
    }
    (lines, all)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_resumed_when_the_service_was_killed_in_the_middle() {
    let host = Host::slow();
    let server = host.launch.serve().await;
    let (address, admin) = (server.address, Person::admin(&server, &host.launch));
    let mut child = admin.start(&["app", "create", "acme", "--yes", "--output", "json"]);
    let (mut lines, mut all) = said(&mut child, &done("iam:user/acme")).await;
    server.kill().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let server = host.launch.serve_at(address).await;
    lines.read_to_string(&mut all).await.unwrap();
    let ran = ended(child).await;
    assert_eq!(ran.code, 0, "{all}");
    let job: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(job["state"], "succeeded");
    assert!(
        job["attempt"].as_u64().unwrap() > 1,
        "it was killed at work: {job:#}"
    );
    assert_has(
        &all,
        &[
            "cannot reach the service",
            "the service is back",
            "attempt 2",
            "succeeded",
        ],
    );
    for once in ["queued  ", "succeeded  ", "attempt 2"] {
        let times = all.lines().filter(|line| line.contains(once)).count();
        assert!(times <= 1, "{once}: {times} times in\n{all}");
    }
    let events = server.events(&job).await;
    let done = events.iter().filter(|event| *event == "step_done").count();
    assert_eq!(
        all.matches("  done  ").count(),
        done,
        "every event once:\n{all}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_streams_a_job_is_polled() {
    let host = Host::slow();
    let launch = host.launch.clone().with("SLIPWAY_MAX_LONG_POLLS", "1");
    let server = launch.serve().await;
    let admin = Person::admin(&server, &launch);
    let job = admin
        .json(&["app", "create", "acme", "--yes", "--no-wait"])
        .await;
    let id = job["id"].as_str().unwrap();
    let path = format!("/v1/jobs/{id}/events");
    // Takes the only place, as long as the job goes on.
    let _stream = server.request(Method::GET, &path).send().await.unwrap();
    let watched = admin.run(&["job", "watch", id]).await.exits(0);
    assert_has(&watched, &[&done("iam:user/acme"), "succeeded"]);
    server.stop().await;
}

/// A way to the service that loses the answer of its first connection.
async fn losing_way(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::runtime::Handle::current().spawn(async move {
        let mut is_first = true;
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(to).await.unwrap();
            if std::mem::take(&mut is_first) {
                let mut request = vec![0; 65536];
                let size = client.read(&mut request).await.unwrap();
                server.write_all(&request[..size]).await.unwrap();
                // The service has answered; the client never learns it.
                let _ = server.read(&mut request).await;
                continue;
            }
            tokio::runtime::Handle::current().spawn(async move {
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_answer_is_lost_is_one_job() {
    let host = Host::new();
    let server = host.launch.serve().await;
    let admin = Person::admin(&server, &host.launch);
    admin.ok(&["app", "create", "acme", "--yes"]).await;
    let way = losing_way(server.address).await;
    let lossy = Person::new(&format!("http://{way}"), &host.launch.admin_token);
    // Its first request is the one that asks for the job.
    lossy
        .ok(&["key", "rotate", "acme", "--yes", "--no-wait"])
        .await;
    let jobs = admin.json(&["job", "list", "--kind", "rotate"]).await;
    assert_eq!(jobs.as_array().unwrap().len(), 1);
    admin
        .ok(&["job", "watch", jobs[0]["id"].as_str().unwrap()])
        .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_gives_the_same_job() {
    let host = Host::new();
    let server = host.launch.serve().await;
    let admin = Person::admin(&server, &host.launch);
    admin.ok(&["app", "create", "acme", "--yes"]).await;
    let repair = [
        "app",
        "repair",
        "acme",
        "--yes",
        "--idempotency-key",
        "pipeline-7",
    ];
    let first = admin.json(&repair).await;
    assert_eq!(admin.json(&repair).await["id"], first["id"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_had_enough_is_no_error() {
    let host = Host::new();
    let server = host.launch.serve().await;
    let admin = Person::admin(&server, &host.launch);
    for app in ["one", "two"] {
        admin.ok(&["app", "create", app, "--yes"]).await;
    }
    let mut command = admin.command(env!("CARGO_BIN_EXE_slipway"), &["audit", "--all"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ran = ended(child).await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    server.stop().await;
}
