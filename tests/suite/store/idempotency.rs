//! Requests with an Idempotency-Key.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_many_times_at_once_is_one_job() {
    each(async |t| {
        let asked =
            join_all((0..40).map(|_| t.store.onboard(new_app("acme"), Some(key("k", "f"))))).await;
        let (jobs, again): (Vec<_>, Vec<_>) = asked
            .into_iter()
            .map(|a| a.unwrap().unwrap())
            .partition(|a| matches!(a, Accepted::Fresh(_)));
        assert_eq!((jobs.len(), again.len()), (1, 39));
        let job = fresh(Ok(jobs[0].clone()));
        for answer in again {
            assert_eq!(replayed(Ok(answer)).id, job.id);
        }
    })
    .await;
}

#[tokio::test]
async fn the_same_request_again_gets_the_first_answer_and_another_body_is_refused() {
    each(async |t| {
        let job = fresh(
            t.store
                .onboard(new_app("acme"), Some(key("k", "f")))
                .await
                .unwrap(),
        );
        let answer = replayed(
            t.store
                .onboard(new_app("acme"), Some(key("k", "f")))
                .await
                .unwrap(),
        );
        assert_eq!(answer, job, "the job as it was when it was accepted");
        assert_eq!(
            t.store
                .onboard(new_app("other"), Some(key("k", "other")))
                .await
                .unwrap(),
            Err(Refusal::KeyReused)
        );
        fresh(
            t.store
                .onboard(
                    new_app("b"),
                    Some(IdempotencyKey {
                        caller: "ben".into(),
                        ..key("k", "f")
                    }),
                )
                .await
                .unwrap(),
        );
        fresh(
            t.store
                .onboard(
                    new_app("c"),
                    Some(IdempotencyKey {
                        route: "POST /v1/c".into(),
                        ..key("k", "f")
                    }),
                )
                .await
                .unwrap(),
        );
    })
    .await;
}

#[tokio::test]
async fn a_request_that_a_job_does_already_keeps_its_answer_for_its_key() {
    each(async |t| {
        let job = *t.onboard("acme").await;
        let joined = async |key| t.store.join(job.clone(), key).await.unwrap();
        assert_eq!(fresh(joined(None).await).id, job.id);
        assert_eq!(
            fresh(joined(Some(key("k1", "the request"))).await).id,
            job.id
        );
        assert_eq!(
            replayed(joined(Some(key("k1", "the request"))).await).id,
            job.id
        );
        assert_eq!(
            joined(Some(key("k1", "another request"))).await,
            Err(Refusal::KeyReused)
        );
    })
    .await;
}

#[tokio::test]
async fn an_idempotency_record_lives_a_day() {
    each(async |t| {
        t.ready("acme").await;
        let first = fresh(t.repair("acme", Some(key("k", "f"))).await);
        t.end(t.claim().await.unwrap().lease, succeeded()).await;
        t.clock.advance(IDEMPOTENCY_AGE - MINUTE);
        assert_eq!(t.store.prune_idempotency().await.unwrap(), 0);
        replayed(t.repair("acme", Some(key("k", "f"))).await);
        assert_eq!(
            t.repair("acme", Some(key("k", "other"))).await,
            Err(Refusal::KeyReused)
        );
        t.clock.advance(MINUTE);
        let second = fresh(t.repair("acme", Some(key("k", "other"))).await);
        assert_ne!(first.id, second.id);
        let answer = replayed(t.repair("acme", Some(key("k", "other"))).await);
        assert_eq!(
            answer.id, second.id,
            "the new record is in the place of the old one"
        );
    })
    .await;
}

#[tokio::test]
async fn old_idempotency_records_are_removed() {
    each(async |t| {
        t.store
            .onboard(new_app("old"), Some(key("old", "f")))
            .await
            .unwrap()
            .unwrap();
        t.clock.advance(IDEMPOTENCY_AGE);
        t.store
            .onboard(new_app("new"), Some(key("new", "f")))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(t.store.prune_idempotency().await.unwrap(), 1);
        replayed(
            t.store
                .onboard(new_app("new"), Some(key("new", "f")))
                .await
                .unwrap(),
        );
    })
    .await;
}

#[tokio::test]
async fn an_idempotency_record_that_cannot_be_read_is_named() {
    each(async |t| {
        t.store.onboard(new_app("acme"), Some(key("k", "f"))).await.unwrap().unwrap();
        t.raw("UPDATE idempotency SET job = '{'").await;
        let told = t.store.onboard(new_app("acme"), Some(key("k", "f"))).await.unwrap_err();
        assert!(matches!(&told, StoreError::Corrupt { table: "idempotency", column: "job", row, .. } if row == "k"), "{told}");
    })
    .await;
}
