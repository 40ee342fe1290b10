//! Canceling and retrying jobs.

use super::*;

#[tokio::test]
async fn a_job_can_be_canceled_until_it_has_ended() {
    each(async |t| {
        for (state, after) in [
            (JobState::Queued, Some(JobState::Canceled)),
            (JobState::Waiting, Some(JobState::Canceled)),
            (JobState::NeedsAttention, Some(JobState::Canceled)),
            (JobState::Running, Some(JobState::Running)),
            (JobState::Succeeded, None),
            (JobState::Failed, None),
            (JobState::Canceled, None),
        ] {
            let id = t.job_in(state, &format!("acme-{state}")).await;
            let answer = t.store.cancel(id, "ben".into()).await.unwrap();
            match after {
                Some(after) => assert_eq!(answer.unwrap().state, after, "{state}"),
                None => assert!(
                    matches!(answer, Err(Refusal::State(_))),
                    "{state}: {answer:?}"
                ),
            }
            let told = t.happenings(id).await.contains(&"cancel_requested");
            assert_eq!(told, after.is_some(), "{state}");
            t.raw(&format!(
                "DELETE FROM events; DELETE FROM steps; DELETE FROM jobs WHERE id = '{id}'"
            ))
            .await;
        }
        assert_eq!(
            t.store
                .cancel(Ulid::generate(), "ben".into())
                .await
                .unwrap(),
            Err(Refusal::NoJob)
        );
    })
    .await;
}

#[tokio::test]
async fn the_worker_of_a_canceled_job_hears_of_it_when_it_renews_its_lease() {
    each(async |t| {
        let lease = t.at_work("acme").await.lease;
        t.store
            .cancel(lease.job, "ben".into())
            .await
            .unwrap()
            .unwrap();
        assert!(t.store.renew_lease(lease, LEASE).await.unwrap());
        t.end(lease, AttemptResult::Canceled).await;
        assert_eq!(t.job(lease.job).await.state, JobState::Canceled);
        t.store
            .retry(lease.job, "ben".into(), ImageExpiry::Refuse)
            .await
            .unwrap()
            .unwrap();
        let lease = t.claim().await.unwrap().lease;
        assert!(
            !t.store.renew_lease(lease, LEASE).await.unwrap(),
            "the cancel was for the attempt before"
        );
    })
    .await;
}

#[tokio::test]
async fn a_job_that_ended_without_success_can_be_retried() {
    each(async |t| {
        for (state, allowed) in [
            (JobState::Failed, true),
            (JobState::NeedsAttention, true),
            (JobState::Canceled, true),
            (JobState::Waiting, true),
            (JobState::Queued, false),
            (JobState::Running, false),
            (JobState::Succeeded, false),
        ] {
            let id = t.job_in(state, &format!("acme-{state}")).await;
            let answer = t
                .store
                .retry(id, "ben".into(), ImageExpiry::Refuse)
                .await
                .unwrap();
            if allowed {
                let job = answer.unwrap();
                assert_eq!(
                    (job.state, job.error, job.reason, job.finished_at),
                    (JobState::Queued, None, None, None),
                    "{state}"
                );
                assert_eq!(t.happenings(id).await.last(), Some(&"retry_requested"));
            } else {
                assert!(
                    matches!(answer, Err(Refusal::State(_))),
                    "{state}: {answer:?}"
                );
            }
            t.raw(&format!(
                "DELETE FROM events; DELETE FROM steps; DELETE FROM jobs WHERE id = '{id}'"
            ))
            .await;
        }
        assert_eq!(
            t.store
                .retry(Ulid::generate(), "ben".into(), ImageExpiry::Refuse)
                .await
                .unwrap(),
            Err(Refusal::NoJob)
        );
    })
    .await;
}

#[tokio::test]
async fn a_retried_job_gets_a_new_deadline() {
    each(async |t| {
        let first = t.at_work("acme").await;
        t.end(first.lease, AttemptResult::Failed(job_error())).await;
        t.clock.advance(DEADLINE * 2);
        t.store
            .retry(first.lease.job, "ben".into(), ImageExpiry::Refuse)
            .await
            .unwrap()
            .unwrap();
        let second = t.claim().await.unwrap();
        assert!(second.deadline > t.clock.now());
        assert_eq!(second.job.started_at, first.job.started_at);
    })
    .await;
}

#[tokio::test]
async fn a_retry_is_refused_while_another_job_of_the_app_is_active() {
    each(async |t| {
        let failed = t.job_in(JobState::Failed, "acme").await;
        let active = fresh(t.repair("acme", None).await);
        assert_eq!(
            t.store
                .retry(failed, "ben".into(), ImageExpiry::Refuse)
                .await
                .unwrap(),
            Err(Refusal::Active(active.id))
        );
        assert_eq!(t.job(failed).await.state, JobState::Failed);
    })
    .await;
}

#[tokio::test]
async fn an_older_job_cannot_be_canceled_over_a_later_ones_head() {
    each(async |t| {
        let first = t.job_in(JobState::NeedsAttention, "acme").await;
        next_millisecond().await;
        let later = fresh(t.repair("acme", None).await);
        assert_eq!(
            t.store
                .cancel(first, "ann".into())
                .await
                .unwrap()
                .unwrap_err(),
            Refusal::Active(later.id)
        );
        t.end(t.claim().await.unwrap().lease, succeeded()).await;
        assert_eq!(
            t.store
                .cancel(first, "ann".into())
                .await
                .unwrap()
                .unwrap_err(),
            Refusal::Superseded(later.id)
        );
        assert_eq!(
            t.store
                .app(&name("acme"))
                .await
                .unwrap()
                .unwrap()
                .summary
                .state,
            AppState::Ready
        );
    })
    .await;
}

#[tokio::test]
async fn a_cancel_that_was_accepted_outlives_the_attempt() {
    each(async |t| {
        let ends = [
            waiting_until(t.clock.now().after(MINUTE)),
            AttemptResult::Released {
                reason: "The service is shutting down.".into(),
            },
            succeeded(),
            AttemptResult::Failed(job_error()),
            AttemptResult::NeedsAttention(job_error()),
        ];
        for (n, ended) in ends.into_iter().enumerate() {
            let lease = t.at_work(&format!("acme-{n}")).await.lease;
            t.store
                .cancel(lease.job, "ben".into())
                .await
                .unwrap()
                .unwrap();
            t.end(lease, ended).await;
            assert_eq!(t.job(lease.job).await.state, JobState::Canceled);
        }
    })
    .await;
}

#[tokio::test]
async fn a_cancel_that_was_accepted_outlives_the_worker() {
    each(async |t| {
        let lost = t.at_work("acme").await;
        t.store
            .cancel(lost.lease.job, "ben".into())
            .await
            .unwrap()
            .unwrap();
        t.clock.advance(LEASE);
        let mut heard = t.store.progress_signals();
        let other = t.onboard("other").await;
        let claimed = t
            .store
            .claim_up_to(5, "another worker", LEASE, DEADLINE)
            .await
            .unwrap();
        assert_eq!(
            claimed
                .iter()
                .map(|claimed| claimed.lease.job)
                .collect::<Vec<_>>(),
            [other.id],
            "nobody goes on with it"
        );
        let job = t.job(lost.lease.job).await;
        assert_eq!(
            (job.state, t.app("acme").await.summary.state),
            (JobState::Canceled, AppState::Canceled)
        );
        assert_eq!(t.happenings(job.id).await.last(), Some(&"job_canceled"));
        assert_eq!(
            heard.recv().await.unwrap(),
            Signal::Progress(job.id),
            "who follows it is told"
        );
        // A key of it may be live.
        let lost = t.at_work("third").await;
        t.store.intend_key(lost.lease, Vec::new()).await.unwrap();
        t.store
            .cancel(lost.lease.job, "ben".into())
            .await
            .unwrap()
            .unwrap();
        t.clock.advance(LEASE);
        while t.claim().await.is_some() {}
        let job = t.job(lost.lease.job).await;
        assert_eq!(
            (job.state, job.error.unwrap().code),
            (JobState::NeedsAttention, JobErrorCode::CredentialInDoubt)
        );
        // A retry takes the cancel back.
        t.store
            .retry(lost.lease.job, "ben".into(), ImageExpiry::Refuse)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(t.claim().await.unwrap().lease.job, lost.lease.job);
    })
    .await;
}

#[tokio::test]
async fn a_job_whose_task_cannot_be_read_is_parked_also_when_its_cancel_was_accepted() {
    each(async |t| {
        let lost = t.at_work("acme").await;
        t.store
            .cancel(lost.lease.job, "ben".into())
            .await
            .unwrap()
            .unwrap();
        t.raw("UPDATE jobs SET task = 'what?'").await;
        t.clock.advance(LEASE);
        assert_eq!(t.claim().await, None);
        assert_eq!(
            t.number("SELECT COUNT(*) FROM jobs WHERE state = 'needs_attention'")
                .await,
            1
        );
    })
    .await;
}
