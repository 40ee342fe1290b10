//! Removals: what was said to stay stays, a restore is whole or refused, and what is canceled, denied or lost can be ended.

use std::time::Duration;

use serde_json::{Value, json};
use slipway::domain::spec::Defaults;
use slipway::provision::conventions::Conventions;
use slipway::provision::permissions;

use super::{
    Fixture, KINDS, begin, first_spec, has_made, id_of, items, own_calls, pause, simulate, slow,
    small, whole,
};
use crate::aws::{Consistency, Options};
use crate::support::aws::AccountAdmin;
use crate::support::wire::Fault;

fn lagging(seed: u64, authorization: bool) -> Options {
    Options {
        seed,
        consistency: Consistency::as_aws_documents(),
        authorization,
        ..Options::default()
    }
}

fn role_policy() -> Value {
    permissions::role_policy(&Conventions::new(
        &Defaults::default(),
        "aws",
        "123456789012",
    ))
}

/// The policy without an action.
fn without(action: &str) -> Value {
    let mut policy = role_policy();
    for statement in policy["Statement"].as_array_mut().unwrap() {
        if let Some(actions) = statement["Action"].as_array_mut() {
            actions.retain(|it| it != action);
        }
    }
    policy["Statement"]
        .as_array_mut()
        .unwrap()
        .retain(|statement| statement["Action"] != json!([]));
    assert!(
        !policy.to_string().contains(&format!("\"{action}\"")),
        "{action} is out"
    );
    policy
}

/// Waits until the app is removed.
async fn removed(fixture: &Fixture, name: &str) -> Value {
    for _ in 0..600 {
        let app = fixture.app(name).await;
        if app["state"] == "removed" {
            return app;
        }
        pause(2).await;
    }
    panic!(
        "{name} is not removed: {:#} {:#?}",
        fixture.app(name).await,
        fixture.jobs(name).await
    );
}

/// Nothing of the app's IAM is left; its data is there without our tags.
fn is_gone(fixture: &Fixture, name: &str) {
    let seen = fixture.snapshot();
    assert_eq!(seen["users"][name], Value::Null);
    assert!(
        !seen["policies"]
            .to_string()
            .contains(&format!("MediaManagement-{name}\"")),
        "{:#}",
        seen["policies"]
    );
    for kind in ["buckets", "repositories"] {
        for (thing, it) in seen[kind].as_object().into_iter().flatten() {
            assert!(
                it["tags"]["slipway:app"] != name,
                "{kind} {thing} is given back: {it:#}"
            );
        }
    }
}

/// A whole life with IAM's lag at its longest, under the printed policy, some answers lost.
#[test]
fn a_removal_in_a_lagging_account_under_the_printed_policy_leaves_nothing() {
    for seed in 0..6 {
        simulate(async {
            let fixture = Fixture::with(lagging(seed, true), |host| {
                host.role_policy = Some(role_policy())
            })
            .await;
            fixture.onboard(&whole("acme", "scoped")).await;
            fixture
                .done(
                    "PUT",
                    "/v1/apps/acme?remove=true",
                    Some(&whole("acme", "shared")),
                )
                .await;
            fixture
                .done(
                    "PUT",
                    "/v1/apps/acme?remove=true",
                    Some(&whole("acme", "scoped")),
                )
                .await;
            let mut random = fastrand::Rng::with_seed(seed);
            fixture.host.break_by(move |call| {
                let lost = call.mutates() && call.service != "sts" && random.u32(..3) == 0;
                lost.then_some([Fault::ResetAfter, Fault::CutShort][random.usize(..2)])
            });
            fixture.begin("DELETE", "/v1/apps/acme", None).await;
            removed(&fixture, "acme").await;
            is_gone(&fixture, "acme");
            // The name can be had again, once IAM shows everywhere that it is free.
            fixture.host.break_by(|_| None);
            pause(30).await;
            fixture.done("POST", "/v1/apps", Some(&json!({"name": "acme", "media_access": "scoped", "on_existing": "adopt", "buckets": [{"name": "acme-media"}], "repositories": []}))).await;
            fixture.sound("acme").await;
            fixture.end().await;
        });
    }
}

/// A restore asked for at any moment of a removal is either accepted, and the app is whole, or refused, and it goes on.
#[test]
fn a_restore_at_any_moment_of_a_removal_is_whole_or_refused() {
    for calls in [0, 1, 2, 3, 5, 7, 9, 12, 15, 18, 22] {
        simulate(async {
            let fixture =
                Fixture::with(slow(), |host| host.settings.quarantine = Duration::ZERO).await;
            fixture.onboard(&first_spec()).await;
            fixture.host.aws.take_log();
            let id = fixture.begin("DELETE", "/v1/apps/acme", None).await;
            let mut waited = 0;
            while own_calls(&fixture).len() < calls && waited < 60_000 {
                waited += 5;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let (status, answer) = fixture.ask("POST", "/v1/apps/acme/restore", None).await;
            fixture.process().wait(&id).await;
            match status {
                202 => {
                    let job = fixture.process().wait(&id_of(&answer)).await;
                    assert_eq!(job["state"], "succeeded", "after {calls} calls: {job:#}");
                    pause(300).await;
                    assert_eq!(
                        fixture.app("acme").await["state"],
                        "ready",
                        "after {calls} calls"
                    );
                    fixture.sound("acme").await;
                    assert!(fixture.keys("acme").values().all(|active| *active));
                }
                404 | 409 => {
                    assert!(
                        answer["code"].is_string() && answer["detail"].is_string(),
                        "{answer:#}"
                    );
                    removed(&fixture, "acme").await;
                    is_gone(&fixture, "acme");
                }
                _ => panic!("after {calls} calls: {status} {answer:#}"),
            }
            fixture.end().await;
        });
    }
}

/// Cancels a job of each kind at several of its calls. A retry, a change or a removal then ends what is begun.
#[test]
fn what_is_canceled_at_any_call_can_be_retried_changed_and_removed() {
    for (number, kind) in KINDS.into_iter().enumerate() {
        for calls in [1, 4, 8, 13, 19] {
            let then = ["retry", "change", "remove"][(number + calls) % 3];
            simulate(canceled(kind, calls, then));
        }
    }
}

async fn canceled(kind: &str, calls: usize, then: &str) {
    let mut fixture = Fixture::with(slow(), |host| {
        host.settings.job_deadline = Duration::from_secs(300)
    })
    .await;
    let id = begin(&fixture, kind).await;
    if !has_made(&fixture, &id, calls).await {
        return fixture.end().await;
    }
    let (status, answer) = fixture
        .ask("POST", &format!("/v1/jobs/{id}/cancel"), None)
        .await;
    if calls.is_multiple_of(2) {
        fixture.again().await;
    }
    let job = fixture.process().wait(&id).await;
    assert!(
        [202, 409].contains(&status),
        "{kind} at {calls}: {status} {answer:#} {job:#}"
    );
    let story = format!("{kind} canceled at {calls} ({}), then {then}", job["state"]);
    // A key may be live that nobody knows: that is said in the place of the cancel.
    let in_doubt = job["error"]["code"] == "credential_in_doubt";
    assert!(
        status != 202 || in_doubt || job["state"] == "canceled",
        "{story}: a cancel that was accepted holds: {job:#}"
    );
    let app = fixture.app("acme").await;
    let going = ["quarantined", "removing", "removed"]
        .iter()
        .any(|state| app["state"] == *state);
    match then {
        "retry" => {
            let (status, answer) = fixture
                .ask("POST", &format!("/v1/jobs/{id}/retry"), None)
                .await;
            if status == 202 {
                let job = fixture.process().wait(&id).await;
                assert_eq!(job["state"], "succeeded", "{story}: {job:#}");
            } else {
                assert!(answer["code"].is_string(), "{story}: {answer:#}");
            }
        }
        "change" if !going && kind != "remove" => {
            let (status, job) = match kind {
                "onboard" => {
                    fixture
                        .ask("POST", "/v1/apps", Some(&whole("acme", "shared")))
                        .await
                }
                _ => {
                    fixture
                        .ask(
                            "PUT",
                            "/v1/apps/acme?remove=true&force=true&confirm=acme",
                            Some(&whole("acme", "shared")),
                        )
                        .await
                }
            };
            assert_eq!(status, 202, "{story}: {job:#}");
            let job = fixture.process().wait(&id_of(&job)).await;
            assert_eq!(job["state"], "succeeded", "{story}: {job:#}");
        }
        _ => {}
    }
    if kind != "remove" && fixture.app("acme").await["state"] == "ready" {
        fixture.sound("acme").await;
    }
    let (status, answer) = fixture.ask("DELETE", "/v1/apps/acme", None).await;
    assert!(
        status == 202 || answer["code"] == "app_removed",
        "{story}: {status} {answer:#}"
    );
    removed(&fixture, "acme").await;
    is_gone(&fixture, "acme");
    fixture.end().await;
}

/// While a change is queued or runs, a removal is refused with its address, and the other way round.
#[test]
fn a_removal_while_a_change_is_under_way_names_the_job() {
    simulate(async {
        let fixture = Fixture::new(slow()).await;
        fixture.onboard(&whole("acme", "scoped")).await;
        let id = fixture
            .begin("PUT", "/v1/apps/acme", Some(&whole("acme", "shared")))
            .await;
        let (status, answer) = fixture.ask("DELETE", "/v1/apps/acme", None).await;
        assert_eq!(
            (status, answer["url"].as_str()),
            (409, Some(format!("/v1/jobs/{id}").as_str())),
            "{answer:#}"
        );
        assert_eq!(fixture.process().wait(&id).await["state"], "succeeded");
        let id = fixture
            .begin("DELETE", "/v1/apps/acme?quarantine=1h", None)
            .await;
        let (status, answer) = fixture
            .ask("PUT", "/v1/apps/acme", Some(&whole("acme", "scoped")))
            .await;
        assert_eq!(status, 409, "{answer:#}");
        fixture.process().wait(&id).await;
        fixture.done("POST", "/v1/apps/acme/restore", None).await;
        fixture.sound("acme").await;
        fixture.end().await;
    });
}

/// What came into a bucket or repository after an unconfirmed removal was accepted stays.
#[test]
fn what_came_after_an_unconfirmed_removal_was_accepted_stays() {
    simulate(async {
        let fixture = Fixture::new(slow()).await;
        let mut body = first_spec();
        body["repositories"] = json!([{"name": "acme"}, {"name": "acme-old"}]);
        fixture.onboard(&body).await;
        fixture.host.aws.take_log();
        let id = fixture
            .begin(
                "PUT",
                "/v1/apps/acme?remove=true",
                Some(&whole("acme", "scoped")),
            )
            .await;
        fixture.host.make(
            "s3",
            "put_object",
            json!({"Bucket": "acme-old", "Key": "late.txt", "Body": {"base64": "aGk="}}),
        );
        fixture.host.make(
            "ecr",
            "put_image",
            json!({"repositoryName": "acme-old", "imageTag": "late", "imageManifest": manifest()}),
        );
        let job = fixture.process().wait(&id).await;
        assert_eq!(job["error"]["code"], "would_delete_data", "{job:#}");
        let seen = fixture.snapshot();
        assert_eq!(seen["buckets"]["acme-old"]["versions"], 1, "{seen:#}");
        assert_eq!(
            seen["repositories"]["us-west-2/acme-old"]["images"]
                .as_array()
                .map(Vec::len),
            Some(1)
        );
        let (status, answer) = fixture
            .ask(
                "PUT",
                "/v1/apps/acme?remove=true",
                Some(&whole("acme", "scoped")),
            )
            .await;
        assert_eq!(
            (status, &answer["code"]),
            (409, &json!("confirmation_required")),
            "{answer:#}"
        );
        fixture
            .done(
                "PUT",
                "/v1/apps/acme?remove=true&confirm=acme",
                Some(&whole("acme", "scoped")),
            )
            .await;
        assert_eq!(fixture.snapshot()["buckets"]["acme-old"], Value::Null);
        fixture.sound("acme").await;
        fixture.end().await;
    });
}

fn manifest() -> String {
    json!({"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "config": {}, "layers": []}).to_string()
}

/// Images that are archived are data: neither a change nor a removal deletes them unconfirmed.
#[test]
fn a_repository_of_archived_images_is_not_empty() {
    simulate(async {
        let fixture = Fixture::new(Options::default()).await;
        fixture.onboard(&whole("acme", "shared")).await;
        let put = fixture.host.make(
            "ecr",
            "put_image",
            json!({"repositoryName": "acme", "imageTag": "1", "imageManifest": manifest()}),
        );
        let digest = put["image"]["imageId"]["imageDigest"].clone();
        fixture.host.make(
            "ecr",
            "update_image_storage_class",
            json!({"repositoryName": "acme", "imageId": {"imageDigest": digest}, "targetStorageClass": "ARCHIVE"}),
        );
        let images = fixture.snapshot()["repositories"]["us-west-2/acme"]["images"].clone();
        assert_eq!(images[0]["status"], "ARCHIVED", "{images:#}");
        let mut body = whole("acme", "shared");
        body["repositories"] = json!([]);
        let (status, answer) = fixture
            .ask("PUT", "/v1/apps/acme?remove=true", Some(&body))
            .await;
        assert_eq!(
            (status, &answer["code"]),
            (409, &json!("confirmation_required")),
            "{answer:#}"
        );
        fixture.done("PUT", "/v1/apps/acme", Some(&body)).await;
        let (status, answer) = fixture
            .ask(
                "POST",
                "/v1/apps/acme/repair",
                Some(&json!({"remove": ["ecr:repository/us-west-2/acme"]})),
            )
            .await;
        if status == 202 {
            let job = fixture.process().wait(&id_of(&answer)).await;
            assert_ne!(job["state"], "succeeded", "{job:#}");
        }
        let (status, answer) = fixture
            .ask("DELETE", "/v1/apps/acme?repositories=acme", None)
            .await;
        assert_eq!(
            (status, &answer["code"]),
            (409, &json!("confirmation_required")),
            "{answer:#}"
        );
        assert_eq!(
            fixture.snapshot()["repositories"]["us-west-2/acme"]["images"],
            images
        );
        fixture.end().await;
    });
}

/// The role lacks an action that a removal needs. Once that is granted a retry ends it, also in another process.
#[test]
fn a_removal_that_is_denied_something_ends_once_it_is_granted() {
    for action in [
        "iam:DeleteUser",
        "iam:DeleteAccessKey",
        "iam:UpdateAccessKey",
        "iam:DetachUserPolicy",
        "iam:DeletePolicy",
        "iam:RemoveUserFromGroup",
        "iam:ListAccessKeys",
        "s3:PutBucketTagging",
        "ecr:UntagResource",
    ] {
        simulate(async {
            let mut fixture = Fixture::with(lagging(1, true), |host| {
                host.role_policy = Some(role_policy())
            })
            .await;
            fixture.onboard(&whole("acme", "scoped")).await;
            pause(300).await;
            fixture
                .host
                .aws
                .role_session(fixture.host.account(), "slipway", Some(without(action)));
            let (status, answer) = fixture.ask("DELETE", "/v1/apps/acme", None).await;
            assert!(
                status == 202 || answer["remedy"].to_string().contains(action),
                "{action}: {status} {answer:#}"
            );
            let mut parked = None;
            if status == 202 {
                for _ in 0..600 {
                    parked = items(
                        &fixture
                            .json("/v1/jobs?app=acme&state=needs_attention")
                            .await,
                    )
                    .first()
                    .cloned();
                    if parked.is_some() || fixture.app("acme").await["state"] == "removed" {
                        break;
                    }
                    pause(2).await;
                }
                let jobs = fixture.jobs("acme").await;
                let job = parked
                    .as_ref()
                    .unwrap_or_else(|| panic!("{action} is not missed: {jobs:#?}"));
                assert!(
                    job["error"]["remedy"].to_string().contains(action),
                    "{action}: {job:#}"
                );
            }
            fixture
                .host
                .aws
                .role_session(fixture.host.account(), "slipway", Some(role_policy()));
            fixture.again().await;
            match parked {
                Some(job) => drop(
                    fixture
                        .done(
                            "POST",
                            &format!("/v1/jobs/{}/retry", job["id"].as_str().unwrap()),
                            None,
                        )
                        .await,
                ),
                None => drop(fixture.begin("DELETE", "/v1/apps/acme", None).await),
            }
            removed(&fixture, "acme").await;
            is_gone(&fixture, "acme");
            fixture.end().await;
        });
    }
}

/// Things that somebody hangs on the user while a removal is under way, in an account that lags: all of it goes.
#[test]
fn what_comes_to_the_user_during_a_removal_goes_too() {
    for calls in [0, 4, 8, 12] {
        simulate(async {
            let mut fixture = Fixture::with(lagging(calls as u64, false), |host| {
                host.settings.quarantine = Duration::ZERO
            })
            .await;
            fixture.onboard(&small("acme")).await;
            let policy = fixture.host.make("iam", "create_policy", json!({"PolicyName": "by-hand", "PolicyDocument": json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}).to_string()}));
            fixture.host.aws.take_log();
            fixture.begin("DELETE", "/v1/apps/acme", None).await;
            while own_calls(&fixture).len() < calls {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if fixture.user("acme").is_object() {
                fixture.key_by_hand("acme");
                fixture.host.make(
                    "iam",
                    "attach_user_policy",
                    json!({"UserName": "acme", "PolicyArn": policy["Policy"]["Arn"]}),
                );
            }
            removed(&fixture, "acme").await;
            is_gone(&fixture, "acme");
            assert!(
                fixture.snapshot()["policies"]
                    .to_string()
                    .contains("by-hand"),
                "the policy itself is somebody else's"
            );
            fixture.end().await;
        });
    }
}

/// The process is lost at calls of a removal whose answers are lost too, and the clock steps back: it ends.
#[test]
fn a_removal_ends_whatever_is_lost_with_its_calls() {
    for call in [
        "iam:DeleteUser",
        "iam:DeletePolicy",
        "iam:DetachUserPolicy",
        "iam:DeleteAccessKey",
        "iam:RemoveUserFromGroup",
    ] {
        simulate(async {
            let mut fixture = Fixture::with(lagging(3, true), |host| {
                host.role_policy = Some(role_policy())
            })
            .await;
            fixture.onboard(&whole("acme", "scoped")).await;
            pause(200).await;
            fixture.host.break_calls(&[(call, 0, Fault::ResetAfter)]);
            fixture.begin("DELETE", "/v1/apps/acme", None).await;
            fixture.killed_at(call, 0).await;
            fixture.host.clock.step_back(Duration::from_secs(300));
            fixture.again().await;
            removed(&fixture, "acme").await;
            is_gone(&fixture, "acme");
            fixture.end().await;
        });
    }
}

/// A key is deleted, the answer is lost, and the clock steps back by an hour: the key's record is from the future by then.
#[test]
fn a_removal_ends_after_a_step_back_of_an_hour() {
    simulate(async {
        let mut fixture = Fixture::new(lagging(3, false)).await;
        fixture.onboard(&small("acme")).await;
        pause(200).await;
        fixture
            .host
            .break_calls(&[("iam:DeleteAccessKey", 0, Fault::ResetAfter)]);
        fixture.begin("DELETE", "/v1/apps/acme", None).await;
        fixture.killed_at("iam:DeleteAccessKey", 0).await;
        fixture.host.clock.step_back(Duration::from_secs(3600));
        fixture.again().await;
        removed(&fixture, "acme").await;
        is_gone(&fixture, "acme");
        fixture.end().await;
    });
}

/// The name of an app is used again within the seconds in which IAM may show what was deleted.
#[test]
fn a_name_that_is_used_again_at_once_waits_for_iam() {
    for seed in 0..6 {
        simulate(async {
            let fixture = Fixture::with(lagging(seed, true), |host| {
                host.role_policy = Some(role_policy())
            })
            .await;
            fixture.onboard(&small("acme")).await;
            fixture.begin("DELETE", "/v1/apps/acme", None).await;
            removed(&fixture, "acme").await;
            fixture.done("POST", "/v1/apps", Some(&json!({"name": "acme", "on_existing": "adopt", "buckets": [], "repositories": []}))).await;
            fixture.sound("acme").await;
            fixture.end().await;
        });
    }
}

/// A removal right after an onboarding, a restore or a key that was switched on, in an account that lags: every key is off
/// once that is said, and on again after a restore.
#[test]
fn keys_are_off_at_once_whatever_iam_still_shows() {
    for seed in 0..8 {
        simulate(async {
            let fixture = Fixture::new(lagging(seed, false)).await;
            let (key, _) = fixture.onboard(&small("acme")).await;
            let all = |on: bool| {
                assert!(
                    fixture.keys("acme").values().all(|active| *active == on),
                    "seed {seed}: {:?}",
                    fixture.keys("acme")
                )
            };
            fixture
                .done("DELETE", "/v1/apps/acme?quarantine=1h", None)
                .await;
            all(false);
            fixture.done("POST", "/v1/apps/acme/restore", None).await;
            all(true);
            fixture
                .done(
                    "POST",
                    &format!("/v1/apps/acme/credentials/{key}/deactivate"),
                    None,
                )
                .await;
            all(false);
            fixture
                .done(
                    "POST",
                    &format!("/v1/apps/acme/credentials/{key}/activate"),
                    None,
                )
                .await;
            all(true);
            for _ in 0..2 {
                fixture
                    .done("DELETE", "/v1/apps/acme?quarantine=1h", None)
                    .await;
                all(false);
                fixture.done("POST", "/v1/apps/acme/restore", None).await;
                all(true);
            }
            // What was off before the removal stays off.
            let path = format!("/v1/apps/acme/credentials/{key}/deactivate");
            fixture.done("POST", &path, None).await;
            pause(150).await;
            fixture
                .done("DELETE", "/v1/apps/acme?quarantine=1h", None)
                .await;
            fixture.done("POST", "/v1/apps/acme/restore", None).await;
            all(false);
            fixture.end().await;
        });
    }
}
