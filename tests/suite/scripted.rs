//! What AWS does and no emulator shows: scripted answers under the real SDK clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use slipway::config::Settings;
use sqlx::Connection as _;

use crate::support::aws::{Emulator, Place};
use crate::support::proxy::Pass;
use crate::support::server::{Server, Setup};
use crate::support::wire::{Answer, Call, Fault, refusal_body};
use crate::support::{aws_inspector, unique};

/// The first `times` calls by this name are refused with `code`.
fn refuse(
    setup: &Setup,
    name: &'static str,
    times: usize,
    status: u16,
    code: &'static str,
) -> Arc<AtomicUsize> {
    let met = Arc::new(AtomicUsize::new(0));
    let counter = met.clone();
    setup.proxy.script(move |call| {
        let refused = call.name() == name && counter.fetch_add(1, Ordering::SeqCst) < times;
        refused.then(|| Answer::Now(status, refusal_body(call.service, code)))
    });
    met
}

async fn moto() -> (Setup, Server, String) {
    let setup = Setup::new(Place::new(Emulator::Moto));
    let server = setup.start().await;
    (setup, server, unique("acme"))
}

fn names(log: &[Call]) -> Vec<String> {
    log.iter()
        .filter(|call| call.service != "sts")
        .map(Call::name)
        .collect()
}

async fn happenings(server: &Server, job: &Value) -> Vec<Value> {
    let path = format!("/v1/jobs/{}/events", job["id"].as_str().unwrap());
    let request = server
        .request(reqwest::Method::GET, &path)
        .header("accept", "application/json");
    let page: Value = request.send().await.unwrap().json().await.unwrap();
    page["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_app_takes_nine_calls_in_three_waves() {
    let setup = Setup::new(Place::new(Emulator::Ministack));
    let server = setup.start().await;
    server.onboard(&json!({"name": unique("first")})).await;
    setup.proxy.take_log();
    server.onboard(&json!({"name": unique("second")})).await;
    let mut called = names(&setup.proxy.take_log());
    let creates: Vec<String> = called.drain(..3).collect();
    assert!(
        creates.iter().all(|name| name.contains(":Create")),
        "{creates:?} come first"
    );
    called.sort();
    let rest = [
        "ecr:PutLifecyclePolicy",
        "iam:AddUserToGroup",
        "iam:AttachUserPolicy",
        "iam:CreateAccessKey",
        "s3:PutBucketCors",
        "s3:PutPublicAccessBlock",
    ];
    assert_eq!(called, rest);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_us_east_1_a_look_comes_before_a_create_that_would_reset_acls() {
    let setup = Setup::new(Place::new(Emulator::Ministack).in_region("us-east-1"));
    let server = setup.start().await;
    let (name, bucket) = (unique("acme"), unique("bucket"));
    aws_inspector::call(
        &setup.place,
        "s3",
        "create_bucket",
        json!({"Bucket": bucket}),
    )
    .unwrap();
    setup.proxy.take_log();
    let job = server
        .run(
            "/v1/apps",
            Some(&json!({"name": name, "repositories": [], "buckets": [{"name": bucket}]})),
        )
        .await;
    assert_eq!(
        (&job["state"], &job["error"]["code"]),
        (&json!("failed"), &json!("conflict"))
    );
    assert!(!names(&setup.proxy.take_log()).contains(&"s3:CreateBucket".to_owned()));

    let other = unique("acme");
    server
        .onboard(&json!({"name": other, "repositories": []}))
        .await;
    let log = setup.proxy.take_log();
    let create = log
        .iter()
        .find(|call| call.operation == "CreateBucket")
        .unwrap();
    assert!(
        !create.body.contains("LocationConstraint"),
        "{}",
        create.body
    );
    assert!(
        create.body.contains("slipway:app"),
        "tags come with the create"
    );
    let position = |operation: &str| {
        log.iter()
            .position(|call| call.operation == operation)
            .unwrap()
    };
    assert!(position("HeadBucket") < position("CreateBucket"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_later_call_on_a_bucket_names_its_owner_and_none_sends_an_acl() {
    let (setup, server, name) = moto().await;
    server.onboard(&json!({"name": name})).await;
    server.run(&format!("/v1/apps/{name}/repair"), None).await;
    let log = setup.proxy.take_log();
    let on_buckets: Vec<&Call> = log.iter().filter(|call| call.service == "s3").collect();
    assert!(on_buckets.len() > 6);
    for call in on_buckets {
        assert!(
            !call.uri.contains("acl")
                && !call
                    .headers
                    .keys()
                    .any(|header| header.starts_with("x-amz-acl")
                        || header.starts_with("x-amz-grant"))
        );
        if !["CreateBucket", "HeadBucket", "ListBuckets"].contains(&call.operation.as_str()) {
            assert_eq!(
                call.headers.get("x-amz-expected-bucket-owner"),
                Some(&setup.place.account),
                "{}",
                call.operation
            );
        }
    }
    let create = log
        .iter()
        .find(|call| call.operation == "CreateBucket")
        .unwrap();
    assert_eq!(
        create
            .headers
            .get("x-amz-object-ownership")
            .map(String::as_str),
        Some("BucketOwnerEnforced")
    );
    assert!(
        create
            .body
            .contains("<LocationConstraint>us-west-2</LocationConstraint>")
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_busy_is_waited_for() {
    let (setup, server, name) = moto().await;
    let met = refuse(&setup, "s3:PutBucketCors", 5, 409, "OperationAborted");
    let job = server.onboard(&json!({"name": name})).await;
    assert_eq!(met.load(Ordering::SeqCst), 6);
    let waits = happenings(&server, &job)
        .await
        .iter()
        .filter(|event| event["event"] == "step_waiting")
        .count();
    assert!(waits >= 5, "people are told");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_just_made_may_not_be_visible_yet() {
    for name_of_call in [
        "iam:AddUserToGroup",
        "iam:AttachUserPolicy",
        "iam:CreateAccessKey",
    ] {
        let (setup, server, name) = moto().await;
        let met = refuse(&setup, name_of_call, 3, 404, "NoSuchEntity");
        server
            .onboard(&json!({"name": name, "buckets": [], "repositories": []}))
            .await;
        assert_eq!(met.load(Ordering::SeqCst), 4, "{name_of_call}");
        let keys = aws_inspector::call(
            &setup.place,
            "iam",
            "list_access_keys",
            json!({"UserName": name}),
        )
        .unwrap();
        assert_eq!(keys["AccessKeyMetadata"].as_array().unwrap().len(), 1);
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_exists_and_is_not_shown_is_waited_for() {
    let (setup, server, name) = moto().await;
    setup
        .proxy
        .break_calls([("iam:CreateUser", 0, Fault::ResetAfter)]);
    refuse(&setup, "iam:GetUser", 4, 404, "NoSuchEntity");
    server
        .onboard(&json!({"name": name, "buckets": [], "repositories": []}))
        .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_of_ecr_is_not_taken_for_throttling() {
    let (setup, server, name) = moto().await;
    let met = refuse(
        &setup,
        "ecr:CreateRepository",
        100,
        400,
        "LimitExceededException",
    );
    let job = server
        .run("/v1/apps", Some(&json!({"name": name, "buckets": []})))
        .await;
    assert_eq!(
        (&job["state"], &job["error"]["code"]),
        (&json!("needs_attention"), &json!("quota_exceeded"))
    );
    assert_eq!(met.load(Ordering::SeqCst), 1, "it is not tried again");
    assert!(job["error"]["remedy"].as_str().unwrap().contains("quota"));
    setup.proxy.unscript();
    server
        .post_empty(&format!("/v1/jobs/{}/retry", job["id"].as_str().unwrap()))
        .await;
    assert_eq!(
        server.wait(job["id"].as_str().unwrap()).await["state"],
        "succeeded"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_somebody_else_is_told_as_that() {
    let body = |name: &str| json!({"name": name, "repositories": [], "access_key": false});
    let (setup, server, name) = moto().await;
    refuse(&setup, "s3:CreateBucket", 100, 409, "BucketAlreadyExists");
    let job = server.run("/v1/apps", Some(&body(&name))).await;
    assert_eq!(
        (&job["state"], &job["error"]["code"]),
        (&json!("failed"), &json!("conflict"))
    );
    assert!(
        job["error"]["remedy"]
            .as_str()
            .unwrap()
            .contains("Choose another")
    );

    setup.proxy.unscript();
    let other = unique("acme");
    server.onboard(&body(&other)).await;
    let denied =
        |call: &Call| ["HeadBucket", "GetBucketTagging"].contains(&call.operation.as_str());
    setup.proxy.script(move |call| {
        denied(call).then(|| Answer::Now(403, refusal_body("s3", "AccessDenied")))
    });
    let job = server.run(&format!("/v1/apps/{other}/repair"), None).await;
    assert_eq!(
        (&job["state"], &job["error"]["code"]),
        (&json!("failed"), &json!("conflict")),
        "403 is not absence"
    );
    refuse(&setup, "s3:HeadBucket", 100, 301, "301");
    let job = server.run(&format!("/v1/apps/{other}/repair"), None).await;
    assert!(
        job["error"]["detail"]
            .as_str()
            .unwrap()
            .contains("another region"),
        "{job:#}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_doubt_no_key_is_deleted_and_a_person_is_asked() {
    let (setup, server, name) = moto().await;
    setup
        .proxy
        .break_calls([("iam:CreateAccessKey", 0, Fault::ResetAfter)]);
    let (place, user) = (setup.place.clone(), name.clone());
    setup.proxy.script(move |call| {
        // Somebody else makes a key by hand at the same time.
        if call.name() == "iam:ListAccessKeys" && call.nth == 0 {
            aws_inspector::call(
                &place,
                "iam",
                "create_access_key",
                json!({"UserName": user}),
            )
            .unwrap();
        }
        None
    });
    let job = server
        .run(
            "/v1/apps",
            Some(&json!({"name": name, "buckets": [], "repositories": []})),
        )
        .await;
    assert_eq!(
        (&job["state"], &job["error"]["code"]),
        (&json!("needs_attention"), &json!("credential_in_doubt")),
        "{job:#}"
    );
    let listed = aws_inspector::call(
        &setup.place,
        "iam",
        "list_access_keys",
        json!({"UserName": name}),
    )
    .unwrap();
    let keys: Vec<&str> = listed["AccessKeyMetadata"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["AccessKeyId"].as_str().unwrap())
        .collect();
    assert_eq!(keys.len(), 2, "nothing was deleted");
    for key in &keys {
        assert!(
            job["error"]["detail"].as_str().unwrap().contains(key)
                && job["error"]["remedy"].as_str().unwrap().contains(key)
        );
    }

    setup.proxy.unscript();
    for key in &keys {
        aws_inspector::call(
            &setup.place,
            "iam",
            "delete_access_key",
            json!({"UserName": name, "AccessKeyId": key}),
        )
        .unwrap();
    }
    server
        .post_empty(&format!("/v1/jobs/{}/retry", job["id"].as_str().unwrap()))
        .await;
    assert_eq!(
        server.wait(job["id"].as_str().unwrap()).await["state"],
        "succeeded"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_key_that_a_restored_database_does_not_know_none_is_made() {
    let setup = Setup::new(Place::new(Emulator::Moto));
    let name = unique("acme");
    let keys_of = |name: &str| {
        let listed = aws_inspector::call(
            &setup.place,
            "iam",
            "list_access_keys",
            json!({"UserName": name}),
        )
        .unwrap();
        listed["AccessKeyMetadata"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key["AccessKeyId"].clone())
            .collect::<Vec<_>>()
    };
    // The copy is made after the request, and before the key.
    let server = setup.start().await;
    setup.proxy.set(Pass::ClosedAbout("CreateAccessKey"));
    let response = server
        .post(
            "/v1/apps",
            &json!({"name": name, "buckets": [], "repositories": []}),
        )
        .await;
    let job = response.json::<Value>().await.unwrap();
    let id = job["id"].as_str().unwrap();
    let copy = setup.folder.path().join("copy.db");
    slipway::store::backup(&setup.settings.database_url, &copy)
        .await
        .unwrap();
    setup.proxy.set(Pass::Open);
    let ended = server.wait(id).await;
    assert_eq!(ended["state"], "succeeded", "{ended:#}");
    server.stop().await;
    let made = keys_of(&name);

    // It is restored. An intent that was in it would be found out about by itself: there is none.
    let mut db = sqlx::SqliteConnection::connect(&format!("sqlite://{}", copy.display()))
        .await
        .unwrap();
    sqlx::query("DELETE FROM key_intents")
        .execute(&mut db)
        .await
        .unwrap();
    db.close().await.unwrap();
    let restored = Setup {
        settings: Settings {
            database_url: format!("sqlite://{}", copy.display()),
            ..setup.settings.clone()
        },
        ..Setup::new(setup.place.clone())
    };
    let server = restored.start().await;
    let parked = server.wait(id).await;
    assert_eq!(
        (&parked["state"], &parked["error"]["code"]),
        (&json!("needs_attention"), &json!("credential_in_doubt")),
        "{parked:#}"
    );
    for text in ["detail", "remedy"] {
        assert!(
            parked["error"][text]
                .as_str()
                .unwrap()
                .contains(made[0].as_str().unwrap()),
            "{parked:#}"
        );
    }
    assert_eq!(keys_of(&name), made, "no other was made");

    // One way out: whoever uses it gets another, which is asked for as that.
    server
        .run(
            &format!("/v1/apps/{name}/credentials/rotate?force=true"),
            None,
        )
        .await;
    assert_eq!(keys_of(&name).len(), 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_key_is_never_deleted() {
    let (setup, server, name) = moto().await;
    setup
        .proxy
        .break_calls([("iam:CreateAccessKey", 0, Fault::ResetAfter)]);
    let used = "<GetAccessKeyLastUsedResponse><GetAccessKeyLastUsedResult><UserName>u</UserName><AccessKeyLastUsed>\
        <LastUsedDate>2026-01-01T00:00:00Z</LastUsedDate><ServiceName>s3</ServiceName><Region>us-west-2</Region></AccessKeyLastUsed>\
        </GetAccessKeyLastUsedResult></GetAccessKeyLastUsedResponse>";
    setup.proxy.script(move |call| {
        (call.operation == "GetAccessKeyLastUsed").then(|| Answer::Now(200, used.to_owned()))
    });
    let job = server
        .run(
            "/v1/apps",
            Some(&json!({"name": name, "buckets": [], "repositories": []})),
        )
        .await;
    assert_eq!(job["error"]["code"], "credential_in_doubt", "{job:#}");
    assert!(!names(&setup.proxy.take_log()).contains(&"iam:DeleteAccessKey".to_owned()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_policy_that_differs_is_kept_and_told() {
    let (setup, server, name) = moto().await;
    let document = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "*"}]});
    let args = json!({"PolicyName": "MediaManagement", "Path": "/own/", "PolicyDocument": document.to_string()});
    let policy = aws_inspector::call(&setup.place, "iam", "create_policy", args).unwrap();
    let job = server
        .onboard(&json!({"name": name, "buckets": [], "repositories": []}))
        .await;
    let warnings = job["result"]["warnings"].to_string();
    assert!(
        warnings.contains("left unchanged") && warnings.contains("s3:DeleteObject"),
        "{warnings}"
    );
    let seen = aws_inspector::look(
        &setup.place,
        &json!({"name": name, "buckets": [], "repositories": []}),
    );
    assert_eq!(
        seen["attached"],
        json!([policy["Policy"]["Arn"]]),
        "found under another path"
    );
    assert_eq!(seen["policy_document"], document, "never overwritten");
    let plan: Value = server
        .post_empty(&format!("/v1/apps/{name}/plan"))
        .await
        .json()
        .await
        .unwrap();
    assert!(plan["warnings"].to_string().contains("left unchanged"));
    assert_eq!(plan["calls"], 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_vanished_after_it_was_seen_is_made_again() {
    let (setup, server, name) = moto().await;
    server.onboard(&json!({"name": unique("first"), "buckets": [], "repositories": [], "access_key": false})).await;
    let groups = aws_inspector::call(
        &setup.place,
        "iam",
        "get_group",
        json!({"GroupName": "Apps"}),
    )
    .unwrap();
    for user in groups["Users"].as_array().unwrap() {
        aws_inspector::call(
            &setup.place,
            "iam",
            "remove_user_from_group",
            json!({"GroupName": "Apps", "UserName": user["UserName"]}),
        )
        .unwrap();
    }
    aws_inspector::call(
        &setup.place,
        "iam",
        "delete_group",
        json!({"GroupName": "Apps"}),
    )
    .unwrap();
    let mut setup_with_short_memory = setup;
    setup_with_short_memory.timing.propagation = Duration::from_millis(100);
    server.stop().await;
    let server = setup_with_short_memory.start().await;
    server
        .onboard(&json!({"name": name, "buckets": [], "repositories": [], "access_key": false}))
        .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_ready_after_several_successes_in_a_row() {
    let (setup, server, name) = moto().await;
    // Accepted, refused, and then accepted for good.
    let tried = Arc::new(AtomicUsize::new(0));
    let counter = tried.clone();
    setup.proxy.script(move |call| {
        let flaps = call.service == "sts" && counter.fetch_add(1, Ordering::SeqCst) == 1;
        flaps.then(|| Answer::Now(403, refusal_body("sts", "InvalidClientTokenId")))
    });
    server
        .onboard(&json!({"name": name, "buckets": [], "repositories": []}))
        .await;
    let path = format!("/v1/apps/{name}/credentials");
    let mut readiness = server.json(&path).await["items"][0]["readiness"].clone();
    assert_eq!(readiness, "unverified");
    for _ in 0..100 {
        if readiness == "ready" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        readiness = server.json(&path).await["items"][0]["readiness"].clone();
    }
    assert_eq!(readiness, "ready");
    assert_eq!(
        tried.load(Ordering::SeqCst),
        5,
        "one success does not count before a refusal"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_its_deadline_a_job_fails_says_why_and_can_go_on() {
    let mut setup = Setup::new(Place::new(Emulator::Moto));
    setup.settings.job_deadline = Duration::from_secs(1);
    let server = setup.start().await;
    setup.proxy.script(|call| {
        (call.operation == "AddUserToGroup")
            .then(|| Answer::Now(500, refusal_body("iam", "ServiceFailure")))
    });
    let job = server
        .run(
            "/v1/apps",
            Some(&json!({"name": unique("acme"), "buckets": [], "repositories": []})),
        )
        .await;
    assert_eq!(
        (&job["state"], &job["error"]["code"]),
        (&json!("failed"), &json!("deadline_exceeded")),
        "{job:#}"
    );
    assert_eq!(
        (
            &job["error"]["retryable"],
            &job["error"]["aws"]["operation"]
        ),
        (&json!(true), &json!("AddUserToGroup"))
    );
    setup.proxy.unscript();
    server
        .post_empty(&format!("/v1/jobs/{}/retry", job["id"].as_str().unwrap()))
        .await;
    assert_eq!(
        server.wait(job["id"].as_str().unwrap()).await["state"],
        "succeeded"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_throttled_ends_all_its_jobs() {
    let (setup, server, _) = moto().await;
    setup.proxy.script(|call| {
        let throttled = call.service == "iam" && fastrand::bool();
        throttled.then(|| Answer::Now(400, refusal_body("iam", "Throttling")))
    });
    let apps: Vec<String> = (0..8).map(|_| unique("acme")).collect();
    let mut jobs = Vec::new();
    for name in &apps {
        let job: Value = server
            .post(
                "/v1/apps",
                &json!({"name": name, "buckets": [], "repositories": []}),
            )
            .await
            .json()
            .await
            .unwrap();
        jobs.push(job["id"].as_str().unwrap().to_owned());
    }
    for (job, name) in jobs.iter().zip(&apps) {
        assert_eq!(server.wait(job).await["state"], "succeeded");
        let keys = aws_inspector::call(
            &setup.place,
            "iam",
            "list_access_keys",
            json!({"UserName": name}),
        )
        .unwrap();
        assert_eq!(keys["AccessKeyMetadata"].as_array().unwrap().len(), 1);
    }
    server.stop().await;
}

/// The call takes effect after its time-out: the key must not be missed.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_made_after_the_time_out_is_found() {
    let mut setup = Setup::new(Place::new(Emulator::Moto));
    setup.timing.answer = Duration::from_millis(300);
    setup.timing.key_list = Duration::from_millis(1500);
    let server = setup.start().await;
    let name = unique("acme");
    setup.proxy.break_calls([(
        "iam:CreateAccessKey",
        0,
        Fault::TooLate(Duration::from_millis(900)),
    )]);
    server
        .onboard(&json!({"name": name, "buckets": [], "repositories": []}))
        .await;
    let log = names(&setup.proxy.take_log());
    assert!(log.contains(&"iam:DeleteAccessKey".to_owned()), "{log:?}");
    assert_eq!(keys_of(&setup, &name).len(), 1);
    server.stop().await;
}

/// A HEAD is answered without a body: its status says what is wrong, and its headers which request that was.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_head_is_told_in_words_with_its_request() {
    let (setup, server, name) = moto().await;
    server
        .onboard(&json!({"name": name, "repositories": []}))
        .await;
    refuse(&setup, "s3:HeadBucket", 100, 400, "BadRequest");
    let job = server.run(&format!("/v1/apps/{name}/repair"), None).await;
    assert_eq!(
        job["error"]["detail"], "s3:HeadBucket failed with 400",
        "{job:#}"
    );
    assert_eq!(
        (
            &job["error"]["aws"]["code"],
            &job["error"]["aws"]["request_id"]
        ),
        (&json!("400"), &json!("r")),
        "{job:#}"
    );
    server.stop().await;
}

/// A key that a person makes long after the interrupted attempt is not its key.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_made_by_hand_after_an_interrupted_attempt_is_not_deleted() {
    let mut setup = Setup::new(Place::new(Emulator::Moto));
    setup.timing.answer = Duration::from_millis(300);
    let server = setup.start().await;
    let name = unique("acme");
    setup
        .proxy
        .break_calls([("iam:CreateAccessKey", 0, Fault::ResetBefore)]);
    setup.proxy.script(|call| {
        (call.operation == "ListAccessKeys")
            .then(|| Answer::Now(500, refusal_body("iam", "ServiceFailure")))
    });
    let job: Value = server
        .post(
            "/v1/apps",
            &json!({"name": name, "buckets": [], "repositories": []}),
        )
        .await
        .json()
        .await
        .unwrap();
    let id = job["id"].as_str().unwrap();
    while !setup.proxy.all_met() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // AWS tells whole seconds, and the call may have taken effect until its time-out.
    tokio::time::sleep(Duration::from_millis(3500)).await;
    aws_inspector::call(
        &setup.place,
        "iam",
        "create_access_key",
        json!({"UserName": name}),
    )
    .unwrap();
    setup.proxy.unscript();
    let job = server.wait(id).await;
    assert_eq!(
        (&job["state"], &job["error"]["code"]),
        (&json!("needs_attention"), &json!("credential_in_doubt")),
        "{job:#}"
    );
    assert_eq!(keys_of(&setup, &name).len(), 1, "it is still there");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_does_not_end_for_good_while_a_key_of_its_may_be_live() {
    let (setup, server, name) = moto().await;
    setup
        .proxy
        .break_calls([("iam:CreateAccessKey", 0, Fault::ResetAfter)]);
    setup.proxy.script(|call| {
        (call.operation == "ListAccessKeys")
            .then(|| Answer::Now(500, refusal_body("iam", "ServiceFailure")))
    });
    let body = json!({"name": name, "buckets": [], "repositories": []});
    let job: Value = server.post("/v1/apps", &body).await.json().await.unwrap();
    let id = job["id"].as_str().unwrap();
    while !setup.proxy.all_met() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        server
            .post_empty(&format!("/v1/jobs/{id}/cancel"))
            .await
            .status(),
        202
    );
    let job = server.wait(id).await;
    assert_eq!(
        (&job["state"], &job["error"]["code"]),
        (&json!("needs_attention"), &json!("credential_in_doubt")),
        "{job:#}"
    );
    assert_eq!(
        server.post("/v1/apps", &body).await.status(),
        409,
        "and it cannot be asked for anew without the key"
    );
    setup.proxy.unscript();
    server.post_empty(&format!("/v1/jobs/{id}/retry")).await;
    assert_eq!(server.wait(id).await["state"], "succeeded");
    assert_eq!(keys_of(&setup, &name).len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_deleted_by_hand_is_replaced_by_a_repair_however_young_it_was() {
    let mut setup = Setup::new(Place::new(Emulator::Moto));
    setup.timing.propagation = Duration::from_millis(700);
    let server = setup.start().await;
    let name = unique("acme");
    let job = server
        .onboard(&json!({"name": name, "buckets": [], "repositories": []}))
        .await;
    let old = job["result"]["access_key_id"].clone();
    aws_inspector::call(
        &setup.place,
        "iam",
        "delete_access_key",
        json!({"UserName": name, "AccessKeyId": old}),
    )
    .unwrap();
    let job = server.run(&format!("/v1/apps/{name}/repair"), None).await;
    assert_eq!(job["state"], "succeeded");
    assert_eq!(
        json!(keys_of(&setup, &name)),
        json!([job["result"]["access_key_id"]])
    );
    assert_ne!(job["result"]["access_key_id"], old);
    assert!(
        job["result"]["claim"]
            .as_str()
            .unwrap()
            .contains(job["result"]["access_key_id"].as_str().unwrap())
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_takes_over_no_bucket_that_somebody_made_since() {
    let (setup, server, name) = moto().await;
    let bucket = unique("bucket");
    let constraint = json!({"LocationConstraint": "us-west-2"});
    let make = json!({"Bucket": bucket, "CreateBucketConfiguration": constraint});
    aws_inspector::call(&setup.place, "s3", "create_bucket", make.clone()).unwrap();
    let job = server
        .run(
            "/v1/apps",
            Some(&json!({"name": name, "repositories": [], "buckets": [{"name": bucket}]})),
        )
        .await;
    assert_eq!(job["error"]["code"], "conflict");
    aws_inspector::call(
        &setup.place,
        "s3",
        "delete_bucket",
        json!({"Bucket": bucket}),
    )
    .unwrap();
    aws_inspector::call(&setup.place, "s3", "create_bucket", make).unwrap();
    let id = job["id"].as_str().unwrap();
    server.post_empty(&format!("/v1/jobs/{id}/retry")).await;
    let job = server.wait(id).await;
    assert_eq!(
        (&job["state"], &job["error"]["code"]),
        (&json!("failed"), &json!("conflict")),
        "{job:#}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_shows_what_the_job_would_skip_as_blocked() {
    let (setup, server, name) = moto().await;
    aws_inspector::call(
        &setup.place,
        "iam",
        "create_user",
        json!({"UserName": name}),
    )
    .unwrap();
    let plan: Value = server
        .post(
            "/v1/apps?dry_run=true",
            &json!({"name": name, "buckets": [], "repositories": []}),
        )
        .await
        .json()
        .await
        .unwrap();
    let action = |kind: &str| {
        let change = plan["changes"]
            .as_array()
            .unwrap()
            .iter()
            .find(|change| change["resource"].as_str().unwrap().starts_with(kind));
        change.unwrap()["action"].as_str().unwrap().to_owned()
    };
    assert_eq!(action("iam:user"), "conflict");
    for kind in ["iam:membership", "iam:attachment", "iam:access-key"] {
        assert_eq!(action(kind), "blocked", "{kind}");
    }
    assert_eq!(plan["calls"], 2, "the group and the policy");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_methods_make_no_new_metrics() {
    let (_setup, server, _) = moto().await;
    for n in 0..20 {
        let method = reqwest::Method::from_bytes(format!("MADEUP{n}").as_bytes()).unwrap();
        assert_eq!(
            server
                .anonymous(method, "/healthz")
                .send()
                .await
                .unwrap()
                .status(),
            405
        );
    }
    let metrics = server.get("/metrics").await.text().await.unwrap();
    assert!(!metrics.contains("MADEUP") && metrics.contains("method=\"other\""));
    server.stop().await;
}

fn keys_of(setup: &Setup, name: &str) -> Vec<String> {
    let listed = aws_inspector::call(
        &setup.place,
        "iam",
        "list_access_keys",
        json!({"UserName": name}),
    )
    .unwrap();
    listed["AccessKeyMetadata"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["AccessKeyId"].as_str().unwrap().to_owned())
        .collect()
}
