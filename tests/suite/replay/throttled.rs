//! Many jobs in one account whose calls AWS throttles.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};
use slipway::aws::rate_limiter::Rates;
use slipway::provision::timing::Timing;

use crate::aws::Options;
use crate::support::aws::{Emulator, Place};
use crate::support::server::{Server, Setup};
use crate::support::simulated::{Host, runtime};
use crate::support::wire::{Call, Fault, refusal};
use crate::support::{alone, aws_inspector, seed, unique};

const JOBS: usize = 200;

/// Half of all calls but those of STS are throttled, by chance; the count of them.
fn throttle_half(setup: &Setup) -> Arc<AtomicUsize> {
    let seed = seed();
    println!("SLIPWAY_TEST_SEED={seed}");
    let random = Mutex::new(fastrand::Rng::with_seed(seed));
    let throttled = Arc::new(AtomicUsize::new(0));
    let count = throttled.clone();
    setup.proxy.script(move |call| {
        let hit = call.service != "sts" && random.lock().unwrap().bool();
        count.fetch_add(usize::from(hit), Ordering::Relaxed);
        if hit {
            refusal(call.service, Fault::Throttled)
        } else {
            None
        }
    });
    throttled
}

/// Every fourth app has a bucket: its look alone takes five calls, each throttled half of the time.
async fn onboarded(server: &Server, number: usize, name: &str) -> Value {
    let whole = json!({"name": name});
    let small = json!({"name": name, "buckets": []});
    let job = server
        .onboard(if number.is_multiple_of(4) {
            &whole
        } else {
            &small
        })
        .await;
    job["result"]["access_key_id"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_whose_calls_are_throttled_half_of_the_time_all_succeed() {
    let _turn = alone().await;
    let mut setup = Setup::new(Place::new(Emulator::Moto));
    // Chance does not throttle less when calls go slower, so the pace must not fall to its usual floor.
    setup.rates = Rates {
        first: 400.0,
        slowest: 200.0,
        ..Rates::default()
    };
    // As in earnest: a wait that is short does not begin the walk anew.
    setup.timing.hold = Timing::default().hold;
    setup.settings.job_deadline = Duration::from_secs(120);
    let server = setup.start().await;
    let throttled = throttle_half(&setup);
    let began = Instant::now();
    let names: Vec<String> = (0..JOBS).map(|_| unique("acme")).collect();
    let keys = join_all(
        names
            .iter()
            .enumerate()
            .map(|(number, name)| onboarded(&server, number, name)),
    )
    .await;
    let calls = setup.proxy.take_log().len();
    let throttled = throttled.load(Ordering::Relaxed);
    println!(
        "{JOBS} jobs in {:.0?}: {calls} calls, {throttled} of them throttled",
        began.elapsed()
    );
    assert!(
        throttled > calls / 3,
        "about half of the calls are throttled"
    );
    for (name, key) in names.iter().zip(&keys) {
        let listed = aws_inspector::call(
            &setup.place,
            "iam",
            "list_access_keys",
            json!({"UserName": name}),
        )
        .unwrap();
        let listed: Vec<&Value> = listed["AccessKeyMetadata"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| &key["AccessKeyId"])
            .collect();
        assert_eq!(listed, [key], "one key each, and it is the recorded one");
    }
    setup.proxy.unscript();
    server.stop().await;
}

/// As many apps in a new account in memory, with half of all calls throttled or none; how many calls that took, and how long in
/// simulated time: a busy machine makes neither more.
fn calls_for(apps: usize, throttled: bool) -> (usize, Duration) {
    let seed = seed();
    println!("SLIPWAY_TEST_SEED={seed}");
    let runtime = runtime();
    let taken = runtime.block_on(async {
        let mut host = Host::new(Options {
            seed,
            latency: Duration::from_millis(20)..=Duration::from_millis(60),
            ..Options::default()
        });
        // Chance does not throttle less when calls go slower.
        host.rates = Rates {
            slowest: host.rates.first,
            ..host.rates
        };
        let process = host.start().await;
        if throttled {
            let mut random = fastrand::Rng::with_seed(seed);
            host.break_by(move |call| {
                (call.service != "sts" && random.bool()).then_some(Fault::Throttled)
            });
        }
        host.aws.take_log();
        let began = tokio::time::Instant::now();
        let names: Vec<String> = (0..apps).map(|_| unique("acme")).collect();
        let bodies: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        join_all(bodies.iter().map(|body| process.onboard(body))).await;
        let calls = host.aws.take_log();
        let calls = calls.iter().filter(|call| call.service != "sts").count();
        let took = began.elapsed();
        process.stop().await;
        (calls, took)
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    taken
}

#[test]
fn a_throttled_call_is_repeated_and_what_was_done_before_it_is_not() {
    let ((without, _), (with, took)) = (calls_for(40, false), calls_for(40, true));
    // Each call, again by itself until it passes, is two calls.
    let singly = 2 * without;
    println!(
        "40 jobs: {without} calls, {with} with half of them throttled in {took:.0?}, {singly} if each is repeated by itself"
    );
    assert!(with <= 2 * singly, "{with} calls, and {singly} would do");
    assert!(took <= Duration::from_secs(120), "all ended after {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_sts_says_nothing_against_the_service() {
    let setup = Setup::new(Place::new(Emulator::Moto));
    let server = setup.start().await;
    let throttled = Arc::new(AtomicUsize::new(0));
    let count = throttled.clone();
    setup.proxy.script(move |call| {
        count.fetch_add(1, Ordering::Relaxed);
        refusal(call.service, Fault::Throttled)
    });
    setup.clock.advance(Duration::from_secs(60));
    // The dispatcher gives a sign of life by the same clock.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let ready = server.get("/readyz").await;
    assert_eq!(
        (ready.status().as_u16(), throttled.load(Ordering::Relaxed)),
        (200, 1),
        "{}",
        ready.text().await.unwrap()
    );
    setup.proxy.unscript();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_is_told_to_come_back_while_too_many_calls_wait() {
    let mut setup = Setup::new(Place::new(Emulator::Moto));
    // A call in ten minutes.
    setup.rates = Rates {
        first: 1.0 / 600.0,
        rise: 0.0,
        ..Rates::default()
    };
    let server = setup.start().await;
    let name = unique("acme");
    server.onboard(&json!({"name": name})).await;
    setup.proxy.break_calls([]);
    let once = |call: &Call| call.name() == "iam:ListAccessKeys" && call.nth == 0;
    setup.proxy.script(move |call| {
        once(call)
            .then(|| refusal(call.service, Fault::Throttled))
            .flatten()
    });
    let credentials = format!("/v1/apps/{name}/credentials");
    let listed = server.get(&credentials).await;
    let calls: Vec<String> = setup
        .proxy
        .take_log()
        .iter()
        .filter(|call| call.service == "iam")
        .map(Call::name)
        .collect();
    assert_eq!(
        calls, ["iam:ListAccessKeys"; 2],
        "the SDK makes up for the throttle, and the pace has heard of it"
    );
    assert_eq!(listed.status(), 503);
    let began = Instant::now();
    let refused = server.get(&credentials).await;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["retry-after"]),
        (503, &"5".parse().unwrap())
    );
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(
        (&problem["code"], &problem["retryable"]),
        (&json!("aws_throttled"), &json!(true)),
        "{problem:#}"
    );
    let plan: Value = server
        .post_empty(&format!("/v1/apps/{name}/plan"))
        .await
        .json()
        .await
        .unwrap();
    let blocked: Vec<&Value> = plan["changes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|change| change["action"] == "blocked")
        .collect();
    assert!(
        !blocked.is_empty() && plan.to_string().contains("AWS throttles this account"),
        "{plan:#}"
    );
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert!(
        setup
            .proxy
            .take_log()
            .iter()
            .all(|call| call.service != "iam"),
        "no call is made out of turn"
    );
    server.stop().await;
}
