//! Receivers that do not accept: what is tried again, when, and when not any more.

use std::time::Duration;

use serde_json::{Value, json};

use super::receiver::{Receiver, Reply};
use super::{becomes, change, delivery, now, setup, test, webhook};
use crate::api::{DAY, get, id};
use crate::support::server::Server;
use slipway::clock::Timestamp;

fn wait_of(server: &Server, webhook: &Value) -> Duration {
    let at: Timestamp = webhook["next_attempt_at"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    at.since(server.service.clock.now())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_fails_is_tried_again_by_the_schedule_and_holds_back_those_after_it() {
    let replies = [500, 404, 301].map(Reply::Status);
    let (setup, receiver) = (setup(), Receiver::start(replies).await);
    let server = setup.start().await;
    let made = webhook(&server, &receiver).await;
    let first = test(&server, &made).await;
    delivery(&server, &made, &first, |it| it["attempts"] == 1).await;
    let failing = becomes(&server, &made, |it| it["failing_since"].is_string()).await;
    let wait = wait_of(&server, &failing);
    assert!(wait <= Duration::from_millis(5500), "{wait:?}");
    for (attempt, span, status) in [(2, 5, 404), (3, 300, 301)] {
        setup
            .clock
            .advance(Duration::from_secs_f64(f64::from(span) * 1.11));
        let tried = delivery(&server, &made, &first, |it| it["attempts"] == attempt).await;
        assert_eq!(tried["response_status"], status, "{tried}");
    }
    let redirected = delivery(&server, &made, &first, |it| it["attempts"] == 3).await;
    let error = redirected["error"].as_str().unwrap();
    assert!(error.contains("Redirects are not followed"), "{error}");
    receiver.stays_at(3).await;

    setup.clock.advance(Duration::from_secs(2000));
    delivery(&server, &made, &first, |it| it["state"] == "delivered").await;
    let second = test(&server, &made).await;
    let requests = receiver.wait_for(5).await;
    let ids: Vec<&str> = requests.iter().map(|request| request.id()).collect();
    assert_eq!(ids, [&first, &first, &first, &first, &second]);
    let times: Vec<&str> = requests
        .iter()
        .map(|request| request.header("webhook-timestamp"))
        .collect();
    assert!(times.is_sorted() && times[0] != times[3], "{times:?}");
    assert!(requests[..4].iter().all(|it| it.body == requests[0].body));
    let healthy = becomes(&server, &made, |it| it["failing_since"].is_null()).await;
    assert!(healthy["next_attempt_at"].is_null(), "{healthy}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_overloaded_says_when_it_is_tried_again() {
    let busy = Reply::With(503, "retry-after", "120".into());
    let (setup, receiver) = (setup(), Receiver::start([busy]).await);
    let server = setup.start().await;
    let made = webhook(&server, &receiver).await;
    let event = test(&server, &made).await;
    let failing = becomes(&server, &made, |it| it["next_attempt_at"].is_string()).await;
    let wait = wait_of(&server, &failing);
    let (least, most) = (Duration::from_secs(100), Duration::from_secs(120));
    assert!(wait > least && wait <= most, "{wait:?}");
    setup.clock.advance(Duration::from_secs(90));
    receiver.stays_at(1).await;
    setup.clock.advance(Duration::from_secs(31));
    delivery(&server, &made, &event, |it| it["state"] == "delivered").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_lost_in_the_middle_of_its_reply_gets_the_event_again() {
    let (setup, receiver) = (setup(), Receiver::start([Reply::BreakOff]).await);
    let server = setup.start().await;
    let made = webhook(&server, &receiver).await;
    let event = test(&server, &made).await;
    let failed = delivery(&server, &made, &event, |it| it["attempts"] == 1).await;
    let error = failed["error"].as_str().unwrap();
    assert!(error.contains("the response broke off"), "{error}");
    setup.clock.advance(Duration::from_secs(6));
    let requests = receiver.wait_for(2).await;
    assert_eq!((requests[0].id(), requests[1].id()), (&*event, &*event));
    delivery(&server, &made, &event, |it| it["state"] == "delivered").await;

    // One that is not there at all.
    let url = receiver.url.clone();
    drop(receiver);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let event = test(&server, &made).await;
    let failed = delivery(&server, &made, &event, |it| it["attempts"] == 1).await;
    assert!(
        failed["error"]
            .as_str()
            .unwrap()
            .starts_with("The request failed")
    );
    assert!(failed["response_status"].is_null(), "{url}: {failed}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_is_sent_nothing_until_somebody_enables_its_webhook() {
    let (setup, receiver) = (setup(), Receiver::start([Reply::Status(410)]).await);
    let server = setup.start().await;
    let made = webhook(&server, &receiver).await;
    let event = test(&server, &made).await;
    let disabled = becomes(&server, &made, |it| it["state"] == "disabled").await;
    assert_eq!(
        disabled["disabled_reason"],
        "The receiver replied 410 Gone."
    );
    receiver.stays_at(1).await;
    let audit = get(&server, "/v1/audit?action=webhook_disabled")
        .await
        .expect(200);
    let entry = &audit["items"][0];
    assert_eq!(
        json!([entry["webhook_id"], entry["reason"]]),
        json!([id(&made), "The receiver replied 410 Gone."])
    );

    // What waits for it is sent when it is enabled.
    change(&server, &made, &json!({"state": "active"}))
        .await
        .expect(200);
    delivery(&server, &made, &event, |it| it["state"] == "delivered").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_fails_for_five_days_is_disabled() {
    let replies = vec![Reply::Status(500); 100];
    let (setup, receiver) = (setup(), Receiver::start(replies).await);
    let server = setup.start().await;
    let made = webhook(&server, &receiver).await;
    let event = test(&server, &made).await;
    for attempt in 1..=10 {
        delivery(&server, &made, &event, |it| it["attempts"] == attempt).await;
        if attempt < 10 {
            assert_eq!(now(&server, &made).await["state"], "active");
            setup.clock.advance(DAY / 3);
            // Long waits are those of the last attempts.
            if attempt >= 6 {
                change(&server, &made, &json!({})).await.expect(200);
            }
        }
    }
    let given_up = delivery(&server, &made, &event, |it| it["state"] == "failed").await;
    assert_eq!(given_up["attempts"], 10, "{given_up}");

    // A change has begun the five days anew.
    let event = test(&server, &made).await;
    delivery(&server, &made, &event, |it| it["attempts"] == 1).await;
    setup.clock.advance(5 * DAY);
    let disabled = becomes(&server, &made, |it| it["state"] == "disabled").await;
    let reason = disabled["disabled_reason"].as_str().unwrap();
    assert_eq!(
        reason,
        "No delivery has succeeded for 5 days. The receiver replied 500."
    );
    server.stop().await;
}
