//! Steps and events, which are written behind.

use super::*;

#[tokio::test]
async fn a_step_is_recorded_with_what_happened_to_it() {
    each(async |t| {
        let claimed = t.at_work("acme").await;
        t.store
            .record(claimed.lease, Some(done("iam:user/acme")), warning());
        assert_eq!(
            t.happenings(claimed.lease.job).await,
            ["job_queued", "job_started", "warning"]
        );
        assert_eq!(
            t.job(claimed.lease.job).await.steps[0],
            done("iam:user/acme").step
        );
        let app = t.store.app(&name("acme")).await.unwrap().unwrap();
        assert_eq!(app.resources.len(), 1);
        assert_eq!(
            (app.resources[0].arn.clone(), app.resources[0].state),
            (done("iam:user/acme").arn, StepState::Done)
        );
    })
    .await;
}

#[tokio::test]
async fn what_a_worker_has_told_is_on_disk_with_what_it_writes_later() {
    each(async |t| {
        let claimed = t.at_work("acme").await;
        t.store.record(
            claimed.lease,
            Some(done("iam:user/acme")),
            applied("iam:user/acme", &["CreateUser"]),
        );
        t.store.intend_key(claimed.lease, Vec::new()).await.unwrap();
        assert_eq!(
            t.happenings(claimed.lease.job).await.last(),
            Some(&"change_applied")
        );
        assert_eq!(
            t.store.recorded(claimed.app.id).await.unwrap().made,
            BTreeSet::from([resource_id("iam:user/acme")])
        );
    })
    .await;
}

#[tokio::test]
async fn what_is_told_can_have_any_character() {
    each(async |t| {
        let claimed = t.at_work("acme").await;
        let odd = "a NUL \u{0}, a \"quote\", a \\u0000 and an é";
        let error = JobError {
            detail: odd.into(),
            ..job_error()
        };
        let failed = Step {
            state: StepState::Failed,
            error: Some(error.clone()),
            ..Step::pending(resource_id("iam:user/acme"))
        };
        let record = StepRecord {
            steps: vec![failed.clone()],
            step: failed.clone(),
            ..done("iam:user/acme")
        };
        let payload = EventPayload::StepFailed {
            resource: resource_id("iam:user/acme"),
            error: error.clone(),
        };
        t.store.record(claimed.lease, Some(record), payload.clone());
        t.store.check().await.unwrap();
        assert_eq!(
            t.store
                .events(claimed.lease.job, 0, 100)
                .await
                .unwrap()
                .last()
                .unwrap()
                .payload,
            payload
        );
        assert_eq!(t.job(claimed.lease.job).await.steps, [failed]);
        assert_eq!(t.app("acme").await.resources[0].error, Some(error));
        let newest = t
            .store
            .audit(&AuditFilter {
                limit: 1,
                ..AuditFilter::default()
            })
            .await
            .unwrap()
            .remove(0);
        assert!(matches!(newest.event, AuditEvent::StepFailed { reason, .. } if reason == odd));
    })
    .await;
}

#[tokio::test]
async fn of_what_is_told_together_every_event_stays_and_of_a_step_the_last_state() {
    each(async |t| {
        let claimed = t.at_work("acme").await;
        let failed = Step {
            state: StepState::Failed,
            ..done("iam:user/acme").step
        };
        for record in [
            done("iam:group/Apps"),
            done("iam:user/acme"),
            StepRecord {
                step: failed.clone(),
                steps: vec![failed],
                arn: None,
                made: false,
                made_at: None,
                owned: false,
                gone: false,
            },
        ] {
            t.store.record(claimed.lease, Some(record), warning());
        }
        t.end(claimed.lease, succeeded()).await;
        assert_eq!(
            t.happenings(claimed.lease.job).await,
            [
                "job_queued",
                "job_started",
                "warning",
                "warning",
                "warning",
                "job_succeeded"
            ]
        );
        let app = t.store.app(&name("acme")).await.unwrap().unwrap();
        let told = app
            .resources
            .iter()
            .map(|resource| (resource.resource.as_str(), resource.state));
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                ("iam:group/Apps", StepState::Done),
                ("iam:user/acme", StepState::Failed)
            ]
        );
        let made = ["iam:group/Apps", "iam:user/acme"].map(resource_id);
        assert_eq!(
            t.store.recorded(claimed.app.id).await.unwrap().made,
            BTreeSet::from(made),
            "what was made once stays made"
        );
    })
    .await;
}

#[tokio::test]
async fn progress_that_the_database_did_not_take_goes_along_with_the_next_that_it_takes() {
    each(async |t| {
        let claimed = t.at_work("acme").await;
        t.refuse_inserts("events").await;
        t.store
            .record(claimed.lease, Some(done("iam:user/acme")), warning());
        t.store.check().await.unwrap();
        assert!(!t.happenings(claimed.lease.job).await.contains(&"warning"));
        assert!(
            t.store.finish(claimed.lease, succeeded()).await.is_err(),
            "nor does it take the end"
        );
        t.allow_inserts("events").await;
        t.end(claimed.lease, succeeded()).await;
        let happenings = t.happenings(claimed.lease.job).await;
        assert_eq!(
            happenings[happenings.len() - 2..],
            ["warning", "job_succeeded"],
            "once, and in order"
        );
        assert_eq!(
            happenings.iter().filter(|name| **name == "warning").count(),
            1
        );
        let job = t.job(claimed.lease.job).await;
        assert_eq!(
            job.steps
                .iter()
                .find(|step| step.resource == "iam:user/acme")
                .unwrap()
                .state,
            StepState::Done
        );
        assert!(
            t.store
                .recorded(claimed.app.id)
                .await
                .unwrap()
                .made
                .contains("iam:user/acme")
        );
    })
    .await;
}

#[tokio::test]
async fn progress_that_went_along_with_a_write_does_not_hold_up_what_is_told_next() {
    each(async |t| {
        let lease = t.at_work("acme").await.lease;
        for n in 0..20 {
            // Its own write is held back and waits to be dropped once another has taken it along.
            t.store.record(lease, None, warning());
            t.store.intend_key(lease, Vec::new()).await.unwrap();
            t.store.record(lease, None, warning());
            // Nobody writes anything else, and a process that is lost now would lose it.
            let written = async || {
                let told = t.store.events(lease.job, 0, 100).await.unwrap();
                told.iter()
                    .filter(|event| event.payload.name() == "warning")
                    .count()
            };
            let until = tokio::time::Instant::now() + MINUTE / 6;
            while written().await < 2 * n + 2 {
                assert!(
                    tokio::time::Instant::now() < until,
                    "what was told last is not written"
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            t.raw("DELETE FROM key_intents").await;
        }
    })
    .await;
}

#[tokio::test]
async fn events_are_numbered_in_one_rising_sequence_and_read_on_from_any_of_them() {
    each(async |t| {
        let (one, two) = (t.at_work("one").await.lease, t.at_work("two").await.lease);
        for n in 0..20 {
            t.store
                .record(if n % 2 == 0 { one } else { two }, None, warning());
        }
        t.store.check().await.unwrap();
        let all = t.store.events(one.job, 0, 100).await.unwrap();
        let numbers: Vec<i64> = all.iter().map(|event| event.seq).collect();
        assert_eq!(numbers.len(), 12);
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        assert!(all.iter().all(|event| event.job_id == one.job));
        for (read, number) in numbers.iter().enumerate() {
            assert_eq!(
                t.store.events(one.job, *number, 100).await.unwrap(),
                all[read + 1..]
            );
        }
        assert_eq!(
            t.store.events(one.job, numbers[2], 3).await.unwrap(),
            all[3..6]
        );
    })
    .await;
}

#[tokio::test]
async fn whoever_listens_hears_of_commits() {
    each(async |t| {
        let (mut signals, mut progress) = (t.store.signals(), t.store.progress_signals());
        let job = t.onboard("acme").await.id;
        assert_eq!(signals.recv().await.unwrap(), Signal::Queued);
        let lease = t.claim().await.unwrap().lease;
        assert_eq!(progress.recv().await.unwrap(), Signal::Progress(job));
        t.store.record(lease, None, warning());
        assert_eq!(progress.recv().await.unwrap(), Signal::Progress(job));
        assert_eq!(
            t.happenings(job).await.last(),
            Some(&"warning"),
            "it is there when it is told"
        );
        t.store.cancel(job, "ben".into()).await.unwrap().unwrap();
        assert_eq!(signals.recv().await.unwrap(), Signal::CancelAsked(job));
    })
    .await;
}
