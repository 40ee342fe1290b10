//! Requests that are committed together.

use super::*;

/// On one thread, requests that are polled together reach the writer together.
#[tokio::test(flavor = "current_thread")]
async fn a_request_that_fails_does_not_undo_what_is_committed_with_it() {
    each(async |t| {
        t.refuse_inserts("events").await;
        let neighbour = async |n: i32| {
            t.store
                .create_token(
                    &format!("token {n}"),
                    Role::Viewer,
                    format!("hash {n}"),
                    "admin",
                )
                .await
                .is_ok()
        };
        let failing = async || {
            let answer = t.store.onboard(new_app("acme"), None).await;
            assert!(
                matches!(answer, Err(StoreError::Unavailable(_))),
                "{answer:?}"
            );
            true
        };
        // The one that fails is between others, the last and the first.
        let answers = [
            tokio::join!(neighbour(1), failing(), neighbour(2)),
            tokio::join!(neighbour(3), neighbour(4), failing()),
            tokio::join!(failing(), neighbour(5), neighbour(6)),
        ];
        assert_eq!(answers, [(true, true, true); 3]);
        assert_eq!(t.store.tokens().await.unwrap().len(), 6);
        failing().await;
        assert_eq!(
            t.number("SELECT COUNT(*) FROM apps").await,
            0,
            "what it had written before it failed is undone"
        );
    })
    .await;
}

#[tokio::test]
async fn requests_that_come_together_are_committed_in_their_order() {
    each(async |t| {
        let lease = t.at_work("acme").await.lease;
        for n in 0..300 {
            t.store.record(
                lease,
                None,
                EventPayload::Warning {
                    resource: resource_id("iam:user/acme"),
                    message: n.to_string(),
                },
            );
        }
        t.end(lease, succeeded()).await;
        let events = t.store.events(lease.job, 0, 1000).await.unwrap();
        let messages: Vec<String> = events
            .iter()
            .filter_map(|event| match &event.payload {
                EventPayload::Warning { message, .. } => Some(message.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(
            messages,
            (0..300).map(|n| n.to_string()).collect::<Vec<_>>()
        );
        assert_eq!(events.last().unwrap().payload, EventPayload::JobSucceeded);
    })
    .await;
}
