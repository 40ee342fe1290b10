//! The real binary: killed at any instant, stopped, and searched for secrets.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde_json::{Value, json};
use strum::IntoEnumIterator as _;

use crate::support::aws::Place;
use crate::support::process::{Launch, Running, enforced_place};
use crate::support::proxy::{Pass, Proxy};
use crate::support::wire::Fault;
use crate::support::{aws_inspector, seed, unique};

const ROUNDS: usize = 25;
/// Rounds of a soak, unless `ROUNDS` says otherwise.
const LONG: usize = 300;
const AT_ONCE: usize = 4;
/// The latest instant after the 202 that the process is killed at, in milliseconds.
const LATEST_KILL: u64 = 80;

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_instant_an_onboarding_goes_on_and_nothing_is_doubled() {
    killed_at_random_instants(ROUNDS).await;
}

/// `make soak`: the same, longer.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make soak"]
async fn soak() {
    let rounds =
        std::env::var("ROUNDS").map_or(LONG, |text| text.parse().expect("ROUNDS is a number"));
    killed_at_random_instants(rounds).await;
}

async fn killed_at_random_instants(rounds: usize) {
    use futures::StreamExt as _;
    let (seed, began) = (seed(), Instant::now());
    println!("SLIPWAY_TEST_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let delays: Vec<Duration> = (0..rounds)
        .map(|_| Duration::from_micros(random.u64(0..LATEST_KILL * 1000)))
        .collect();
    let ended =
        futures::stream::iter(delays.into_iter().enumerate()).map(|(round, delay)| async move {
            println!("round {round}: killed {delay:?} after the 202");
            killed_after(delay).await
        });
    let ended: Vec<u64> = ended.buffer_unordered(AT_ONCE).collect().await;
    assert_eq!(ended.len(), rounds);
    let cut = ended.iter().filter(|attempts| **attempts > 1).count();
    println!(
        "{rounds} rounds in {:.0?}; in {cut} of them a job was under way when its process was killed",
        began.elapsed()
    );
    assert!(
        cut > 0,
        "no job was under way when its process was killed: {ended:?}"
    );
}

/// Onboards, kills, starts again; the number of attempts that the job took.
async fn killed_after(delay: Duration) -> u64 {
    let place = enforced_place();
    let (launch, app) = (Launch::new(&place).with_short_waits(), unique("acme"));
    let first = launch.serve().await;
    let accepted = first.ask(&app).await;
    tokio::time::sleep(delay).await;
    first.kill().await;
    let second = launch.serve().await;
    let again = second.ask(&app).await;
    assert_eq!(
        again["id"], accepted["id"],
        "the same request is the same job, also after the process was lost"
    );
    let job = second.ended(&accepted).await;
    assert_whole(&second, &place, &app, &job).await;
    second.stop().await;
    job["attempt"].as_u64().unwrap()
}

/// The job has succeeded, and the app has everything once; its secret is claimed and works.
async fn assert_whole(server: &Running, place: &Place, app: &str, job: &Value) -> Value {
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert!(
        job["steps"]
            .as_array()
            .unwrap()
            .iter()
            .all(|step| step["state"] == "done"),
        "{job:#}"
    );
    let shown = server.get(&format!("/v1/apps/{app}")).await;
    assert_eq!(
        (&shown["state"], &shown["active_job"]),
        (&json!("ready"), &Value::Null)
    );
    for list in ["/v1/apps", "/v1/jobs"] {
        assert_eq!(
            server.get(list).await["items"].as_array().unwrap().len(),
            1,
            "{list}"
        );
    }
    let seen = aws_inspector::look(place, &shown["spec"]);
    let keys: Vec<&Value> = seen["access_keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| &key["id"])
        .collect();
    assert_eq!(keys, [&job["result"]["access_key_id"]], "exactly one key");
    assert_eq!(
        (&seen["groups"], seen["attached"].as_array().unwrap().len()),
        (&json!(["Apps"]), 1)
    );
    let places = ["buckets", "repositories"].map(|kind| seen[kind].as_object().unwrap());
    assert!(
        places
            .iter()
            .all(|found| found.len() == 1 && found.values().all(Value::is_object)),
        "{seen:#}"
    );
    let users = aws_inspector::call(place, "iam", "list_users", json!({})).unwrap();
    assert_eq!(users["Users"].as_array().unwrap().len(), 1);
    let claim = claimed(server, job).await;
    assert_works(place, &claim, app);
    claim
}

async fn claimed(server: &Running, job: &Value) -> Value {
    let claim = server.request(Method::POST, job["result"]["claim"].as_str().unwrap());
    serde_json::from_str(&server.text(claim).await).unwrap()
}

/// STS takes the claimed secret, and not another.
fn assert_works(place: &Place, claim: &Value, app: &str) {
    let ask = |secret: &Value| {
        let credentials = json!({"access_key_id": claim["AWS_ACCESS_KEY_ID"], "secret_access_key": secret, "session_token": null});
        aws_inspector::call_as(place, &credentials, "sts", "get_caller_identity", json!({}))
    };
    let identity = ask(&claim["AWS_SECRET_ACCESS_KEY"]).expect("the secret works");
    assert!(
        identity["Arn"]
            .as_str()
            .unwrap()
            .ends_with(&format!("user/apps/{app}")),
        "{identity}"
    );
    assert!(
        ask(&json!("another secret")).is_err(),
        "the emulator looks at secrets"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_lost_between_the_creation_of_a_key_and_its_record_leaves_no_second_key() {
    let place = enforced_place();
    let gate = Proxy::before(&place.endpoint);
    let (launch, app) = (
        Launch::new(&place)
            .with_short_waits()
            .with("AWS_ENDPOINT_URL", &gate.endpoint),
        unique("acme"),
    );
    let first = launch.serve().await;
    gate.break_calls([("iam:CreateAccessKey", 0, Fault::LostAfter)]);
    let accepted = first.ask(&app).await;
    gate.lost().await;
    first.kill().await;
    let lost =
        aws_inspector::call(&place, "iam", "list_access_keys", json!({"UserName": app})).unwrap();
    assert_eq!(
        lost["AccessKeyMetadata"].as_array().unwrap().len(),
        1,
        "the key was made, and nobody knows its secret"
    );
    gate.set(Pass::Open);
    let second = launch.serve().await;
    let job = second.ended(&accepted).await;
    let claim = assert_whole(&second, &place, &app, &job).await;
    assert_ne!(
        claim["AWS_ACCESS_KEY_ID"],
        lost["AccessKeyMetadata"][0]["AccessKeyId"]
    );
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_a_job_still_ends() {
    let place = enforced_place();
    let gate = Proxy::before(&place.endpoint);
    gate.set(Pass::Slowly(Duration::from_millis(20)));
    let (launch, app) = (
        Launch::new(&place)
            .with_short_waits()
            .with("AWS_ENDPOINT_URL", &gate.endpoint),
        unique("acme"),
    );
    let first = launch.serve().await;
    let accepted = first.ask(&app).await;
    first.kill().await;
    for _ in 0..4 {
        gate.take_log();
        let next = launch.serve().await;
        // Until the job goes on, as long as it does.
        for _ in 0..400 {
            if gate.log().iter().any(|call| call.service != "sts") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        next.kill().await;
    }
    gate.set(Pass::Open);
    let last = launch.serve().await;
    let job = last.ended(&accepted).await;
    assert!(job["attempt"].as_u64().unwrap() > 1, "{job:#}");
    assert_whole(&last, &place, &app, &job).await;
    last.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_under_another_encryption_key_does_not_use_the_secret_up() {
    let place = enforced_place();
    let (launch, app) = (Launch::new(&place), unique("acme"));
    let server = launch.serve().await;
    let job = server.ask(&app).await;
    let job = server.ended(&job).await;
    server.stop().await;
    let other_key = String::from_utf8(launch.run(&["generate-key"]).await.stdout).unwrap();
    let server = launch
        .clone()
        .with("SLIPWAY_ENCRYPTION_KEY", other_key.trim())
        .serve()
        .await;
    let refused = server
        .request(Method::POST, job["result"]["claim"].as_str().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 500);
    server.stop().await;
    let server = launch.serve().await;
    assert_works(&place, &claimed(&server, &job).await, &app);
    server.stop().await;
}

/// A server whose onboarding is under way, for the gate is slow, with an open stream of its events.
async fn under_way(launch: &Launch, app: &str) -> (Running, Value, reqwest::Response) {
    let server = launch.serve().await;
    let job = server.ask(app).await;
    let path = format!("/v1/jobs/{}/events", job["id"].as_str().unwrap());
    let mut stream = server.request(Method::GET, &path).send().await.unwrap();
    let mut seen = String::new();
    while !seen.contains("event: change_applied") {
        seen +=
            std::str::from_utf8(&stream.chunk().await.unwrap().expect("the job goes on")).unwrap();
    }
    (server, job, stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_it_hands_the_job_back_ends_streams_and_exits_well() {
    let place = enforced_place();
    let gate = Proxy::before(&place.endpoint);
    gate.set(Pass::Slowly(Duration::from_millis(150)));
    let (launch, app) = (
        Launch::new(&place).with("AWS_ENDPOINT_URL", &gate.endpoint),
        unique("acme"),
    );
    let (mut server, job, mut stream) = under_way(&launch, &app).await;
    server.signal("TERM").await;
    while stream
        .chunk()
        .await
        .expect("the stream ends, it is not cut off")
        .is_some()
    {}
    assert_eq!(server.exit().await.code(), Some(0));
    gate.set(Pass::Open);
    let next = launch.serve().await;
    let job = next.ended(&job).await;
    assert_eq!(job["attempt"], 2, "it was under way, and it goes on");
    let events = next.events(&job).await;
    assert!(events.contains(&"job_released".to_owned()), "{events:?}");
    assert!(
        !launch.log().contains("jobs of an earlier process go on"),
        "the first process has handed it back itself"
    );
    assert_whole(&next, &place, &app, &job).await;
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_service_stops_at_once_although_a_client_stays_connected() {
    let server = Launch::new(&enforced_place()).serve().await;
    server.get("/v1/jobs").await;
    let _idle = tokio::net::TcpStream::connect(server.address)
        .await
        .unwrap();
    let began = Instant::now();
    server.stop().await;
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once_and_loses_nothing() {
    let place = enforced_place();
    let gate = Proxy::before(&place.endpoint);
    gate.set(Pass::Slowly(Duration::from_millis(100)));
    let (launch, app) = (
        Launch::new(&place)
            .with_short_waits()
            .with("AWS_ENDPOINT_URL", &gate.endpoint),
        unique("acme"),
    );
    let (mut server, job, _stream) = under_way(&launch, &app).await;
    gate.set(Pass::Closed);
    server.signal("TERM").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(
        server.is_running(),
        "it waits for the call that is under way"
    );
    let began = Instant::now();
    server.signal("TERM").await;
    assert_ne!(server.exit().await.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(2));
    gate.set(Pass::Open);
    let next = launch.serve().await;
    let job = next.ended(&job).await;
    assert_whole(&next, &place, &app, &job).await;
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_shutdown_timeout_is_over_it_ends_and_loses_nothing() {
    let place = enforced_place();
    let gate = Proxy::before(&place.endpoint);
    gate.set(Pass::Slowly(Duration::from_millis(100)));
    let (launch, app) = (
        Launch::new(&place)
            .with_short_waits()
            .with("AWS_ENDPOINT_URL", &gate.endpoint)
            .with("SLIPWAY_SHUTDOWN_TIMEOUT", "1s"),
        unique("acme"),
    );
    let (mut server, job, _stream) = under_way(&launch, &app).await;
    gate.set(Pass::Closed);
    let began = Instant::now();
    server.signal("TERM").await;
    server.exit().await;
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    gate.set(Pass::Open);
    let next = launch.serve().await;
    let job = next.ended(&job).await;
    assert_whole(&next, &place, &app, &job).await;
    next.stop().await;
}

/// A secret and its name.
type Secret = (&'static str, Vec<u8>);

/// The ways in which bytes get written down: as they are, base64, hex, URL-encoded.
fn spellings(secret: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(secret);
    let mut spelt = vec![
        secret.to_vec(),
        hex::encode(secret).into(),
        hex::encode_upper(secret).into(),
    ];
    spelt.push(
        utf8_percent_encode(&text, NON_ALPHANUMERIC)
            .to_string()
            .into(),
    );
    spelt.push(
        text.replace('/', "%2F")
            .replace('+', "%2B")
            .replace('=', "%3D")
            .into(),
    );
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        // Within a longer text its base64 begins at any of three places; what its neighbours change is cut off.
        for before in 0..3 {
            let padded: Vec<u8> = std::iter::repeat_n(0, before)
                .chain(secret.iter().copied())
                .collect();
            let whole = engine.encode(&padded[..padded.len() - padded.len() % 3]);
            spelt.push(whole.as_bytes()[if before == 0 { 0 } else { 4 }..].to_vec());
        }
    }
    spelt
}

/// Byte for byte as characters, for the standard library's fast search.
fn characters(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The secrets that stand in the text, in any spelling.
fn secrets_in(text: &[u8], secrets: &[Secret]) -> Vec<&'static str> {
    let text = characters(text);
    let stands = |secret: &[u8]| {
        spellings(secret)
            .iter()
            .any(|spelling| text.contains(&characters(spelling)))
    };
    secrets
        .iter()
        .filter(|(_, secret)| stands(secret))
        .map(|(name, _)| *name)
        .collect()
}

#[test]
fn the_search_for_secrets_finds_them_however_they_are_spelt() {
    let secret = b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_vec();
    let text = String::from_utf8(secret.clone()).unwrap();
    let spelt = [
        text.clone(),
        STANDARD.encode(&secret),
        STANDARD.encode(format!("user:{text}")),
        STANDARD.encode(format!("x{text}yz")),
        STANDARD.encode(format!("xy{text}z")),
        URL_SAFE_NO_PAD.encode(&secret),
        hex::encode(&secret),
        hex::encode_upper(&secret),
        utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string(),
        "wJalrXUtnFEMI%2FK7MDENG%2BbPxRfiCYEXAMPLEKEY".to_owned(),
    ];
    for text in spelt {
        assert_eq!(
            secrets_in(
                format!("a line {text} and more").as_bytes(),
                &[("it", secret.clone())]
            ),
            ["it"],
            "{text}"
        );
    }
    assert!(secrets_in(b"a line without", &[("it", secret)]).is_empty());
}

/// Every file of the service: database, log, standard output.
fn files(launch: &Launch) -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(launch.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file());
    files
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                std::fs::read(&path).unwrap(),
            )
        })
        .collect()
}

/// All that can be read over HTTP without being given a secret.
async fn answers(server: &Running, app: &str, job: &Value) -> Vec<(String, Vec<u8>)> {
    let job = job["id"].as_str().unwrap();
    let mut paths = vec![
        "/metrics".to_owned(),
        "/readyz".into(),
        "/v1/apps".into(),
        "/v1/jobs".into(),
        "/v1/tokens".into(),
        "/v1/identity".into(),
        "/v1/background".into(),
    ];
    paths.extend([
        format!("/v1/jobs/{job}"),
        format!("/v1/jobs/{job}/events"),
        format!("/v1/apps/{app}"),
        format!("/v1/apps/{app}/credentials"),
        format!("/v1/apps/{app}/history"),
        "/v1/audit?limit=200".into(),
    ]);
    let formats = slipway::provision::export::Format::iter()
        .map(|format| format!("/v1/apps/{app}/export?format={format}"));
    paths.extend(formats);
    let mut answers = Vec::new();
    for path in paths {
        let body = server.text(server.request(Method::GET, &path)).await;
        answers.push((path, body.into_bytes()));
    }
    let plan = format!("/v1/apps/{app}/plan");
    let body = server.text(server.request(Method::POST, &plan)).await;
    answers.push((plan, body.into_bytes()));
    answers
}

/// The files hold what this run wrote, so that a search of them means something.
fn assert_telling(files: &[(String, Vec<u8>)], access_key_id: &str) {
    let hold = |prefix: &str, text: &str| {
        let found = files
            .iter()
            .any(|(name, bytes)| name.starts_with(prefix) && characters(bytes).contains(text));
        assert!(found, "{prefix} does not hold {text}");
    };
    hold("slipway.db", access_key_id);
    hold("stderr.log", "CreateAccessKey");
}

/// Log filters: everything; everything with the targets that are held down named one by one.
const TRACE: &str = "trace";
const TRACE_BY_NAME: &str = "trace,aws_config=trace,aws_runtime=trace,aws_sdk_iam=trace,aws_sigv4=trace,aws_smithy_runtime=trace,hyper=trace,sqlx=trace";
/// The same by the names of their modules.
const TRACE_BY_MODULE: &str = "trace,aws_smithy_runtime::client=trace,aws_sigv4::http_request=trace,hyper::proto=trace,sqlx::query=trace";

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_anywhere_but_in_the_answer_to_its_claim() {
    assert_no_secret_is_written(TRACE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_filter_of_the_log_lets_the_sdk_show_a_secret() {
    assert_no_secret_is_written(TRACE_BY_NAME).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_filter_by_module_lets_the_sdk_show_a_secret() {
    assert_no_secret_is_written(TRACE_BY_MODULE).await;
}

async fn assert_no_secret_is_written(log: &str) {
    let place = enforced_place();
    // The SDK's own switch for secrets in bodies is on.
    let launch = Launch::new(&place)
        .with("SLIPWAY_LOG", log)
        .with("RUST_LOG", "trace")
        .with("LOG_SENSITIVE_BODIES", "true");
    let app = unique("acme");
    let server = launch.serve().await;
    let token = server
        .text(
            server
                .request(Method::POST, "/v1/tokens")
                .json(&json!({"name": "bot", "role": "viewer"})),
        )
        .await;
    let token: Value = serde_json::from_str(&token).unwrap();
    let accepted = server.ask(&app).await;
    let job = server.ended(&accepted).await;
    let key = job["result"]["access_key_id"].as_str().unwrap();
    let mut texts = answers(&server, &app, &job).await;
    texts.extend(files(&launch));
    assert_telling(&texts, key);
    let claim = claimed(&server, &job).await;
    let secrets = secrets_of(&place, &launch, &token, &claim);
    texts.extend(answers(&server, &app, &job).await);
    texts.extend(files(&launch));
    server.stop().await;
    let left = files(&launch);
    assert_telling(&left, key);
    texts.extend(left);
    for (name, text) in &texts {
        assert_eq!(secrets_in(text, &secrets), Vec::<&str>::new(), "in {name}");
    }
}

fn secrets_of(place: &Place, launch: &Launch, token: &Value, claim: &Value) -> Vec<Secret> {
    let text = |value: &Value| value.as_str().unwrap().as_bytes().to_vec();
    vec![
        (
            "the app's secret access key",
            text(&claim["AWS_SECRET_ACCESS_KEY"]),
        ),
        ("the admin token", launch.admin_token.clone().into_bytes()),
        ("another token", text(&token["token"])),
        (
            "the encryption key",
            STANDARD.decode(&launch.encryption_key).unwrap(),
        ),
        (
            "the encryption key's text",
            launch.encryption_key.clone().into_bytes(),
        ),
        (
            "the session's secret",
            place.credentials.secret_access_key().as_bytes().to_vec(),
        ),
        (
            "the session's token",
            place
                .credentials
                .session_token()
                .unwrap()
                .as_bytes()
                .to_vec(),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_made_by_command_works_and_is_shown_once() {
    let launch = Launch::new(&enforced_place());
    let made = launch
        .run(&["token", "create", "--name", "board", "--role", "viewer"])
        .await;
    assert!(made.status.success(), "{made:?}");
    let token = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    assert!(
        token.starts_with("slipway_") && !token.contains(char::is_whitespace),
        "{token}"
    );
    let server = launch.serve().await;
    let status =
        async |request: reqwest::RequestBuilder| request.send().await.unwrap().status().as_u16();
    let client = reqwest::Client::new();
    let url = |path: &str| format!("http://{}{path}", server.address);
    assert_eq!(
        status(client.get(url("/v1/apps")).bearer_auth(&token)).await,
        200
    );
    assert_eq!(
        status(
            client
                .post(url("/v1/apps"))
                .bearer_auth(&token)
                .json(&json!({"name": "acme"}))
        )
        .await,
        403
    );
    assert_eq!(
        status(client.get(url("/v1/apps")).bearer_auth(format!("{token}0"))).await,
        401
    );
    assert_eq!(server.get("/v1/tokens").await["items"][0]["name"], "board");
    let refused = launch.run(&["token", "create", "--name", "second"]).await;
    let told = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(told.contains("stop the other one"), "{told}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_encryption_key_that_it_prints_is_new_and_does() {
    let launch = Launch::new(&enforced_place());
    let key = async || {
        String::from_utf8(launch.run(&["generate-key"]).await.stdout)
            .unwrap()
            .trim()
            .to_owned()
    };
    let (one, two) = (key().await, key().await);
    assert_ne!(one, two);
    assert_eq!(STANDARD.decode(&one).unwrap().len(), 32);
    launch
        .clone()
        .with("SLIPWAY_ENCRYPTION_KEY", &one)
        .serve()
        .await
        .stop()
        .await;
}

#[tokio::test]
async fn the_role_policy_that_it_prints_is_for_the_account_and_the_settings() {
    let launch = Launch::at("http://127.0.0.1:9");
    std::fs::write(
        launch.file("slipway.toml"),
        "[defaults]\ngroup = \"Guests\"\n",
    )
    .unwrap();
    let arguments = [
        "role-policy",
        "--account-id",
        "210987654321",
        "--partition",
        "aws-cn",
        "--config",
        "slipway.toml",
    ];
    let output = launch.run(&arguments).await;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let policy: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(policy["Version"], "2012-10-17");
    assert!(
        policy["Statement"]
            .as_array()
            .unwrap()
            .iter()
            .all(|statement| statement["Effect"] == "Allow")
    );
    assert!(
        text.contains("arn:aws-cn:iam::210987654321:group/") && text.contains("Guests"),
        "{text}"
    );
    for action in [
        "iam:CreateAccessKey",
        "s3:CreateBucket",
        "ecr:CreateRepository",
    ] {
        assert!(text.contains(action), "{action}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_that_it_prints_is_the_one_that_it_serves() {
    let launch = Launch::new(&enforced_place());
    let output = launch.run(&["openapi"]).await;
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && printed.starts_with("openapi: 3.1"),
        "{}",
        printed.lines().next().unwrap_or_default()
    );
    let server = launch.serve().await;
    assert_eq!(
        server
            .text(server.request(Method::GET, "/openapi.yaml"))
            .await,
        printed
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_whether_the_service_is_up() {
    let launch = Launch::new(&enforced_place());
    let server = launch.serve().await;
    let address = server.address.to_string();
    let health = async || launch.run(&["health", "--listen", &address]).await;
    assert_eq!(health().await.status.code(), Some(0));
    server.stop().await;
    let down = health().await;
    assert_eq!(down.status.code(), Some(1));
    assert!(String::from_utf8(down.stderr).unwrap().contains(&address));
}
