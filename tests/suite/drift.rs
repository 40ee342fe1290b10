//! Drift: what was changed by hand is reported, repaired, and what nobody asked for goes when it is named.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::aws::{Emulator, Place};
use crate::support::server::{Server, Setup};
use crate::support::wire::{Call, Fault};
use crate::support::{aws_inspector, unique};

const BOTH: [Emulator; 2] = [Emulator::Moto, Emulator::Ministack];

async fn start(emulator: Emulator) -> (Setup, Server, String) {
    let setup = Setup::new(Place::new(emulator));
    let server = setup.start().await;
    (setup, server, unique("acme"))
}

/// A look now, which changes nothing in AWS.
async fn look(setup: &Setup, server: &Server, name: &str) -> Value {
    setup.proxy.take_log();
    let response = server.post_empty(&format!("/v1/apps/{name}/drift")).await;
    let (status, report) = (response.status(), response.json::<Value>().await.unwrap());
    assert_eq!(status, 200, "{report:#}");
    let changing: Vec<String> = setup
        .proxy
        .take_log()
        .iter()
        .filter(|call| call.mutates())
        .map(Call::name)
        .collect();
    assert_eq!(changing, Vec::<String>::new(), "a look changes nothing");
    assert_eq!(
        server.json(&format!("/v1/apps/{name}/drift")).await,
        report,
        "what is answered is what is kept"
    );
    let app = server.json(&format!("/v1/apps/{name}")).await;
    assert_eq!(
        app["drift"],
        json!({"checked_at": report["checked_at"], "drifted": report["drifted"]})
    );
    report
}

fn by_hand(setup: &Setup, service: &str, method: &str, args: Value) -> Value {
    aws_inspector::call(&setup.place, service, method, args)
        .unwrap_or_else(|error| panic!("{service} {method}: {error}"))
}

/// What there is of an app without buckets and repositories.
fn seen(setup: &Setup, name: &str) -> Value {
    aws_inspector::look(
        &setup.place,
        &json!({"name": name, "buckets": [], "repositories": []}),
    )
}

fn changes_of<'r>(report: &'r Value, resource: &str) -> Vec<&'r Value> {
    report["changes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|change| change["resource"] == resource)
        .collect()
}

fn unexpected(report: &Value) -> BTreeSet<&str> {
    report["unexpected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["resource"].as_str().unwrap())
        .collect()
}

/// Changes everything that can be changed by hand.
fn change_everything(setup: &Setup, name: &str) {
    let (bucket, account) = (format!("{name}-media"), &setup.place.account);
    let policy = format!("arn:aws:iam::{account}:policy/MediaManagement-{name}");
    by_hand(
        setup,
        "iam",
        "remove_user_from_group",
        json!({"UserName": name, "GroupName": "Apps"}),
    );
    by_hand(
        setup,
        "iam",
        "detach_user_policy",
        json!({"UserName": name, "PolicyArn": policy}),
    );
    by_hand(
        setup,
        "iam",
        "untag_user",
        json!({"UserName": name, "TagKeys": ["team"]}),
    );
    let document = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]});
    let version =
        json!({"PolicyArn": policy, "PolicyDocument": document.to_string(), "SetAsDefault": true});
    by_hand(setup, "iam", "create_policy_version", version);
    by_hand(
        setup,
        "iam",
        "untag_policy",
        json!({"PolicyArn": policy, "TagKeys": ["team"]}),
    );
    let block = json!({"BlockPublicAcls": true, "IgnorePublicAcls": true, "BlockPublicPolicy": false, "RestrictPublicBuckets": false});
    by_hand(
        setup,
        "s3",
        "put_public_access_block",
        json!({"Bucket": bucket, "PublicAccessBlockConfiguration": block}),
    );
    let controls = json!({"Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]});
    by_hand(
        setup,
        "s3",
        "put_bucket_ownership_controls",
        json!({"Bucket": bucket, "OwnershipControls": controls}),
    );
    let tags = json!([{"Key": "slipway:app", "Value": name}, {"Key": "team", "Value": "other"}]);
    by_hand(
        setup,
        "s3",
        "put_bucket_tagging",
        json!({"Bucket": bucket, "Tagging": {"TagSet": tags}}),
    );
    let rule = json!({"AllowedMethods": ["GET", "PUT"], "AllowedOrigins": ["*"]});
    by_hand(
        setup,
        "s3",
        "put_bucket_cors",
        json!({"Bucket": bucket, "CORSConfiguration": {"CORSRules": [rule]}}),
    );
    let arn = format!("arn:aws:ecr:us-west-2:{account}:repository/{name}");
    by_hand(
        setup,
        "ecr",
        "untag_resource",
        json!({"resourceArn": arn, "tagKeys": ["team"]}),
    );
    let rule = json!({"rulePriority": 1, "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 5}, "action": {"type": "expire"}});
    let lifecycle = json!({"repositoryName": name, "lifecyclePolicyText": json!({"rules": [rule]}).to_string()});
    by_hand(setup, "ecr", "put_lifecycle_policy", lifecycle);
    let key = &by_hand(setup, "iam", "list_access_keys", json!({"UserName": name}))["AccessKeyMetadata"]
        [0]["AccessKeyId"];
    by_hand(
        setup,
        "iam",
        "delete_access_key",
        json!({"UserName": name, "AccessKeyId": key}),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_by_hand_is_reported_with_before_and_after_and_repaired() {
    for emulator in BOTH {
        let (setup, server, name) = start(emulator).await;
        let bucket = format!("{name}-media");
        let body = json!({"name": name, "media_access": "scoped", "tags": {"team": "shop"}, "buckets": [{"name": bucket}]});
        server.onboard(&body).await;
        let report = look(&setup, &server, &name).await;
        assert_eq!(
            (
                &report["drifted"],
                &report["changes"],
                &report["unexpected"]
            ),
            (&json!(false), &json!([]), &json!([])),
            "{report:#}"
        );
        assert_eq!(report["error"], Value::Null);

        change_everything(&setup, &name);
        // A key that is younger than this may just not be listed yet.
        setup.clock.advance(setup.timing.propagation);
        let report = look(&setup, &server, &name).await;
        assert_eq!(report["drifted"], true);
        let one = |resource: &str| {
            let changes = changes_of(&report, resource);
            assert_eq!(changes.len(), 1, "{resource}: {report:#}");
            changes[0].clone()
        };
        assert_eq!(
            one(&format!("iam:membership/Apps/{name}"))["action"],
            "create"
        );
        assert_eq!(
            one(&format!("iam:attachment/MediaManagement-{name}/{name}"))["action"],
            "create"
        );
        assert_eq!(one(&format!("iam:access-key/{name}"))["action"], "create");
        let user = one(&format!("iam:user/{name}"));
        assert_eq!(
            (
                &user["before"]["tags"]["team"],
                &user["after"]["tags"]["team"]
            ),
            (&Value::Null, &json!("shop"))
        );
        assert_eq!(user["before"]["tags"]["slipway:app"], json!(name));
        let repository = one(&format!("ecr:repository/us-west-2/{name}"));
        assert_eq!(
            (
                &repository["before"]["tags"]["team"],
                &repository["after"]["tags"]["team"]
            ),
            (&Value::Null, &json!("shop"))
        );
        let lifecycle = one(&format!("ecr:lifecycle/us-west-2/{name}"));
        assert_eq!(lifecycle["before"]["rules"].as_array().unwrap().len(), 1);
        assert_eq!(lifecycle["after"]["rules"].as_array().unwrap().len(), 19);
        let policy = changes_of(&report, &format!("iam:policy/MediaManagement-{name}"));
        assert_eq!(policy.len(), 2, "{report:#}");
        assert_eq!(
            (
                &policy[0]["before"]["tags"]["team"],
                &policy[0]["after"]["tags"]["team"]
            ),
            (&Value::Null, &json!("shop"))
        );
        assert!(
            policy[1]["before"].to_string().contains("s3:GetObject")
                && policy[1]["after"].to_string().contains("s3:PutObject")
        );
        let of_bucket = changes_of(&report, &format!("s3:bucket/{bucket}"));
        let [block, ownership, tags, cors] = of_bucket[..] else {
            panic!("{report:#}")
        };
        let blocked = |state: &Value| {
            (
                state["BlockPublicAcls"].clone(),
                state["BlockPublicPolicy"].clone(),
            )
        };
        assert_eq!(blocked(&block["before"]), (json!(true), json!(false)));
        assert_eq!(blocked(&block["after"]), (json!(true), json!(true)));
        assert_eq!(
            ownership["before"],
            json!({"object_ownership": "BucketOwnerPreferred"})
        );
        assert_eq!(
            ownership["after"],
            json!({"object_ownership": "BucketOwnerEnforced"})
        );
        assert_eq!(
            (
                &tags["before"]["tags"]["team"],
                &tags["after"]["tags"]["team"]
            ),
            (&json!("other"), &json!("shop"))
        );
        assert_eq!(
            cors["before"]["CORSRules"][0]["AllowedMethods"],
            json!(["GET", "PUT"])
        );
        assert_eq!(cors["after"]["CORSRules"].as_array().unwrap().len(), 2);

        let drifted = async |query: &str| {
            server.json(&format!("/v1/apps?drifted={query}")).await["items"]
                .as_array()
                .unwrap()
                .len()
        };
        assert_eq!((drifted("true").await, drifted("false").await), (1, 0));
        let job = server.run(&format!("/v1/apps/{name}/repair"), None).await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        let report = look(&setup, &server, &name).await;
        assert_eq!(
            (&report["drifted"], &report["changes"]),
            (&json!(false), &json!([])),
            "{report:#}"
        );
        assert_eq!((drifted("true").await, drifted("false").await), (0, 1));
        server.stop().await;
    }
}

/// Adds to an app's user what nobody asked for; the ids of it.
fn add_unmanaged(setup: &Setup, name: &str) -> BTreeSet<String> {
    let extra = format!("Extra-{name}");
    let document =
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}]}).to_string();
    by_hand(setup, "iam", "create_group", json!({"GroupName": extra}));
    by_hand(
        setup,
        "iam",
        "add_user_to_group",
        json!({"GroupName": extra, "UserName": name}),
    );
    let made = by_hand(
        setup,
        "iam",
        "create_policy",
        json!({"PolicyName": extra, "Path": "/by/hand/", "PolicyDocument": document}),
    );
    by_hand(
        setup,
        "iam",
        "attach_user_policy",
        json!({"UserName": name, "PolicyArn": made["Policy"]["Arn"]}),
    );
    by_hand(
        setup,
        "iam",
        "put_user_policy",
        json!({"UserName": name, "PolicyName": "inline", "PolicyDocument": document}),
    );
    by_hand(
        setup,
        "iam",
        "create_login_profile",
        json!({"UserName": name, "Password": "not-A-secret-1!"}),
    );
    let key = by_hand(setup, "iam", "create_access_key", json!({"UserName": name}));
    let key = key["AccessKey"]["AccessKeyId"].as_str().unwrap();
    BTreeSet::from([
        format!("iam:membership/{extra}/{name}"),
        format!("iam:attachment/{extra}/{name}"),
        format!("iam:inline-policy/inline/{name}"),
        format!("iam:login-profile/{name}"),
        format!("iam:access-key/{name}/{key}"),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_asked_for_is_reported_and_goes_only_when_it_is_named() {
    for emulator in BOTH {
        let (setup, server, name) = start(emulator).await;
        server
            .onboard(&json!({"name": name, "buckets": [], "repositories": []}))
            .await;
        let keys_before = seen(&setup, &name)["access_keys"].clone();
        let added = add_unmanaged(&setup, &name);
        let report = look(&setup, &server, &name).await;
        assert_eq!(
            unexpected(&report),
            added.iter().map(String::as_str).collect::<BTreeSet<_>>(),
            "{report:#}"
        );
        assert_eq!(
            (&report["drifted"], &report["changes"]),
            (&json!(true), &json!([])),
            "{report:#}"
        );
        for it in report["unexpected"].as_array().unwrap() {
            assert_eq!(
                (&it["adopted"], &it["removal_request"]),
                (&json!(false), &json!({"remove": [it["resource"]]}))
            );
            assert!(
                it["detail"]
                    .as_str()
                    .unwrap()
                    .contains("Slipway did not create it"),
                "{it}"
            );
            let is_key = it["resource"]
                .as_str()
                .unwrap()
                .starts_with("iam:access-key/");
            assert_eq!(it["since"].is_string(), is_key, "{it}");
        }

        let job = server.run(&format!("/v1/apps/{name}/repair"), None).await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        assert_eq!(
            unexpected(&look(&setup, &server, &name).await).len(),
            added.len(),
            "a repair leaves what is not named"
        );

        let first = added
            .iter()
            .find(|id| id.starts_with("iam:inline-policy"))
            .unwrap();
        let job = server
            .run(
                &format!("/v1/apps/{name}/repair"),
                Some(&json!({"remove": [first]})),
            )
            .await;
        assert_eq!(
            (&job["state"], &job["task"]["remove"]),
            (&json!("succeeded"), &json!([first])),
            "{job:#}"
        );
        assert_eq!(
            unexpected(&look(&setup, &server, &name).await).len(),
            added.len() - 1
        );
        let job = server
            .run(
                &format!("/v1/apps/{name}/repair"),
                Some(&json!({"remove": added})),
            )
            .await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        let report = look(&setup, &server, &name).await;
        assert_eq!(
            (&report["drifted"], unexpected(&report)),
            (&json!(false), BTreeSet::new()),
            "{report:#}"
        );
        let seen = seen(&setup, &name);
        assert_eq!(
            (&seen["groups"], &seen["access_keys"]),
            (&json!(["Apps"]), &keys_before),
            "the app's own is left"
        );
        assert_eq!(seen["attached"].as_array().unwrap().len(), 1);
        let app = server.json(&format!("/v1/apps/{name}")).await;
        assert!(
            app["resources"]
                .as_array()
                .unwrap()
                .iter()
                .all(|it| !added.contains(it["resource"].as_str().unwrap())),
            "{app:#}"
        );
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_on_the_apps_own_user_and_not_asked_for_can_be_removed() {
    let (setup, server, name) = start(Emulator::Moto).await;
    let job = server
        .onboard(&json!({"name": name, "buckets": [], "repositories": []}))
        .await;
    let own_key = format!(
        "iam:access-key/{name}/{}",
        job["result"]["access_key_id"].as_str().unwrap()
    );
    let asked_for = [
        format!("iam:membership/apps/{name}"),
        format!("iam:attachment/MediaManagement/{name}"),
        format!("iam:user/{name}"),
    ];
    let nothing = [
        "iam:membership/admins/another".to_owned(),
        "iam:inline-policy/x".into(),
        "s3:bucket/other".into(),
        String::new(),
    ];
    let remove: Vec<Value> = asked_for
        .iter()
        .chain(&nothing)
        .map(|id| json!(id))
        .chain([json!(7)])
        .collect();
    let refused = server
        .post(
            &format!("/v1/apps/{name}/repair"),
            &json!({"remove": remove, "also": 1}),
        )
        .await;
    assert_eq!(refused.status(), 422);
    let problem: Value = refused.json().await.unwrap();
    let pointers: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    let expected: Vec<String> = (0..8)
        .map(|i| format!("/remove/{i}"))
        .chain(["/also".into()])
        .collect();
    assert_eq!(pointers, expected);
    for (i, error) in problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
        .take(7)
    {
        assert_eq!(
            error["message"]
                .as_str()
                .unwrap()
                .contains("is in the app's spec"),
            i < 3,
            "{error}"
        );
    }

    // One of ours is not unmanaged, whoever names it.
    let job = server
        .run(
            &format!("/v1/apps/{name}/repair"),
            Some(&json!({"remove": [own_key]})),
        )
        .await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert_eq!(
        seen(&setup, &name)["access_keys"].as_array().unwrap().len(),
        1
    );

    let repair = |body: Value| {
        server
            .request(reqwest::Method::POST, &format!("/v1/apps/{name}/repair"))
            .header("Idempotency-Key", "k")
            .json(&body)
            .send()
    };
    let first: Value = repair(json!({"remove": []}))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    server.wait(first["id"].as_str().unwrap()).await;
    assert_eq!(
        repair(json!({"remove": []}))
            .await
            .unwrap()
            .json::<Value>()
            .await
            .unwrap()["id"],
        first["id"]
    );
    let other = repair(json!({"remove": [format!("iam:login-profile/{name}")]}))
        .await
        .unwrap();
    assert_eq!(other.status(), 422, "the same key with another body");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_adopted_user_had_before_is_found_and_is_no_drift() {
    for emulator in BOTH {
        let (setup, server, name) = start(emulator).await;
        by_hand(
            &setup,
            "iam",
            "create_user",
            json!({"UserName": name, "Path": "/apps/"}),
        );
        let had = add_unmanaged(&setup, &name);
        // AWS tells whole seconds of keys.
        setup.clock.advance(Duration::from_secs(2));
        server
            .onboard(
                &json!({"name": name, "on_existing": "adopt", "buckets": [], "repositories": []}),
            )
            .await;
        let report = look(&setup, &server, &name).await;
        assert_eq!(
            unexpected(&report),
            had.iter().map(String::as_str).collect::<BTreeSet<_>>(),
            "{report:#}"
        );
        assert_eq!(report["drifted"], false, "{report:#}");
        for it in report["unexpected"].as_array().unwrap() {
            assert_eq!(it["adopted"], true);
            assert!(
                it["detail"]
                    .as_str()
                    .unwrap()
                    .contains("Slipway did not create it"),
                "{it}"
            );
        }
        let job = server
            .run(
                &format!("/v1/apps/{name}/repair"),
                Some(&json!({"remove": had})),
            )
            .await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        assert_eq!(
            unexpected(&look(&setup, &server, &name).await),
            BTreeSet::new(),
            "it goes when it is named all the same"
        );
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_aws_refuses_says_so_and_what_to_do() {
    let (setup, server, name) = start(Emulator::Moto).await;
    server
        .onboard(&json!({"name": name, "buckets": [], "repositories": []}))
        .await;
    for (call, action) in [
        ("iam:GetUser", "iam:GetUser"),
        ("iam:ListUserPolicies", "iam:ListUserPolicies"),
    ] {
        setup.proxy.break_calls([(call, 0, Fault::Denied)]);
        let report = look(&setup, &server, &name).await;
        let remedy = report["error"]["remedy"]
            .as_str()
            .unwrap_or_else(|| panic!("{call}: {report:#}"));
        assert!(
            remedy.contains(action)
                && remedy.contains("run the drift check again")
                && !remedy.contains("retry the job"),
            "{remedy}"
        );
        assert_eq!(
            (&report["error"]["code"], &report["drifted"]),
            (&json!("access_denied"), &json!(false)),
            "{report:#}"
        );
        setup.proxy.mend();
    }
    assert_eq!(look(&setup, &server, &name).await["error"], Value::Null);
    server.stop().await;
}

/// What hangs on somebody else's user is not told, and cannot be removed.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_another_app_is_a_conflict_and_is_left_alone() {
    let (setup, server, name) = start(Emulator::Moto).await;
    server
        .onboard(&json!({"name": name, "buckets": [], "repositories": []}))
        .await;
    by_hand(
        &setup,
        "iam",
        "tag_user",
        json!({"UserName": name, "Tags": [{"Key": "slipway:app", "Value": "another"}]}),
    );
    let added = add_unmanaged(&setup, &name);
    let report = look(&setup, &server, &name).await;
    assert_eq!(
        (&report["drifted"], unexpected(&report)),
        (&json!(true), BTreeSet::new())
    );
    assert_eq!(
        changes_of(&report, &format!("iam:user/{name}"))[0]["action"],
        "conflict"
    );
    let job = server
        .run(
            &format!("/v1/apps/{name}/repair"),
            Some(&json!({"remove": added})),
        )
        .await;
    assert_eq!(job["state"], "failed", "{job:#}");
    let seen = seen(&setup, &name);
    assert_eq!(
        (
            seen["groups"].as_array().unwrap().len(),
            seen["access_keys"].as_array().unwrap().len()
        ),
        (2, 2)
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_looked_until_somebody_looks_and_a_report_outlives_the_process() {
    let (setup, server, name) = start(Emulator::Moto).await;
    let path = format!("/v1/apps/{name}/drift");
    assert_eq!(server.get(&path).await.status(), 404);
    server
        .onboard(&json!({"name": name, "buckets": [], "repositories": []}))
        .await;
    let none = server.get(&path).await;
    assert_eq!(none.status(), 404);
    let problem: Value = none.json().await.unwrap();
    assert_eq!(problem["code"], "no_report");
    assert!(
        problem["remedy"]
            .as_str()
            .unwrap()
            .contains(&format!("POST {path}")),
        "{problem:#}"
    );
    assert_eq!(
        server.json(&format!("/v1/apps/{name}")).await["drift"],
        Value::Null
    );

    let viewer = crate::support::api::Api::new(server.url.clone(), server.token("viewer").await);
    assert_eq!(viewer.post_empty(&path).await.status(), 403);
    by_hand(
        &setup,
        "iam",
        "remove_user_from_group",
        json!({"UserName": name, "GroupName": "Apps"}),
    );
    let report = look(&setup, &server, &name).await;
    assert_eq!(viewer.json(&path).await, report);
    server.stop().await;

    let server = setup.start().await;
    assert_eq!(server.json(&path).await, report);
    let job = server
        .request(reqwest::Method::DELETE, &format!("/v1/apps/{name}"))
        .send()
        .await
        .unwrap();
    assert_eq!(job.status(), 202);
    let job: Value = job.json().await.unwrap();
    server.wait(job["id"].as_str().unwrap()).await;
    let refused = server.post_empty(&path).await;
    assert_eq!(
        (
            refused.status().as_u16(),
            &refused.json::<Value>().await.unwrap()["code"]
        ),
        (409, &json!("being_removed"))
    );
    server.stop().await;
}

/// Waits until the path's answer is as wanted.
async fn until(server: &Server, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    for _ in 0..400 {
        let response = server.get(path).await;
        last = response.json().await.unwrap();
        if wanted(&last) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{path} stays {last:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn looks_come_by_themselves_and_repair_what_the_spec_says() {
    let mut setup = Setup::new(Place::new(Emulator::Moto));
    setup.settings.drift_interval = Duration::from_secs(1);
    let server = setup.start().await;
    let (told, mended) = (unique("told"), unique("mended"));
    server
        .onboard(&json!({"name": told, "buckets": [], "repositories": []}))
        .await;
    server
        .onboard(&json!({"name": mended, "buckets": [], "repositories": [], "drift": "repair"}))
        .await;
    for name in [&told, &mended] {
        by_hand(
            &setup,
            "iam",
            "remove_user_from_group",
            json!({"UserName": name, "GroupName": "Apps"}),
        );
        by_hand(
            &setup,
            "iam",
            "create_login_profile",
            json!({"UserName": name, "Password": "not-A-secret-1!"}),
        );
    }
    let report = until(&server, &format!("/v1/apps/{told}/drift"), |report| {
        report["changes"]
            .as_array()
            .is_some_and(|it| !it.is_empty())
    })
    .await;
    assert_eq!(
        (&report["drifted"], &report["repair"]),
        (&json!(true), &Value::Null)
    );

    let jobs = until(
        &server,
        &format!("/v1/jobs?app={mended}&kind=repair&state=succeeded"),
        |jobs| jobs["items"][0].is_object(),
    )
    .await;
    let job = &jobs["items"][0];
    assert_eq!(
        (&job["requested_by"], &job["task"]["remove"]),
        (&json!("drift"), &json!([])),
        "{job:#}"
    );
    let report = until(&server, &format!("/v1/apps/{mended}/drift"), |report| {
        report["changes"] == json!([])
    })
    .await;
    assert_eq!(
        unexpected(&report),
        BTreeSet::from([format!("iam:login-profile/{mended}").as_str()]),
        "what is not named is told alone"
    );
    assert_eq!(seen(&setup, &mended)["groups"], json!(["Apps"]));
    assert_eq!(
        seen(&setup, &told)["groups"],
        json!([]),
        "a report alone changes nothing"
    );
    assert!(
        server
            .json(&format!("/v1/jobs?app={told}&kind=repair"))
            .await["items"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    let metrics = server.get("/metrics").await.text().await.unwrap();
    assert!(
        metrics.contains("slipway_drifted_apps ")
            && metrics.contains("slipway_drift_checks_total{outcome=\"drifted\"}"),
        "{metrics}"
    );
    server.tasks.stop();
    server.tasks.ended().await;
}
