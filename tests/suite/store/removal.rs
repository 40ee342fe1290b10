//! Removal and restore.

use super::*;

#[tokio::test]
async fn a_removal_can_be_restored_until_it_is_done_and_leaves_a_name_that_can_be_used_again() {
    each(async |t| {
        t.ready("acme").await;
        let ask = |task: Task| JobRequest::new(name("acme"), task, resources("acme"), "ann");
        assert_eq!(
            t.store
                .enqueue(
                    ask(Task::Restore {
                        accept_expiry: false,
                        switched_off: BTreeSet::new(),
                    }),
                    None
                )
                .await
                .unwrap(),
            Err(Refusal::NotBeingRemoved)
        );
        let removal = |at: Timestamp| Removal {
            buckets: BTreeSet::new(),
            repositories: BTreeSet::new(),
            adopted: false,
            requested_by: "ann".into(),
            requested_at: t.clock.now(),
            remove_at: at,
            switched_off: BTreeSet::new(),
            lists: [].into(),
            restoring: false,
        };
        let offboard = |at| JobRequest {
            change: Some(AppChange::Removal(removal(at))),
            ..ask(Task::Offboard)
        };
        let later = t.clock.now().after(Duration::from_secs(60));
        fresh(t.store.enqueue(offboard(later), None).await.unwrap());
        let claimed = t.claim().await.unwrap();
        t.store
            .note_switched_off(claimed.lease, BTreeSet::from(["AKIA1".to_owned()]))
            .await
            .unwrap();
        t.end(claimed.lease, succeeded()).await;
        let app = t.app("acme").await;
        assert_eq!(
            (app.summary.state, app.removal.unwrap().switched_off.len()),
            (AppState::Quarantined, 1)
        );
        assert_eq!(
            t.store.enqueue(a_repair("acme"), None).await.unwrap(),
            Err(Refusal::BeingRemoved(name("acme")))
        );
        assert!(
            t.store.due_removals().await.unwrap().is_empty(),
            "its time has not come"
        );
        fresh(
            t.store
                .enqueue(
                    ask(Task::Restore {
                        accept_expiry: false,
                        switched_off: BTreeSet::new(),
                    }),
                    None,
                )
                .await
                .unwrap(),
        );
        t.run(succeeded()).await;
        let app = t.app("acme").await;
        assert_eq!((app.summary.state, app.removal), (AppState::Ready, None));

        fresh(
            t.store
                .enqueue(offboard(t.clock.now()), None)
                .await
                .unwrap(),
        );
        assert!(
            t.store.due_removals().await.unwrap().is_empty(),
            "its keys are not off yet"
        );
        t.run(succeeded()).await;
        assert_eq!(t.store.due_removals().await.unwrap().len(), 1);
        fresh(t.store.enqueue(ask(Task::Remove), None).await.unwrap());
        t.run(succeeded()).await;
        assert_eq!(t.app("acme").await.summary.state, AppState::Removed);
        let removed = t.app("acme").await.summary;
        assert_eq!(
            t.store.enqueue(a_repair("acme"), None).await.unwrap(),
            Err(Refusal::Removed(name("acme"), removed.updated_at))
        );
        assert!(
            t.store
                .apps(&AppFilter {
                    limit: 9,
                    ..AppFilter::default()
                })
                .await
                .unwrap()
                .is_empty(),
            "it is not listed"
        );
        assert!(!t.store.is_taken(&name("ACME")).await.unwrap());
        assert!(
            t.store
                .onboard(new_app_in("Acme", "default"), None)
                .await
                .unwrap()
                .is_ok(),
            "in other case, too"
        );
        let app = t.app("acme").await;
        assert_eq!(
            (app.summary.name.as_str(), app.summary.state),
            ("Acme", AppState::Pending)
        );
        t.run(AttemptResult::Failed(job_error())).await;
        assert!(
            t.store
                .onboard(new_app_in("Acme", "default"), None)
                .await
                .unwrap()
                .is_ok(),
            "a failed one can be asked for anew"
        );
    })
    .await;
}

#[tokio::test]
async fn what_a_removal_has_left_is_nothing_of_the_app_that_gets_its_name() {
    each(async |t| {
        let first = NewApp {
            spec: spec_with("acme", &["left-bucket"]),
            ..new_app("acme")
        };
        fresh(t.store.onboard(first, None).await.unwrap());
        let claimed = t.claim().await.unwrap();
        t.store.record(
            claimed.lease,
            Some(done("s3:bucket/left-bucket")),
            warning(),
        );
        t.end(claimed.lease, succeeded()).await;
        t.remove("acme").await;
        let app = t.app("acme").await;
        assert_eq!(
            (app.dropped.buckets.len(), app.resources.len()),
            (1, 1),
            "the removed app tells what it has left"
        );

        fresh(t.store.onboard(new_app("acme"), None).await.unwrap());
        let app = t.app("acme").await;
        assert!(app.dropped.is_empty(), "{:?}", app.dropped);
        assert!(
            !t.store
                .recorded(app.id)
                .await
                .unwrap()
                .owns(&resource_id("s3:bucket/left-bucket"))
        );
    })
    .await;
}
