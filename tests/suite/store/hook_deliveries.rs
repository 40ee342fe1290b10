//! Deliveries of incoming webhooks.

use slipway::domain::hooks::delivery::HookDeliveryState;
use slipway::domain::hooks::event::{EventKind, Repository, RepositoryEvent};
use slipway::store::{HookDelivery, HookOutcome, NewHookDelivery, ReceivedFilter};

use super::*;

fn new(id: &str, body: &str, repository: Option<&str>) -> NewHookDelivery {
    let event = |id: &str| RepositoryEvent {
        kind: EventKind::Pushed,
        repository: Repository {
            id: id.into(),
            owner_id: None,
            full_name: format!("acme/{id}"),
        },
        commit: None,
    };
    NewHookDelivery {
        source: "github".into(),
        delivery_id: id.into(),
        body_digest: body.into(),
        event: repository.map(event),
    }
}

async fn receive(t: &Fixture, id: &str, body: &str, repository: Option<&str>) -> bool {
    let new = new(id, body, repository);
    t.store.receive_hook_delivery(new).await.unwrap()
}

async fn claim(t: &Fixture) -> Vec<HookDelivery> {
    t.store.claim_hook_deliveries(LEASE, 10).await.unwrap()
}

fn ids(claimed: &[HookDelivery]) -> Vec<&str> {
    let mut ids: Vec<&str> = claimed.iter().map(|it| it.delivery_id.as_str()).collect();
    ids.sort_unstable();
    ids
}

async fn finish(t: &Fixture, delivery: &HookDelivery, outcome: HookOutcome) {
    t.store
        .finish_hook_delivery(delivery, outcome)
        .await
        .unwrap();
}

fn done(commit: Option<&str>) -> HookOutcome {
    HookOutcome::Done("It is done.".into(), commit.map(str::to_owned))
}

#[tokio::test]
async fn a_delivery_counts_once_by_its_id_and_by_its_body() {
    each(async |t| {
        assert!(!receive(&t, "0", "none", None).await);
        assert!(receive(&t, "1", "a", Some("7")).await);
        // Whatever comes under a known id or with a known body is what came first.
        for (id, body) in [("1", "a"), ("1", "b"), ("2", "a")] {
            assert!(receive(&t, id, body, None).await, "{id} {body}");
        }
        assert!(!receive(&t, "0", "none", Some("7")).await);
        let many = (0..8).map(|_| receive(&t, "9", "z", Some("9")));
        assert!(join_all(many).await.into_iter().all(|follows| follows));
        let claimed = claim(&t).await;
        assert_eq!(ids(&claimed), ["1", "9"]);
        let first = claimed.iter().find(|it| it.delivery_id == "1").unwrap();
        assert_eq!(first.event.repository.id, "7");
        let of_another = NewHookDelivery {
            source: "gitlab".into(),
            ..new("1", "a", None)
        };
        assert!(!t.store.receive_hook_delivery(of_another).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn deliveries_of_a_repository_are_handled_in_order_by_one_holder() {
    each(async |t| {
        for (id, repository) in [("1", "7"), ("2", "7"), ("3", "8")] {
            assert!(receive(&t, id, id, Some(repository)).await);
        }
        let claimed = claim(&t).await;
        assert_eq!(ids(&claimed), ["1", "3"], "2 waits for 1");
        assert!(claim(&t).await.is_empty());
        // The holder of 1 is lost. Another one handles it, and the first one writes nothing more.
        t.clock.advance(LEASE + MINUTE);
        let again = claim(&t).await;
        assert_eq!(ids(&again), ["1", "3"]);
        for lost in &claimed {
            let late = t.store.finish_hook_delivery(lost, done(Some("c0"))).await;
            assert!(matches!(late, Err(StoreError::LostLease)), "{late:?}");
        }
        let one = again.iter().find(|it| it.delivery_id == "1").unwrap();
        let later = t.clock.now().after(MINUTE);
        finish(&t, one, HookOutcome::Retry("Not yet.".into(), later)).await;
        let other = again.iter().find(|it| it.delivery_id == "3").unwrap();
        finish(&t, other, HookOutcome::Failed("No.".into())).await;
        assert!(claim(&t).await.is_empty(), "2 waits on");
        assert_eq!(
            t.store.next_hook_delivery().await.unwrap(),
            Some(later),
            "2 waits for 1 and is not due before it"
        );
        t.clock.advance(2 * MINUTE);
        let again = claim(&t).await;
        assert_eq!((ids(&again), again[0].attempts), (vec!["1"], 1));
        finish(&t, &again[0], done(Some("c1"))).await;
        let last = async || t.store.last_applied_commit("github", "7").await.unwrap();
        assert_eq!(last().await.as_deref(), Some("c1"));
        let next = claim(&t).await;
        assert_eq!(ids(&next), ["2"]);
        finish(&t, &next[0], done(None)).await;
        assert_eq!(last().await.as_deref(), Some("c1"), "nothing was applied");
        assert_eq!(
            t.store.last_applied_commit("github", "8").await.unwrap(),
            None
        );
        assert_eq!(t.store.next_hook_delivery().await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn attempts_that_end_without_an_outcome_are_counted() {
    each(async |t| {
        receive(&t, "1", "a", Some("7")).await;
        for lost in 0..3 {
            assert_eq!(claim(&t).await[0].lost_attempts, lost);
            t.clock.advance(LEASE + MINUTE);
        }
        let claimed = claim(&t).await;
        finish(
            &t,
            &claimed[0],
            HookOutcome::Retry("No.".into(), t.clock.now()),
        )
        .await;
        let claimed = claim(&t).await;
        assert_eq!((claimed[0].attempts, claimed[0].lost_attempts), (1, 3));
    })
    .await;
}

#[tokio::test]
async fn a_delivery_that_failed_is_handled_again_when_it_is_sent_again() {
    each(async |t| {
        receive(&t, "1", "a", Some("7")).await;
        assert!(receive(&t, "1", "a", Some("7")).await);
        let claimed = claim(&t).await;
        assert_eq!(ids(&claimed), ["1"], "once, as long as it has not failed");
        assert!(receive(&t, "1", "a", Some("7")).await);
        finish(&t, &claimed[0], HookOutcome::Failed("No.".into())).await;
        assert!(claim(&t).await.is_empty());
        let many = (0..4).map(|_| receive(&t, "1", "a", Some("7")));
        assert!(join_all(many).await.into_iter().all(|follows| follows));
        let again = claim(&t).await;
        assert_eq!((ids(&again), again[0].lost_attempts), (vec!["1"], 0));
        let late = t.store.finish_hook_delivery(&claimed[0], done(None)).await;
        assert!(matches!(late, Err(StoreError::LostLease)), "{late:?}");
        finish(&t, &again[0], done(Some("c1"))).await;
        assert!(receive(&t, "1", "a", Some("7")).await);
        assert!(
            claim(&t).await.is_empty(),
            "what is done has no effect again"
        );
        // One that is sent again comes after what came meanwhile, and is the last that was applied.
        receive(&t, "2", "b", Some("8")).await;
        let failed = claim(&t).await;
        receive(&t, "3", "c", Some("8")).await;
        finish(&t, &failed[0], HookOutcome::Failed("No.".into())).await;
        let third = claim(&t).await;
        assert_eq!(ids(&third), ["3"]);
        receive(&t, "2", "b", Some("8")).await;
        assert!(claim(&t).await.is_empty(), "it waits for 3");
        assert!(t.store.has_later_push(&third[0]).await.unwrap());
        finish(&t, &third[0], done(Some("c2"))).await;
        let second = claim(&t).await;
        assert_eq!((ids(&second), second[0].attempts), (vec!["2"], 0));
        assert!(!t.store.has_later_push(&second[0]).await.unwrap());
        finish(&t, &second[0], done(Some("c3"))).await;
        let last = t.store.last_applied_commit("github", "8").await.unwrap();
        assert_eq!(last.as_deref(), Some("c3"));
    })
    .await;
}

#[tokio::test]
async fn a_delivery_is_forgotten_after_thirty_days_unless_it_is_still_to_be_handled() {
    each(async |t| {
        receive(&t, "1", "a", None).await;
        receive(&t, "2", "b", Some("7")).await;
        t.clock.advance(Duration::from_secs(29 * 24 * 3600));
        assert_eq!(t.store.prune_hook_deliveries().await.unwrap(), 0);
        t.clock.advance(Duration::from_secs(2 * 24 * 3600));
        assert_eq!(t.store.prune_hook_deliveries().await.unwrap(), 1);
        assert_eq!(ids(&claim(&t).await), ["2"]);
    })
    .await;
}

#[tokio::test]
async fn deliveries_are_listed_by_state_and_source_with_those_received_last_first() {
    each(async |t| {
        let list = async |filter: ReceivedFilter| {
            let filter = ReceivedFilter { limit: 2, ..filter };
            let found = t.store.received_deliveries(&filter).await.unwrap();
            let ids = found.iter().map(|it| it.delivery_id.clone());
            (ids.collect::<Vec<_>>().join(" "), found)
        };
        assert_eq!(list(ReceivedFilter::default()).await.0, "");
        for (id, repository) in [("1", Some("7")), ("2", None), ("3", Some("8"))] {
            receive(&t, id, id, repository).await;
            t.clock.advance(MINUTE);
        }
        let of_another = NewHookDelivery {
            source: "standard/ci".into(),
            ..new("4", "4", None)
        };
        t.store.receive_hook_delivery(of_another).await.unwrap();
        let (ids, first) = list(ReceivedFilter::default()).await;
        assert_eq!(ids, "4 3");
        let before = Some(first[1].seq);
        let next = ReceivedFilter {
            before,
            ..ReceivedFilter::default()
        };
        assert_eq!(list(next).await.0, "2 1");
        let failed = claim(&t).await;
        let one = failed.iter().find(|it| it.delivery_id == "1").unwrap();
        finish(&t, one, HookOutcome::Failed("No.".into())).await;
        let of = |state| ReceivedFilter {
            state: Some(state),
            ..ReceivedFilter::default()
        };
        let (ids, found) = list(of(HookDeliveryState::Failed)).await;
        assert_eq!(ids, "1");
        let event = found[0].event.as_ref().unwrap();
        assert_eq!(event.repository.full_name, "acme/7");
        let told = (found[0].outcome.as_deref(), found[0].attempts);
        assert_eq!(told, (Some("No."), 1));
        assert_eq!(list(of(HookDeliveryState::Pending)).await.0, "3");
        assert_eq!(list(of(HookDeliveryState::Ignored)).await.0, "4 2");
        assert_eq!(list(of(HookDeliveryState::Done)).await.0, "");
        let of_github = ReceivedFilter {
            source: Some("github".into()),
            ..of(HookDeliveryState::Ignored)
        };
        assert_eq!(list(of_github).await.0, "2");
        // One that is sent again is received again.
        t.clock.advance(MINUTE);
        let since = Some(t.clock.now());
        receive(&t, "1", "1", Some("7")).await;
        assert_eq!(list(ReceivedFilter::default()).await.0, "1 4");
        let late = ReceivedFilter {
            since,
            ..ReceivedFilter::default()
        };
        assert_eq!(list(late).await.0, "1");
    })
    .await;
}
