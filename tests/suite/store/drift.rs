//! Drift reports and when an app is due for a check.

use super::*;

#[tokio::test]
async fn the_last_drift_report_is_kept_and_shown_with_its_app() {
    each(async |t| {
        t.ready("acme").await;
        t.ready("calm").await;
        let (app, now) = (t.app("acme").await, t.clock.now());
        assert_eq!(
            (
                t.store.drift_report(app.id).await.unwrap(),
                app.summary.drift
            ),
            (None, None)
        );
        for drifted in [false, true] {
            let found = report("acme", drifted, now);
            t.store
                .save_drift_report(&app, &found)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(t.store.drift_report(app.id).await.unwrap(), Some(found));
            assert_eq!(
                t.app("acme").await.summary.drift,
                Some(DriftSummary {
                    checked_at: now,
                    drifted
                })
            );
            assert_eq!(t.store.drifted_apps().await.unwrap(), u32::from(drifted));
            let listed = async |drifted| {
                t.store
                    .apps(&AppFilter {
                        drifted,
                        limit: 10,
                        ..AppFilter::default()
                    })
                    .await
                    .unwrap()
                    .len()
            };
            assert_eq!(
                (
                    listed(Some(drifted)).await,
                    listed(Some(!drifted)).await,
                    listed(None).await
                ),
                (1, 0, 2)
            );
        }
        let again = reopen_if_alone(&t).await;
        assert_eq!(
            again.drift_report(app.id).await.unwrap(),
            Some(report("acme", true, now))
        );
        t.raw("UPDATE apps SET state = 'removed'").await;
        // Made anew at a replica whose clock is behind.
        t.clock.step_back(MINUTE);
        fresh(t.store.onboard(new_app("acme"), None).await.unwrap());
        assert_eq!(
            (
                t.store.drift_report(app.id).await.unwrap(),
                t.app("acme").await.summary.drift
            ),
            (None, None)
        );
    })
    .await;
}

/// On PostgreSQL another replica reads it too.
async fn reopen_if_alone(t: &Fixture) -> Store {
    match t.backend {
        Backend::Sqlite => t.store.clone(),
        Backend::Postgres => Store::open(&t.url, t.clock.clone(), &Tasks::default())
            .await
            .unwrap(),
    }
}

#[tokio::test]
async fn a_report_that_a_job_has_overtaken_is_not_kept() {
    each(async |t| {
        t.ready("acme").await;
        let app = t.app("acme").await;
        let job = fresh(t.repair("acme", None).await);
        let refused = async |app: &App| {
            t.store
                .save_drift_report(app, &report("acme", true, t.clock.now()))
                .await
                .unwrap()
                .unwrap_err()
        };
        assert_eq!(
            refused(&app).await,
            Refusal::Active(job.id),
            "the job is at work"
        );
        let claimed = t.claim().await.unwrap();
        t.end(claimed.lease, succeeded()).await;
        assert_eq!(
            refused(&app).await,
            Refusal::Active(job.id),
            "it has ended since"
        );
        t.store
            .save_drift_report(&t.app("acme").await, &report("acme", true, t.clock.now()))
            .await
            .unwrap()
            .unwrap();
        t.raw("UPDATE apps SET state = 'removed'").await;
        assert!(matches!(refused(&app).await, Refusal::Removed(..)));
        assert_eq!(
            t.store.drifted_apps().await.unwrap(),
            0,
            "a removed app has none"
        );
    })
    .await;
}

#[tokio::test]
async fn each_app_is_looked_at_once_in_a_period_when_it_is_at_rest() {
    each(async |t| {
        let day = Duration::from_secs(24 * 3600);
        for app in ["a", "b", "busy"] {
            t.ready(app).await;
        }
        t.onboard("young").await;
        fresh(t.repair("busy", None).await);
        assert_eq!(
            t.next_look(day).await,
            None,
            "the first looks are spread over the period"
        );
        t.clock.advance(day);
        let mut looked = Vec::new();
        while let Some(app) = t.next_look(day).await {
            looked.push(app);
        }
        looked.sort();
        assert_eq!(looked, ["a", "b"], "each once, and none with a job at work");
        t.clock.advance(day.mul_f64(0.8));
        assert_eq!(t.next_look(day).await, None);
        t.clock.advance(day.mul_f64(0.31));
        assert!(t.next_look(day).await.is_some() && t.next_look(day).await.is_some());

        // A shorter period counts from now on.
        let minute = Duration::from_secs(60);
        assert_eq!(t.next_look(minute).await, None);
        t.clock.advance(minute);
        assert!(t.next_look(minute).await.is_some());
    })
    .await;
}

#[tokio::test]
async fn a_turn_to_look_is_taken_by_one_alone() {
    each(async |t| {
        let minute = Duration::from_secs(60);
        for app in ["a", "b", "c"] {
            t.ready(app).await;
        }
        assert_eq!(t.next_look(minute).await, None);
        t.clock.advance(minute);
        let turns = join_all((0..12).map(|_| t.next_look(minute))).await;
        let mut taken: Vec<String> = turns.into_iter().flatten().collect();
        taken.sort();
        assert_eq!(taken, ["a", "b", "c"]);
    })
    .await;
}

#[tokio::test]
async fn an_app_that_repairs_itself_is_looked_at_again_soon() {
    each(async |t| {
        let day = Duration::from_secs(24 * 3600);
        t.ready("acme").await;
        let (app, now) = (t.app("acme").await, t.clock.now());
        t.next_look(day).await;
        let repaired = DriftReport {
            repair: Some(Ulid::generate()),
            ..report("acme", true, now)
        };
        t.store
            .save_drift_repair(app.id, &repaired, now.after(MINUTE))
            .await
            .unwrap();
        assert_eq!(t.store.drift_report(app.id).await.unwrap(), Some(repaired));
        assert_eq!(t.next_look(day).await, None);
        t.clock.advance(MINUTE);
        assert_eq!(t.next_look(day).await.as_deref(), Some("acme"));
        assert_eq!(t.next_look(day).await, None);
    })
    .await;
}
