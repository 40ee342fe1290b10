//! Onboarding: one app of a name, one active job of an app.

use super::*;

#[tokio::test]
async fn an_accepted_onboarding_is_there_as_a_whole() {
    each(async |t| {
        let job = fresh(
            t.store
                .onboard(new_app("acme"), Some(key("k", "f")))
                .await
                .unwrap(),
        );
        assert_eq!(
            (job.state, job.attempt, job.kind),
            (JobState::Queued, 0, JobKind::Onboard)
        );
        assert_eq!(
            t.job(job.id).await,
            *job,
            "what is answered is what is stored"
        );
        assert_eq!(
            job.steps,
            resources("acme")
                .into_iter()
                .map(Step::pending)
                .collect::<Vec<_>>()
        );
        let app = t.store.app(&name("acme")).await.unwrap().unwrap();
        assert_eq!(
            (app.summary.state, app.summary.active_job, app.last_job),
            (AppState::Pending, Some(job.id), Some(job.id))
        );
        assert_eq!(app.spec, new_app("acme").spec);
        let events = t.store.events(job.id, 0, 100).await.unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!(
            events[0].payload,
            EventPayload::JobQueued {
                kind: JobKind::Onboard,
                requested_by: "ann".into()
            }
        );
        assert_eq!(t.number("SELECT COUNT(*) FROM idempotency").await, 1);
    })
    .await;
}

#[tokio::test]
async fn an_onboarding_that_cannot_be_written_whole_is_not_written_at_all() {
    each(async |t| {
        let tables = ["apps", "jobs", "steps", "events", "idempotency"];
        for table in tables {
            t.refuse_inserts(table).await;
            let refused = t.store.onboard(new_app("acme"), Some(key("k", "f"))).await;
            assert!(
                matches!(refused, Err(StoreError::Unavailable(_))),
                "{table}: {refused:?}"
            );
            t.allow_inserts(table).await;
            for other in tables {
                assert_eq!(
                    t.number(&format!("SELECT COUNT(*) FROM {other}")).await,
                    0,
                    "{other}, when {table} cannot be written"
                );
            }
        }
        t.onboard("acme").await;
    })
    .await;
}

#[tokio::test]
async fn names_are_unique_without_regard_to_case() {
    each(async |t| {
        t.onboard("Acme").await;
        let refused = t.store.onboard(new_app("aCME"), None).await.unwrap();
        assert_eq!(refused, Err(Refusal::AppExists(name("aCME"))));
        assert_eq!(
            t.store
                .app(&name("ACME"))
                .await
                .unwrap()
                .unwrap()
                .summary
                .name,
            "Acme"
        );
    })
    .await;
}

#[tokio::test]
async fn an_onboarding_that_never_succeeded_can_be_asked_for_anew() {
    each(async |t| {
        for (state, allowed) in [
            (JobState::Failed, true),
            (JobState::Canceled, true),
            (JobState::NeedsAttention, false),
            (JobState::Succeeded, false),
            (JobState::Waiting, false),
        ] {
            let app = format!("acme-{state}");
            let first = t.job_in(state, &app).await;
            next_millisecond().await;
            let mut anew = new_app(&app);
            anew.spec.protected = true;
            let again = t.store.onboard(anew, None).await.unwrap();
            let spec = t.store.app(&name(&app)).await.unwrap().unwrap().spec;
            if allowed {
                let job = fresh(again);
                assert_ne!(job.id, first);
                assert_eq!(
                    (t.claim().await.unwrap().lease.job, spec.protected),
                    (job.id, true),
                    "with the new spec"
                );
            } else {
                assert_eq!(
                    (again, spec.protected),
                    (Err(Refusal::AppExists(name(&app))), false),
                    "{state}"
                );
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_app_that_was_ready_once_cannot_be_onboarded_anew() {
    each(async |t| {
        t.ready("acme").await;
        next_millisecond().await;
        fresh(t.repair("acme", None).await);
        t.end(
            t.claim().await.unwrap().lease,
            AttemptResult::Failed(job_error()),
        )
        .await;
        assert_eq!(
            t.store.onboard(new_app("acme"), None).await.unwrap(),
            Err(Refusal::AppExists(name("acme")))
        );
    })
    .await;
}

#[tokio::test]
async fn an_app_has_one_active_job() {
    each(async |t| {
        for state in [JobState::Queued, JobState::Running, JobState::Waiting] {
            let active = t.job_in(state, &format!("acme-{state}")).await;
            assert_eq!(t.repair(&format!("acme-{state}"), None).await, Err(Refusal::Active(active)));
            t.raw("UPDATE jobs SET state = 'canceled', finished_at = 1, lease_owner = NULL, lease_until = NULL, next_attempt_at = NULL")
                .await;
        }
        t.ready("ready").await;
        fresh(t.repair("ready", None).await);
        assert_eq!(t.repair("nobody", None).await, Err(Refusal::NoApp));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_requests_for_one_app_one_wins() {
    each(async |t| {
        let asked = join_all((0..40).map(|n| {
            t.store
                .onboard(new_app("acme"), Some(key(&format!("k{n}"), "f")))
        }))
        .await;
        let (won, lost): (Vec<_>, Vec<_>) = asked
            .into_iter()
            .map(Result::unwrap)
            .partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 39));
        assert!(
            lost.iter()
                .all(|refused| *refused == Err(Refusal::AppExists(name("acme"))))
        );
        assert_eq!(
            t.number("SELECT COUNT(*) FROM idempotency").await,
            1,
            "a refusal leaves no record"
        );
    })
    .await;
}

#[tokio::test]
async fn an_app_that_was_ready_once_cannot_be_onboarded_anew_whatever_the_clocks_say() {
    each(async |t| {
        let (ahead, behind) = clocks();
        let t = t.by(&ahead).await;
        let claimed = t.at_work("acme").await;
        t.end(claimed.lease, AttemptResult::Failed(job_error()))
            .await;
        let t = t.by(&behind).await;
        fresh(t.store.onboard(new_app("acme"), None).await.unwrap());
        t.run(succeeded()).await;
        fresh(t.repair("acme", None).await);
        t.run(AttemptResult::Failed(job_error())).await;
        assert_eq!(
            t.store.onboard(new_app("acme"), None).await.unwrap(),
            Err(Refusal::AppExists(name("acme")))
        );
    })
    .await;
}

#[tokio::test]
async fn an_app_that_is_asked_for_anew_remembers_what_its_first_spec_has_named() {
    each(async |t| {
        let first = NewApp {
            spec: spec_with("acme", &["first-bucket", "both-bucket"]),
            ..new_app("acme")
        };
        fresh(t.store.onboard(first, None).await.unwrap());
        t.run(AttemptResult::Failed(job_error())).await;
        let second = NewApp {
            spec: spec_with("acme", &["both-bucket"]),
            ..new_app("acme")
        };
        fresh(t.store.onboard(second, None).await.unwrap());
        let app = t.app("acme").await;
        let dropped: Vec<&str> = app
            .dropped
            .buckets
            .iter()
            .map(|bucket| bucket.name.as_str())
            .collect();
        assert_eq!((dropped, app.version), (vec!["first-bucket"], 3));
    })
    .await;
}
