//! Which events there are, and who is told of them.

use std::time::Duration;

use serde_json::{Value, json};
use slipway::domain::account::{AccountSettings, AccountState, RegisteredAccount};
use slipway::domain::names::{AccountId, AccountName, Region, RoleArn};
use slipway::store::AccountCheckResult;

use super::receiver::{Received, Receiver};
use super::{allow_local, create, setup, webhook};
use crate::api::{DAY, ask, get, id, light, post, post_empty, wait_for_state, working};
use crate::support::server::{Server, Setup};
use crate::support::unique;
use reqwest::Method;

fn working_setup() -> Setup {
    let mut setup = working();
    allow_local(&mut setup);
    setup
}

fn kinds(requests: &[Received]) -> Vec<String> {
    requests.iter().map(Received::kind).collect()
}

async fn onboarded(server: &Server, body: &Value) -> Value {
    let job = post(server, "/v1/apps", body).await.expect(202);
    wait_for_state(server, id(&job), "succeeded").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_an_app_is_told_in_order_and_without_its_secret() {
    let (setup, receiver) = (working_setup(), Receiver::start([]).await);
    let server = setup.start().await;
    webhook(&server, &receiver).await;
    let app = unique("acme");
    let with_key = json!({"name": app, "buckets": [], "repositories": []});
    let job = onboarded(&server, &with_key).await;
    let told = receiver.wait_for(3).await;
    assert_eq!(
        kinds(&told),
        ["key.created", "job.succeeded", "app.onboarded"]
    );
    let key = job["result"]["access_key_id"].as_str().unwrap();
    let data: Vec<Value> = told.iter().map(|it| it.json()["data"].clone()).collect();
    let credentials = format!("/v1/apps/{app}/credentials");
    let of_app = json!({"app": app, "account": "default", "job": job["id"]});
    let expected = [
        (key, credentials.clone()),
        (id(&job), format!("/v1/jobs/{}", id(&job))),
        (app.as_str(), format!("/v1/apps/{app}")),
    ];
    for (data, (id, url)) in data.iter().zip(expected) {
        let mut wanted = json!({"id": id, "url": url});
        let wanted = wanted.as_object_mut().unwrap();
        wanted.extend(of_app.as_object().unwrap().clone());
        assert_eq!(data, &json!(wanted));
        get(&server, data["url"].as_str().unwrap())
            .await
            .expect(200);
    }

    let change = server
        .request(Method::PUT, &format!("/v1/apps/{app}"))
        .json(&json!({"name": app, "buckets": [], "repositories": [], "tags": {"team": "shop"}}));
    let job = ask(change).await.expect(202);
    wait_for_state(&server, id(&job), "succeeded").await;
    let told = receiver.wait_for(5).await;
    assert_eq!(kinds(&told)[3..], ["job.succeeded", "app.changed"]);

    let claim = post_empty(&server, &format!("{credentials}/{key}/claim")).await;
    let secret = claim.expect(200)["AWS_SECRET_ACCESS_KEY"]
        .as_str()
        .unwrap()
        .to_owned();
    let rotated = post_empty(&server, &format!("{credentials}/rotate")).await;
    wait_for_state(&server, id(&rotated.expect(202)), "succeeded").await;
    let told = receiver.wait_for(7).await;
    assert_eq!(kinds(&told)[5..], ["key.created", "job.succeeded"]);
    let all: String = told
        .iter()
        .map(|it| format!("{:?}{}", it.headers, String::from_utf8_lossy(&it.body)))
        .collect();
    assert!(!all.contains(&secret));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_for_an_approval_and_one_that_fails_are_told() {
    let (mut setup, receiver) = (working_setup(), Receiver::start([]).await);
    setup.settings.approvals.adoption = true;
    let server = setup.start().await;
    let body = json!({"url": receiver.url, "events": ["job.failed", "job.awaiting_approval"]});
    create(&server, &body).await;
    let app = unique("acme");
    let taken = json!({"UserName": app});
    crate::support::aws_inspector::call(&setup.place, "iam", "create_user", taken).unwrap();
    let job = post(&server, "/v1/apps", &light(&app)).await.expect(202);
    wait_for_state(&server, id(&job), "failed").await;
    let mut adopting = light(&unique("acme"));
    adopting["on_existing"] = json!("adopt");
    let waits = post(&server, "/v1/apps", &adopting).await.expect(202);
    let told = receiver.wait_for(2).await;
    assert_eq!(kinds(&told), ["job.failed", "job.awaiting_approval"]);
    for (told, job) in told.iter().zip([&job, &waits]) {
        assert_eq!(told.json()["data"]["id"], job["id"]);
    }
    receiver.stays_at(2).await;
    let cancel = format!("/v1/jobs/{}/cancel", id(&waits));
    post_empty(&server, &cancel).await.expect(202);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_goes_only_to_webhooks_whose_scope_covers_it() {
    let setup = working_setup();
    let (all, team, other) = (
        Receiver::start([]).await,
        Receiver::start([]).await,
        Receiver::start([]).await,
    );
    let server = setup.start().await;
    let app = unique("acme");
    webhook(&server, &all).await;
    for (receiver, scope) in [
        (&team, json!({"apps": [app], "accounts": ["default"]})),
        (&other, json!({"apps": ["other-*"]})),
    ] {
        create(&server, &json!({"url": receiver.url, "scope": scope})).await;
    }
    onboarded(&server, &light(&app)).await;
    onboarded(&server, &light(&unique("widget"))).await;
    let told = all.wait_for(4).await;
    assert_eq!(kinds(&told)[..2], ["job.succeeded", "app.onboarded"]);
    let apps: Vec<Value> = team
        .wait_for(2)
        .await
        .iter()
        .map(|it| it.json()["data"]["app"].clone())
        .collect();
    assert_eq!(apps, [json!(app), json!(app)]);
    team.stays_at(2).await;
    assert!(other.received().is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_told_once_for_each_time_that_it_begins() {
    let (setup, receiver) = (working_setup(), Receiver::start([]).await);
    let server = setup.start().await;
    create(
        &server,
        &json!({"url": receiver.url, "events": ["drift.detected"]}),
    )
    .await;
    let app = unique("acme");
    onboarded(&server, &light(&app)).await;
    let drift = format!("/v1/apps/{app}/drift");
    let check = async || post_empty(&server, &drift).await.expect(200)["drifted"].clone();
    let statement = json!({"Effect": "Allow", "Action": "s3:*", "Resource": "*"});
    let policy = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
    let named = json!({"UserName": app, "PolicyName": "quick-fix"});
    let mut put = named.clone();
    put["PolicyDocument"] = json!(policy);
    let iam = |method, args| {
        crate::support::aws_inspector::call(&setup.place, "iam", method, args).unwrap()
    };
    assert_eq!(check().await, false);
    iam("put_user_policy", put.clone());
    assert_eq!((check().await, check().await), (json!(true), json!(true)));
    iam("delete_user_policy", named);
    assert_eq!(check().await, false);
    iam("put_user_policy", put);
    assert_eq!(check().await, true);
    let told = receiver.wait_for(2).await;
    assert_eq!(told[0].json()["data"]["url"], drift);
    receiver.stays_at(2).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_nobody_uses_and_one_that_is_to_be_rotated_are_told_once() {
    let (setup, receiver) = (working_setup(), Receiver::start([]).await);
    let server = setup.start().await;
    let events = json!(["key.unused", "key.expiring"]);
    create(&server, &json!({"url": receiver.url, "events": events})).await;
    let app = unique("acme");
    let body = json!({"name": app, "buckets": [], "repositories": [], "rotate_after": "100d"});
    let job = onboarded(&server, &body).await;
    receiver.stays_at(0).await;
    setup.clock.advance(91 * DAY);
    let told = receiver.wait_for(1).await;
    assert_eq!(kinds(&told), ["key.unused"]);
    assert_eq!(told[0].json()["data"]["id"], job["result"]["access_key_id"]);
    setup.clock.advance(3 * DAY);
    let told = receiver.wait_for(2).await;
    assert_eq!(kinds(&told)[1..], ["key.expiring"]);
    setup.clock.advance(2 * DAY);
    receiver.stays_at(2).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_cannot_be_reached_any_more_is_told_once() {
    let (setup, receiver) = (setup(), Receiver::start([]).await);
    let elsewhere = Receiver::start([]).await;
    let server = setup.start().await;
    let body = json!({"url": receiver.url, "scope": {"accounts": ["prod"]}});
    create(&server, &body).await;
    let body = json!({"url": elsewhere.url, "scope": {"accounts": ["lab"]}});
    create(&server, &body).await;
    let store = &server.service.store;
    let account = RegisteredAccount {
        name: AccountName::parse("prod").unwrap(),
        account_id: AccountId::parse("222222222222").unwrap(),
        settings: AccountSettings {
            role_arn: RoleArn::parse("arn:aws:iam::222222222222:role/Slipway").unwrap(),
            region: Region::parse("us-west-2").unwrap(),
            defaults: Default::default(),
        },
        external_id: "slipway-00000000000000000000000000000000".into(),
        state: AccountState::Ready,
        reason: None,
        alias: None,
        checked_at: Some(server.service.clock.now()),
        created_by: "ann".into(),
        created_at: server.service.clock.now(),
        version: 1,
    };
    store.register_account(account).await.unwrap().unwrap();
    for state in [
        AccountState::Ready,
        AccountState::Unreachable,
        AccountState::Unreachable,
        AccountState::Ready,
        AccountState::Unreachable,
    ] {
        let name = AccountName::parse("prod").unwrap();
        let seen = store.registered_account(&name).await.unwrap().unwrap();
        let result = AccountCheckResult {
            state,
            reason: (state == AccountState::Unreachable).then(|| "AccessDenied".into()),
            alias: None,
        };
        assert!(store.record_account_check(&seen, result).await.unwrap());
    }
    let told = receiver.wait_for(2).await;
    assert_eq!(kinds(&told), ["account.unreachable", "account.unreachable"]);
    assert_eq!(
        told[0].json()["data"],
        json!({"id": "prod", "account": "prod", "url": "/v1/accounts/prod"})
    );
    receiver.stays_at(2).await;
    assert!(elsewhere.received().is_empty());
    server.stop().await;
}

/// While there is no webhook, nothing is recorded; what is old is removed with the rest of the history.
#[tokio::test(flavor = "multi_thread")]
async fn events_are_kept_as_long_as_the_history() {
    let (mut setup, receiver) = (working_setup(), Receiver::start([]).await);
    setup.settings.retention = 2 * DAY;
    let server = setup.start().await;
    onboarded(&server, &light(&unique("acme"))).await;
    assert_eq!(server.service.store.outbox_depth().await.unwrap(), 0);
    let made = webhook(&server, &receiver).await;
    onboarded(&server, &light(&unique("acme"))).await;
    receiver.wait_for(2).await;
    let count = async || super::deliveries(&server, &made).await.len();
    assert_eq!(count().await, 2);
    let prune = async || {
        let store = &server.service.store;
        store.prune_webhook_events(2 * DAY).await.unwrap()
    };
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(prune().await, 0);
    setup.clock.advance(3 * DAY);
    assert_eq!((prune().await, count().await), (2, 0));
    server.stop().await;
}
