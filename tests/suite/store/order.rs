//! What is latest, whatever the clocks say.

use super::*;

#[tokio::test]
async fn what_is_latest_is_what_came_last_whatever_the_clocks_say() {
    each(async |t| {
        let (ahead, behind) = clocks();
        let mut t = t.by(&ahead).await;
        let mut jobs = vec![t.at_work("acme").await.lease];
        t.end(jobs[0], AttemptResult::Failed(job_error())).await;
        for clock in [&behind, &ahead, &behind] {
            t = t.by(clock).await;
            fresh(t.repair("acme", None).await);
            jobs.push(t.claim().await.unwrap().lease);
            t.end(*jobs.last().unwrap(), AttemptResult::Failed(job_error()))
                .await;
        }
        let mut newest_first: Vec<Ulid> = jobs.iter().map(|lease| lease.job).collect();
        newest_first.reverse();
        let latest = newest_first[0];
        assert_eq!(t.app("acme").await.last_job, Some(latest));
        for earlier in &newest_first[1..] {
            assert_eq!(
                t.store
                    .retry(*earlier, "ben".into(), ImageExpiry::Refuse)
                    .await
                    .unwrap(),
                Err(Refusal::Superseded(latest))
            );
        }
        let mut paged = Vec::new();
        while let Some(job) = t
            .store
            .jobs(&JobFilter {
                before: paged.last().copied(),
                limit: 1,
                ..Default::default()
            })
            .await
            .unwrap()
            .pop()
        {
            paged.push(job.id);
        }
        assert_eq!(paged, newest_first);
        t.store
            .retry(latest, "ben".into(), ImageExpiry::Refuse)
            .await
            .unwrap()
            .unwrap();
        t.run(succeeded()).await;
        t = t.by(&ahead).await;
        t.clock.advance(YEAR);
        assert_eq!(prune_all(&t, YEAR / 2).await, 3);
        assert_eq!(t.app("acme").await.last_job, Some(latest));
        let gone = JobFilter {
            before: Some(newest_first[1]),
            limit: 10,
            ..Default::default()
        };
        assert!(
            t.store.jobs(&gone).await.unwrap().len() <= 1,
            "a page goes on after a job that was removed meanwhile"
        );
    })
    .await;
}

#[tokio::test]
async fn apps_are_listed_and_jobs_are_claimed_in_the_order_they_came_whatever_the_clocks_say() {
    each(async |t| {
        let (ahead, behind) = clocks();
        let (mut t, mut asked) = (t, Vec::new());
        for (app, clock) in [
            ("zeta", &ahead),
            ("acme", &behind),
            ("beta", &ahead),
            ("alfa", &behind),
        ] {
            t = t.by(clock).await;
            t.onboard(app).await;
            asked.push(app);
        }
        let (mut listed, mut after) = (Vec::new(), None);
        while let Some(app) = t
            .store
            .apps(&AppFilter {
                after,
                limit: 1,
                ..Default::default()
            })
            .await
            .unwrap()
            .pop()
        {
            after = Some(app.id);
            listed.push(app.summary.name);
        }
        assert_eq!(listed, asked);
        let claimed = t
            .store
            .claim_up_to(3, "a worker", LEASE, DEADLINE)
            .await
            .unwrap();
        assert_eq!(
            claimed
                .iter()
                .map(|claimed| claimed.job.app.as_str())
                .collect::<Vec<_>>(),
            asked[..3]
        );
    })
    .await;
}

#[tokio::test]
async fn the_latest_key_and_rotation_are_what_came_last_whatever_the_clocks_say() {
    each(async |t| {
        let (ahead, behind) = clocks();
        let t = t.by(&ahead).await;
        let id = t.rotating("acme").await;
        let first = t.rotation(id).await;
        t.store
            .move_rotation(&first, RotationEvent::Stopped, None)
            .await
            .unwrap();
        let t = t.by(&behind).await;
        fresh(t.store.enqueue(a_rotation("acme"), None).await.unwrap());
        assert_ne!(t.rotation(id).await.id, first.id);
        let claimed = t.claim().await.unwrap();
        let intent = t
            .store
            .intend_key(claimed.lease, vec!["OLD".into(), "NEW".into()])
            .await
            .unwrap();
        let newest = NewCredential {
            id: Ulid::nil(),
            ..credential("NEWEST")
        };
        t.store
            .record_key(claimed.lease, intent.id, newest)
            .await
            .unwrap();
        t.end(claimed.lease, succeeded()).await;
        let keys: Vec<String> = t
            .store
            .credentials(id)
            .await
            .unwrap()
            .into_iter()
            .map(|key| key.access_key_id)
            .collect();
        assert_eq!(keys, ["OLD", "NEW", "NEWEST"]);
        assert_eq!(t.rotation(id).await.new_key.as_deref(), Some("NEWEST"));
        let t = t.by(&behind).await;
        t.clock.advance(YEAR);
        prune_all(&t, MINUTE).await;
        assert_eq!(t.rotation(id).await.new_key.as_deref(), Some("NEWEST"));
    })
    .await;
}
