//! Credentials: claims, readiness, and what AWS or the encryption key refuses.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::{DAY, MINUTE, as_bearer, ask, get, id, idle, keyed, light, post, post_empty, working};
use crate::support::server::{Server, Setup};
use crate::support::wire::{Answer as Scripted, refusal_body};
use crate::support::{aws_inspector, unique};

/// An app with a key and nothing else; its name and the key's id.
async fn with_key(server: &Server) -> (String, String) {
    let name = unique("acme");
    let mut body = light(&name);
    body["access_key"] = json!(true);
    let job = server.onboard(&body).await;
    (
        name,
        job["result"]["access_key_id"]
            .as_str()
            .expect("a key")
            .to_owned(),
    )
}

async fn credential(server: &Server, app: &str, key: &str) -> Value {
    let list = get(server, &format!("/v1/apps/{app}/credentials"))
        .await
        .expect(200);
    let found = list["items"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|item| item["access_key_id"] == key);
    found
        .unwrap_or_else(|| panic!("no {key} in {list}"))
        .clone()
}

fn claim_of(app: &str, key: &str) -> String {
    format!("/v1/apps/{app}/credentials/{key}/claim")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_shown_once_and_never_listed() {
    let setup = working();
    let server = setup.start().await;
    let name = unique("acme");
    let job = server.onboard(&json!({"name": name})).await;
    let key = job["result"]["access_key_id"].as_str().unwrap().to_owned();
    let path = job["result"]["claim"].as_str().unwrap();
    assert_eq!(path, claim_of(&name, &key));
    let before = credential(&server, &name, &key).await;
    assert_eq!(
        json!([
            before["user"],
            before["managed"],
            before["state"],
            before["secret"],
            before["claim"],
            before["claimed_by"],
            before["remedy"]
        ]),
        json!([name, true, "active", "unclaimed", path, null, null])
    );
    assert!(
        before["age_seconds"].as_i64().is_some_and(|age| age < 600),
        "{before}"
    );

    let answer = post_empty(&server, path).await;
    let claim = answer.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    let secret = claim["AWS_SECRET_ACCESS_KEY"].as_str().unwrap();
    let (account, bucket) = (
        &setup.place.account,
        format!("{name}-media-{}", setup.place.account),
    );
    let uri = format!("{account}.dkr.ecr.us-west-2.amazonaws.com/{name}");
    assert_eq!(
        json!([
            claim["AWS_ACCESS_KEY_ID"],
            claim["AWS_REGION"],
            claim["S3_BUCKET"],
            claim["S3_BUCKETS"],
            claim["ECR_REPOSITORY"],
            claim["ECR_REPOSITORIES"]
        ]),
        json!([key, "us-west-2", bucket, [bucket], uri, [{"name": name, "uri": uri}]])
    );
    let credentials = json!({"access_key_id": key, "secret_access_key": secret});
    let caller = aws_inspector::call_as(
        &setup.place,
        &credentials,
        "sts",
        "get_caller_identity",
        json!({}),
    )
    .unwrap();
    assert_eq!(
        caller["Arn"], job["result"]["user_arn"],
        "the key is the app's"
    );

    post_empty(&server, path)
        .await
        .problem(410, "already_claimed");
    keyed(&server, path, "late", &json!(null))
        .await
        .problem(410, "already_claimed");
    let after = credential(&server, &name, &key).await;
    assert_eq!(
        json!([after["secret"], after["claim"], after["claimed_by"]]),
        json!(["claimed", null, "admin"])
    );
    assert!(after["claimed_at"].is_string());
    for path in [
        "/v1/apps".to_owned(),
        format!("/v1/apps/{name}"),
        format!("/v1/apps/{name}/credentials"),
        format!("/v1/jobs/{}", id(&job)),
        format!("/v1/jobs/{}/events", id(&job)),
    ] {
        assert!(!get(&server, &path).await.text().contains(secret), "{path}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_can_be_an_environment_file_and_be_repeated_for_ten_minutes() {
    let setup = working();
    let server = setup.start().await;
    let name = unique("acme");
    let body =
        json!({"name": name, "buckets": [{}, {"name": format!("{name}-b")}], "repositories": []});
    let key = server.onboard(&body).await["result"]["access_key_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let (path, operator) = (claim_of(&name, &key), server.token("operator").await);
    let repeat = |key: &'static str, accept: &'static str| {
        ask(server
            .request(Method::POST, &path)
            .header("idempotency-key", key)
            .header("accept", accept))
    };
    let first = repeat("mine", "text/plain").await;
    assert_eq!(
        (first.status, first.header("cache-control")),
        (200, "no-store")
    );
    assert!(first.header("content-type").starts_with("text/plain"));
    let text = first.text();
    let lines: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    let bucket = format!("{name}-media-{}", setup.place.account);
    let buckets = format!("{bucket},{name}-b");
    let names = [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_REGION",
        "S3_BUCKET",
        "S3_BUCKETS",
    ];
    assert_eq!(
        lines.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        names
    );
    assert_eq!(
        (lines[0].1, lines[2].1, lines[3].1, lines[4].1),
        (key.as_str(), "us-west-2", bucket.as_str(), buckets.as_str())
    );

    setup.clock.advance(9 * MINUTE);
    assert_eq!(
        repeat("mine", "application/json").await.expect(200)["AWS_SECRET_ACCESS_KEY"],
        lines[1].1
    );
    repeat("other", "*/*").await.problem(410, "already_claimed");
    post_empty(&server, &path)
        .await
        .problem(410, "already_claimed");
    let of_another =
        as_bearer(&server, &operator, Method::POST, &path).header("idempotency-key", "mine");
    ask(of_another).await.problem(410, "already_claimed");
    assert_eq!(
        repeat("mine", "*/*").await.status,
        200,
        "what others try spends nothing"
    );
    setup.clock.advance(2 * MINUTE);
    repeat("mine", "*/*").await.problem(410, "already_claimed");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_nobody_claims_for_seven_days_is_gone_and_the_list_says_what_to_do() {
    let setup = working();
    let server = setup.start().await;
    let (name, key) = with_key(&server).await;
    setup.clock.advance(7 * DAY - MINUTE);
    assert_eq!(
        credential(&server, &name, &key).await["secret"],
        "unclaimed"
    );
    setup.clock.advance(2 * MINUTE);
    let listed = credential(&server, &name, &key).await;
    assert_eq!(
        json!([listed["secret"], listed["claim"], listed["state"]]),
        json!(["expired", null, "active"])
    );
    assert!(
        listed["remedy"].as_str().unwrap().contains("rotate"),
        "{listed}"
    );
    assert!(
        listed["age_seconds"]
            .as_i64()
            .is_some_and(|age| age > 6 * 24 * 3600),
        "{listed}"
    );
    let problem = post_empty(&server, &claim_of(&name, &key))
        .await
        .problem(410, "claim_expired");
    assert!(problem["remedy"].is_string());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_becomes_ready_and_one_made_by_hand_is_listed_as_such() {
    let setup = working();
    let server = setup.start().await;
    let (name, key) = with_key(&server).await;
    let by_hand = aws_inspector::call(
        &setup.place,
        "iam",
        "create_access_key",
        json!({"UserName": name}),
    )
    .unwrap();
    let by_hand = by_hand["AccessKey"]["AccessKeyId"]
        .as_str()
        .unwrap()
        .to_owned();
    let listed = credential(&server, &name, &by_hand).await;
    assert_eq!(
        json!([
            listed["managed"],
            listed["secret"],
            listed["readiness"],
            listed["claim"],
            listed["state"]
        ]),
        json!([false, null, null, null, "active"])
    );
    assert!(listed["remedy"].is_string());
    post_empty(&server, &claim_of(&name, &by_hand))
        .await
        .problem(404, "not_found");
    let began = Instant::now();
    while credential(&server, &name, &key).await["readiness"] != "ready" {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "the key does not become ready"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(
        began.elapsed() > Duration::from_secs(1),
        "a key is ready after several successes, not after one"
    );
    aws_inspector::call(
        &setup.place,
        "iam",
        "delete_access_key",
        json!({"UserName": name, "AccessKeyId": key}),
    )
    .unwrap();
    // Until then it might be too new to be listed.
    setup.clock.advance(setup.timing.propagation);
    let gone = credential(&server, &name, &key).await;
    assert_eq!(
        json!([gone["state"], gone["claim"], gone["remedy"].is_string()]),
        json!(["deleted", null, true])
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_aws_refuses_is_502_and_names_the_call_and_the_action() {
    let setup = idle();
    let server = setup.start().await;
    let name = unique("acme");
    post(&server, "/v1/apps", &light(&name)).await.expect(202);
    setup.proxy.script(|call| {
        (call.name() == "iam:ListAccessKeys")
            .then(|| Scripted::Now(403, refusal_body("iam", "AccessDenied")))
    });
    let path = format!("/v1/apps/{name}/credentials");
    let problem = get(&server, &path).await.problem(502, "aws_refused");
    assert_eq!(
        problem["aws"],
        json!({"service": "iam", "operation": "ListAccessKeys", "code": "AccessDenied", "request_id": "r"})
    );
    assert!(
        problem["remedy"]
            .as_str()
            .unwrap()
            .contains("iam:ListAccessKeys"),
        "{problem}"
    );
    assert_eq!(problem["retryable"], false);
    setup.proxy.script(|call| {
        (call.name() == "iam:ListAccessKeys")
            .then(|| Scripted::Now(500, refusal_body("iam", "ServiceFailure")))
    });
    let answer = get(&server, &path).await;
    assert_eq!(answer.problem(502, "aws_refused")["retryable"], true);
    assert!(!answer.header("retry-after").is_empty());
    setup.proxy.unscript();
    assert_eq!(
        get(&server, &path).await.expect(200)["items"],
        json!([]),
        "a user that is not there has no keys"
    );
}

/// A service with a key whose secret is sealed with another seal key; the app's name and the claim's path.
async fn sealed_with_another_key(setup: &mut Setup) -> (Server, String) {
    let server = setup.start().await;
    let (name, key) = with_key(&server).await;
    server.stop().await;
    setup.settings.encryption_key = Some(slipway::vault::Vault::new_key().expect("a key"));
    (setup.start().await, claim_of(&name, &key))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_sealed_with_another_key_is_500_and_the_setting_is_named() {
    let mut setup = working();
    let (server, path) = sealed_with_another_key(&mut setup).await;
    let problem = post_empty(&server, &path).await.problem(500, "cannot_open");
    assert!(
        problem["remedy"]
            .as_str()
            .unwrap()
            .contains("SLIPWAY_ENCRYPTION_KEY"),
        "{problem}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_could_not_be_opened_is_not_spent() {
    let mut setup = working();
    let right = setup.settings.encryption_key.clone();
    let (server, path) = sealed_with_another_key(&mut setup).await;
    post_empty(&server, &path).await.problem(500, "cannot_open");
    server.stop().await;
    setup.settings.encryption_key = right;
    let server = setup.start().await;
    post_empty(&server, &path).await.expect(200);
    server.stop().await;
}
