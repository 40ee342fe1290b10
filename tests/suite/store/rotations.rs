//! Rotations of access keys.

use super::*;

/// The request for a job of the rotation's next stage.
fn moved(app: &str, rotation: &Rotation, event: RotationEvent, to: KeyStatus) -> JobRequest {
    let task = Task::SetKeyStatus {
        access_key_id: "OLD".into(),
        to,
        force: false,
        rotation: Some(rotation.id),
    };
    let change = AppChange::Rotation(RotationChange::Move(rotation.id, event));
    JobRequest {
        change: Some(change),
        ..JobRequest::new(name(app), task, resources(app), "rotation")
    }
}

#[tokio::test]
async fn a_rotation_goes_from_stage_to_stage_with_its_jobs() {
    each(async |fixture| {
        let app = fixture.rotating("acme").await;
        let rotation = fixture.rotation(app).await;
        assert_eq!(
            (rotation.stage, rotation.new_key.as_deref()),
            (Stage::AwaitingClaim, Some("NEW"))
        );
        assert_eq!(rotation.due_at, Some(rotation.since.after(CLAIM_DEADLINE)));
        assert_eq!(fixture.due().await, []);
        fixture.claim_secret(app, "OLD", "bob", None).await;
        assert_eq!(
            fixture.rotation(app).await.stage,
            Stage::AwaitingClaim,
            "another key"
        );
        fixture.claim_secret(app, "NEW", "bob", None).await;
        assert_eq!(
            fixture.due().await,
            [Stage::Draining],
            "the claim is noted with the claim"
        );

        let seen = fixture.rotation(app).await;
        let off = || moved("acme", &seen, RotationEvent::Quiet, KeyStatus::Inactive);
        let job = fresh(fixture.store.enqueue(off(), None).await.unwrap());
        let rotation = fixture.rotation(app).await;
        assert_eq!(
            (rotation.stage, rotation.due_at, rotation.job),
            (Stage::Deactivating, None, Some(job.id))
        );
        assert!(matches!(
            fixture.store.enqueue(off(), None).await.unwrap(),
            Err(Refusal::Active(_))
        ));
        fixture.run(succeeded()).await;
        let rotation = fixture.rotation(app).await;
        assert_eq!(
            (rotation.stage, rotation.due_at),
            (Stage::PendingDeletion, Some(rotation.since.after(MINUTE)))
        );
        assert!(
            matches!(
                fixture.store.enqueue(off(), None).await.unwrap(),
                Err(Refusal::RotationStage(_))
            ),
            "asked twice is done once"
        );

        fixture.clock.advance(MINUTE);
        assert_eq!(fixture.due().await, [Stage::PendingDeletion]);
        let gone = moved(
            "acme",
            &rotation,
            RotationEvent::HoldOver,
            KeyStatus::Deleted,
        );
        fresh(fixture.store.enqueue(gone, None).await.unwrap());
        fixture.run(succeeded()).await;
        let rotation = fixture.rotation(app).await;
        assert!(
            rotation.stage == Stage::Done
                && rotation.ended_at.is_some()
                && rotation.due_at.is_none()
        );
        assert_eq!(fixture.due().await, []);
        fresh(
            fixture
                .store
                .enqueue(a_rotation("acme"), None)
                .await
                .unwrap(),
        );
        assert_eq!(
            fixture.rotation(app).await.stage,
            Stage::Creating,
            "another can begin"
        );
    })
    .await;
}

#[tokio::test]
async fn a_key_that_is_claimed_before_its_job_ends_is_claimed() {
    each(async |fixture| {
        let (app, ask) = to_rotate(&fixture, "acme").await;
        fresh(fixture.store.enqueue(ask, None).await.unwrap());
        let claimed = fixture.claim().await.unwrap();
        let intent = fixture
            .store
            .intend_key(claimed.lease, vec!["OLD".into()])
            .await
            .unwrap();
        fixture
            .store
            .record_key(claimed.lease, intent.id, credential("NEW"))
            .await
            .unwrap();
        fixture.claim_secret(app, "NEW", "bob", None).await;
        fixture.end(claimed.lease, succeeded()).await;
        assert_eq!(fixture.rotation(app).await.stage, Stage::Draining);
    })
    .await;
}

/// Somebody cancels what the rotation has asked for: it does not ask again, whichever job it was.
#[tokio::test]
async fn a_rotation_whose_job_is_canceled_stops_and_says_so() {
    each(async |t| {
        for (app, stage, to, event) in [
            (
                "acme",
                Stage::Deactivating,
                KeyStatus::Inactive,
                RotationEvent::Quiet,
            ),
            (
                "blog",
                Stage::Deleting,
                KeyStatus::Deleted,
                RotationEvent::HoldOver,
            ),
        ] {
            let id = t.rotating(app).await;
            t.raw(&format!(
                "UPDATE rotations SET stage = 'draining' WHERE app_id = '{id}'"
            ))
            .await;
            if to == KeyStatus::Deleted {
                t.raw(&format!(
                    "UPDATE rotations SET stage = 'pending_deletion' WHERE app_id = '{id}'"
                ))
                .await;
            }
            let rotation = t.rotation(id).await;
            let job = fresh(
                t.store
                    .enqueue(moved(app, &rotation, event, to), None)
                    .await
                    .unwrap(),
            );
            assert_eq!(t.rotation(id).await.stage, stage);
            t.store.cancel(job.id, "ann".into()).await.unwrap().unwrap();
            let rotation = t.rotation(id).await;
            assert_eq!((rotation.stage, rotation.due_at), (Stage::Stopped, None));
            assert!(
                rotation.reason.as_ref().unwrap().contains("was canceled"),
                "{rotation:?}"
            );
        }
    })
    .await;
}

/// A rotation whose first job is being worked on and has an open intent.
async fn making(t: &Fixture, app: &str) -> (Claimed, Ulid) {
    let (_, ask) = to_rotate(t, app).await;
    fresh(t.store.enqueue(ask, None).await.unwrap());
    let claimed = t.claim().await.unwrap();
    let intent = t
        .store
        .intend_key(claimed.lease, vec!["OLD".into()])
        .await
        .unwrap();
    (claimed, intent.id)
}

#[tokio::test]
async fn a_rotation_that_is_canceled_after_its_key_was_made_says_that_there_are_two() {
    each(async |t| {
        let (claimed, intent) = making(&t, "acme").await;
        t.store
            .record_key(claimed.lease, intent, credential("NEW"))
            .await
            .unwrap();
        t.store
            .cancel(claimed.lease.job, "ann".into())
            .await
            .unwrap()
            .unwrap();
        t.end(claimed.lease, succeeded()).await;
        assert_eq!(t.job(claimed.lease.job).await.state, JobState::Canceled);
        let rotation = t.rotation(claimed.app.id).await;
        assert_eq!(
            (rotation.stage, rotation.new_key.as_deref()),
            (Stage::Stopped, Some("NEW"))
        );
        let reason = rotation.reason.unwrap();
        assert!(
            ["NEW", "OLD", "claim", "delete"]
                .iter()
                .all(|word| reason.contains(word)),
            "{reason}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_rotation_that_is_canceled_while_its_key_is_in_doubt_stops() {
    each(async |t| {
        let (claimed, _) = making(&t, "acme").await;
        t.store
            .cancel(claimed.lease.job, "ann".into())
            .await
            .unwrap()
            .unwrap();
        t.end(claimed.lease, AttemptResult::Canceled).await;
        let job = t.job(claimed.lease.job).await;
        assert_eq!(
            (job.state, job.error.unwrap().code),
            (JobState::NeedsAttention, JobErrorCode::CredentialInDoubt)
        );
        let rotation = t.rotation(claimed.app.id).await;
        assert_eq!(
            (rotation.stage, rotation.due_at),
            (Stage::Stopped, None),
            "nothing asks for it again"
        );
        assert_eq!(
            rotation.reason.as_deref(),
            Some("The job that creates the new key was canceled.")
        );
    })
    .await;
}

#[tokio::test]
async fn a_rotation_whose_old_key_is_gone_is_done() {
    each(async |t| {
        for stage in ["awaiting_claim", "draining", "pending_deletion"] {
            let app = format!("acme-{stage}");
            let id = t.rotating(&app).await;
            t.raw(&format!(
                "UPDATE rotations SET stage = '{stage}' WHERE app_id = '{id}'"
            ))
            .await;
            fresh(t.repair(&app, None).await);
            let claimed = t.claim().await.unwrap();
            t.store
                .record_keys_gone(claimed.lease, vec!["SOME".into()])
                .await
                .unwrap();
            assert_eq!(
                t.rotation(id).await.stage.to_string(),
                stage,
                "that was another key"
            );
            t.store
                .record_keys_gone(claimed.lease, vec!["OLD".into()])
                .await
                .unwrap();
            let rotation = t.rotation(id).await;
            assert!(
                rotation.stage == Stage::Done
                    && rotation.ended_at.is_some()
                    && rotation.due_at.is_none(),
                "{rotation:?}"
            );
            t.end(claimed.lease, succeeded()).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_app_has_one_rotation_at_a_time_and_none_while_it_is_removed() {
    each(async |fixture| {
        let app = fixture.rotating("acme").await;
        let active = fixture.rotation(app).await.id;
        assert_eq!(
            fixture
                .store
                .enqueue(a_rotation("acme"), None)
                .await
                .unwrap(),
            Err(Refusal::RotationActive(active))
        );
        assert_eq!(fixture.number("SELECT COUNT(*) FROM rotations").await, 1);
        let removal = Removal {
            buckets: BTreeSet::new(),
            repositories: BTreeSet::new(),
            adopted: false,
            requested_by: "ann".into(),
            requested_at: fixture.clock.now(),
            remove_at: fixture.clock.now().after(MINUTE),
            switched_off: BTreeSet::new(),
            lists: [].into(),
            restoring: false,
        };
        let ask = JobRequest {
            change: Some(AppChange::Removal(removal)),
            ..JobRequest::new(name("acme"), Task::Offboard, resources("acme"), "ann")
        };
        fresh(fixture.store.enqueue(ask, None).await.unwrap());
        let rotation = fixture.rotation(app).await;
        assert!(
            rotation.stage == Stage::Stopped && rotation.reason.unwrap().contains("being removed")
        );
        fixture.run(succeeded()).await;
        assert!(matches!(
            fixture
                .store
                .enqueue(a_rotation("acme"), None)
                .await
                .unwrap(),
            Err(Refusal::BeingRemoved(_))
        ));
    })
    .await;
}

#[tokio::test]
async fn a_rotation_whose_job_does_not_succeed_waits_longer_each_time() {
    each(async |fixture| {
        let (app, ask) = to_rotate(&fixture, "acme").await;
        let task = ask.task.clone();
        fresh(fixture.store.enqueue(ask, None).await.unwrap());
        for minutes in [1, 2, 4] {
            fixture.run(AttemptResult::Failed(job_error())).await;
            let rotation = fixture.rotation(app).await;
            assert_eq!(
                (rotation.stage, rotation.error),
                (Stage::Creating, Some(job_error()))
            );
            assert_eq!(fixture.due().await, []);
            fixture.clock.advance(MINUTE * minutes);
            assert_eq!(fixture.due().await, [Stage::Creating], "{minutes}");
            let change =
                AppChange::Rotation(RotationChange::Move(rotation.id, RotationEvent::AskedAgain));
            let again = JobRequest {
                change: Some(change),
                ..JobRequest::new(name("acme"), task.clone(), resources("acme"), "rotation")
            };
            fresh(fixture.store.enqueue(again, None).await.unwrap());
            assert_eq!(fixture.due().await, [], "its job is at work");
        }
        fixture.run(AttemptResult::Canceled).await;
        let rotation = fixture.rotation(app).await;
        assert!(rotation.stage == Stage::Stopped && rotation.reason.unwrap().contains("canceled"));
    })
    .await;
}

#[tokio::test]
async fn a_key_that_is_in_use_after_all_is_watched_again() {
    each(async |fixture| {
        let app = fixture.rotating("acme").await;
        fixture.claim_secret(app, "NEW", "bob", None).await;
        let off = moved(
            "acme",
            &fixture.rotation(app).await,
            RotationEvent::Quiet,
            KeyStatus::Inactive,
        );
        fresh(fixture.store.enqueue(off, None).await.unwrap());
        fixture
            .run(AttemptResult::NeedsAttention(JobError {
                code: JobErrorCode::KeyInUse,
                ..job_error()
            }))
            .await;
        let rotation = fixture.rotation(app).await;
        assert_eq!(
            (rotation.stage, rotation.reason),
            (Stage::Draining, Some(job_error().detail))
        );
        assert_eq!(fixture.due().await, []);
        fixture.clock.advance(MINUTE);
        assert_eq!(fixture.due().await, [Stage::Draining]);
        let seen = fixture.rotation(app).await;
        fixture
            .store
            .postpone_rotation(
                &seen,
                fixture.clock.now().after(MINUTE),
                Some("it is in use".into()),
            )
            .await
            .unwrap();
        assert_eq!(fixture.due().await, []);
        assert!(
            fixture
                .store
                .move_rotation(&seen, RotationEvent::Off, None)
                .await
                .unwrap()
        );
        assert!(
            !fixture
                .store
                .move_rotation(&seen, RotationEvent::Off, None)
                .await
                .unwrap(),
            "it is there already"
        );
        let back = moved(
            "acme",
            &seen,
            RotationEvent::RollbackAsked,
            KeyStatus::Active,
        );
        fresh(fixture.store.enqueue(back, None).await.unwrap());
        fixture.run(succeeded()).await;
        assert_eq!(fixture.rotation(app).await.stage, Stage::RolledBack);
    })
    .await;
}

#[tokio::test]
async fn a_rollback_that_cannot_be_ends_the_rotation() {
    each(async |fixture| {
        let gone = JobError {
            code: JobErrorCode::Rejected,
            detail: "the key is gone".into(),
            ..job_error()
        };
        for (app, ended, reason) in [
            ("gone", AttemptResult::Failed(gone), "the key is gone"),
            (
                "canceled",
                AttemptResult::Canceled,
                "The rollback was canceled.",
            ),
        ] {
            let id = fixture.rotating(app).await;
            let back = moved(
                app,
                &fixture.rotation(id).await,
                RotationEvent::RollbackAsked,
                KeyStatus::Active,
            );
            fresh(fixture.store.enqueue(back, None).await.unwrap());
            fixture.run(ended).await;
            let rotation = fixture.rotation(id).await;
            assert_eq!(
                (rotation.stage, rotation.reason.as_deref(), rotation.due_at),
                (Stage::Stopped, Some(reason), None)
            );
            fresh(fixture.store.enqueue(a_rotation(app), None).await.unwrap());
            fixture.run(AttemptResult::Canceled).await;
        }
        let id = fixture.rotating("denied").await;
        let back = moved(
            "denied",
            &fixture.rotation(id).await,
            RotationEvent::RollbackAsked,
            KeyStatus::Active,
        );
        fresh(fixture.store.enqueue(back, None).await.unwrap());
        fixture
            .run(AttemptResult::Failed(JobError {
                code: JobErrorCode::AccessDenied,
                ..job_error()
            }))
            .await;
        assert_eq!(
            fixture.rotation(id).await.stage,
            Stage::RollingBack,
            "it is asked for again"
        );
    })
    .await;
}

#[tokio::test]
async fn keys_that_are_too_old_are_found() {
    each(async |fixture| {
        let (app, _) = to_rotate(&fixture, "acme").await;
        to_find(&fixture, app, Duration::from_secs(2 * 3600)).await;
        assert_eq!(fixture.store.apps_to_rotate().await.unwrap(), []);
        fixture.clock.advance(MINUTE * 120);
        assert_eq!(fixture.store.apps_to_rotate().await.unwrap().len(), 1);
        fresh(
            fixture
                .store
                .enqueue(a_rotation("acme"), None)
                .await
                .unwrap(),
        );
        assert_eq!(
            fixture.store.apps_to_rotate().await.unwrap(),
            [],
            "it is under way"
        );
        fixture.run(AttemptResult::Canceled).await;
        assert_eq!(
            fixture.store.apps_to_rotate().await.unwrap(),
            [],
            "a person has just said no"
        );
        fixture.clock.advance(MINUTE * 60 * 25);
        assert_eq!(fixture.store.apps_to_rotate().await.unwrap().len(), 1);
    })
    .await;
}
