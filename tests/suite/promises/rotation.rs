//! Rotations: what a person has said holds, a key in use is never deleted, and a rotation ends, whatever is lost or restored.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::{Fixture, id_of, items, own_calls, pause, simulate, small};
use crate::aws::{Consistency, Options};
use crate::support::aws::AccountAdmin;
use crate::support::simulated::Process;
use crate::support::wire::Fault;

const STAGES: [&str; 5] = [
    "creating",
    "awaiting_claim",
    "draining",
    "pending_deletion",
    "done",
];

/// An app whose rotation has come to a stage: its secrets by key, and the old and the new key.
struct Rotated {
    secrets: BTreeMap<String, String>,
    old: String,
    new: String,
}

async fn onboarded(fixture: &Fixture) -> Rotated {
    let (old, secret) = fixture.onboard(&small("acme")).await;
    pause(200).await;
    Rotated {
        secrets: BTreeMap::from([(old.clone(), secret)]),
        old,
        new: String::new(),
    }
}

impl Rotated {
    /// Goes on to a stage.
    async fn to(&mut self, fixture: &Fixture, stage: &str, query: &str) {
        let path = format!("/v1/apps/acme/credentials/rotate{query}");
        let job = fixture.done("POST", &path, None).await;
        self.new = job["result"]["access_key_id"].as_str().unwrap().to_owned();
        if stage == "awaiting_claim" {
            return;
        }
        let secret = fixture.claim("acme", &self.new).await;
        self.secrets.insert(self.new.clone(), secret);
        fixture.until_stage("acme", &[stage]).await;
    }
}

/// Repairs the app. A rotation that was due in a restored database may have begun its job first.
async fn repaired(fixture: &Fixture) {
    let repair = async || fixture.ask("POST", "/v1/apps/acme/repair", None).await;
    let (mut status, mut answer) = repair().await;
    while status == 409 && answer["code"] == "job_active" {
        fixture.settled("acme").await;
        (status, answer) = repair().await;
    }
    assert_eq!(status, 202, "{answer:#}");
    fixture.process().wait(&id_of(&answer)).await;
}

/// The database of any stage is restored while AWS is at any later one. No key that somebody has is deleted, and none is
/// live that nobody knows.
#[test]
fn a_database_restored_at_any_stage_deletes_no_key_in_use() {
    for (at, before) in STAGES.into_iter().enumerate() {
        for later in &STAGES[at + 1..] {
            simulate(async {
                let mut fixture = Fixture::new(Options::default()).await;
                let mut app = onboarded(&fixture).await;
                let mut copy = None;
                if before == "creating" {
                    copy = Some(fixture.copy().await);
                }
                for stage in &STAGES[1..] {
                    match *stage {
                        "awaiting_claim" => app.to(&fixture, "awaiting_claim", "").await,
                        "draining" => {
                            let secret = fixture.claim("acme", &app.new).await;
                            app.secrets.insert(app.new.clone(), secret);
                            fixture.until_stage("acme", &["draining"]).await;
                        }
                        stage => drop(fixture.until_stage("acme", &[stage]).await),
                    }
                    if *stage == before {
                        copy = Some(fixture.copy().await);
                    }
                    if stage == later {
                        break;
                    }
                }
                // The new key is what the app uses by now, where it was claimed.
                let in_use = if *later == "awaiting_claim" {
                    app.old.clone()
                } else {
                    app.new.clone()
                };
                fixture
                    .host
                    .identity_of(&in_use, &app.secrets[&in_use])
                    .await
                    .expect("it works");
                fixture.restore_copy(&copy.unwrap()).await;
                repaired(&fixture).await;
                pause(1200).await;
                assert_eq!(
                    fixture.keys("acme").get(&in_use),
                    Some(&true),
                    "{before} restored at {later}: the key in use is gone: {:#?}",
                    fixture.jobs("acme").await
                );
                let told = json!([
                    fixture.jobs("acme").await,
                    fixture.app("acme").await,
                    fixture.json("/v1/apps/acme/credentials").await
                ])
                .to_string();
                for key in fixture.keys("acme").keys() {
                    assert!(
                        told.contains(key.as_str()),
                        "{before} restored at {later}: nobody names {key}: {:#?}",
                        fixture.jobs("acme").await
                    );
                }
                let ours: Vec<_> = fixture
                    .keys("acme")
                    .into_iter()
                    .filter(|(key, active)| *active && !app.secrets.contains_key(key))
                    .collect();
                assert!(ours.len() < 2, "{ours:?}");
                fixture.end().await;
            });
        }
    }
}

/// The old key goes by hand at any stage: the rotation ends, and the new key is the app's.
#[test]
fn a_rotation_whose_old_key_is_gone_ends() {
    for stage in ["awaiting_claim", "draining", "pending_deletion"] {
        simulate(async {
            let fixture = Fixture::new(Options {
                consistency: Consistency::as_aws_documents(),
                ..Options::default()
            })
            .await;
            let mut app = onboarded(&fixture).await;
            app.to(&fixture, stage, "").await;
            fixture.host.make(
                "iam",
                "delete_access_key",
                json!({"UserName": "acme", "AccessKeyId": app.old}),
            );
            if stage == "awaiting_claim" {
                app.secrets
                    .insert(app.new.clone(), fixture.claim("acme", &app.new).await);
            }
            fixture.until_stage("acme", &["done"]).await;
            assert_eq!(fixture.one_live_key("acme", &app.secrets).await, app.new);
            let app = fixture.app("acme").await;
            assert_eq!(app["state"], "ready", "{app:#}");
            fixture.sound("acme").await;
            fixture.end().await;
        });
    }
}

/// The new key goes, or is switched off, at any stage: the old one stays as it is.
#[test]
fn an_old_key_outlives_a_new_one_that_is_gone_or_off() {
    for stage in ["awaiting_claim", "draining", "pending_deletion"] {
        for deleted in [true, false] {
            simulate(async {
                let fixture = Fixture::new(Options::default()).await;
                let mut app = onboarded(&fixture).await;
                app.to(&fixture, stage, "?force=true").await;
                if deleted {
                    fixture.host.make(
                        "iam",
                        "delete_access_key",
                        json!({"UserName": "acme", "AccessKeyId": app.new}),
                    );
                } else {
                    fixture.host.make(
                        "iam",
                        "update_access_key",
                        json!({"UserName": "acme", "AccessKeyId": app.new, "Status": "Inactive"}),
                    );
                }
                pause(900).await;
                let keys = fixture.keys("acme");
                assert!(
                    keys.contains_key(&app.old),
                    "{stage}: the only key that is left is not deleted: {keys:?} {:#}",
                    fixture.rotation("acme").await
                );
                fixture.end().await;
            });
        }
    }
}

/// A person cancels the job of any stage: nothing more is done to the old key, also by later processes.
#[test]
fn a_rotation_that_is_canceled_at_any_stage_goes_no_further() {
    for stage in ["creating", "deactivating", "deleting"] {
        simulate(async {
            let mut fixture = Fixture::new(Options::default()).await;
            let mut app = onboarded(&fixture).await;
            let (call, nth) = match stage {
                "creating" => ("iam:CreateAccessKey", 0),
                "deactivating" => ("iam:UpdateAccessKey", 0),
                _ => ("iam:DeleteAccessKey", 0),
            };
            if stage == "deleting" {
                app.to(&fixture, "pending_deletion", "?force=true").await;
            }
            // Nothing of it reaches AWS for some time.
            fixture.host.break_by(move |it| {
                (it.name() == call && it.nth >= nth).then_some(Fault::Throttled)
            });
            let job = match stage {
                "creating" => {
                    fixture
                        .begin("POST", "/v1/apps/acme/credentials/rotate?force=true", None)
                        .await
                }
                "deactivating" => {
                    let job = fixture
                        .done("POST", "/v1/apps/acme/credentials/rotate?force=true", None)
                        .await;
                    app.new = job["result"]["access_key_id"].as_str().unwrap().to_owned();
                    app.secrets
                        .insert(app.new.clone(), fixture.claim("acme", &app.new).await);
                    running(&fixture).await
                }
                _ => running(&fixture).await,
            };
            while own_calls(&fixture).iter().all(|it| it.name() != call) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let (status, canceled) = fixture
                .ask("POST", &format!("/v1/jobs/{job}/cancel"), None)
                .await;
            assert_eq!(status, 202, "{canceled:#}");
            fixture.kill().await;
            fixture.host.break_by(|_| None);
            fixture.process = Some(fixture.host.start().await);
            let job = fixture.process().wait(&job).await;
            assert_eq!(job["state"], "canceled", "{stage}: {job:#}");
            let keys = fixture.keys("acme");
            pause(1800).await;
            assert_eq!(
                fixture.keys("acme"),
                keys,
                "{stage}: nothing more is done: {:#}",
                fixture.rotation("acme").await
            );
            assert!(keys.contains_key(&app.old), "{keys:?}");
            let rotation = fixture.until_stage("acme", &["stopped"]).await;
            assert!(rotation["reason"].is_string(), "{rotation:#}");
            fixture.sound("acme").await;
            // Another rotation can follow.
            let replace = keys
                .keys()
                .find(|key| **key != app.old)
                .map(|key| format!("?force=true&replace={key}"));
            fixture
                .done(
                    "POST",
                    &format!(
                        "/v1/apps/acme/credentials/rotate{}",
                        replace.unwrap_or("?force=true".into())
                    ),
                    None,
                )
                .await;
            fixture.end().await;
        });
    }
}

/// The job that is under way.
async fn running(fixture: &Fixture) -> String {
    for _ in 0..2000 {
        for state in ["queued", "running", "waiting"] {
            if let Some(job) = items(
                &fixture
                    .json(&format!("/v1/jobs?app=acme&state={state}"))
                    .await,
            )
            .first()
            {
                return id_of(job);
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("no job is under way");
}

/// Half of all calls are throttled, by chance: rotation and removal end in time, with no more than twice the calls.
#[test]
fn a_rotation_and_a_removal_of_which_half_is_throttled_make_twice_the_calls() {
    let life = |seed: Option<u64>| {
        simulate(async move {
            let fixture = Fixture::new(Options::default()).await;
            let apps = ["acme", "beta", "gamma", "delta"];
            for name in apps {
                fixture.onboard(&small(name)).await;
            }
            fixture.host.aws.take_log();
            if let Some(seed) = seed {
                let mut random = fastrand::Rng::with_seed(seed);
                fixture.host.break_by(move |call| {
                    (call.service != "sts" && random.bool()).then_some(Fault::Throttled)
                });
            }
            let began = tokio::time::Instant::now();
            for name in apps {
                fixture
                    .done(
                        "POST",
                        &format!("/v1/apps/{name}/credentials/rotate?force=true"),
                        None,
                    )
                    .await;
            }
            for name in apps {
                fixture
                    .begin("DELETE", &format!("/v1/apps/{name}"), None)
                    .await;
            }
            for name in apps {
                while fixture.app(name).await["state"] != "removed" {
                    pause(1).await;
                }
            }
            let took = began.elapsed();
            let calls = own_calls(&fixture).len();
            fixture.end().await;
            (calls, took)
        })
    };
    let (singly, _) = life(None);
    for seed in 0..3 {
        let (calls, took) = life(Some(seed));
        assert!(
            calls <= 4 * singly,
            "{calls} calls, where {singly} would do without throttling and twice that with it"
        );
        assert!(took < Duration::from_secs(240), "{took:?}");
    }
}

/// The spec drops the key while its rotation is under way, and asks for one again.
#[test]
fn a_key_that_the_spec_drops_while_it_is_rotated_and_asks_for_again() {
    for stage in ["awaiting_claim", "draining", "pending_deletion"] {
        for remove in [false, true] {
            simulate(async {
                let fixture = Fixture::new(Options::default()).await;
                let mut app = onboarded(&fixture).await;
                app.to(&fixture, stage, "?force=true").await;
                let mut without = small("acme");
                without["access_key"] = json!(false);
                let path = if remove {
                    "/v1/apps/acme?remove=true&force=true"
                } else {
                    "/v1/apps/acme"
                };
                let job = fixture.done("PUT", path, Some(&without)).await;
                pause(900).await;
                let (keys, shown) = (fixture.keys("acme"), fixture.app("acme").await);
                if remove {
                    assert_eq!(
                        keys,
                        BTreeMap::new(),
                        "{stage}: {job:#} {:#}",
                        fixture.rotation("acme").await
                    );
                }
                for key in keys.keys() {
                    assert!(
                        shown["retained"].to_string().contains(key.as_str()),
                        "{stage}: {key} is known and removable: {shown:#}"
                    );
                }
                fixture.sound("acme").await;
                fixture
                    .done(
                        "PUT",
                        "/v1/apps/acme?remove=true&force=true",
                        Some(&small("acme")),
                    )
                    .await;
                pause(900).await;
                let live: Vec<_> = fixture
                    .keys("acme")
                    .into_iter()
                    .filter(|(_, active)| *active)
                    .collect();
                assert!(
                    !live.is_empty(),
                    "{stage}: the app has a key: {:?}",
                    fixture.keys("acme")
                );
                fixture.sound("acme").await;
                fixture.end().await;
            });
        }
    }
}

/// A removal at any stage of a rotation, restored: the keys that were on are on again, and no more is done to them.
#[test]
fn a_removal_in_a_rotation_that_is_restored_leaves_the_keys_as_they_were() {
    for stage in ["awaiting_claim", "draining", "pending_deletion"] {
        simulate(async {
            let mut fixture = Fixture::new(Options {
                consistency: Consistency::as_aws_documents(),
                ..Options::default()
            })
            .await;
            let mut app = onboarded(&fixture).await;
            app.to(&fixture, stage, "?force=true").await;
            pause(30).await;
            let before = fixture.keys("acme");
            fixture
                .done("DELETE", "/v1/apps/acme?quarantine=1h", None)
                .await;
            assert!(
                fixture.keys("acme").values().all(|active| !active),
                "{:?}",
                fixture.keys("acme")
            );
            fixture.again().await;
            fixture.done("POST", "/v1/apps/acme/restore", None).await;
            assert_eq!(fixture.keys("acme"), before, "{stage}");
            pause(900).await;
            assert_eq!(
                fixture.keys("acme"),
                before,
                "{stage}: {:#}",
                fixture.rotation("acme").await
            );
            fixture.sound("acme").await;
            fixture.end().await;
        });
    }
}

/// A rotation at every stage of which the clock steps back by an hour and the process is lost.
#[test]
fn a_rotation_outlives_a_clock_that_steps_back_at_every_stage() {
    simulate(async {
        let mut fixture = Fixture::new(Options::default()).await;
        let mut app = onboarded(&fixture).await;
        app.to(&fixture, "awaiting_claim", "").await;
        for stage in ["draining", "pending_deletion", "done"] {
            fixture.host.clock.step_back(Duration::from_secs(3600));
            fixture.again().await;
            if stage == "draining" {
                app.secrets
                    .insert(app.new.clone(), fixture.claim("acme", &app.new).await);
            }
            let mut seen = fixture.rotation("acme").await;
            for _ in 0..240 {
                if seen["stage"] == stage || seen["stage"] == "done" {
                    break;
                }
                pause(30).await;
                seen = fixture.rotation("acme").await;
            }
            assert!(
                seen["stage"] == stage || seen["stage"] == "done",
                "{stage}: {seen:#}"
            );
            assert!(fixture.keys("acme").contains_key(&app.new));
        }
        assert_eq!(fixture.one_live_key("acme", &app.secrets).await, app.new);
        fixture.sound("acme").await;
        fixture.end().await;
    });
}

/// Two processes on one database whose clocks are ten minutes apart take a rotation through all of its stages.
#[test]
fn a_rotation_ends_also_where_two_clocks_are_apart() {
    simulate(async {
        let mut fixture = Fixture::new(Options::default()).await;
        let store = fixture.process().service.store.clone();
        let own = fixture.host.clock.clone();
        fixture.host.clock =
            slipway::clock::Clock::simulated(own.now().before(Duration::from_secs(600)));
        let other: Process = fixture
            .host
            .start_with(Some(store))
            .await
            .expect("a process");
        fixture.host.clock = own;
        let mut app = onboarded(&fixture).await;
        app.to(&fixture, "done", "").await;
        assert_eq!(fixture.one_live_key("acme", &app.secrets).await, app.new);
        other.kill().await;
        fixture.sound("acme").await;
        fixture.end().await;
    });
}
