//! Change of an app by PUT: what is added, altered and dropped, and what stays.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::aws::{Emulator, Place};
use crate::support::server::{Server, Setup};
use crate::support::wire::{Call, Fault};
use crate::support::{eyes, unique};

async fn start(emulator: Emulator) -> (Setup, Server, String) {
    let setup = Setup::new(Place::new(emulator));
    let server = setup.start().await;
    (setup, server, unique("acme"))
}

async fn put(server: &Server, name: &str, query: &str, body: &Value) -> Value {
    let job: Value = server.request(Method::PUT, &format!("/v1/apps/{name}{query}")).json(body).send().await.unwrap().json().await.unwrap();
    server.wait(job["id"].as_str().unwrap_or_else(|| panic!("{job:#}"))).await
}

fn exists(setup: &Setup, bucket: &str) -> bool {
    eyes::call(&setup.place, "s3", "head_bucket", json!({"Bucket": bucket})).is_ok()
}

fn attached(setup: &Setup, name: &str) -> Vec<String> {
    let listed = eyes::call(&setup.place, "iam", "list_attached_user_policies", json!({"UserName": name})).unwrap();
    listed["AttachedPolicies"].as_array().unwrap().iter().map(|policy| policy["PolicyName"].as_str().unwrap().to_owned()).collect()
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
        assert!(told.contains(&old) && told.contains("stays in AWS"), "{told}");
        assert!(plan["changes"].as_array().unwrap().iter().all(|change| change["action"] != "delete"), "{plan:#}");

        let job = put(&server, &name, "", &changed).await;
        assert_eq!((&job["kind"], &job["state"]), (&json!("update"), &json!("succeeded")), "{job:#}");
        assert!(job["result"]["warnings"].to_string().contains(&old), "{job:#}");
        assert!(exists(&setup, &old) && exists(&setup, &new));
        let app = server.json(&format!("/v1/apps/{name}")).await;
        assert_eq!(app["retained"]["buckets"][0]["name"], json!(old));
        let tags = eyes::look(&setup.place, &app["spec"])["user"]["tags"].clone();
        assert_eq!((&tags["team"], &tags["cost"]), (&json!("web"), &json!("1")), "a dropped tag stays, too");

        let put_object = json!({"Bucket": old, "Key": "left.txt", "Body": {"base64": "aGk="}});
        eyes::call(&setup.place, "s3", "put_object", put_object).unwrap();
        let without = json!({"name": name, "buckets": [{"name": new}], "repositories": []});
        let path = format!("/v1/apps/{name}?remove=true");
        let refused: Value = server.request(Method::PUT, &path).json(&without).send().await.unwrap().json().await.unwrap();
        assert_eq!(refused["code"], "confirmation_required", "{refused:#}");
        assert!(refused["detail"].as_str().unwrap().contains("1 object versions"), "{refused:#}");
        assert!(exists(&setup, &old), "nothing is done");
        let job = put(&server, &name, &format!("?remove=true&confirm={name}"), &without).await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        assert!(!exists(&setup, &old) && exists(&setup, &new));
        let gone = eyes::call(&setup.place, "ecr", "describe_repositories", json!({"repositoryNames": [name]}));
        assert!(gone.is_err(), "the repository is gone");
        let app = server.json(&format!("/v1/apps/{name}")).await;
        assert_eq!(app["retained"], json!({"buckets": [], "repositories": []}));
        let seen = eyes::look(&setup.place, &app["spec"]);
        assert_eq!(seen["user"]["tags"]["team"], Value::Null, "{seen:#}");
        assert_eq!(seen["buckets"][&new]["tags"]["team"], Value::Null);
        assert!(app["resources"].as_array().unwrap().iter().all(|it| !it["resource"].as_str().unwrap().ends_with(&old)), "{app:#}");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_adopted_is_given_back_when_it_is_dropped() {
    let (setup, server, name) = start(Emulator::Ministack).await;
    let bucket = format!("{name}-old");
    let constraint = json!({"LocationConstraint": "us-west-2"});
    eyes::call(&setup.place, "s3", "create_bucket", json!({"Bucket": bucket, "CreateBucketConfiguration": constraint})).unwrap();
    eyes::call(&setup.place, "ecr", "create_repository", json!({"repositoryName": name})).unwrap();
    server.onboard(&json!({"name": name, "on_existing": "adopt", "buckets": [{"name": bucket}]})).await;
    let query = format!("?remove=true&confirm={name}");
    let job = put(&server, &name, &query, &json!({"name": name, "buckets": [], "repositories": []})).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert!(exists(&setup, &bucket));
    let spec = json!({"name": name, "buckets": [{"name": bucket, "region": "us-west-2"}], "repositories": [{"name": name, "region": "us-west-2"}]});
    let seen = eyes::look(&setup.place, &spec);
    for thing in [&seen["buckets"][&bucket], &seen["repositories"][&name]] {
        assert!(thing.is_object() && !thing["tags"].to_string().contains("slipway:"), "{seen:#}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_media_access_leaves_no_moment_without_access() {
    let mut setup = Setup::new(Place::new(Emulator::Ministack));
    setup.timing.attachment = Duration::from_millis(300);
    let (server, name) = (setup.start().await, unique("acme"));
    server.onboard(&json!({"name": name, "repositories": []})).await;
    let scoped = format!("MediaManagement-{name}");
    for (mode, attached_then) in [("scoped", scoped.as_str()), ("shared", "MediaManagement")] {
        setup.wire.take_log();
        let job = put(&server, &name, "", &json!({"name": name, "repositories": [], "media_access": mode})).await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        assert_eq!(attached(&setup, &name), [attached_then]);
        let log = setup.wire.take_log();
        let at = |operation: &str| log.iter().position(|call| call.operation == operation).expect(operation);
        let (attached, detached) = (&log[at("AttachUserPolicy")], &log[at("DetachUserPolicy")]);
        assert!(detached.began.duration_since(attached.began) >= setup.timing.attachment, "IAM gets time to know the new one everywhere");
    }
    let arn = format!("arn:aws:iam::{}:policy/{scoped}", setup.place.account);
    assert!(eyes::call(&setup.place, "iam", "get_policy", json!({"PolicyArn": arn})).is_ok(), "the scoped policy stays");
    put(&server, &name, "?remove=true", &json!({"name": name, "repositories": []})).await;
    assert!(eyes::call(&setup.place, "iam", "get_policy", json!({"PolicyArn": arn})).is_err(), "and goes when that is asked for");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_fails_has_removed_nothing_and_can_be_retried() {
    let (setup, server, name) = start(Emulator::Moto).await;
    let old = format!("{name}-old");
    server.onboard(&json!({"name": name, "buckets": [{"name": old}], "repositories": []})).await;
    setup.wire.take_log();
    setup.wire.break_calls([("s3:CreateBucket", 0, Fault::Denied)]);
    let body = json!({"name": name, "buckets": [{"name": format!("{name}-new")}], "repositories": [], "media_access": "scoped"});
    let job = put(&server, &name, "?remove=true", &body).await;
    assert_eq!(job["state"], "needs_attention", "{job:#}");
    assert!(exists(&setup, &old));
    assert!(attached(&setup, &name).contains(&"MediaManagement".to_owned()), "the app has the access that it had");
    let removing: Vec<String> = setup.wire.take_log().iter().filter(|call| removes(call)).map(Call::name).collect();
    assert_eq!(removing, Vec::<String>::new());
    setup.wire.mend();
    server.post_empty(&format!("/v1/jobs/{}/retry", job["id"].as_str().unwrap())).await;
    assert_eq!(server.wait(job["id"].as_str().unwrap()).await["state"], "succeeded");
    assert!(!exists(&setup, &old));
    assert_eq!(attached(&setup, &name), [format!("MediaManagement-{name}")]);
    server.stop().await;
}

fn removes(call: &Call) -> bool {
    ["Delete", "Detach", "Remove", "Untag"].iter().any(|verb| call.operation.starts_with(verb))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_made_on_the_version_it_was_decided_on() {
    let (_setup, server, name) = start(Emulator::Moto).await;
    server.onboard(&json!({"name": name, "buckets": [], "repositories": []})).await;
    let path = format!("/v1/apps/{name}");
    let tag = server.get(&path).await.headers()["etag"].to_str().unwrap().to_owned();
    let body = json!({"name": name, "buckets": [], "repositories": [], "tags": {"team": "shop"}});
    let put_if =
        |tag: &str, key: &str| server.request(Method::PUT, &path).header("if-match", tag).header("idempotency-key", key).json(&body).send();
    let refused = put_if("\"1-0\"", "one").await.unwrap();
    assert_eq!(refused.status(), 412);
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["code"], "precondition_failed");
    let accepted = put_if(&tag, "two").await.unwrap();
    assert_eq!(accepted.status(), 202);
    let job: Value = accepted.json().await.unwrap();
    server.wait(job["id"].as_str().unwrap()).await;
    assert_eq!(put_if(&tag, "three").await.unwrap().status(), 412, "it has changed since");
    let again = put_if(&tag, "two").await.unwrap();
    assert_eq!(again.headers()["idempotent-replayed"], "true", "the same request again has its first answer");
    assert_eq!(server.json(&path).await["spec"]["tags"], json!({"team": "shop"}));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_neither_renamed_nor_moved() {
    let (_setup, server, name) = start(Emulator::Moto).await;
    server.onboard(&json!({"name": name, "buckets": [], "repositories": []})).await;
    let put = |body: Value| server.request(Method::PUT, &format!("/v1/apps/{name}")).json(&body).send();
    let problem: Value = put(json!({"name": "other", "rotate_after": "1m", "drift": "ignore"})).await.unwrap().json().await.unwrap();
    let at: Vec<&str> = problem["errors"].as_array().unwrap().iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    assert_eq!(at, ["/drift", "/rotate_after"]);
    let problem: Value = put(json!({"name": "other"})).await.unwrap().json().await.unwrap();
    assert_eq!(problem["errors"][0]["pointer"], "/name");
    assert_eq!(server.request(Method::PUT, "/v1/apps/nobody").json(&json!({"name": "nobody"})).send().await.unwrap().status(), 404);
    server.stop().await;
}
