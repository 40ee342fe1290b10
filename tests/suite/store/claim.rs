//! Claims, leases and the end of attempts.

use super::*;

#[tokio::test]
async fn the_oldest_job_is_claimed_first() {
    each(async |t| {
        let mut asked = Vec::new();
        for app in ["one", "two", "three"] {
            asked.push(t.onboard(app).await.id);
        }
        let mut claimed = Vec::new();
        while let Some(next) = t.claim().await {
            claimed.push(next.lease.job);
        }
        assert_eq!(claimed, asked);
    })
    .await;
}

#[tokio::test]
async fn as_many_jobs_are_claimed_at_once_as_are_asked_for_and_due() {
    each(async |t| {
        let mut asked = Vec::new();
        for i in 0..5 {
            asked.push(t.onboard(&format!("app-{i}")).await.id);
        }
        t.raw(&format!(
            "UPDATE jobs SET kind = 'dance' WHERE id = '{}'",
            asked.remove(1)
        ))
        .await;
        let claim = async |most| -> Vec<Ulid> {
            let claimed = t
                .store
                .claim_up_to(most, "a worker", LEASE, DEADLINE)
                .await
                .unwrap();
            claimed
                .into_iter()
                .map(|claimed| claimed.lease.job)
                .collect()
        };
        assert_eq!(
            claim(3).await,
            asked[..3],
            "the oldest first, but for the one that cannot be read"
        );
        assert_eq!(claim(3).await, asked[3..]);
        assert!(claim(3).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_claim_hands_over_all_that_its_worker_needs() {
    each(async |t| {
        let asked = t.onboard("acme").await;
        let claimed = t.claim().await.unwrap();
        assert_eq!(
            (claimed.job.state, claimed.job.attempt),
            (JobState::Running, 1)
        );
        assert_eq!(claimed.job.steps, asked.steps);
        assert_eq!(claimed.app.spec, new_app("acme").spec);
        let trying = claimed.deadline.since(claimed.job.started_at.unwrap());
        assert_eq!(trying, DEADLINE);
        assert_eq!(t.happenings(asked.id).await, ["job_queued", "job_started"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_workers_claim_each_job_once() {
    each(async |t| {
        let mut asked = BTreeSet::new();
        for n in 0..60 {
            asked.insert(t.onboard(&format!("app-{n}")).await.id);
        }
        let worker = async || {
            let mut mine = Vec::new();
            while let Some(claimed) = t.claim().await {
                mine.push(claimed.lease.job);
            }
            mine
        };
        let claimed: Vec<Ulid> = join_all((0..16).map(|_| worker())).await.concat();
        assert_eq!(claimed.len(), 60, "each job once");
        assert_eq!(claimed.into_iter().collect::<BTreeSet<_>>(), asked);
    })
    .await;
}

#[tokio::test]
async fn a_lease_that_runs_out_is_claimed_by_another_with_a_higher_token() {
    each(async |t| {
        let lost = t.at_work("acme").await;
        t.clock.advance(LEASE - Duration::from_secs(1));
        assert_eq!(t.claim().await, None);
        t.clock.advance(Duration::from_secs(2));
        let found = t.claim().await.unwrap();
        assert_eq!(found.lease.job, lost.lease.job);
        assert!(found.lease.token > lost.lease.token);
        assert_eq!(
            (found.job.attempt, found.deadline),
            (2, lost.deadline),
            "the deadline is the job's, not the attempt's"
        );
    })
    .await;
}

#[tokio::test]
async fn a_renewed_lease_does_not_run_out() {
    each(async |t| {
        let lease = t.at_work("acme").await.lease;
        for _ in 0..5 {
            t.clock.advance(LEASE - Duration::from_secs(1));
            assert!(!t.store.renew_lease(lease, LEASE).await.unwrap());
            assert_eq!(t.claim().await, None);
        }
    })
    .await;
}

/// Everything that a worker can write, tried under a lease that is lost.
async fn write_all(t: &Fixture, lost: Lease, intent: Ulid) {
    let store = &t.store;
    let gone = |result: Result<(), StoreError>, what: &str| {
        assert!(
            matches!(result, Err(StoreError::LostLease)),
            "{what}: {result:?}"
        )
    };
    gone(store.renew_lease(lost, LEASE).await.map(|_| ()), "renew");
    for ended in [
        succeeded(),
        waiting_until(t.clock.now()),
        AttemptResult::Failed(job_error()),
        AttemptResult::Canceled,
        AttemptResult::Released { reason: "x".into() },
    ] {
        gone(store.finish(lost, ended).await, "end");
    }
    gone(
        store.intend_key(lost, Vec::new()).await.map(|_| ()),
        "intend_key",
    );
    gone(store.close_intent(lost, intent).await, "close_intent");
    gone(
        store.record_key(lost, intent, credential("AKIAB")).await,
        "encryption_key",
    );
    gone(
        store.record_keys_gone(lost, vec!["AKIAA".into()]).await,
        "record_keys_gone",
    );
    store.record(lost, Some(done("iam:user/acme")), warning());
    store.check().await.unwrap();
}

#[tokio::test]
async fn nothing_is_written_under_a_lost_lease() {
    each(async |t| {
        let lost = t.sealed("acme", "AKIAA").await;
        let intent = t
            .store
            .intend_key(lost.lease, vec!["AKIAA".into()])
            .await
            .unwrap()
            .id;
        let changes_nothing = async |lease: Lease| {
            let before = everything(&t, lost.app.id, lost.lease.job).await;
            write_all(&t, lease, intent).await;
            assert_eq!(everything(&t, lost.app.id, lost.lease.job).await, before);
        };
        t.clock.advance(LEASE * 2);
        let holder = t.claim().await.unwrap().lease;
        changes_nothing(lost.lease).await;
        t.end(
            holder,
            AttemptResult::Released {
                reason: "The service is shutting down.".into(),
            },
        )
        .await;
        changes_nothing(holder).await;
        let last = t.claim().await.unwrap().lease;
        t.end(last, AttemptResult::Failed(job_error())).await;
        changes_nothing(last).await;
        changes_nothing(lost.lease).await;
    })
    .await;
}

#[tokio::test]
async fn every_lease_of_a_process_that_has_ended_is_given_back() {
    each(async |t| {
        let running = [t.at_work("one").await, t.at_work("two").await];
        let waiting = t.job_in(JobState::Waiting, "three").await;
        assert_eq!(t.store.release_all_leases().await.unwrap(), 2);
        for claimed in &running {
            assert_eq!(t.job(claimed.lease.job).await.state, JobState::Queued);
            assert_eq!(
                t.happenings(claimed.lease.job).await.last(),
                Some(&"job_released")
            );
            assert!(matches!(
                t.store.renew_lease(claimed.lease, LEASE).await,
                Err(StoreError::LostLease)
            ));
        }
        assert_eq!(t.job(waiting).await.state, JobState::Waiting);
        let again = t.claim().await.unwrap();
        assert_eq!(
            (again.lease.job, again.lease.token),
            (running[0].lease.job, running[0].lease.token + 1)
        );
        assert_eq!(t.store.release_all_leases().await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_job_that_waits_is_due_at_its_time_and_not_before() {
    each(async |t| {
        let lease = t.at_work("acme").await.lease;
        let at = t.clock.now().after(MINUTE);
        t.end(lease, waiting_until(at)).await;
        let job = t.job(lease.job).await;
        assert_eq!(
            (job.state, job.next_attempt_at, job.reason.as_deref()),
            (JobState::Waiting, Some(at), Some("AWS settles"))
        );
        t.clock.advance(MINUTE - Duration::from_secs(1));
        assert_eq!(t.claim().await, None);
        t.clock.advance(Duration::from_secs(1));
        let job = t.claim().await.unwrap().job;
        assert_eq!(
            (job.state, job.attempt, job.next_attempt_at, job.reason),
            (JobState::Running, 2, None, None)
        );
    })
    .await;
}

#[tokio::test]
async fn what_is_due_next_is_the_earliest_end_of_a_wait_or_a_lease() {
    each(async |t| {
        assert_eq!(t.store.next_due().await.unwrap(), None);
        let far = t.clock.now().after(MINUTE * 10);
        let lease = t.at_work("one").await.lease;
        t.end(lease, waiting_until(far)).await;
        assert_eq!(t.store.next_due().await.unwrap(), Some(far));
        let lease = t.at_work("two").await.lease;
        let due = t.store.next_due().await.unwrap().unwrap();
        assert!(
            due > t.clock.now() && due <= t.clock.now().after(LEASE),
            "the lease's end is the next"
        );
        t.end(lease, succeeded()).await;
        t.onboard("three").await;
        assert_eq!(
            t.store.next_due().await.unwrap(),
            Some(far),
            "what has ended or can be claimed now is not waited for"
        );
    })
    .await;
}

#[tokio::test]
async fn the_app_is_left_as_its_job_ended() {
    each(async |t| {
        for (state, left) in [
            (JobState::Waiting, AppState::Pending),
            (JobState::Succeeded, AppState::Ready),
            (JobState::Failed, AppState::Failed),
            (JobState::NeedsAttention, AppState::NeedsAttention),
            (JobState::Canceled, AppState::Canceled),
        ] {
            let job = t.job(t.job_in(state, &format!("acme-{state}")).await).await;
            let app = t.store.app(&job.app).await.unwrap().unwrap();
            assert_eq!((job.state, app.summary.state), (state, left));
            assert_eq!(
                app.summary.active_job,
                state.is_active().then_some(job.id),
                "{state}"
            );
            assert_eq!(job.finished_at.is_some(), !state.is_active(), "{state}");
            let in_trouble = matches!(state, JobState::Failed | JobState::NeedsAttention);
            assert_eq!(job.error, in_trouble.then(job_error), "{state}");
        }
    })
    .await;
}
