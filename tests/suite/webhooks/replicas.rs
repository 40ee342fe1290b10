//! Several senders, and senders that are lost: nothing is lost with them, and nothing is sent by two at once.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use slipway::clock::Clock;
use slipway::domain::webhook::WebhookSpec;
use slipway::shutdown::Tasks;
use slipway::store::{
    AttemptOutcome, DeliveryAttempt, PassEnd, SealedWebhookSecret, Store, StoreError,
};
use slipway::vault::Vault;
use ulid::Ulid;

use super::receiver::{Receiver, Reply};
use super::{create, setup, test};
use crate::api::id;
use crate::support::aws::{Emulator, Place};
use crate::support::database::new_database;
use crate::support::process::{Launch, Running};
use crate::support::server::Setup;

const SPAN: Duration = Duration::from_secs(30);

/// A store with a webhook that something is to be sent to.
async fn store(url: &str, clock: &Clock, tasks: &Tasks) -> (Store, Ulid) {
    let store = Store::open(url, clock.clone(), tasks).await.unwrap();
    let vault = Vault::parse(&Vault::new_key().unwrap()).unwrap();
    let spec = WebhookSpec::parse(&json!({"url": "https://a.example"}), false).unwrap();
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned().into();
    let sealed = SealedWebhookSecret::seal(&vault, Ulid::generate(), &secret).unwrap();
    let webhook = store
        .create_webhook(spec, sealed, "ann")
        .await
        .unwrap()
        .unwrap();
    for _ in 0..3 {
        store.test_webhook(webhook.id).await.unwrap();
    }
    store.distribute_webhook_events().await.unwrap();
    (store, webhook.id)
}

async fn leases(url: &str) {
    let (clock, tasks) = (Clock::default(), Tasks::default());
    let (store, webhook) = store(url, &clock, &tasks).await;
    let lease = store.claim_webhooks(SPAN).await.unwrap().remove(0);
    assert_eq!(lease.webhook, webhook);
    assert!(
        store.claim_webhooks(SPAN).await.unwrap().is_empty(),
        "it is taken"
    );
    let (_, pending) = store.pending_deliveries(lease, 10).await.unwrap();
    assert_eq!(pending.len(), 3);
    clock.advance(SPAN / 2);
    store.renew_webhook_lease(lease, SPAN).await.unwrap();
    clock.advance(SPAN * 2 / 3);
    assert!(
        store.claim_webhooks(SPAN).await.unwrap().is_empty(),
        "renewed"
    );

    // A sender that lost its lease writes nothing.
    clock.advance(SPAN);
    let next = store.claim_webhooks(SPAN).await.unwrap().remove(0);
    assert_ne!(next.token, lease.token);
    let attempt = |seq, outcome| DeliveryAttempt {
        seq,
        at: clock.now(),
        duration: Duration::from_millis(3),
        status: Some(200),
        outcome,
    };
    let made = vec![attempt(pending[0].seq, AttemptOutcome::Delivered)];
    let lost = store
        .record_deliveries(lease, made.clone(), PassEnd::Released)
        .await;
    assert!(matches!(lost, Err(StoreError::LostLease)), "{lost:?}");
    assert!(matches!(
        store.renew_webhook_lease(lease, SPAN).await,
        Err(StoreError::LostLease)
    ));
    assert!(matches!(
        store.pending_deliveries(lease, 10).await,
        Err(StoreError::LostLease)
    ));
    assert_eq!(store.pending_deliveries(next, 10).await.unwrap().1.len(), 3);

    // Its successor goes on where the records end.
    store
        .record_deliveries(next, made, PassEnd::Continue)
        .await
        .unwrap();
    let left = store.pending_deliveries(next, 10).await.unwrap().1;
    assert_eq!(left[0].seq, pending[1].seq);
    let failed = vec![attempt(left[0].seq, AttemptOutcome::Failed("no".into()))];
    let later = clock.now().after(SPAN);
    store
        .record_deliveries(next, failed, PassEnd::Failing(later))
        .await
        .unwrap();
    assert!(
        store.claim_webhooks(SPAN).await.unwrap().is_empty(),
        "it waits"
    );
    clock.advance(SPAN);
    let again = store.claim_webhooks(SPAN).await.unwrap().remove(0);
    let left = store.pending_deliveries(again, 10).await.unwrap().1;
    assert_eq!((left[0].attempts, left[1].attempts), (1, 0));
    store.delete_webhook(webhook, "ann".into()).await.unwrap();
    assert!(matches!(
        store
            .record_deliveries(again, Vec::new(), PassEnd::Released)
            .await,
        Err(StoreError::LostLease)
    ));
    tasks.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_lost_its_lease_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slipway.db");
    leases(&format!("sqlite://{}", path.display())).await;
    leases(&new_database().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_deliver_each_event_once_and_in_order() {
    let receiver = Receiver::start([]).await;
    let mut first = setup();
    first.settings.database_url = new_database().await;
    let mut second = Setup::new(first.place.clone());
    second.settings = first.settings.clone();
    let (one, two) = (first.start().await, second.start().await);
    let made = create(&one, &json!({"url": receiver.url})).await;
    let mut sent = Vec::new();
    for number in 0..60 {
        let server = if number % 2 == 0 { &one } else { &two };
        sent.push(test(server, &made).await);
    }
    let received = receiver.wait_for(sent.len()).await;
    let ids: Vec<&str> = received.iter().map(|request| request.id()).collect();
    assert_eq!(ids, sent);
    receiver.stays_at(sent.len()).await;
    for server in [one, two] {
        server.stop().await;
    }
}

async fn call(server: &Running, method: Method, path: &str, body: Option<Value>) -> Value {
    let request = server.request(method, path);
    let request = match &body {
        Some(body) => request.json(body),
        None => request,
    };
    serde_json::from_str(&server.text(request).await).unwrap()
}

/// Kills the process while a receiver holds its first request: the event is there, and is sent again with its id.
#[tokio::test(flavor = "multi_thread")]
async fn events_survive_the_process_that_was_to_send_them() {
    let receiver = Receiver::start([Reply::Slow(Duration::from_secs(60))]).await;
    let launch = Launch::new(&Place::new(Emulator::Moto))
        .with("SLIPWAY_WEBHOOK_ALLOW_HTTP", "true")
        .with("SLIPWAY_WEBHOOK_ALLOWED_CIDRS", "127.0.0.0/8");
    let server = launch.serve().await;
    let made = call(
        &server,
        Method::POST,
        "/v1/webhooks",
        Some(json!({"url": receiver.url})),
    )
    .await;
    let path = format!("/v1/webhooks/{}/test", id(&made));
    let mut sent = Vec::new();
    for _ in 0..3 {
        let delivery = call(&server, Method::POST, &path, None).await;
        sent.push(id(&delivery).to_owned());
    }
    receiver.wait_for(1).await;
    server.kill().await;
    let server = launch.serve().await;
    let received = receiver.wait_for(4).await;
    let ids: Vec<&str> = received.iter().map(|request| request.id()).collect();
    assert_eq!(ids, [&sent[0], &sent[0], &sent[1], &sent[2]]);
    assert_eq!(received[0].body, received[1].body);
    server.stop().await;
    let distinct: BTreeSet<&str> = ids.into_iter().collect();
    assert_eq!(distinct.len(), 3);
}
