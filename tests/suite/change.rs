//! Change of an app by PUT: what is added, altered and dropped, and what stays.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use slipway::domain::names::PolicyName;

use crate::support::aws::{Emulator, Place};
use crate::support::server::{Server, Setup};
use crate::support::wire::{Answer, Call, Fault, refusal, refusal_body};
use crate::support::{aws_inspector, unique};

async fn start(emulator: Emulator) -> (Setup, Server, String) {
    let setup = Setup::new(Place::new(emulator));
    let server = setup.start().await;
    (setup, server, unique("acme"))
}

async fn put(server: &Server, name: &str, query: &str, body: &Value) -> Value {
    let job: Value = server
        .request(Method::PUT, &format!("/v1/apps/{name}{query}"))
        .json(body)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    server
        .wait(job["id"].as_str().unwrap_or_else(|| panic!("{job:#}")))
        .await
}

fn exists(setup: &Setup, bucket: &str) -> bool {
    aws_inspector::call(&setup.place, "s3", "head_bucket", json!({"Bucket": bucket})).is_ok()
}

fn attached(setup: &Setup, name: &str) -> Vec<String> {
    let listed = aws_inspector::call(
        &setup.place,
        "iam",
        "list_attached_user_policies",
        json!({"UserName": name}),
    )
    .unwrap();
    listed["AttachedPolicies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|policy| policy["PolicyName"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_stays_and_is_said_and_goes_when_that_is_asked_for() {
    for emulator in [Emulator::Moto, Emulator::Ministack] {
        let (setup, server, name) = start(emulator).await;
        let (old, new) = (format!("{name}-old"), format!("{name}-new"));
        let body = json!({"name": name, "buckets": [{"name": old}], "tags": {"team": "shop", "cost": "1"}});
        server.onboard(&body).await;
        let changed = json!({"name": name, "buckets": [{"name": new, "upload_origins": ["https://new.example"]}], "repositories": [],
            "tags": {"team": "web"}});
        let plan: Value = server
            .request(Method::PUT, &format!("/v1/apps/{name}?dry_run=true"))
            .json(&changed)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let told = plan["warnings"].to_string();
        assert!(
            told.contains(&old) && told.contains("is retained in AWS"),
            "{told}"
        );
        assert!(
            plan["changes"]
                .as_array()
                .unwrap()
                .iter()
                .all(|change| change["action"] != "delete"),
            "{plan:#}"
        );

        let job = put(&server, &name, "", &changed).await;
        assert_eq!(
            (&job["kind"], &job["state"]),
            (&json!("update"), &json!("succeeded")),
            "{job:#}"
        );
        assert!(
            job["result"]["warnings"].to_string().contains(&old),
            "{job:#}"
        );
        assert!(exists(&setup, &old) && exists(&setup, &new));
        let app = server.json(&format!("/v1/apps/{name}")).await;
        assert_eq!(app["retained"]["buckets"][0]["name"], json!(old));
        let tags = aws_inspector::look(&setup.place, &app["spec"])["user"]["tags"].clone();
        assert_eq!(
            (&tags["team"], &tags["cost"]),
            (&json!("web"), &json!("1")),
            "a dropped tag stays, too"
        );

        let put_object = json!({"Bucket": old, "Key": "left.txt", "Body": {"base64": "aGk="}});
        aws_inspector::call(&setup.place, "s3", "put_object", put_object).unwrap();
        let without = json!({"name": name, "buckets": [{"name": new}], "repositories": []});
        let path = format!("/v1/apps/{name}?remove=true");
        let refused: Value = server
            .request(Method::PUT, &path)
            .json(&without)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(refused["code"], "confirmation_required", "{refused:#}");
        assert!(
            refused["detail"]
                .as_str()
                .unwrap()
                .contains("1 object version"),
            "{refused:#}"
        );
        assert!(exists(&setup, &old), "nothing is done");
        let job = put(
            &server,
            &name,
            &format!("?remove=true&confirm={name}"),
            &without,
        )
        .await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        assert!(!exists(&setup, &old) && exists(&setup, &new));
        let gone = aws_inspector::call(
            &setup.place,
            "ecr",
            "describe_repositories",
            json!({"repositoryNames": [name]}),
        );
        assert!(gone.is_err(), "the repository is gone");
        let app = server.json(&format!("/v1/apps/{name}")).await;
        assert_eq!(
            app["retained"],
            json!({"buckets": [], "repositories": [], "resources": []})
        );
        let seen = aws_inspector::look(&setup.place, &app["spec"]);
        assert_eq!(seen["user"]["tags"]["team"], Value::Null, "{seen:#}");
        assert_eq!(seen["buckets"][&new]["tags"]["team"], Value::Null);
        assert!(
            app["resources"]
                .as_array()
                .unwrap()
                .iter()
                .all(|it| !it["resource"].as_str().unwrap().ends_with(&old)),
            "{app:#}"
        );
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_adopted_is_given_back_when_it_is_dropped() {
    let (setup, server, name) = start(Emulator::Ministack).await;
    let bucket = format!("{name}-old");
    let constraint = json!({"LocationConstraint": "us-west-2"});
    aws_inspector::call(
        &setup.place,
        "s3",
        "create_bucket",
        json!({"Bucket": bucket, "CreateBucketConfiguration": constraint}),
    )
    .unwrap();
    aws_inspector::call(
        &setup.place,
        "ecr",
        "create_repository",
        json!({"repositoryName": name}),
    )
    .unwrap();
    server
        .onboard(&json!({"name": name, "on_existing": "adopt", "buckets": [{"name": bucket}]}))
        .await;
    aws_inspector::call(
        &setup.place,
        "s3",
        "put_object",
        json!({"Bucket": bucket, "Key": "a", "Body": {"base64": "aGk="}}),
    )
    .unwrap();
    let without = json!({"name": name, "buckets": [], "repositories": []});
    let path = format!("/v1/apps/{name}?remove=true&dry_run=true");
    let plan: Value = server
        .request(Method::PUT, &path)
        .json(&without)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let told = plan["warnings"].to_string();
    for thing in [format!("bucket {bucket}"), format!("repository {name}")] {
        assert!(
            told.contains(&format!(
                "The {thing} in us-west-2 existed before the app. It is retained"
            )),
            "{told}"
        );
    }
    assert!(!told.contains("will be deleted"), "{told}");
    // Nothing of it goes, so nothing has to be confirmed.
    let job = put(&server, &name, "?remove=true", &without).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert!(
        job["result"]["warnings"]
            .to_string()
            .contains("Slipway no longer manages it"),
        "{job:#}"
    );
    assert!(exists(&setup, &bucket));
    let spec = json!({"name": name, "buckets": [{"name": bucket, "region": "us-west-2"}], "repositories": [{"name": name, "region": "us-west-2"}]});
    let seen = aws_inspector::look(&setup.place, &spec);
    for thing in [&seen["buckets"][&bucket], &seen["repositories"][&name]] {
        assert!(
            thing.is_object() && !thing["tags"].to_string().contains("slipway:"),
            "{seen:#}"
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_media_access_leaves_no_moment_without_access() {
    let mut setup = Setup::new(Place::new(Emulator::Ministack));
    setup.timing.attachment = Duration::from_millis(300);
    let (server, name) = (setup.start().await, unique("acme"));
    server
        .onboard(&json!({"name": name, "repositories": []}))
        .await;
    let scoped = format!("MediaManagement-{name}");
    for (mode, attached_then) in [("scoped", scoped.as_str()), ("shared", "MediaManagement")] {
        setup.proxy.take_log();
        let job = put(
            &server,
            &name,
            "",
            &json!({"name": name, "repositories": [], "media_access": mode}),
        )
        .await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        assert_eq!(attached(&setup, &name), [attached_then]);
        let log = setup.proxy.take_log();
        let at = |operation: &str| {
            log.iter()
                .position(|call| call.operation == operation)
                .expect(operation)
        };
        let (attached, detached) = (&log[at("AttachUserPolicy")], &log[at("DetachUserPolicy")]);
        assert!(
            detached.began.duration_since(attached.began) >= setup.timing.attachment,
            "IAM gets time to know the new one everywhere"
        );
    }
    let arn = format!("arn:aws:iam::{}:policy/{scoped}", setup.place.account);
    assert!(
        aws_inspector::call(&setup.place, "iam", "get_policy", json!({"PolicyArn": arn})).is_ok(),
        "the scoped policy stays"
    );
    put(
        &server,
        &name,
        "?remove=true",
        &json!({"name": name, "repositories": []}),
    )
    .await;
    assert!(
        aws_inspector::call(&setup.place, "iam", "get_policy", json!({"PolicyArn": arn})).is_err(),
        "and goes when that is asked for"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_fails_has_removed_nothing_and_can_be_retried() {
    let (setup, server, name) = start(Emulator::Moto).await;
    let old = format!("{name}-old");
    server
        .onboard(&json!({"name": name, "buckets": [{"name": old}], "repositories": []}))
        .await;
    setup.proxy.take_log();
    setup
        .proxy
        .break_calls([("s3:CreateBucket", 0, Fault::Denied)]);
    let body = json!({"name": name, "buckets": [{"name": format!("{name}-new")}], "repositories": [], "media_access": "scoped"});
    let job = put(&server, &name, "?remove=true", &body).await;
    assert_eq!(job["state"], "needs_attention", "{job:#}");
    assert!(exists(&setup, &old));
    assert!(
        attached(&setup, &name).contains(&"MediaManagement".to_owned()),
        "the app has the access that it had"
    );
    let removing: Vec<String> = setup
        .proxy
        .take_log()
        .iter()
        .filter(|call| removes(call))
        .map(Call::name)
        .collect();
    assert_eq!(removing, Vec::<String>::new());
    setup.proxy.mend();
    server
        .post_empty(&format!("/v1/jobs/{}/retry", job["id"].as_str().unwrap()))
        .await;
    assert_eq!(
        server.wait(job["id"].as_str().unwrap()).await["state"],
        "succeeded"
    );
    assert!(!exists(&setup, &old));
    assert_eq!(attached(&setup, &name), [format!("MediaManagement-{name}")]);
    server.stop().await;
}

fn removes(call: &Call) -> bool {
    ["Delete", "Detach", "Remove", "Untag"]
        .iter()
        .any(|verb| call.operation.starts_with(verb))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_made_on_the_version_it_was_decided_on() {
    let (_setup, server, name) = start(Emulator::Moto).await;
    server
        .onboard(&json!({"name": name, "buckets": [], "repositories": []}))
        .await;
    let path = format!("/v1/apps/{name}");
    let tag = server.get(&path).await.headers()["etag"]
        .to_str()
        .unwrap()
        .to_owned();
    let body = json!({"name": name, "buckets": [], "repositories": [], "tags": {"team": "shop"}});
    let put_if = |tag: &str, key: &str| {
        server
            .request(Method::PUT, &path)
            .header("if-match", tag)
            .header("idempotency-key", key)
            .json(&body)
            .send()
    };
    let refused = put_if("\"1-0\"", "one").await.unwrap();
    assert_eq!(refused.status(), 412);
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["code"], "precondition_failed");
    let accepted = put_if(&tag, "two").await.unwrap();
    assert_eq!(accepted.status(), 202);
    let job: Value = accepted.json().await.unwrap();
    server.wait(job["id"].as_str().unwrap()).await;
    assert_eq!(
        put_if(&tag, "three").await.unwrap().status(),
        412,
        "it has changed since"
    );
    let again = put_if(&tag, "two").await.unwrap();
    assert_eq!(
        again.headers()["idempotent-replayed"],
        "true",
        "the same request again has its first answer"
    );
    assert_eq!(
        server.json(&path).await["spec"]["tags"],
        json!({"team": "shop"})
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_neither_renamed_nor_moved() {
    let (_setup, server, name) = start(Emulator::Moto).await;
    server
        .onboard(&json!({"name": name, "buckets": [], "repositories": []}))
        .await;
    let put = |body: Value| {
        server
            .request(Method::PUT, &format!("/v1/apps/{name}"))
            .json(&body)
            .send()
    };
    let problem: Value = put(json!({"name": "other", "rotate_after": "1m", "drift": "ignore"}))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let at: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(at, ["/drift", "/rotate_after"]);
    let problem: Value = put(json!({"name": "other"}))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(problem["errors"][0]["pointer"], "/name");
    assert_eq!(
        server
            .request(Method::PUT, "/v1/apps/nobody")
            .json(&json!({"name": "nobody"}))
            .send()
            .await
            .unwrap()
            .status(),
        404
    );
    server.stop().await;
}

/// Somebody else's bucket that a change has named in vain is not the app's, and stands in no later change's way.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_change_has_named_in_vain_is_not_retained() {
    let (setup, server, name) = start(Emulator::Ministack).await;
    let (own, foreign) = (format!("{name}-own"), format!("{name}-foreign"));
    let constraint = json!({"LocationConstraint": "us-west-2"});
    aws_inspector::call(
        &setup.place,
        "s3",
        "create_bucket",
        json!({"Bucket": foreign, "CreateBucketConfiguration": constraint}),
    )
    .unwrap();
    let before = json!({"name": name, "buckets": [{"name": own}], "repositories": []});
    server.onboard(&before).await;
    let both =
        json!({"name": name, "buckets": [{"name": own}, {"name": foreign}], "repositories": []});
    let job = put(&server, &name, "", &both).await;
    assert_eq!(job["error"]["code"], "conflict", "{job:#}");
    let job = put(&server, &name, "", &before).await;
    assert_eq!(
        (
            &job["state"],
            &job["result"]["warnings"].to_string().contains(&foreign)
        ),
        (&json!("succeeded"), &false),
        "{job:#}"
    );
    let app = server.json(&format!("/v1/apps/{name}")).await;
    assert_eq!(app["retained"]["buckets"], json!([]), "{app:#}");
    assert!(!app["resources"].to_string().contains(&foreign), "{app:#}");
    // Of another account's bucket S3 says nothing but 403.
    setup.proxy.script({
        let foreign = foreign.clone();
        move |call| {
            call.uri
                .contains(&foreign)
                .then(|| refusal(call.service, Fault::Denied))
                .flatten()
        }
    });
    let job = put(
        &server,
        &name,
        &format!("?remove=true&confirm={name}"),
        &before,
    )
    .await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    setup.proxy.unscript();
    assert!(exists(&setup, &own) && exists(&setup, &foreign));
    server.stop().await;
}

fn retained(app: &Value) -> Vec<&str> {
    app["retained"]["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["resource"].as_str().unwrap())
        .collect()
}

/// Whatever its kind: what the app has made and its spec does not name any more is known, told, and can be removed.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_retained_is_told_by_job_app_and_drift_and_goes_when_it_is_asked_for() {
    for emulator in [Emulator::Moto, Emulator::Ministack] {
        let (setup, server, name) = start(emulator).await;
        let job = server
            .onboard(&json!({"name": name, "media_access": "scoped", "repositories": []}))
            .await;
        let key = job["result"]["access_key_id"].as_str().unwrap().to_owned();
        let without = json!({"name": name, "repositories": [], "access_key": false});
        let plan: Value = server
            .request(Method::PUT, &format!("/v1/apps/{name}?dry_run=true"))
            .json(&without)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let job = put(&server, &name, "", &without).await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        let (policy, key_id) = (
            format!("iam:policy/MediaManagement-{name}"),
            format!("iam:access-key/{name}/{key}"),
        );
        for told in [&plan["warnings"], &job["result"]["warnings"]] {
            assert!(
                told.to_string().contains(&policy)
                    && told.to_string().contains(&format!("Access key {key}")),
                "{told:#}"
            );
        }
        let app = server.json(&format!("/v1/apps/{name}")).await;
        assert_eq!(retained(&app), [&policy, &key_id], "{app:#}");
        for it in app["retained"]["resources"].as_array().unwrap() {
            assert_eq!(
                (&it["owned"], &it["remove"]),
                (&json!("made"), &json!({"remove": [it["resource"]]})),
                "{it:#}"
            );
            assert!(it["made_at"].is_string(), "{it:#}");
        }
        let report: Value = server
            .post_empty(&format!("/v1/apps/{name}/drift"))
            .await
            .json()
            .await
            .unwrap();
        assert_eq!(
            (&report["drifted"], &report["unexpected"]),
            (&json!(false), &json!([])),
            "{report:#}"
        );
        assert_eq!(report["retained"], app["retained"]["resources"]);

        let arn = format!(
            "arn:aws:iam::{}:policy/MediaManagement-{name}",
            setup.place.account
        );
        let is_there = || {
            aws_inspector::call(&setup.place, "iam", "get_policy", json!({"PolicyArn": arn}))
                .is_ok()
        };
        let keys = || {
            aws_inspector::call(
                &setup.place,
                "iam",
                "list_access_keys",
                json!({"UserName": name}),
            )
            .unwrap()["AccessKeyMetadata"]
                .clone()
        };
        assert!(is_there() && keys().as_array().unwrap().len() == 1);
        if emulator == Emulator::Moto {
            let job = server
                .run(
                    &format!("/v1/apps/{name}/repair"),
                    Some(&json!({"remove": [policy]})),
                )
                .await;
            assert_eq!(job["state"], "succeeded", "{job:#}");
            assert!(!is_there() && keys().as_array().unwrap().len() == 1);
            assert!(
                job["result"]["warnings"].to_string().contains(&key)
                    && !job["result"]["warnings"].to_string().contains(&policy)
            );
            let job = server
                .run(
                    &format!("/v1/apps/{name}/repair"),
                    Some(&json!({"remove": [key_id]})),
                )
                .await;
            assert_eq!(job["state"], "succeeded", "{job:#}");
        } else {
            let job = put(&server, &name, "?remove=true", &without).await;
            assert_eq!(job["state"], "succeeded", "{job:#}");
            assert!(
                !job["result"]["warnings"].to_string().contains("retained"),
                "{job:#}"
            );
        }
        assert!(!is_there() && keys() == json!([]));
        let app = server.json(&format!("/v1/apps/{name}")).await;
        assert_eq!(retained(&app), Vec::<&str>::new(), "{app:#}");
        server.stop().await;
    }
}

/// One rule for a key, whichever call deletes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_use_is_not_dropped_by_a_change_unless_that_is_forced() {
    let (setup, server, name) = start(Emulator::Moto).await;
    let job = server
        .onboard(&json!({"name": name, "buckets": [], "repositories": []}))
        .await;
    let key = job["result"]["access_key_id"].as_str().unwrap().to_owned();
    let claim: Value = server
        .post_empty(&format!("/v1/apps/{name}/credentials/{key}/claim"))
        .await
        .json()
        .await
        .unwrap();
    let credentials = json!({"access_key_id": claim["AWS_ACCESS_KEY_ID"], "secret_access_key": claim["AWS_SECRET_ACCESS_KEY"]});
    // Its use with STS would be taken for the service's own look at it.
    tokio::time::sleep(Duration::from_secs(4)).await;
    aws_inspector::call_as(&setup.place, &credentials, "s3", "list_buckets", json!({}))
        .expect("the key works");
    let without = json!({"name": name, "buckets": [], "repositories": [], "access_key": false});
    let refused = async |path: &str, body: Option<&Value>| -> Value {
        let method = if body.is_some() {
            Method::PUT
        } else {
            Method::POST
        };
        let request = server.request(method, path);
        let request = if let Some(body) = body {
            request.json(body)
        } else {
            request
        };
        request.send().await.unwrap().json().await.unwrap()
    };
    let by_change = refused(&format!("/v1/apps/{name}?remove=true"), Some(&without)).await;
    let by_deletion = refused(&format!("/v1/apps/{name}/credentials/{key}/delete"), None).await;
    assert_eq!(by_change["status"], 409, "{by_change:#}");
    for field in ["status", "code", "title", "detail", "remedy"] {
        assert_eq!(by_change[field], by_deletion[field]);
    }
    assert_eq!(
        server.json(&format!("/v1/apps/{name}")).await["spec"]["access_key"],
        true,
        "nothing is done"
    );
    let plan = refused(
        &format!("/v1/apps/{name}?remove=true&dry_run=true"),
        Some(&without),
    )
    .await;
    let error = plan["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| &change["error"]["code"])
        .find(|code| code.is_string());
    assert_eq!(error, Some(&json!("key_in_use")), "{plan:#}");

    let job = put(&server, &name, "?remove=true&force=true", &without).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    let keys = aws_inspector::call(
        &setup.place,
        "iam",
        "list_access_keys",
        json!({"UserName": name}),
    )
    .unwrap();
    assert_eq!(keys["AccessKeyMetadata"], json!([]));
    server.stop().await;
}

/// An onboarding that was canceled half-way and asked anew as scoped ends with the scoped policy alone.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_asked_for_anew_has_the_attachments_of_its_new_spec_and_its_leftovers_are_known()
 {
    for emulator in [Emulator::Moto, Emulator::Ministack] {
        let (setup, server, name) = start(emulator).await;
        let (first, second) = (format!("{name}-first"), format!("{name}-second"));
        setup
            .proxy
            .break_calls([("ecr:CreateRepository", 0, Fault::Denied)]);
        let body = json!({"name": name, "buckets": [{"name": first}]});
        let job = server.run("/v1/apps", Some(&body)).await;
        assert_eq!(job["state"], "needs_attention", "{job:#}");
        let cancel = format!("/v1/jobs/{}/cancel", job["id"].as_str().unwrap());
        assert!(server.post_empty(&cancel).await.status().is_success());
        setup.proxy.mend();
        assert_eq!(attached(&setup, &name), ["MediaManagement"]);
        let job = server
            .onboard(
                &json!({"name": name, "media_access": "scoped", "access_key": false, "repositories": [], "buckets": [{"name": second}]}),
            )
            .await;
        assert_eq!(
            attached(&setup, &name),
            [format!("MediaManagement-{name}")],
            "{job:#}"
        );
        let app = server.json(&format!("/v1/apps/{name}")).await;
        let listed = server.json(&format!("/v1/apps/{name}/credentials")).await;
        let key = listed["items"][0]["access_key_id"].as_str().unwrap();
        assert_eq!(
            (&listed["items"][0]["managed"], &listed["items"][0]["state"]),
            (&json!(true), &json!("active"))
        );
        assert_eq!(
            retained(&app),
            [
                &format!("s3:bucket/{first}"),
                &format!("iam:access-key/{name}/{key}")
            ],
            "{app:#}"
        );
        assert_eq!(app["retained"]["buckets"][0]["name"], json!(first));
        assert!(
            job["result"]["warnings"].to_string().contains(&first),
            "{job:#}"
        );
        let deleted = server
            .run(&format!("/v1/apps/{name}/credentials/{key}/delete"), None)
            .await;
        assert_eq!(deleted["state"], "succeeded", "{deleted:#}");
        let job = server
            .run(
                &format!("/v1/apps/{name}/repair"),
                Some(&json!({"remove": [format!("s3:bucket/{first}")]})),
            )
            .await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        assert!(!exists(&setup, &first) && exists(&setup, &second));
        assert_eq!(
            retained(&server.json(&format!("/v1/apps/{name}")).await),
            Vec::<&str>::new()
        );
        server.stop().await;
    }
}

/// A change that failed half-way leaves both policies attached; the next job that walks the spec mends that.
#[tokio::test(flavor = "multi_thread")]
async fn a_repair_and_a_restore_end_with_the_attachments_of_the_spec() {
    for restored in [false, true] {
        let mut setup = Setup::new(Place::new(Emulator::Ministack));
        setup.settings.quarantine = Duration::from_secs(3600);
        let (server, name) = (setup.start().await, unique("acme"));
        server
            .onboard(&json!({"name": name, "repositories": []}))
            .await;
        let invalid = |call: &Call| Answer::Now(400, refusal_body(call.service, "InvalidInput"));
        setup
            .proxy
            .script(move |call| (call.name() == "iam:DetachUserPolicy").then(|| invalid(call)));
        let scoped = json!({"name": name, "repositories": [], "media_access": "scoped"});
        let job = put(&server, &name, "", &scoped).await;
        assert_eq!(job["state"], "failed", "{job:#}");
        assert_eq!(attached(&setup, &name).len(), 2);
        setup.proxy.unscript();
        if !restored {
            let report: Value = server
                .post_empty(&format!("/v1/apps/{name}/drift"))
                .await
                .json()
                .await
                .unwrap();
            let change = report["changes"]
                .as_array()
                .unwrap()
                .iter()
                .find(|change| change["action"] == "delete")
                .expect("it is drift");
            assert_eq!(
                change["resource"],
                json!(format!("iam:attachment/MediaManagement/{name}")),
                "{report:#}"
            );
            assert_eq!(report["unexpected"], json!([]), "{report:#}");
        }
        if restored {
            let asked: Value = server
                .request(Method::DELETE, &format!("/v1/apps/{name}"))
                .send()
                .await
                .unwrap()
                .json()
                .await
                .unwrap();
            server.wait(asked["id"].as_str().unwrap()).await;
        }
        let path = if restored { "restore" } else { "repair" };
        let job = server.run(&format!("/v1/apps/{name}/{path}"), None).await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        assert_eq!(attached(&setup, &name), [format!("MediaManagement-{name}")]);
        server.stop().await;
    }
}

/// The time that a new attachment gets to work everywhere is not forgotten with the process that made it.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_attachment_gets_its_time_also_when_the_process_is_lost_meanwhile() {
    let mut setup = Setup::new(Place::new(Emulator::Ministack));
    setup.timing.attachment = Duration::from_secs(3);
    // The job does not hold its worker meanwhile, so that it can be seen to wait.
    setup.timing.hold = Duration::from_millis(100);
    let (server, name) = (setup.start().await, unique("acme"));
    server
        .onboard(&json!({"name": name, "repositories": []}))
        .await;
    setup.proxy.take_log();
    let scoped = json!({"name": name, "repositories": [], "media_access": "scoped"});
    let job: Value = server
        .request(Method::PUT, &format!("/v1/apps/{name}"))
        .json(&scoped)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    loop {
        let job = server.json(&path).await;
        if job["state"] == "waiting" {
            break;
        }
        assert!(job["finished_at"].is_null(), "it has not waited: {job:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.tasks.stop();
    server.tasks.ended().await;
    // The next process opens the database once nobody holds this one's.
    drop(server);
    let server = setup.start().await;
    let job = server.wait(job["id"].as_str().unwrap()).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert_eq!(attached(&setup, &name), [format!("MediaManagement-{name}")]);
    let log = setup.proxy.take_log();
    let at = |operation: &str| {
        log.iter()
            .find(|call| call.operation == operation)
            .expect(operation)
            .began
    };
    let between = at("DetachUserPolicy").duration_since(at("AttachUserPolicy"));
    // Whole milliseconds are recorded.
    assert!(
        between + Duration::from_millis(5) >= setup.timing.attachment,
        "{between:?}"
    );
    server.stop().await;
}

/// AWS can have a policy by the name of the account's own: they are two, and only one of them is the app's.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_of_aws_is_not_taken_for_the_accounts_own() {
    let mut setup = Setup::new(Place::new(Emulator::Ministack));
    setup.settings.defaults.policy = PolicyName::parse("AmazonS3ReadOnlyAccess").unwrap();
    let (server, name) = (setup.start().await, unique("acme"));
    let arn = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";
    server
        .onboard(&json!({"name": name, "buckets": [], "repositories": []}))
        .await;
    let own = format!(
        "arn:aws:iam::{}:policy/AmazonS3ReadOnlyAccess",
        setup.place.account
    );
    aws_inspector::call(
        &setup.place,
        "iam",
        "detach_user_policy",
        json!({"UserName": name, "PolicyArn": own}),
    )
    .unwrap();
    aws_inspector::call(
        &setup.place,
        "iam",
        "attach_user_policy",
        json!({"UserName": name, "PolicyArn": arn}),
    )
    .unwrap();
    let report: Value = server
        .post_empty(&format!("/v1/apps/{name}/drift"))
        .await
        .json()
        .await
        .unwrap();
    let (lost, unexpected) = (&report["changes"][0], &report["unexpected"][0]);
    assert_eq!(
        lost["resource"],
        json!(format!("iam:attachment/AmazonS3ReadOnlyAccess/{name}")),
        "{report:#}"
    );
    assert_eq!(
        unexpected["resource"],
        json!(format!("iam:attachment/aws/AmazonS3ReadOnlyAccess/{name}")),
        "{report:#}"
    );
    let job = server
        .run(
            &format!("/v1/apps/{name}/repair"),
            Some(&unexpected["removal_request"]),
        )
        .await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    let listed = aws_inspector::call(
        &setup.place,
        "iam",
        "list_attached_user_policies",
        json!({"UserName": name}),
    )
    .unwrap();
    let arns: Vec<&Value> = listed["AttachedPolicies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|policy| &policy["PolicyArn"])
        .collect();
    assert_eq!(arns, [&json!(own)]);
    server.stop().await;
}
