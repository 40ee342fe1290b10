//! What an app has is what its spec says: policies, attachments, buckets and repositories, within AWS's limits.

use std::time::Duration;

use serde_json::{Value, json};
use slipway::domain::spec::Defaults;
use slipway::provision::conventions::Conventions;
use slipway::provision::permissions;

use super::{Fixture, has_made, id_of, pause, simulate, slow, small, whole};
use crate::aws::{Consistency, Limits, Options, Rate, Rates};
use crate::support::aws::AccountAdmin;
use crate::support::wire::Fault;

fn document(action: &str) -> String {
    json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]}).to_string()
}

/// There and back, each change with a lost answer and a lost process: the app has the policy of its last spec alone.
#[test]
fn media_access_goes_there_and_back_with_answers_and_processes_lost() {
    let calls = [
        "iam:AttachUserPolicy",
        "iam:DetachUserPolicy",
        "iam:CreatePolicy",
        "iam:DeletePolicy",
    ];
    for (number, call) in calls.into_iter().enumerate() {
        simulate(async {
            let consistency = Consistency::as_aws_documents();
            let mut fixture = Fixture::new(Options {
                seed: number as u64,
                consistency,
                ..Options::default()
            })
            .await;
            fixture.onboard(&whole("acme", "scoped")).await;
            for media_access in ["shared", "scoped", "shared", "scoped"] {
                fixture.host.break_calls(&[(call, 0, Fault::ResetAfter)]);
                let id = fixture
                    .begin(
                        "PUT",
                        "/v1/apps/acme?remove=true",
                        Some(&whole("acme", media_access)),
                    )
                    .await;
                for _ in 0..600 {
                    let state = fixture.json(&format!("/v1/jobs/{id}")).await["state"].clone();
                    if fixture.host.aws.log().iter().any(|it| it.name() == call)
                        || state == "succeeded"
                    {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                fixture.again().await;
                let job = fixture.process().wait(&id).await;
                assert_eq!(job["state"], "succeeded", "{call}, {media_access}: {job:#}");
            }
            assert_eq!(fixture.media_policies("acme"), ["MediaManagement-acme"]);
            assert_eq!(
                fixture.app("acme").await["retained"]["resources"],
                json!([])
            );
            fixture.sound("acme").await;
            fixture.end().await;
        });
    }
}

/// An onboarding is canceled at any of its calls and asked for anew in the other way. What it had made and the new spec
/// does not name is known, and can be removed.
#[test]
fn an_onboarding_that_is_canceled_and_asked_for_otherwise_leaves_nothing_unknown() {
    for calls in [2, 5, 8, 11, 14, 18] {
        simulate(async {
            let fixture = Fixture::new(slow()).await;
            let (one, other) = if calls % 2 == 0 {
                ("shared", "scoped")
            } else {
                ("scoped", "shared")
            };
            let id = fixture
                .begin("POST", "/v1/apps", Some(&whole("acme", one)))
                .await;
            if !has_made(&fixture, &id, calls).await {
                return fixture.end().await;
            }
            fixture
                .ask("POST", &format!("/v1/jobs/{id}/cancel"), None)
                .await;
            fixture.process().wait(&id).await;
            let mut body = whole("acme", other);
            (body["access_key"], body["buckets"]) = (json!(false), json!([{"name": "acme-else"}]));
            let job = fixture.ended("POST", "/v1/apps", Some(&body)).await;
            if job["state"] == "succeeded" {
                fixture.sound("acme").await;
                let app = fixture.app("acme").await;
                for key in fixture.keys("acme").keys() {
                    assert!(
                        app["retained"].to_string().contains(key.as_str()),
                        "{key} is known after {calls} calls: {app:#}"
                    );
                }
                fixture
                    .done(
                        "PUT",
                        "/v1/apps/acme?remove=true&force=true&confirm=acme",
                        Some(&body),
                    )
                    .await;
                let app = fixture.app("acme").await;
                assert_eq!(
                    (&app["retained"]["resources"], &app["retained"]["buckets"]),
                    (&json!([]), &json!([])),
                    "{app:#}"
                );
                assert!(
                    fixture.keys("acme").is_empty()
                        && fixture.snapshot()["buckets"]["acme-media"].is_null()
                );
                fixture.sound("acme").await;
            } else {
                panic!("after {calls} calls: {job:#}");
            }
            fixture.end().await;
        });
    }
}

/// An adopted user already has ten policies. It is said, and once there is room a retry succeeds.
#[test]
fn a_user_with_ten_policies_is_told_and_goes_on_once_there_is_room() {
    simulate(async {
        let fixture = Fixture::new(Options::default()).await;
        fixture.host.make(
            "iam",
            "create_user",
            json!({"UserName": "acme", "Path": "/apps/"}),
        );
        let mut arns = Vec::new();
        for number in 0..10 {
            let made = fixture.host.make(
                "iam",
                "create_policy",
                json!({"PolicyName": format!("own-{number}"), "PolicyDocument": document("s3:GetObject")}),
            );
            fixture.host.make(
                "iam",
                "attach_user_policy",
                json!({"UserName": "acme", "PolicyArn": made["Policy"]["Arn"]}),
            );
            arns.push(made["Policy"]["Arn"].clone());
        }
        let mut body = whole("acme", "scoped");
        body["on_existing"] = json!("adopt");
        let job = fixture.ended("POST", "/v1/apps", Some(&body)).await;
        assert_eq!(
            (&job["state"], &job["error"]["code"]),
            (&json!("needs_attention"), &json!("quota_exceeded")),
            "{job:#}"
        );
        fixture.host.make(
            "iam",
            "detach_user_policy",
            json!({"UserName": "acme", "PolicyArn": arns[0]}),
        );
        fixture
            .done("POST", &format!("/v1/jobs/{}/retry", id_of(&job)), None)
            .await;
        fixture.sound("acme").await;
        // No room for both at once while the media access changes.
        let job = fixture
            .ended(
                "PUT",
                "/v1/apps/acme",
                Some(&{
                    let mut body = whole("acme", "shared");
                    body["on_existing"] = json!("adopt");
                    body
                }),
            )
            .await;
        let attached = fixture.media_policies("acme");
        assert_eq!(attached.len(), 1, "it is never without: {attached:?}");
        assert!(
            job["state"] == "succeeded" || job["error"]["code"] == "quota_exceeded",
            "{job:#}"
        );
        fixture.done("DELETE", "/v1/apps/acme", None).await;
        fixture.settled("acme").await;
        let user = fixture.user("acme");
        assert_eq!(
            user["attached"].as_array().unwrap().len(),
            9,
            "what it had before stays: {user:#}"
        );
        fixture.end().await;
    });
}

/// All five versions of the app's policy are there, made by hand: the change goes through, and the policy says what it should.
#[test]
fn a_policy_with_five_versions_can_be_changed() {
    for seed in 0..2 {
        simulate(async {
            let consistency = if seed == 0 {
                Consistency::immediate()
            } else {
                Consistency::as_aws_documents()
            };
            let conventions = Conventions::new(&Defaults::default(), "aws", "123456789012");
            let options = Options {
                seed,
                consistency,
                authorization: true,
                ..Options::default()
            };
            let fixture = Fixture::with(options, |host| {
                host.role_policy = Some(permissions::role_policy(&conventions))
            })
            .await;
            fixture.onboard(&whole("acme", "scoped")).await;
            let arn = format!(
                "arn:aws:iam::{}:policy/MediaManagement-acme",
                fixture.host.account()
            );
            let versions = |fixture: &Fixture| {
                fixture
                    .host
                    .make("iam", "list_policy_versions", json!({"PolicyArn": arn}))["Versions"]
                    .as_array()
                    .unwrap()
                    .len()
            };
            while versions(&fixture) < 5 {
                fixture.host.make(
                    "iam",
                    "create_policy_version",
                    json!({"PolicyArn": arn, "PolicyDocument": document("s3:PutObject"), "SetAsDefault": true}),
                );
            }
            let mut more = whole("acme", "scoped");
            more["buckets"] = json!([{"name": "acme-media"}, {"name": "acme-more"}]);
            pause(30).await;
            fixture
                .host
                .break_calls(&[("iam:CreatePolicyVersion", 0, Fault::ResetAfter)]);
            fixture.done("PUT", "/v1/apps/acme", Some(&more)).await;
            pause(30).await;
            let policy = fixture
                .host
                .make("iam", "get_policy", json!({"PolicyArn": arn}));
            let version = policy["Policy"]["DefaultVersionId"].clone();
            let shown = fixture
                .host
                .make(
                    "iam",
                    "get_policy_version",
                    json!({"PolicyArn": arn, "VersionId": version}),
                )
                .to_string();
            assert!(shown.contains("acme-more"), "{shown}");
            fixture.sound("acme").await;
            fixture.end().await;
        });
    }
}

/// A name of the greatest length, with a great many buckets and repositories: refused with every reason, or done whole.
#[test]
fn names_and_numbers_at_their_limits_are_refused_whole_or_done_whole() {
    let longest = "a".repeat(64);
    let long_bucket = |number: usize| format!("{}-{number:02}", "b".repeat(60));
    let cases = [
        (longest.clone(), "scoped", 1, 1, 0),
        (longest.clone(), "scoped", 25, 3, 0),
        (longest.clone(), "scoped", 60, 0, 0),
        (longest.clone(), "shared", 60, 0, 0),
        ("a.b+c=d,e@f_g-h".to_owned(), "scoped", 1, 1, 0),
        ("acme".to_owned(), "shared", 1, 1, 45),
        ("acme".to_owned(), "shared", 1, 1, 46),
        ("acme".to_owned(), "shared", 1, 1, 47),
        ("acme".to_owned(), "shared", 1, 1, 50),
    ];
    for (name, media_access, buckets, repositories, tags) in cases {
        simulate(async {
            let fixture = Fixture::new(Options::default()).await;
            let buckets: Vec<Value> = (0..buckets)
                .map(|number| json!({"name": long_bucket(number)}))
                .collect();
            let repositories: Vec<Value> = (0..repositories)
                .map(|number| json!({"name": format!("{}{number}", "r".repeat(255))}))
                .collect();
            let tags: serde_json::Map<String, Value> = (0..tags)
                .map(|number| {
                    (
                        format!("tag-{number:02}{}", "k".repeat(100)),
                        json!("v".repeat(200)),
                    )
                })
                .collect();
            let count = tags.len();
            let body = json!({"name": name, "media_access": media_access, "buckets": buckets, "repositories": repositories, "tags": tags});
            let (status, job) = fixture.ask("POST", "/v1/apps", Some(&body)).await;
            let story = format!(
                "{} characters, {} buckets, {count} tags",
                name.len(),
                buckets.len()
            );
            if status == 422 {
                assert!(
                    job["errors"]
                        .as_array()
                        .is_some_and(|errors| !errors.is_empty()),
                    "{story}: {job:#}"
                );
                assert_eq!(fixture.snapshot()["users"], json!({}), "{story}");
                return fixture.end().await;
            }
            assert_eq!(status, 202, "{story}: {job:#}");
            let job = fixture.process().wait(&id_of(&job)).await;
            assert_eq!(
                job["state"], "succeeded",
                "{story}: a spec that AWS can never take is refused at once: {job:#}"
            );
            fixture.sound(&name).await;
            fixture
                .done("DELETE", &format!("/v1/apps/{name}"), None)
                .await;
            fixture.settled(&name).await;
            assert_eq!(fixture.app(&name).await["state"], "removed", "{story}");
            fixture.end().await;
        });
    }
}

/// The account is full of users: the onboarding waits for a person, says so, and a retry succeeds.
#[test]
fn an_account_that_is_full_is_told() {
    simulate(async {
        let limits = Limits {
            users: 1,
            buckets: 1,
            ..Limits::default()
        };
        let fixture = Fixture::new(Options {
            limits,
            ..Options::default()
        })
        .await;
        fixture
            .host
            .make("iam", "create_user", json!({"UserName": "somebody"}));
        let job = fixture
            .ended("POST", "/v1/apps", Some(&small("acme")))
            .await;
        assert_eq!(
            (&job["state"], &job["error"]["code"]),
            (&json!("needs_attention"), &json!("quota_exceeded")),
            "{job:#}"
        );
        fixture
            .host
            .make("iam", "delete_user", json!({"UserName": "somebody"}));
        fixture
            .done("POST", &format!("/v1/jobs/{}/retry", id_of(&job)), None)
            .await;
        fixture.sound("acme").await;
        fixture.end().await;
    });
}

/// AWS's rates are as low as they get: many apps at once still end.
#[test]
fn apps_end_also_where_aws_takes_few_calls() {
    simulate(async {
        let rate = Some(Rate {
            per_second: 8.0,
            burst: 12.0,
        });
        let fixture = Fixture::new(Options {
            rates: Some(Rates {
                iam: rate,
                s3: rate,
                ecr: rate,
                sts: None,
            }),
            ..Options::default()
        })
        .await;
        let names = ["one", "two", "three", "four", "five", "six"];
        let mut jobs = Vec::new();
        for name in names {
            jobs.push(
                fixture
                    .begin("POST", "/v1/apps", Some(&whole(name, "scoped")))
                    .await,
            );
        }
        for job in &jobs {
            let job = fixture.process().wait(job).await;
            assert_eq!(job["state"], "succeeded", "{job:#}");
        }
        fixture.end().await;
    });
}

/// A change that fails in the middle, and the old spec is asked for again: it is whole.
#[test]
fn a_change_that_fails_leaves_an_app_whose_old_spec_can_be_had_again() {
    simulate(async {
        let fixture = Fixture::new(Options::default()).await;
        fixture.onboard(&whole("acme", "shared")).await;
        fixture
            .host
            .aws
            .owner("999999999999")
            .call("s3", "CreateBucket", json!({"Bucket": "theirs", "CreateBucketConfiguration": {"LocationConstraint": "us-west-2"}}))
            .expect("a bucket");
        let mut body = whole("acme", "scoped");
        body["buckets"] = json!([{"name": "acme-more"}, {"name": "theirs"}]);
        for _ in 0..2 {
            let job = fixture
                .ended("PUT", "/v1/apps/acme?remove=true&confirm=acme", Some(&body))
                .await;
            assert_eq!(job["state"], "failed", "{job:#}");
            assert!(
                fixture.snapshot()["buckets"]["acme-media"].is_object(),
                "nothing goes before all is there"
            );
            fixture
                .done("PUT", "/v1/apps/acme", Some(&whole("acme", "shared")))
                .await;
            assert_eq!(
                fixture.media_policies("acme"),
                ["MediaManagement"],
                "those of the old spec"
            );
            fixture.sound("acme").await;
        }
        fixture
            .done(
                "PUT",
                "/v1/apps/acme?remove=true&confirm=acme",
                Some(&whole("acme", "shared")),
            )
            .await;
        let app = fixture.app("acme").await;
        assert_eq!(
            (&app["retained"]["buckets"], &app["retained"]["resources"]),
            (&json!([]), &json!([])),
            "{app:#}"
        );
        assert!(fixture.snapshot()["buckets"]["acme-more"].is_null());
        fixture.end().await;
    });
}

/// The spec asks for what cannot be had, so a restore cannot end; its keys work all the same, and its removal does not go on.
#[test]
fn a_restore_that_fails_is_no_dead_end() {
    simulate(async {
        let fixture = Fixture::new(Options::default()).await;
        fixture.onboard(&whole("acme", "shared")).await;
        fixture
            .host
            .aws
            .owner("999999999999")
            .call("s3", "CreateBucket", json!({"Bucket": "theirs", "CreateBucketConfiguration": {"LocationConstraint": "us-west-2"}}))
            .expect("a bucket");
        let mut body = whole("acme", "shared");
        body["buckets"] = json!([{"name": "theirs"}]);
        let job = fixture.ended("PUT", "/v1/apps/acme", Some(&body)).await;
        assert_eq!(job["state"], "failed", "{job:#}");
        fixture.done("DELETE", "/v1/apps/acme", None).await;
        let job = fixture.ended("POST", "/v1/apps/acme/restore", None).await;
        assert_eq!(job["error"]["code"], "conflict", "{job:#}");
        fixture
            .done("PUT", "/v1/apps/acme", Some(&whole("acme", "shared")))
            .await;
        pause(600).await;
        assert_eq!(fixture.app("acme").await["state"], "ready");
        fixture.sound("acme").await;
        fixture.end().await;
    });
}
