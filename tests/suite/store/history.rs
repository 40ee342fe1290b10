//! Removing old history.

use super::*;

#[tokio::test]
async fn history_goes_when_it_is_old_and_explains_nothing_that_is_there() {
    each(async |t| {
        let onboarded = t.at_work("acme").await;
        t.store
            .record(onboarded.lease, Some(done("iam:user/acme")), warning());
        t.end(onboarded.lease, succeeded()).await;
        let mut repairs = Vec::new();
        for _ in 0..250 {
            next_millisecond().await;
            let repair = fresh(t.repair("acme", None).await);
            let lease = t.claim().await.unwrap().lease;
            t.store.record(lease, None, warning());
            t.end(lease, succeeded()).await;
            repairs.push(repair.id);
        }
        t.clock.advance(YEAR);
        let waiting = t.job_in(JobState::Waiting, "other").await;
        assert_eq!(prune_all(&t, YEAR * 2).await, 0, "not so old yet");
        assert_eq!(prune_all(&t, YEAR / 2).await, 249);
        let newest = repairs.pop().unwrap();
        for gone in repairs {
            assert_eq!(t.store.job(gone).await.unwrap(), None);
            assert!(t.store.events(gone, 0, 10).await.unwrap().is_empty());
        }
        assert_eq!(
            t.number("SELECT COUNT(*) FROM steps").await,
            3,
            "of three jobs"
        );
        for kept in [onboarded.lease.job, newest, waiting] {
            assert!(!t.job(kept).await.steps.is_empty());
            assert!(!t.store.events(kept, 0, 10).await.unwrap().is_empty());
        }
        assert_eq!(
            t.store.app(&name("acme")).await.unwrap().unwrap().last_job,
            Some(newest)
        );
    })
    .await;
}

#[tokio::test]
async fn the_job_that_made_a_key_is_kept_as_long_as_the_key_is_known() {
    each(async |t| {
        let made = t.sealed("acme", "AKIAA").await;
        t.end(made.lease, succeeded()).await;
        next_millisecond().await;
        let later = fresh(t.repair("acme", None).await);
        t.end(t.claim().await.unwrap().lease, succeeded()).await;
        t.clock.advance(YEAR);
        assert_eq!(
            prune_all(&t, YEAR / 2).await,
            0,
            "{} and {} stay",
            made.lease.job,
            later.id
        );
    })
    .await;
}
