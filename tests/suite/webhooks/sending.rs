//! What is sent: signed requests, in order, with the same id each time.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::receiver::{Receiver, Reply, verify};
use super::{becomes, change, create, deliveries, delivery, now, path, setup, test, webhook};
use crate::api::{ask, get, id, post};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_signed_so_that_the_libraries_of_others_verify_it() {
    let (setup, receiver) = (setup(), Receiver::start([]).await);
    let server = setup.start().await;
    let made = webhook(&server, &receiver).await;
    let secret = made["secret"].as_str().unwrap();
    let event = test(&server, &made).await;
    let request = receiver.wait_for(1).await.remove(0);
    assert_eq!(
        (request.id(), request.path.as_str()),
        (event.as_str(), "/hook")
    );
    assert_eq!(request.header("content-type"), "application/json");
    assert!(request.header("user-agent").starts_with("slipway/"));
    let body = request.json();
    assert_eq!(
        (&body["type"], &body["data"]),
        (
            &json!("webhook.test"),
            &json!({"id": id(&made), "url": path(&made)})
        )
    );
    for verified in verify(secret, &request) {
        assert_eq!(verified.unwrap(), body);
    }

    let mut tampered = request.clone();
    tampered.body = String::from_utf8(request.body.to_vec())
        .unwrap()
        .replace("webhook.test", "job.failed")
        .into();
    let mut renamed = request.clone();
    renamed
        .headers
        .insert("webhook-id", "other".parse().unwrap());
    let other = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    for (secret, request) in [(secret, &tampered), (secret, &renamed), (other, &request)] {
        for verified in verify(secret, request) {
            assert!(verified.is_err(), "{verified:?}");
        }
    }
    let sent = delivery(&server, &made, &event, |it| it["state"] == "delivered").await;
    assert_eq!(
        json!([
            sent["attempts"],
            sent["response_status"],
            sent["error"],
            sent["payload"]
        ]),
        json!([1, 200, null, body])
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_in_their_order_each_once() {
    let (setup, receiver) = (setup(), Receiver::start([]).await);
    let server = setup.start().await;
    let made = webhook(&server, &receiver).await;
    let mut sent = Vec::new();
    for _ in 0..150 {
        sent.push(test(&server, &made).await);
    }
    let received = receiver.wait_for(sent.len()).await;
    let received: Vec<&str> = received.iter().map(|request| request.id()).collect();
    assert_eq!(received, sent);
    receiver.stays_at(sent.len()).await;
    // Page by page the deliveries are all there, the newest first.
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!(
            "{}/deliveries?limit=60&state=delivered{cursor}",
            path(&made)
        );
        let page = get(&server, &path).await.expect(200);
        let items = page["items"].as_array().unwrap();
        listed.extend(items.iter().map(|item| id(item).to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    listed.reverse();
    assert_eq!(listed, sent);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_receiver_holds_back_no_other() {
    let setup = setup();
    let slow = Receiver::start([Reply::Slow(Duration::from_secs(8))]).await;
    let fast = Receiver::start([]).await;
    let server = setup.start().await;
    let (held, free) = (webhook(&server, &slow).await, webhook(&server, &fast).await);
    test(&server, &held).await;
    slow.wait_for(1).await;
    test(&server, &held).await;
    for _ in 0..5 {
        test(&server, &free).await;
    }
    fast.wait_for(5).await;
    assert_eq!(slow.received().len(), 1, "one after another");
    slow.wait_for(2).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_made_again_with_the_ids_that_they_had() {
    let (setup, receiver) = (setup(), Receiver::start([]).await);
    let server = setup.start().await;
    let made = webhook(&server, &receiver).await;
    let mut sent = Vec::new();
    for _ in 0..4 {
        sent.push(test(&server, &made).await);
    }
    let first = receiver.wait_for(4).await;
    let last = sent.last().unwrap();
    delivery(&server, &made, last, |it| it["state"] == "delivered").await;
    let replay = format!("{}/replay", path(&made));
    let one = post(&server, &replay, &json!({"delivery": sent[1]})).await;
    assert_eq!(one.expect(200), json!({"deliveries": 1}));
    let again = receiver.wait_for(5).await;
    assert_eq!(
        (again[4].id(), &again[4].body),
        (first[1].id(), &first[1].body)
    );
    delivery(&server, &made, &sent[1], |it| it["state"] == "delivered").await;

    let since = first[0].json()["timestamp"].clone();
    let range = post(&server, &replay, &json!({"since": since})).await;
    assert_eq!(range.expect(200), json!({"deliveries": 4}));
    let again = receiver.wait_for(9).await;
    let ids: Vec<&str> = again[5..].iter().map(|request| request.id()).collect();
    assert_eq!(ids, sent, "in order");
    let before = json!({"since": "2020-01-01T00:00:00Z", "until": since});
    let none = post(&server, &replay, &before).await;
    assert_eq!(none.expect(200), json!({"deliveries": 0}));

    let unknown = json!({"delivery": "01ARZ3NDEKTSV4RRFFQ69G5FAV"});
    post(&server, &replay, &unknown)
        .await
        .problem(404, "not_found");
    for wrong in [
        json!({}),
        json!({"delivery": "x"}),
        json!({"until": since}),
        json!({"delivery": sent[0], "since": since}),
        json!({"since": "yesterday"}),
    ] {
        post(&server, &replay, &wrong)
            .await
            .problem(422, "invalid_fields");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_rotation_lasts_requests_have_two_signatures() {
    let (setup, receiver) = (setup(), Receiver::start([]).await);
    let server = setup.start().await;
    let made = webhook(&server, &receiver).await;
    let rotate = async |query: &str| {
        let path = format!("{}/rotate-secret{query}", path(&made));
        let answer = ask(server.request(Method::POST, &path)).await;
        assert_eq!(answer.header("cache-control"), "no-store");
        let rotated = answer.expect(200);
        (rotated["secret"].as_str().unwrap().to_owned(), rotated)
    };
    let first = made["secret"].as_str().unwrap().to_owned();
    let (second, rotated) = rotate("?overlap=2h").await;
    assert_ne!(first, second);
    assert!(rotated["previous_secret_expires_at"].is_string());
    test(&server, &made).await;
    let both = receiver.wait_for(1).await.remove(0);
    assert_eq!(both.header("webhook-signature").split(' ').count(), 2);
    for secret in [&first, &second] {
        for verified in verify(secret, &both) {
            verified.unwrap();
        }
    }

    // The next one, after a leak, ends the earlier ones at once.
    let (third, _) = rotate("?overlap=0h").await;
    test(&server, &made).await;
    let one = receiver.wait_for(2).await.remove(1);
    assert!(verify(&third, &one).iter().all(Result::is_ok));
    for secret in [&first, &second] {
        assert!(verify(secret, &one).iter().all(Result::is_err));
    }
    assert!(now(&server, &made).await["previous_secret_expires_at"].is_null());
    for wrong in ["?overlap=31d", "?overlap=x", "?overlap=0d"] {
        let path = format!("{}/rotate-secret{wrong}", path(&made));
        ask(server.request(Method::POST, &path))
            .await
            .problem(400, "invalid_parameters");
    }

    // The overlap ends by itself.
    let (fourth, _) = rotate("").await;
    setup.clock.advance(Duration::from_secs(25 * 3600));
    becomes(&server, &made, |it| {
        it["previous_secret_expires_at"].is_null()
    })
    .await;
    test(&server, &made).await;
    let request = receiver.wait_for(3).await.remove(2);
    assert_eq!(request.header("webhook-signature").split(' ').count(), 1);
    assert_ne!(third, fourth);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_changed_enabled_and_deleted() {
    let (setup, receiver) = (setup(), Receiver::start([]).await);
    let other = Receiver::start([]).await;
    let server = setup.start().await;
    let made = create(
        &server,
        &json!({"url": receiver.url, "description": "board", "events": ["job.failed"]}),
    )
    .await;
    assert!(now(&server, &made).await["secret"].is_null(), "shown once");
    let moved = change(&server, &made, &json!({"url": other.url, "events": null})).await;
    let moved = moved.expect(200);
    assert_eq!(
        json!([moved["url"], moved["events"], moved["description"]]),
        json!([other.url, null, "board"])
    );
    test(&server, &made).await;
    other.wait_for(1).await;

    let off = change(&server, &made, &json!({"state": "disabled"}))
        .await
        .expect(200);
    assert_eq!(off["disabled_reason"], "Disabled by request.");
    for action in ["test", "replay"] {
        let path = format!("{}/{action}", path(&made));
        let body = json!({"since": "2020-01-01T00:00:00Z"});
        let request = server.request(Method::POST, &path);
        let request = if action == "replay" {
            request.json(&body)
        } else {
            request
        };
        ask(request).await.problem(409, "webhook_disabled");
    }
    change(&server, &made, &json!({"state": "active"}))
        .await
        .expect(200);
    test(&server, &made).await;
    other.wait_for(2).await;
    assert!(receiver.received().is_empty());

    let deleted = ask(server.request(Method::DELETE, &path(&made))).await;
    assert_eq!(deleted.status, 204);
    get(&server, &path(&made)).await.problem(404, "not_found");
    let audit = get(&server, "/v1/audit?limit=50").await.expect(200);
    let actions: Vec<&str> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["action"].as_str())
        .filter(|action| action.starts_with("webhook_"))
        .collect();
    assert_eq!(
        actions,
        [
            "webhook_deleted",
            "webhook_updated",
            "webhook_updated",
            "webhook_updated",
            "webhook_created"
        ]
    );
    assert!(
        !audit.to_string().contains("/hook"),
        "a URL can be a secret"
    );
    let _ = deliveries;
    server.stop().await;
}
