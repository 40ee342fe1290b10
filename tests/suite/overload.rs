//! More than the service can take: who is too much is told so at once, everybody else is served.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::join_all;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::api::light;
use crate::support::aws::{Emulator, Place};
use crate::support::process::{Launch, Running};
use crate::support::proxy::{Pass, Proxy};
use crate::support::server::{ADMIN_TOKEN, Server, Setup};
use crate::support::unique;

/// Longer than anything here takes that goes well.
const PATIENCE: Duration = Duration::from_secs(60);
/// More than a build without optimisations may use here, in MB; without bounds it would be many times that.
const MEMORY: u64 = 300;

fn place() -> Place {
    Place::new(Emulator::Moto)
}

/// A launch of which nobody is refused for asking often.
fn launch(place: &Place) -> Launch {
    Launch::new(place).with("SLIPWAY_RATE_LIMIT", "0")
}

/// A refusal says what it is and when to come back; its problem document.
async fn refused(response: Response, status: u16, code: &str) -> Value {
    assert_eq!(response.status().as_u16(), status, "{}", response.url());
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    let seconds: u64 = response.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    let path = response.url().path().to_owned();
    let problem: Value = response.json().await.unwrap();
    assert_eq!(
        json!([problem["code"], problem["retryable"], problem["instance"]]),
        json!([code, true, path]),
        "{problem}"
    );
    assert!(
        problem["remedy"]
            .as_str()
            .is_some_and(|text| !text.is_empty()),
        "{problem}"
    );
    problem
}

async fn send(server: &Running, method: Method, path: &str) -> Response {
    timeout(PATIENCE, server.request(method, path).send())
        .await
        .expect("an answer")
        .unwrap()
}

async fn status(server: &Running, path: &str) -> u16 {
    send(server, Method::GET, path).await.status().as_u16()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// One metric's value.
async fn metric(server: &Running, name: &str) -> f64 {
    let text = server.text(server.request(Method::GET, "/metrics")).await;
    let value = |line: &str| {
        line.strip_prefix(name)?
            .strip_prefix(' ')?
            .parse::<f64>()
            .ok()
    };
    text.lines().find_map(value).unwrap_or_default()
}

/// A connection on which so much has been sent.
async fn raw(server: &Running, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// So many connections, on each of which `text` has been sent. In groups, each of which the service has accepted before
/// the next: of a burst that overflows the queue of the kernel, it may never learn.
async fn raws(server: &Running, count: usize, text: &str) -> Vec<TcpStream> {
    const GROUP: usize = 50;
    let mut streams = Vec::new();
    while streams.len() < count {
        let group = GROUP.min(count - streams.len());
        streams.extend(join_all((0..group).map(|_| raw(server, text))).await);
        status(server, "/healthz").await;
    }
    streams
}

/// What comes on a connection until it is closed.
async fn rest(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let ended = timeout(PATIENCE, stream.read_to_end(&mut all)).await;
    let all = String::from_utf8_lossy(&all).into_owned();
    // A reset is an end too.
    assert!(
        ended.is_ok(),
        "the service does not close the connection; it has sent {all:?}"
    );
    all
}

/// The head of a POST that promises a body.
fn head_of_post(launch: &Launch, path: &str, length: usize) -> String {
    let token = &launch.admin_token;
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_refused_early_and_what_was_accepted_is_kept() {
    const FLOOD: usize = 600;
    let place = place();
    let server = launch(&place)
        .with("SLIPWAY_MAX_REQUESTS", "4")
        .serve()
        .await;
    let before = server.resident();
    let names: Vec<String> = (0..FLOOD)
        .map(|i| format!("{}-{i}", unique("acme")))
        .collect();
    let ask = async |name: &String| {
        let response = server
            .request(Method::POST, "/v1/apps")
            .json(&light(name))
            .send()
            .await
            .unwrap();
        match response.status().as_u16() {
            202 => (name.clone(), Some(response.json::<Value>().await.unwrap())),
            _ => {
                refused(response, 503, "overloaded").await;
                (name.clone(), None)
            }
        }
    };
    let answers = timeout(PATIENCE, join_all(names.iter().map(ask)))
        .await
        .expect("everybody gets an answer");
    let after = server.resident();
    let accepted: Vec<&(String, Option<Value>)> =
        answers.iter().filter(|(_, job)| job.is_some()).collect();
    println!(
        "of {FLOOD} at once {} accepted; {before} MB before, {after} MB after",
        accepted.len()
    );
    assert!(
        !accepted.is_empty() && accepted.len() < FLOOD,
        "{}",
        accepted.len()
    );
    assert!(after < MEMORY, "{after} MB");
    for (_, job) in &accepted {
        assert_eq!(
            server.ended(job.as_ref().unwrap()).await["state"],
            "succeeded"
        );
    }
    let (mut kept, mut next) = (BTreeSet::new(), String::from("/v1/apps?limit=200"));
    loop {
        let page = server.get(&next).await;
        kept.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|app| app["name"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        next = format!("/v1/apps?limit=200&cursor={cursor}");
    }
    assert_eq!(
        kept,
        accepted.iter().map(|(name, _)| name.clone()).collect(),
        "those and no others"
    );
    let counted = metric(&server, "slipway_http_rejected_total{reason=\"requests\"}").await;
    assert!(counted >= (FLOOD - accepted.len()) as f64, "{counted}");
    server.stop().await;
}

/// A service with this many seats of work, an app, and a proxy that can keep AWS's answers back.
async fn gated(
    seats: &str,
    launch: impl FnOnce(Launch) -> Launch,
) -> (Launch, Proxy, Running, String) {
    let place = place();
    let proxy = Proxy::before(&place.endpoint);
    let launch = launch(
        self::launch(&place)
            .with("AWS_ENDPOINT_URL", &proxy.endpoint)
            .with("SLIPWAY_MAX_REQUESTS", seats),
    );
    let server = launch.serve().await;
    let app = unique("acme");
    let job = server.request(Method::POST, "/v1/apps").json(&light(&app));
    let job = serde_json::from_str(&server.text(job).await).unwrap();
    assert_eq!(server.ended(&job).await["state"], "succeeded");
    proxy.set(Pass::Closed);
    (launch, proxy, server, format!("/v1/apps/{app}/plan"))
}

async fn at_work(server: &Running, requests: usize) {
    until("the seats are taken", async || {
        metric(server, "slipway_http_requests_at_work").await == requests as f64
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_every_seat_is_taken_the_next_is_refused_and_operators_are_answered() {
    let (launch, proxy, server, plan) = gated("3", |launch| launch).await;
    let working = join_all((0..3).map(|_| server.request(Method::POST, &plan).send()));
    let looking = async {
        at_work(&server, 3).await;
        for path in ["/v1/apps", "/v1/jobs", "/openapi.yaml"] {
            let problem = refused(send(&server, Method::GET, path).await, 503, "overloaded").await;
            assert!(
                problem["detail"]
                    .as_str()
                    .unwrap()
                    .contains("requests being handled"),
                "{problem}"
            );
        }
        let mut in_two_pieces = raw(&server, &head_of_post(&launch, "/v1/apps", 20_000)).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        in_two_pieces.write_all(&[b' '; 20_000]).await.unwrap();
        let mut answer = [0; 13];
        in_two_pieces
            .read_exact(&mut answer)
            .await
            .expect("a body that comes after its head does not lose the refusal");
        assert_eq!(&answer, b"HTTP/1.1 503 ");
        for path in ["/healthz", "/readyz", "/metrics"] {
            assert_eq!(status(&server, path).await, 200, "{path}");
        }
        proxy.set(Pass::Open);
    };
    let (answers, ()) = tokio::join!(working, looking);
    for answer in answers {
        assert_eq!(answer.unwrap().status(), 200, "what had a permit is done");
    }
    assert_eq!(status(&server, "/v1/apps").await, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_client_is_gone_keeps_its_seat_until_its_work_has_ended() {
    let (launch, proxy, server, plan) = gated("1", |launch| launch).await;
    let client = raw(&server, &head_of_post(&launch, &plan, 0)).await;
    at_work(&server, 1).await;
    drop(client);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(status(&server, "/v1/apps").await, 503);
    proxy.set(Pass::Open);
    at_work(&server, 0).await;
    assert_eq!(status(&server, "/v1/apps").await, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_takes_too_long_is_given_up_and_waiting_does_not_count() {
    let (_, proxy, server, plan) =
        gated("8", |launch| launch.with("SLIPWAY_REQUEST_TIMEOUT", "1s")).await;
    let problem = refused(send(&server, Method::POST, &plan).await, 503, "timed_out").await;
    assert!(
        problem["remedy"]
            .as_str()
            .unwrap()
            .contains("Idempotency-Key"),
        "{problem}"
    );
    let job = server.ask(&unique("acme")).await;
    let began = Instant::now();
    let waited = server
        .get(&format!("/v1/jobs/{}?wait=3s", job["id"].as_str().unwrap()))
        .await;
    assert!(
        began.elapsed() >= Duration::from_secs(3) && waited["finished_at"].is_null(),
        "{waited}"
    );
    proxy.set(Pass::Open);
    assert_eq!(server.ended(&job).await["state"], "succeeded");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_do_not_stop_others_and_are_sent_away() {
    const SLOW: usize = 300;
    let place = place();
    let launch = launch(&place)
        .with("SLIPWAY_MAX_REQUESTS", "8")
        .with("SLIPWAY_IDLE_TIMEOUT", "4s")
        .with("SLIPWAY_BODY_TIMEOUT", "4s");
    let server = launch.serve().await;
    let post = head_of_post(&launch, "/v1/apps", 1000) + "{\"name\":";
    let head = "GET /v1/apps HTTP/1.1\r\nhost: x\r\nx-slow: ";
    let mut silent = raws(&server, SLOW, "").await;
    let mut heads = raws(&server, SLOW, head).await;
    let mut bodies = raws(&server, SLOW, &post).await;
    let job = server.ask(&unique("acme")).await;
    assert_eq!(
        server.ended(&job).await["state"],
        "succeeded",
        "an ordinary client is served"
    );
    assert_eq!(status(&server, "/readyz").await, 200);
    println!("{} slow connections: {} MB", 3 * SLOW, server.resident());
    assert!(server.resident() < MEMORY);
    let drip = async {
        let mut dripping = raw(&server, "GET /v1/apps HTTP/1.1\r\nhost: x\r\nx-slow: ").await;
        until("a head that comes byte by byte is cut off", async || {
            let closed = timeout(Duration::from_millis(1), dripping.read_u8())
                .await
                .is_ok();
            closed || dripping.write_all(b"x").await.is_err()
        })
        .await;
    };
    drip.await;
    for stream in silent.iter_mut().chain(&mut heads) {
        assert_eq!(
            rest(stream).await,
            "",
            "nothing was asked, nothing is answered"
        );
    }
    for stream in &mut bodies {
        let answer = rest(stream).await;
        assert!(
            answer.starts_with("HTTP/1.1 408 ") && answer.contains("application/problem+json"),
            "{answer}"
        );
        assert!(
            answer.contains("\"code\":\"body_too_slow\"")
                && answer.to_lowercase().contains("retry-after: "),
            "{answer}"
        );
    }
    let _half = raw(&server, "GET /v1/apps HTTP/1.1\r\n").await;
    let began = Instant::now();
    server.stop().await;
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "half a request does not hold up the end: {:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_bound_of_connections_others_are_refused_and_operators_are_answered() {
    let place = place();
    let server = launch(&place)
        .with("SLIPWAY_MAX_CONNECTIONS", "20")
        .with("SLIPWAY_IDLE_TIMEOUT", "10m")
        .serve()
        .await;
    let mut idle = join_all((0..20).map(|_| raw(&server, ""))).await;
    let anew = async |path: &str| {
        // On a connection of its own.
        let client = Client::new();
        client
            .get(format!("http://{}{path}", server.address))
            .bearer_auth(ADMIN_TOKEN)
            .send()
            .await
            .unwrap()
    };
    // An earlier connection that ends late leaves a place to be taken.
    let mut last = None;
    until("the places are taken", async || {
        idle.push(raw(&server, "").await);
        let answer = anew("/v1/apps").await;
        let is_refused = answer.status() == 503;
        last = Some(answer);
        is_refused
    })
    .await;
    let problem = refused(last.unwrap(), 503, "overloaded").await;
    assert!(
        problem["detail"].as_str().unwrap().contains("connections"),
        "{problem}"
    );
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(anew(path).await.status(), 200, "{path}");
    }
    drop(idle);
    until("connections that end make room", async || {
        anew("/v1/apps").await.status() == 401
    })
    .await;
    server.stop().await;
}

/// An HTTP/2 peer is told how much it may ask for at once, and is sent away when it asks for nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_http_2_connection_is_bounded_too() {
    let place = place();
    let server = launch(&place)
        .with("SLIPWAY_IDLE_TIMEOUT", "2s")
        .serve()
        .await;
    let mut stream = raw(
        &server,
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0",
    )
    .await;
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4, "SETTINGS");
    let mut settings = vec![0; usize::from(head[2])];
    stream.read_exact(&mut settings).await.unwrap();
    let streams = settings
        .chunks(6)
        .find(|setting| setting[..2] == [0, 3])
        .expect("MAX_CONCURRENT_STREAMS");
    assert_eq!(streams[2..], 100_u32.to_be_bytes());
    rest(&mut stream).await;
    server.stop().await;
}

/// Open streams of a job that AWS keeps waiting.
async fn streams(server: &Running, job: &Value, count: usize) -> Vec<Response> {
    let path = format!("/v1/jobs/{}/events", job["id"].as_str().unwrap());
    let open = async || {
        let mut stream = timeout(PATIENCE, server.request(Method::GET, &path).send())
            .await
            .expect("an answer")
            .unwrap();
        assert_eq!(stream.status(), 200);
        assert!(
            timeout(PATIENCE, stream.chunk())
                .await
                .expect("an event")
                .unwrap()
                .is_some()
        );
        stream
    };
    // Some at a time: so many at once would be too much.
    futures::stream::iter(0..count)
        .map(|_| open())
        .buffer_unordered(100)
        .collect()
        .await
}

/// A proxy that keeps back AWS's answers for one app alone, and that app's name.
async fn gate_against_one(place: &Place) -> (Proxy, String) {
    let proxy = Proxy::before(&place.endpoint);
    let app = unique("stuck");
    proxy.set(Pass::ClosedAbout(Box::leak(app.clone().into_boxed_str())));
    (proxy, app)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_event_streams_do_not_stop_others_and_end_with_the_service() {
    const STREAMS: usize = 1000;
    let place = place();
    let (proxy, stuck) = gate_against_one(&place).await;
    let mut server = launch(&place)
        .with("AWS_ENDPOINT_URL", &proxy.endpoint)
        .with("SLIPWAY_SHUTDOWN_TIMEOUT", "5s")
        .serve()
        .await;
    let before = server.resident();
    let job = server.ask(&stuck).await;
    let streams = streams(&server, &job, STREAMS).await;
    println!(
        "{STREAMS} streams: {before} MB before, {} MB with them",
        server.resident()
    );
    assert!(server.resident() < MEMORY);
    assert_eq!(
        metric(&server, "slipway_http_requests_waiting").await,
        STREAMS as f64
    );
    let other = server.ask(&unique("acme")).await;
    assert_eq!(
        server.ended(&other).await["state"],
        "succeeded",
        "another client's app is onboarded"
    );
    assert_eq!(
        (
            status(&server, "/healthz").await,
            status(&server, "/readyz").await
        ),
        (200, 200)
    );
    server.signal("TERM").await;
    let end = async |mut stream: Response| {
        let drained = async {
            while stream
                .chunk()
                .await
                .expect("the stream ends, it is not cut off")
                .is_some()
            {}
        };
        timeout(PATIENCE, drained).await.expect("the stream ends");
    };
    join_all(streams.into_iter().map(end)).await;
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_have_a_bound_of_their_own() {
    let place = place();
    let (proxy, stuck) = gate_against_one(&place).await;
    let launch = launch(&place)
        .with("AWS_ENDPOINT_URL", &proxy.endpoint)
        .with("SLIPWAY_MAX_LONG_POLLS", "3")
        .with("SLIPWAY_SHUTDOWN_TIMEOUT", "1s");
    let server = launch.serve().await;
    let job = server.ask(&stuck).await;
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let open = streams(&server, &job, 3).await;
    for path in [format!("{path}/events"), format!("{path}?wait=30s")] {
        let problem = refused(send(&server, Method::GET, &path).await, 503, "overloaded").await;
        assert!(
            problem["detail"].as_str().unwrap().contains("wait"),
            "{problem}"
        );
    }
    let mut late = raw(&server, &head_of_post(&launch, "/v1/apps", 100)).await;
    assert!(
        rest(&mut late).await.starts_with("HTTP/1.1 503 "),
        "a body on its way waits too"
    );
    assert_eq!(
        status(&server, &path).await,
        200,
        "who does not wait is served"
    );
    drop(open);
    until("closed streams make room", async || {
        status(&server, &format!("{path}?wait=1s")).await == 200
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_of_a_revoked_token_ends() {
    let mut setup = Setup::new(place());
    setup.settings.workers = 0;
    let server = setup.start().await;
    let job: Value = server
        .post("/v1/apps", &light(&unique("acme")))
        .await
        .json()
        .await
        .unwrap();
    let made: Value = server
        .post("/v1/tokens", &json!({"name": "board", "role": "viewer"}))
        .await
        .json()
        .await
        .unwrap();
    let path = format!("/v1/jobs/{}/events", job["id"].as_str().unwrap());
    let open = async |token: &str| {
        server
            .anonymous(Method::GET, &path)
            .bearer_auth(token)
            .send()
            .await
            .unwrap()
    };
    let (mut revoked, mut other) = (
        open(made["token"].as_str().unwrap()).await,
        open(ADMIN_TOKEN).await,
    );
    assert!(revoked.chunk().await.unwrap().is_some());
    let gone = server
        .request(
            Method::DELETE,
            &format!("/v1/tokens/{}", made["id"].as_str().unwrap()),
        )
        .send()
        .await
        .unwrap();
    assert_eq!(gone.status(), 204);
    let ended = async { while revoked.chunk().await.unwrap().is_some() {} };
    timeout(PATIENCE, ended).await.expect("the stream ends");
    let goes_on = async { while other.chunk().await.unwrap().is_some() {} };
    assert!(
        timeout(Duration::from_secs(1), goes_on).await.is_err(),
        "other streams go on"
    );
    server.tasks.stop();
}

/// A service of whose callers each may ask twice a second, and twenty times at once.
async fn strict() -> (Setup, Server) {
    let mut setup = Setup::new(place());
    setup.settings.rate_limit = 2;
    let server = setup.start().await;
    (setup, server)
}

/// The statuses of so many calls at once with a token.
async fn statuses(server: &Server, token: &str, count: usize) -> Vec<u16> {
    let call = |i: usize| {
        server
            .anonymous(Method::GET, "/v1/apps")
            .header("x-forwarded-for", format!("192.0.2.{i}"))
            .bearer_auth(token)
    };
    let answers = join_all((0..count).map(|i| call(i).send())).await;
    answers
        .into_iter()
        .map(|answer| answer.unwrap().status().as_u16())
        .collect()
}

fn count(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|it| **it == status).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_caller_that_asks_too_often_is_refused_and_others_are_not() {
    let (_setup, server) = strict().await;
    let (busy, calm) = (server.token("viewer").await, server.token("viewer").await);
    assert_eq!(
        (
            statuses(&server, &busy, 1).await,
            statuses(&server, &calm, 1).await
        ),
        (vec![200], vec![200])
    );
    let flood = statuses(&server, &busy, 60).await;
    // One of its twenty is spent already: a valid token has a rate of its own from its first request on.
    assert!(
        count(&flood, 200) >= 19 && count(&flood, 429) > 0,
        "{flood:?}"
    );
    assert_eq!(count(&flood, 200) + count(&flood, 429), 60, "{flood:?}");
    let answer = server
        .anonymous(Method::GET, "/v1/apps")
        .bearer_auth(&busy)
        .send()
        .await
        .unwrap();
    refused(answer, 429, "too_many_requests").await;
    assert_eq!(
        statuses(&server, &calm, 5).await,
        vec![200; 5],
        "another caller at the same address"
    );
    assert_eq!(
        server
            .anonymous(Method::GET, "/healthz")
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_of_tokens_are_bounded_whatever_address_they_claim() {
    let (_setup, server) = strict().await;
    let known = server.token("viewer").await;
    assert_eq!(statuses(&server, &known, 1).await, [200]);
    let mut tries = Vec::new();
    for i in 0..60 {
        tries.extend(statuses(&server, &format!("guess-{i}"), 1).await);
    }
    assert!(
        count(&tries, 401) >= 10 && count(&tries, 429) > 0,
        "{tries:?}"
    );
    assert_eq!(count(&tries, 401) + count(&tries, 429), 60, "{tries:?}");
    assert_eq!(
        statuses(&server, &known, 5).await,
        vec![200; 5],
        "a token that is known to be valid is not held up"
    );
    let new = server.token("viewer").await;
    assert_eq!(statuses(&server, &new, 1).await, [200], "nor is a new one");
    server.stop().await;
}

/// As behind a TLS proxy: everybody calls from one address.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_do_not_spend_the_rate_of_a_valid_token_at_the_same_address() {
    let (setup, server) = strict().await;
    let token = server.token("viewer").await;
    server.stop().await;
    // This process has not seen the token: it was restarted, or the token was made at another replica.
    let server = setup.start().await;
    let mut tries = Vec::new();
    for i in 0..60 {
        tries.extend(statuses(&server, &format!("guess-{i}"), 1).await);
    }
    assert!(count(&tries, 429) > 0, "{tries:?}");
    assert_eq!(statuses(&server, &token, 20).await, vec![200; 20]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_of_none_is_none() {
    let mut setup = Setup::new(place());
    setup.settings.rate_limit = 0;
    let server = setup.start().await;
    assert_eq!(statuses(&server, ADMIN_TOKEN, 300).await, vec![200; 300]);
    server.stop().await;
}
