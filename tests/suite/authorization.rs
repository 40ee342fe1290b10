//! AWS authorizes before it looks: a call on what is too young, or gone already, can be denied by the path or the tags in
//! the role's policy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::aws::{Emulator, Place};
use crate::support::server::{Server, Setup};
use crate::support::wire::{Answer, Call, Fault, refusal_body};
use crate::support::{aws_inspector, unique};

async fn ministack() -> (Setup, Server, String) {
    let mut setup = Setup::new(Place::new(Emulator::Ministack));
    setup.settings.quarantine = Duration::ZERO;
    let server = setup.start().await;
    (setup, server, unique("acme"))
}

fn denial(call: &Call) -> Answer {
    let code = if call.service == "ecr" {
        "AccessDeniedException"
    } else {
        "AccessDenied"
    };
    let status = if call.service == "ecr" { 400 } else { 403 };
    Answer::Now(status, refusal_body(call.service, code))
}

/// Denies calls by these names, each from its `first` to before its `end`; the count of denials.
fn deny(
    setup: &Setup,
    names: &'static [&'static str],
    first: usize,
    end: usize,
) -> Arc<AtomicUsize> {
    let denied = Arc::new(AtomicUsize::new(0));
    let count = denied.clone();
    setup.proxy.break_calls([]);
    setup.proxy.script(move |call| {
        let hit = names.contains(&call.name().as_str()) && (first..end).contains(&call.nth);
        count.fetch_add(usize::from(hit), Ordering::SeqCst);
        hit.then(|| denial(call))
    });
    denied
}

fn user_alone(name: &str) -> Value {
    json!({"name": name, "buckets": [], "repositories": []})
}

async fn asked(server: &Server, method: Method, path: &str, body: Option<&Value>) -> Value {
    let request = server.request(method, path);
    let response = body
        .iter()
        .fold(request, |request, body| request.json(body))
        .send()
        .await
        .unwrap();
    let (status, job): (_, Value) = (response.status(), response.json().await.unwrap());
    assert_eq!(status, 202, "{job:#}");
    server.wait(job["id"].as_str().unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_is_too_young_to_be_authorized_is_waited_for() {
    let (setup, server, name) = ministack().await;
    let denied = deny(
        &setup,
        &[
            "iam:CreateAccessKey",
            "iam:AttachUserPolicy",
            "iam:AddUserToGroup",
        ],
        0,
        4,
    );
    let job = server.onboard(&user_alone(&name)).await;
    assert_eq!(denied.load(Ordering::SeqCst), 12);
    let events = server.request(
        Method::GET,
        &format!("/v1/jobs/{}/events", job["id"].as_str().unwrap()),
    );
    let events = events
        .header("accept", "application/json")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        events.contains(&format!(
            "AWS does not authorize calls to iam:user/{name} yet"
        )),
        "{events}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_process_waits_for_what_the_one_before_has_just_made() {
    let (setup, server, name) = ministack().await;
    let denied = deny(&setup, &["iam:AttachUserPolicy"], 0, usize::MAX);
    let job: Value = server
        .post("/v1/apps", &user_alone(&name))
        .await
        .json()
        .await
        .unwrap();
    while denied.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.tasks.stop();
    server.tasks.ended().await;
    drop(server);
    let server = setup.start().await;
    let before = denied.load(Ordering::SeqCst);
    while denied.load(Ordering::SeqCst) < before + 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    setup.proxy.unscript();
    let job = server.wait(job["id"].as_str().unwrap()).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_was_tagged_just_now_is_waited_for() {
    let (mut setup, server, name) = ministack().await;
    server
        .onboard(&json!({"name": name, "media_access": "scoped", "repositories": []}))
        .await;
    let arn = format!(
        "arn:aws:iam::{}:policy/MediaManagement-{name}",
        setup.place.account
    );
    aws_inspector::call(
        &setup.place,
        "iam",
        "untag_policy",
        json!({"PolicyArn": arn, "TagKeys": ["slipway:app"]}),
    )
    .unwrap();
    let document = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]});
    let version =
        json!({"PolicyArn": arn, "PolicyDocument": document.to_string(), "SetAsDefault": true});
    aws_inspector::call(&setup.place, "iam", "create_policy_version", version).unwrap();
    server.stop().await;
    // By then the policy's creation is long ago.
    setup.timing.propagation = Duration::from_secs(3);
    tokio::time::sleep(setup.timing.propagation).await;
    let server = setup.start().await;
    let denied = deny(&setup, &["iam:CreatePolicyVersion"], 0, 3);
    let job = server.run(&format!("/v1/apps/{name}/repair"), None).await;
    assert_eq!(
        (&job["state"], denied.load(Ordering::SeqCst)),
        (&json!("succeeded"), 3),
        "{job:#}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_that_lasts_is_told_with_its_remedy() {
    let mut setup = Setup::new(Place::new(Emulator::Ministack));
    setup.timing.propagation = Duration::from_secs(2);
    let server = setup.start().await;
    let name = unique("acme");
    deny(&setup, &["iam:CreateAccessKey"], 0, usize::MAX);
    let job = server.run("/v1/apps", Some(&user_alone(&name))).await;
    assert_eq!(
        (&job["state"], &job["error"]["code"]),
        (&json!("needs_attention"), &json!("access_denied")),
        "{job:#}"
    );
    assert!(
        job["error"]["remedy"]
            .as_str()
            .unwrap()
            .contains("iam:CreateAccessKey"),
        "{job:#}"
    );
    setup.proxy.unscript();
    let job = asked(
        &server,
        Method::POST,
        &format!("/v1/jobs/{}/retry", job["id"].as_str().unwrap()),
        None,
    )
    .await;
    assert_eq!(job["state"], "succeeded", "{job:#}");

    // Nothing of it was made just now any more.
    let group = json!({"GroupName": "Apps", "UserName": name});
    aws_inspector::call(&setup.place, "iam", "remove_user_from_group", group).unwrap();
    tokio::time::sleep(setup.timing.propagation).await;
    let denied = deny(&setup, &["iam:AddUserToGroup"], 0, usize::MAX);
    let began = Instant::now();
    let job = server.run(&format!("/v1/apps/{name}/repair"), None).await;
    assert_eq!(
        (&job["state"], denied.load(Ordering::SeqCst)),
        (&json!("needs_attention"), 1),
        "{job:#}"
    );
    assert!(
        began.elapsed() < setup.timing.propagation,
        "it is told at once"
    );
    server.stop().await;
}

/// S3 authorizes by names, which are the same whether the bucket is there or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_denial_that_time_does_not_mend_is_told_at_once() {
    let (setup, server, name) = ministack().await;
    let denied = deny(&setup, &["s3:PutBucketCors"], 0, usize::MAX);
    let job = server
        .run("/v1/apps", Some(&json!({"name": name, "repositories": []})))
        .await;
    assert_eq!(
        (&job["state"], denied.load(Ordering::SeqCst)),
        (&json!("needs_attention"), 1),
        "{job:#}"
    );
    server.stop().await;
}

/// The SDK repeats a deletion whose answer was lost, and AWS denies it then.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_already_is_gone_also_where_its_deletion_is_denied() {
    let deletions = [
        "iam:DeleteUser",
        "iam:DeletePolicy",
        "iam:DetachUserPolicy",
        "ecr:DeleteRepository",
    ];
    for deletion in deletions {
        let (setup, server, name) = ministack().await;
        server
            .onboard(
                &json!({"name": name, "media_access": "scoped", "repositories": [{"name": name}]}),
            )
            .await;
        setup.proxy.break_calls([(deletion, 0, Fault::ResetAfter)]);
        setup
            .proxy
            .script(move |call| (call.name() == deletion && call.nth > 0).then(|| denial(call)));
        asked(
            &server,
            Method::DELETE,
            &format!("/v1/apps/{name}?repositories={name}&confirm={name}"),
            None,
        )
        .await;
        let removal = loop {
            let jobs = server
                .json(&format!("/v1/jobs?app={name}&kind=remove"))
                .await;
            match jobs["items"][0]["id"].as_str() {
                Some(id) => break id.to_owned(),
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        let job = server.wait(&removal).await;
        assert_eq!(job["state"], "succeeded", "{deletion}: {job:#}");
        assert!(setup.proxy.all_met(), "{deletion}");
        server.stop().await;
    }
}
