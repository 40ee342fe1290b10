//! One live key with a known secret, whatever happens to calls, processes, clocks and the database (promises 3 to 5).

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Fixture, KINDS, begin, has_made, names, own_calls, pause, simulate, slow, small};
use crate::aws::{Consistency, Options};
use crate::support::aws::AccountAdmin;
use crate::support::simulated::Process;
use crate::support::wire::{Call, Fault};

fn lagging(seed: u64) -> Options {
    Options {
        seed,
        consistency: Consistency::as_aws_documents(),
        ..Options::default()
    }
}

/// A job that ended by itself, or names the keys that a person has to look at.
fn ended_or_names_its_key(fixture: &Fixture, job: &Value) -> bool {
    if job["state"] == "succeeded" {
        return true;
    }
    assert_eq!(
        (&job["state"], &job["error"]["code"]),
        (&json!("needs_attention"), &json!("credential_in_doubt")),
        "{job:#}"
    );
    let told = job["error"].to_string();
    assert!(
        fixture
            .keys("acme")
            .keys()
            .any(|key| told.contains(key.as_str())),
        "the park names the key: {job:#}"
    );
    false
}

/// AWS makes the key after the caller's time-out; the process is lost meanwhile, and the next one's clock is an hour off.
#[test]
fn a_key_that_aws_makes_late_is_found_by_a_process_whose_clock_is_an_hour_off() {
    for (late, lost_after, step) in [
        (20, 2, -3600),
        (20, 14, -3600),
        (20, 19, -3600),
        (20, 25, -3600),
        (20, 40, -90),
    ] {
        simulate(async {
            let mut fixture = Fixture::new(lagging(late + lost_after)).await;
            fixture.host.break_calls(&[(
                "iam:CreateAccessKey",
                0,
                Fault::TooLate(Duration::from_secs(late)),
            )]);
            let id = fixture
                .begin("POST", "/v1/apps", Some(&small("acme")))
                .await;
            while !names(&fixture.host.aws.log())
                .iter()
                .any(|call| call == "iam:CreateAccessKey")
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            pause(lost_after).await;
            fixture.kill().await;
            let span = Duration::from_secs(i64::unsigned_abs(step));
            if step < 0 {
                fixture.host.clock.step_back(span)
            } else {
                fixture.host.clock.advance(span)
            }
            fixture.process = Some(fixture.host.start().await);
            let job = fixture.process().wait(&id).await;
            pause(120).await;
            if ended_or_names_its_key(&fixture, &job) {
                fixture.one_live_key("acme", &BTreeMap::new()).await;
            }
            fixture.sound("acme").await;
            fixture.end().await;
        });
    }
}

/// Four creates in a row are lost, each in another way, and the process with each of them.
#[test]
fn a_create_that_is_lost_four_times_leaves_one_key() {
    for seed in 0..4 {
        simulate(async {
            let mut fixture = Fixture::new(lagging(seed)).await;
            let faults = [
                Fault::ResetAfter,
                Fault::CutShort,
                Fault::Late,
                Fault::LostAfter,
            ];
            let mut nth = 0;
            fixture.host.break_by(move |call| {
                (call.name() == "iam:CreateAccessKey" && nth < faults.len()).then(|| {
                    nth += 1;
                    faults[(nth - 1 + seed as usize) % faults.len()]
                })
            });
            let id = fixture
                .begin("POST", "/v1/apps", Some(&small("acme")))
                .await;
            for _ in 0..4 {
                pause(45).await;
                fixture.again().await;
            }
            let job = fixture.process().wait(&id).await;
            if ended_or_names_its_key(&fixture, &job) {
                fixture.one_live_key("acme", &BTreeMap::new()).await;
            }
            fixture.sound("acme").await;
            fixture.end().await;
        });
    }
}

/// A third of all answers but those of STS are cut short, in every kind of job.
#[test]
fn answers_that_are_cut_short_again_and_again_end_no_job() {
    for (seed, kind) in KINDS.into_iter().enumerate() {
        simulate(async {
            let fixture = Fixture::new(Options::default()).await;
            let mut random = fastrand::Rng::with_seed(seed as u64);
            let id = begin(&fixture, kind).await;
            fixture.host.break_by(move |call| {
                (call.service != "sts" && random.u32(..3) == 0).then_some(Fault::CutShort)
            });
            let job = fixture.process().wait(&id).await;
            assert_eq!(job["state"], "succeeded", "{kind}: {job:#}");
            fixture.host.break_by(|_| None);
            fixture.sound("acme").await;
            for key in fixture.keys("acme").into_keys() {
                let (status, claim) = fixture
                    .ask(
                        "POST",
                        &format!("/v1/apps/acme/credentials/{key}/claim"),
                        None,
                    )
                    .await;
                assert!(
                    status != 200 || claim["AWS_SECRET_ACCESS_KEY"].as_str().unwrap().len() >= 40,
                    "{claim}"
                );
            }
            fixture.end().await;
        });
    }
}

/// A process freezes for longer than its lease, at several calls of every kind of job. Another ends the job; the first,
/// awake again, makes no more calls.
#[test]
fn a_process_that_wakes_up_after_its_lease_makes_no_call() {
    let met = std::cell::Cell::new(0);
    for kind in KINDS {
        for calls in [1, 3, 7, 12] {
            simulate(async { met.set(met.get() + u32::from(frozen_at(kind, calls).await)) });
        }
    }
    assert!(
        met.get() >= 16,
        "a process froze at work {} times",
        met.get()
    );
}

/// A claim destroys the secret that the service would try the key with.
#[test]
fn a_key_whose_secret_is_claimed_at_once_becomes_ready() {
    simulate(async {
        let fixture = Fixture::new(Options::default()).await;
        let (key, _) = fixture.onboard(&small("acme")).await;
        pause(10).await;
        let keys = fixture.json("/v1/apps/acme/credentials").await;
        assert_eq!(
            (
                &keys["items"][0]["access_key_id"],
                &keys["items"][0]["readiness"]
            ),
            (&json!(key), &json!("ready")),
            "{keys:#}"
        );
        fixture.end().await;
    });
}

/// Whether the job made so many calls. The first process does no jobs: it holds what stands for the database server, and
/// cannot freeze.
async fn frozen_at(kind: &str, calls: usize) -> bool {
    let mut fixture = Fixture::with(slow(), |host| host.settings.workers = 0).await;
    fixture.host.settings.workers = 1;
    let mut others: BTreeMap<String, Process> = BTreeMap::new();
    for _ in 0..3 {
        let store = fixture.process().service.store.clone();
        let other = fixture
            .host
            .start_with(Some(store))
            .await
            .expect("a process");
        let session = fixture
            .host
            .aws
            .take_log()
            .last()
            .and_then(|call| call.session().map(str::to_owned))
            .expect("a session");
        others.insert(session, other);
    }
    let id = begin(&fixture, kind).await;
    let at_work = has_made(&fixture, &id, calls).await;
    let worker = own_calls(&fixture)
        .last()
        .and_then(|call| call.session().map(str::to_owned))
        .expect("a session");
    let frozen = others.remove(&worker).filter(|_| at_work);
    let met = frozen.is_some();
    if let Some(frozen) = frozen {
        frozen.simulated.freeze();
        let job = fixture.process().wait(&id).await;
        assert_eq!(
            job["state"], "succeeded",
            "{kind} frozen after {calls} calls: {job:#}"
        );
        pause(40).await;
        fixture.host.aws.take_log();
        frozen.simulated.thaw();
        pause(5).await;
        let late: Vec<String> = own_calls(&fixture)
            .iter()
            .filter(|it| it.session() == Some(&worker))
            .map(Call::name)
            .collect();
        assert_eq!(
            late,
            Vec::<String>::new(),
            "{kind} frozen after {calls} calls"
        );
        frozen.kill().await;
    }
    if met {
        fixture.sound("acme").await;
    }
    for other in others.into_values() {
        other.kill().await;
    }
    fixture.end().await;
    met
}

/// An adopted user has two keys of its own, so there is no room for ours: it is said, and no key is touched.
#[test]
fn an_adopted_user_whose_keys_are_all_taken_is_told_and_none_is_deleted() {
    simulate(async {
        let mut fixture = Fixture::new(Options::default()).await;
        fixture.host.make(
            "iam",
            "create_user",
            json!({"UserName": "acme", "Path": "/apps/"}),
        );
        let (one, two) = (fixture.key_by_hand("acme"), fixture.key_by_hand("acme"));
        pause(300).await;
        let mut body = small("acme");
        body["on_existing"] = json!("adopt");
        let job = fixture.ended("POST", "/v1/apps", Some(&body)).await;
        assert_eq!(
            (&job["state"], &job["error"]["code"]),
            (&json!("needs_attention"), &json!("quota_exceeded")),
            "{job:#}"
        );
        let told = job["error"].to_string();
        assert!(
            told.contains(&one) && told.contains(&two),
            "it names them: {told}"
        );
        fixture.host.make(
            "iam",
            "delete_access_key",
            json!({"UserName": "acme", "AccessKeyId": one}),
        );
        let job = fixture
            .ended(
                "POST",
                &format!("/v1/jobs/{}/retry", job["id"].as_str().unwrap()),
                None,
            )
            .await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        fixture.one_live_key("acme", &BTreeMap::new()).await;
        assert_eq!(fixture.keys("acme").get(&two), Some(&true));
        fixture.sound("acme").await;
        fixture.end().await;
    });
}

/// Somebody makes a key by hand while the answer to ours is lost: theirs is never deleted for ours.
#[test]
fn a_key_made_by_hand_while_ours_is_lost_is_not_taken_for_ours() {
    for used in [false, true] {
        simulate(async {
            let mut fixture = Fixture::new(Options::default()).await;
            let id = fixture
                .begin("POST", "/v1/apps", Some(&small("acme")))
                .await;
            // Ours was never made.
            fixture
                .host
                .break_calls(&[("iam:CreateAccessKey", 0, Fault::ResetBefore)]);
            while fixture
                .host
                .aws
                .log()
                .iter()
                .all(|call| call.name() != "iam:CreateAccessKey")
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let made = fixture
                .host
                .make("iam", "create_access_key", json!({"UserName": "acme"}));
            let text = |field: &str| made["AccessKey"][field].as_str().unwrap().to_owned();
            let key = text("AccessKeyId");
            fixture.by_hand.push(key.clone());
            if used {
                fixture
                    .host
                    .identity_of(&key, &text("SecretAccessKey"))
                    .await
                    .expect("it works");
            }
            let job = fixture.process().wait(&id).await;
            if used {
                assert!(
                    fixture.keys("acme").contains_key(&key),
                    "a key in use is never deleted: {job:#}"
                );
            }
            if ended_or_names_its_key(&fixture, &job) {
                fixture.one_live_key("acme", &BTreeMap::new()).await;
            }
            fixture.sound("acme").await;
            fixture.end().await;
        });
    }
}

/// A claim is shown once: again to its caller by its Idempotency-Key within ten minutes, also by another process and
/// after steps of the clock; to nobody else, and never after.
#[test]
fn a_claim_is_repeated_to_its_caller_alone_and_only_for_ten_minutes() {
    simulate(async {
        let mut fixture = Fixture::new(Options::default()).await;
        let job = fixture.done("POST", "/v1/apps", Some(&small("acme"))).await;
        let path = format!(
            "/v1/apps/acme/credentials/{}/claim",
            job["result"]["access_key_id"].as_str().unwrap()
        );
        let token = fixture.process().token("operator").await;
        let claim = async |fixture: &Fixture, own: bool| {
            let api = fixture.process();
            let request = if own {
                api.request(Method::POST, &path)
            } else {
                api.anonymous(Method::POST, &path).bearer_auth(&token)
            };
            let response = api.send(request.header("idempotency-key", "once")).await;
            (
                response.status().as_u16(),
                response.json::<Value>().await.unwrap()["AWS_SECRET_ACCESS_KEY"].clone(),
            )
        };
        let (status, secret) = claim(&fixture, true).await;
        assert_eq!(status, 200);
        fixture.again().await;
        assert_eq!(claim(&fixture, true).await, (200, secret.clone()));
        assert_eq!(
            claim(&fixture, false).await.0,
            410,
            "another caller's key is another key"
        );
        fixture.host.clock.step_back(Duration::from_secs(3600));
        fixture.again().await;
        assert_eq!(claim(&fixture, false).await.0, 410);
        pause(11 * 60).await;
        fixture.host.clock.advance(Duration::from_secs(3600));
        pause(61).await;
        assert_eq!(claim(&fixture, true).await.0, 410, "ten minutes are over");
        fixture.host.clock.step_back(Duration::from_secs(3600));
        assert_eq!(
            claim(&fixture, true).await.0,
            410,
            "what is destroyed stays destroyed"
        );
        fixture.end().await;
    });
}

/// `access_key: false` and back.
#[test]
fn a_key_that_is_dropped_and_asked_for_again_is_one_key() {
    for remove in [false, true] {
        simulate(async {
            let fixture = Fixture::new(Options::default()).await;
            let (key, secret) = fixture.onboard(&small("acme")).await;
            let mut without = small("acme");
            without["access_key"] = json!(false);
            let path = format!(
                "/v1/apps/acme{}",
                if remove {
                    "?remove=true&force=true"
                } else {
                    ""
                }
            );
            let job = fixture.done("PUT", &path, Some(&without)).await;
            assert_eq!(job["result"]["access_key_id"], Value::Null, "{job:#}");
            let app = fixture.app("acme").await;
            assert_eq!(
                app["retained"].to_string().contains(&key),
                !remove,
                "{app:#}"
            );
            let job = fixture
                .done("PUT", "/v1/apps/acme", Some(&small("acme")))
                .await;
            let secrets = BTreeMap::from([(key.clone(), secret)]);
            let live = fixture.one_live_key("acme", &secrets).await;
            assert_eq!(job["result"]["access_key_id"], json!(live), "{job:#}");
            assert_eq!(
                fixture.app("acme").await["retained"]["resources"],
                json!([]),
                "nothing is retained"
            );
            fixture.sound("acme").await;
            fixture.end().await;
        });
    }
}
