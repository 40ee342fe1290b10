//! The audit log.

use super::*;

/// 1500 rows, in the SQL of both.
const NUMBERS: &str = "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500) SELECT i FROM n) numbers";

#[tokio::test]
async fn what_is_done_is_in_the_audit() {
    each(async |t| {
        let token = t
            .store
            .create_token("bot", Role::Operator, "hash".into(), "admin")
            .await
            .unwrap();
        let claimed = t.sealed("acme", "AKIAA").await;
        t.store.record(
            claimed.lease,
            Some(done("iam:user/acme")),
            applied("iam:user/acme", &["CreateUser"]),
        );
        t.store.record(
            claimed.lease,
            None,
            applied(
                "iam:policy/acme",
                &["DeletePolicyVersion", "CreatePolicyVersion"],
            ),
        );
        t.store.record(
            claimed.lease,
            None,
            EventPayload::StepFailed {
                resource: resource_id("iam:group/Apps"),
                error: job_error(),
            },
        );
        t.end(claimed.lease, AttemptResult::NeedsAttention(job_error()))
            .await;
        let id = claimed.lease.job;
        t.store.cancel(id, "bob".into()).await.unwrap().unwrap();
        t.store
            .retry(id, "cy".into(), ImageExpiry::Refuse)
            .await
            .unwrap()
            .unwrap();
        let again = t.claim().await.unwrap();
        t.end(again.lease, succeeded()).await;
        for _ in 0..2 {
            assert!(matches!(
                t.claim_secret(claimed.app.id, "AKIAA", "dan", Some("hash-of-a-key"))
                    .await,
                ClaimAnswer::Sealed(..)
            ));
        }
        assert!(t.store.delete_token(token.id, "eve").await.unwrap());
        let expected = [
            "token_created admin ",
            "job_requested ann acme",
            "change_applied ann iam:user/acme",
            "change_applied ann iam:policy/acme",
            "change_applied ann iam:policy/acme",
            "step_failed ann iam:group/Apps",
            "job_ended ann acme",
            "cancel_requested bob acme",
            "job_ended ann acme",
            "retry_requested cy acme",
            "job_ended ann acme",
            "secret_claimed dan acme",
            "secret_claimed dan acme",
            "token_revoked eve ",
        ];
        assert_eq!(told(&t).await, expected);
        let all = audit(&t, AuditFilter::default()).await;
        assert!(
            all.windows(2)
                .all(|two| two[0].seq > two[1].seq && two[0].at >= two[1].at)
        );
        let text = serde_json::to_string(&all).unwrap();
        for secret in ["sealed", "hash-of-a-key", "\"hash\""] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        let AuditEvent::SecretClaimed { again, .. } = &all[1].event else {
            panic!("{:?}", all[1])
        };
        assert!(again, "the second time");
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_written_to_the_audit_is_not_done() {
    each(async |t| {
        let claimed = t.sealed("acme", "AKIAA").await;
        t.end(claimed.lease, AttemptResult::Failed(job_error()))
            .await;
        let id = claimed.lease.job;
        let token = t
            .store
            .create_token("bot", Role::Operator, "hash".into(), "admin")
            .await
            .unwrap();
        t.refuse_inserts("audit").await;
        assert!(t.store.onboard(new_app("other"), None).await.is_err());
        assert!(
            t.store
                .retry(id, "ann".into(), ImageExpiry::Refuse)
                .await
                .is_err()
        );
        assert!(
            t.store
                .create_token("copy", Role::Viewer, "hash-2".into(), "admin")
                .await
                .is_err()
        );
        assert!(t.store.delete_token(token.id, "admin").await.is_err());
        assert!(
            t.store
                .claim_secret(claimed.app.id, "AKIAA", &bearer("ann"), None)
                .await
                .is_err()
        );
        t.allow_inserts("audit").await;
        assert_eq!(t.store.app(&name("other")).await.unwrap(), None);
        assert_eq!(t.job(id).await.state, JobState::Failed);
        assert_eq!(t.store.tokens().await.unwrap(), [token]);
        assert_eq!(t.secret_of(claimed.app.id).await, SecretState::Unclaimed);
        let before = t.number("SELECT COUNT(*) FROM audit").await;
        let lost = Lease {
            token: claimed.lease.token - 1,
            ..claimed.lease
        };
        t.store
            .record(lost, None, applied("iam:user/acme", &["CreateUser"]));
        t.store.check().await.unwrap();
        assert_eq!(
            t.number("SELECT COUNT(*) FROM audit").await,
            before,
            "nothing under a lost lease"
        );
    })
    .await;
}

#[tokio::test]
async fn the_table_takes_the_actions_that_there_are_and_no_other() {
    each(async |t| {
        let mut db = t.connect().await;
        let insert = "INSERT INTO audit (at, actor, action, detail) VALUES (1, 'ann', $1, '{}')";
        for action in Action::iter() {
            sqlx::query(insert)
                .bind(action.to_string())
                .execute(&mut db)
                .await
                .unwrap();
        }
        assert!(
            sqlx::query(insert)
                .bind("danced")
                .execute(&mut db)
                .await
                .is_err()
        );
    })
    .await;
}

#[tokio::test]
async fn entries_are_found_by_each_filter_and_by_all_together_in_whole_pages() {
    each(async |t| {
        for app in ["one", "two"] {
            let claimed = t.at_work(app).await;
            t.store.record(
                claimed.lease,
                None,
                applied(&format!("iam:user/{app}"), &["CreateUser"]),
            );
            t.store.record(
                claimed.lease,
                None,
                applied(&format!("iam:user_/{app}"), &["TagUser"]),
            );
            t.end(claimed.lease, succeeded()).await;
            next_millisecond().await;
        }
        t.store
            .create_token("bot", Role::Operator, "hash".into(), "admin")
            .await
            .unwrap();
        let all = audit(&t, AuditFilter::default()).await;
        assert_eq!(all.len(), 9);
        let job = all.last().unwrap().job;
        let middle = all[4].at;
        let some = |text: &str| Some(text.to_owned());
        let base = AuditFilter::default;
        let filters = [
            (
                AuditFilter {
                    app: Some(name("ONE")),
                    ..base()
                },
                4,
            ),
            (
                AuditFilter {
                    actor: some("ann"),
                    ..base()
                },
                8,
            ),
            (
                AuditFilter {
                    action: Some(Action::ChangeApplied),
                    ..base()
                },
                4,
            ),
            (AuditFilter { job, ..base() }, 4),
            (
                AuditFilter {
                    resource: some("iam:user/"),
                    ..base()
                },
                2,
            ),
            (
                AuditFilter {
                    resource: some("iam:user_"),
                    ..base()
                },
                2,
            ),
            (
                AuditFilter {
                    resource: some("iam:"),
                    ..base()
                },
                4,
            ),
            (
                AuditFilter {
                    service: some("iam"),
                    ..base()
                },
                4,
            ),
            (
                AuditFilter {
                    operation: some("TagUser"),
                    ..base()
                },
                2,
            ),
            (
                AuditFilter {
                    since: Some(middle),
                    ..base()
                },
                all.iter().filter(|it| it.at >= middle).count(),
            ),
            (
                AuditFilter {
                    until: Some(middle),
                    ..base()
                },
                all.iter().filter(|it| it.at < middle).count(),
            ),
            (
                AuditFilter {
                    app: Some(name("one")),
                    actor: some("ann"),
                    action: Some(Action::ChangeApplied),
                    job,
                    resource: some("iam:user/one"),
                    service: some("iam"),
                    operation: some("CreateUser"),
                    since: Some(Timestamp::from_millis(0)),
                    until: Some(t.clock.now().after(MINUTE)),
                    ..base()
                },
                1,
            ),
        ];
        for (filter, expected) in filters {
            let found = audit(&t, filter.clone()).await;
            assert_eq!(found.len(), expected, "{filter:?}: {found:#?}");
            let (mut paged, mut before) = (Vec::new(), None);
            loop {
                let page = t
                    .store
                    .audit(&AuditFilter {
                        before,
                        limit: 2,
                        ..filter.clone()
                    })
                    .await
                    .unwrap();
                let Some(last) = page.last() else { break };
                before = Some(AuditCursor::of(last));
                paged.extend(page);
                assert!(
                    paged.len() <= found.len(),
                    "{filter:?}: an entry came twice"
                );
            }
            assert_eq!(paged, found, "{filter:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_audit_outlives_jobs_and_goes_by_its_own_age() {
    each(async |t| {
        t.ready("acme").await;
        t.clock.advance(YEAR);
        next_millisecond().await;
        fresh(t.repair("acme", None).await);
        t.end(t.claim().await.unwrap().lease, succeeded()).await;
        let old = audit(&t, AuditFilter::default()).await.into_iter().map(|entry| entry.at).min().unwrap();
        t.raw("DELETE FROM events; DELETE FROM steps; DELETE FROM resources; DELETE FROM jobs").await;
        assert_eq!(audit(&t, AuditFilter { app: Some(name("acme")), ..Default::default() }).await.len(), 4);
        assert_eq!(t.store.prune_audit(YEAR * 2).await.unwrap(), 0, "not so old yet");
        assert_eq!(t.store.prune_audit(YEAR / 2).await.unwrap(), 2);
        let left = audit(&t, AuditFilter::default()).await;
        assert_eq!(left.len(), 2);
        assert!(left.iter().all(|entry| entry.at > old));
        t.raw(&format!("INSERT INTO audit (at, actor, action, detail) SELECT 1, 'ann', 'retry_requested', '{{}}' FROM {NUMBERS}")).await;
        assert_eq!(t.store.prune_audit(YEAR / 2).await.unwrap(), 1000, "so many in a commit");
        assert_eq!(t.store.prune_audit(YEAR / 2).await.unwrap(), 500);
    })
    .await;
}

#[tokio::test]
async fn of_one_job_the_numbers_of_entries_rise_as_they_are_committed_at_many_replicas_too() {
    let stores = replicas::<4>().await;
    let each_asks = |i: usize| stores[i % 4].onboard(new_app(&format!("acme-{i}")), None);
    join_all((0..40).map(each_asks)).await;
    let work = async |store: &Store| {
        while let Some(claimed) = store.claim("a worker", LEASE, DEADLINE).await.unwrap() {
            for number in 0..5 {
                store.record(
                    claimed.lease,
                    None,
                    applied(&format!("iam:user/{number}"), &["CreateUser"]),
                );
                tokio::task::yield_now().await;
            }
            store.finish(claimed.lease, succeeded()).await.unwrap();
        }
    };
    join_all(stores.iter().map(work)).await;
    let mut entries = stores[0]
        .audit(&AuditFilter {
            limit: 1000,
            ..Default::default()
        })
        .await
        .unwrap();
    assert_eq!(entries.len(), 40 * 7);
    let places: BTreeSet<String> = entries
        .iter()
        .map(|entry| AuditCursor::of(entry).to_string())
        .collect();
    assert_eq!(places.len(), entries.len(), "no two share a place");
    entries.sort_by_key(|entry| (entry.job, entry.seq));
    for of_job in entries.chunk_by(|a, b| a.job == b.job) {
        let told: Vec<_> = of_job
            .iter()
            .map(|entry| {
                entry
                    .event
                    .resource()
                    .unwrap_or(if entry.seq == of_job[0].seq {
                        "asked"
                    } else {
                        "ended"
                    })
            })
            .collect();
        assert_eq!(
            told,
            [
                "asked",
                "iam:user/0",
                "iam:user/1",
                "iam:user/2",
                "iam:user/3",
                "iam:user/4",
                "ended"
            ]
        );
    }
}
