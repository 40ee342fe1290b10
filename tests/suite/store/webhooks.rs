//! Webhooks and their deliveries.

use slipway::domain::webhook::{DeliveryState, WebhookSpec};
use slipway::store::SealedWebhookSecret;

use super::*;

async fn webhook(t: &Fixture) -> Ulid {
    let spec = WebhookSpec::parse(&json!({"url": "https://hooks.example.com"}), false).unwrap();
    let secret = SealedWebhookSecret {
        webhook: t.clock.new_id(),
        sealed: vec![1],
        encryption_key: "key".into(),
    };
    let created = t.store.create_webhook(spec, secret, "ana").await.unwrap();
    created.unwrap().id
}

async fn test(t: &Fixture, webhook: Ulid) -> Ulid {
    let event = t.store.test_webhook(webhook).await.unwrap();
    while t.store.distribute_webhook_events().await.unwrap() {}
    event.id
}

#[tokio::test]
async fn the_newest_delivery_of_each_webhook_is_known() {
    each(async |t| {
        let (one, other, quiet) = (webhook(&t).await, webhook(&t).await, webhook(&t).await);
        assert!(t.store.last_deliveries().await.unwrap().is_empty());
        test(&t, one).await;
        let of_other = test(&t, other).await;
        let newest = test(&t, one).await;
        let last = t.store.last_deliveries().await.unwrap();
        assert_eq!(
            (last[&one].event.id, last[&other].event.id),
            (newest, of_other)
        );
        assert_eq!(last[&one].state, DeliveryState::Pending);
        assert!(!last.contains_key(&quiet));
    })
    .await;
}
