//! Several replicas on one PostgreSQL database.

use super::*;

#[tokio::test]
async fn replicas_that_start_together_migrate_one_after_the_other() {
    for store in opened_together::<8>(&empty_database().await).await {
        store.check().await.unwrap();
        assert!(
            store
                .jobs(&JobFilter {
                    limit: 10,
                    ..Default::default()
                })
                .await
                .unwrap()
                .is_empty()
        );
    }
}

#[tokio::test]
async fn of_many_replicas_each_job_is_claimed_by_one() {
    let stores = replicas::<4>().await;
    for i in 0..40 {
        fresh(
            stores[i % 4]
                .onboard(new_app(&format!("app-{i}")), None)
                .await
                .unwrap(),
        );
    }
    let claims = join_all((0..60).map(|i| stores[i % 4].claim("a worker", LEASE, DEADLINE))).await;
    let claimed: Vec<_> = claims
        .into_iter()
        .filter_map(Result::unwrap)
        .map(|claimed| claimed.lease.job)
        .collect();
    assert_eq!(
        claimed.iter().collect::<BTreeSet<_>>().len(),
        claimed.len(),
        "none twice"
    );
    // A claim that comes in the way of another passes over its job, and may find none: the next look does.
    let mut all: BTreeSet<_> = claimed.into_iter().collect();
    while let Some(claimed) = stores[0].claim("a worker", LEASE, DEADLINE).await.unwrap() {
        assert!(all.insert(claimed.lease.job));
    }
    assert_eq!(all.len(), 40);
}

#[tokio::test]
async fn the_same_request_at_many_replicas_is_one_job() {
    let stores = replicas::<4>().await;
    for round in 0..10 {
        let app = format!("app-{round}");
        let asked = (0..8).map(|i| stores[i % 4].onboard(new_app(&app), Some(key(&app, "body"))));
        let answers: Vec<_> = join_all(asked)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let fresh = answers
            .iter()
            .filter(|answer| matches!(answer, Ok(Accepted::Fresh(_))))
            .count();
        let replayed = answers
            .iter()
            .filter(|answer| matches!(answer, Ok(Accepted::Replay(_))))
            .count();
        assert_eq!((fresh, replayed), (1, 7), "{answers:?}");
    }
}

#[tokio::test]
async fn of_many_requests_for_one_app_at_many_replicas_one_wins() {
    let stores = replicas::<4>().await;
    for round in 0..10 {
        let app = format!("app-{round}");
        let answers = join_all((0..8).map(|i| stores[i % 4].onboard(new_app(&app), None))).await;
        let refused = answers
            .iter()
            .filter(|answer| matches!(answer, Ok(Err(Refusal::AppExists(_)))))
            .count();
        assert_eq!(refused, 7, "{answers:?}");
        let claimed = stores[0]
            .claim("a worker", LEASE, DEADLINE)
            .await
            .unwrap()
            .unwrap();
        stores[0]
            .finish(claimed.lease, AttemptResult::Failed(job_error()))
            .await
            .unwrap();
        let ask = |i: usize| stores[i % 4].enqueue(a_repair(&app), None);
        let retry =
            |i: usize| stores[i % 4].retry(claimed.lease.job, "ann".into(), ImageExpiry::Refuse);
        let (asked, retried) = tokio::join!(join_all((0..4).map(ask)), join_all((0..4).map(retry)));
        let won = asked
            .into_iter()
            .map(Result::unwrap)
            .filter(Result::is_ok)
            .count()
            + retried
                .into_iter()
                .map(Result::unwrap)
                .filter(Result::is_ok)
                .count();
        assert_eq!(won, 1, "round {round}");
        let claimed = stores[1]
            .claim("a worker", LEASE, DEADLINE)
            .await
            .unwrap()
            .unwrap();
        stores[1].finish(claimed.lease, succeeded()).await.unwrap();
    }
}

#[tokio::test]
async fn of_replicas_whose_clocks_are_apart_the_jobs_of_an_app_are_in_the_order_they_came() {
    let url = new_database().await;
    let (ahead, behind) = clocks();
    let stores = [
        Store::open(&url, ahead, &Tasks::default()).await.unwrap(),
        Store::open(&url, behind, &Tasks::default()).await.unwrap(),
    ];
    fresh(stores[0].onboard(new_app("acme"), None).await.unwrap());
    let first = stores[0]
        .claim("a worker", LEASE, DEADLINE)
        .await
        .unwrap()
        .unwrap();
    stores[0].finish(first.lease, succeeded()).await.unwrap();
    let came = std::sync::Mutex::new(vec![first.lease.job]);
    // Four at each replica ask at the same time; whose request wins works on it at once.
    join_all((0..8).map(async |n| {
        let store = &stores[n % 2];
        // Most requests lose, and how many depends on the machine.
        while came.lock().unwrap().len() <= 10 {
            let Ok(Accepted::Fresh(job)) = store.enqueue(a_repair("acme"), None).await.unwrap()
            else {
                continue;
            };
            let claimed = store
                .claim("a worker", LEASE, DEADLINE)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(claimed.lease.job, job.id);
            came.lock().unwrap().push(job.id);
            store.finish(claimed.lease, succeeded()).await.unwrap();
        }
    }))
    .await;
    let mut came = came.into_inner().unwrap();
    came.reverse();
    assert!(came.len() > 10, "{}", came.len());
    for store in &stores {
        let jobs = store
            .jobs(&JobFilter {
                limit: 200,
                ..Default::default()
            })
            .await
            .unwrap();
        assert_eq!(jobs.iter().map(|job| job.id).collect::<Vec<_>>(), came);
        assert_eq!(
            store.app(&name("acme")).await.unwrap().unwrap().last_job,
            Some(came[0])
        );
    }
}

#[tokio::test]
async fn of_many_claims_of_a_secret_at_many_replicas_one_gets_it() {
    let stores = replicas::<4>().await;
    fresh(stores[0].onboard(new_app("acme"), None).await.unwrap());
    let claimed = stores[0]
        .claim("a worker", LEASE, DEADLINE)
        .await
        .unwrap()
        .unwrap();
    let intent = stores[0]
        .intend_key(claimed.lease, Vec::new())
        .await
        .unwrap();
    stores[0]
        .record_key(claimed.lease, intent.id, credential("AKIAA"))
        .await
        .unwrap();
    let caller = bearer("ann");
    let claims = join_all(
        (0..16).map(|i| stores[i % 4].claim_secret(claimed.app.id, "AKIAA", &caller, None)),
    )
    .await;
    let sealed = claims
        .into_iter()
        .filter(|claim| matches!(claim, Ok(ClaimAnswer::Sealed(..))))
        .count();
    assert_eq!(sealed, 1);
}

#[tokio::test]
async fn replicas_hear_of_one_anothers_commits() {
    let [here, there] = replicas::<2>().await;
    let (mut signals, mut progress) = (there.signals(), there.progress_signals());
    // A notice that comes before the other listens is lost, which its poll makes up for.
    let job = loop {
        let app = format!("app-{}", Ulid::generate().to_string().to_lowercase());
        let job = fresh(here.onboard(new_app(&app), None).await.unwrap());
        if let Ok(Ok(signal)) =
            tokio::time::timeout(Duration::from_millis(200), signals.recv()).await
        {
            assert_eq!(signal, Signal::Queued);
            break job;
        }
    };
    here.cancel(job.id, "ann".into()).await.unwrap().unwrap();
    let heard = async |of: Signal, signals: &mut Receiver<Signal>| {
        while tokio::time::timeout(MINUTE, signals.recv())
            .await
            .unwrap()
            .unwrap()
            != of
        {}
    };
    heard(Signal::CancelAsked(job.id), &mut signals).await;
    heard(Signal::Progress(job.id), &mut progress).await;
}

#[tokio::test]
async fn replicas_go_by_the_databases_time() {
    let url = new_database().await;
    let open = async |clock: &Clock| {
        Store::open(&url, clock.clone(), &Tasks::default())
            .await
            .unwrap()
    };
    let (right, wrong) = (Clock::default(), Clock::default());
    let here = right.now();
    let there = open(&right).await;
    for own in [here.before(MINUTE * 60), here.after(MINUTE * 60)] {
        wrong.follow(own, here);
        let beside = open(&wrong).await;
        assert!(
            wrong.now().since(here) < MINUTE && here.since(wrong.now()) < MINUTE,
            "the same machine, so the same time"
        );
        for (one, another) in [(&there, &beside), (&beside, &there)] {
            let app = format!("app-{}", Ulid::generate().to_string().to_lowercase());
            fresh(one.onboard(new_app(&app), None).await.unwrap());
            let claimed = one.claim("a worker", LEASE, DEADLINE).await.unwrap();
            assert!(claimed.is_some());
            let twice = another.claim("another", LEASE, DEADLINE).await.unwrap();
            assert_eq!(twice, None, "its lease has not run out");
        }
    }
}
