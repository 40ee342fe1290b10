//! Rows that cannot be read.

use super::*;

#[tokio::test]
async fn a_job_whose_task_cannot_be_read_is_given_back_and_then_parked() {
    each(async |t| {
        let claimed = t.at_work("acme").await;
        t.raw(&format!(
            "UPDATE jobs SET task = 'lost' WHERE id = '{}'",
            claimed.lease.job
        ))
        .await;
        assert_eq!(
            t.store.release_all_leases().await.unwrap(),
            1,
            "the service starts"
        );
        assert_eq!(t.claim().await, None);
        t.raw("UPDATE jobs SET task = '{\"kind\":\"onboard\"}'")
            .await;
        let job = t.job(claimed.lease.job).await;
        assert_eq!(
            (job.state, job.error.unwrap().code),
            (JobState::NeedsAttention, JobErrorCode::Internal)
        );
        assert_eq!(t.app("acme").await.summary.state, AppState::NeedsAttention);
    })
    .await;
}

/// Reads all that the store can read of the app `acme`, its job and its key.
async fn read_all(t: &Fixture, app: Ulid, job: Ulid) -> Vec<StoreError> {
    let errors = [
        t.store.app(&name("acme")).await.err(),
        t.store
            .apps(&AppFilter {
                limit: 10,
                ..AppFilter::default()
            })
            .await
            .err(),
        t.store.job(job).await.err(),
        t.store
            .jobs(&JobFilter {
                limit: 10,
                ..JobFilter::default()
            })
            .await
            .err(),
        t.store.events(job, 0, 100).await.err(),
        t.store.key_records(app).await.err(),
        t.store.credentials(app).await.err(),
        t.store.tokens().await.err(),
        t.store.caller_by_token_hash("hash").await.err(),
        t.store
            .audit(&AuditFilter {
                limit: 10,
                ..AuditFilter::default()
            })
            .await
            .err(),
    ];
    errors.into_iter().flatten().collect()
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_named() {
    for (table, column, garbage) in [
        ("apps", "spec", "'{\"name\": 1}'"),
        ("apps", "state", "'lost'"),
        ("apps", "created_at", "'soon'"),
        ("jobs", "state", "'lost'"),
        ("jobs", "kind", "'dance'"),
        ("jobs", "task", "'dance'"),
        ("jobs", "attempt", "-1"),
        ("jobs", "result", "'nothing'"),
        ("jobs", "error", "'[]'"),
        ("jobs", "started_at", "'soon'"),
        ("steps", "steps", "'[{\"state\": \"lost\"}]'"),
        ("resources", "state", "'lost'"),
        ("resources", "updated_at", "'soon'"),
        ("events", "data", "'{\"event\": \"danced\"}'"),
        ("key_intents", "known_keys", "'none'"),
        ("credentials", "secret", "'lost'"),
        ("credentials", "readiness", "'soon'"),
        ("credentials", "created_at", "'soon'"),
        ("tokens", "role", "'king'"),
        ("tokens", "created_at", "'soon'"),
        ("audit", "detail", "'{\"action\": \"danced\"}'"),
    ] {
        each(async |t| {
            if t.backend == Backend::Postgres && column.ends_with("_at") {
                // Its columns have types, so there is no text among the numbers.
                return;
            }
            let claimed = t.sealed("acme", "AKIAA").await;
            t.store.intend_key(claimed.lease, Vec::new()).await.unwrap();
            t.store
                .record(claimed.lease, Some(done("iam:user/acme")), warning());
            t.store
                .create_token("bot", Role::Viewer, "hash".into(), "admin")
                .await
                .unwrap();
            // What was recorded without waiting is committed before this.
            t.store.check().await.unwrap();
            t.raw(&format!("UPDATE {table} SET {column} = {garbage}"))
                .await;
            let errors = read_all(&t, claimed.app.id, claimed.lease.job).await;
            let named = |error: &StoreError| match error {
                StoreError::Corrupt {
                    table: in_table,
                    column: in_column,
                    row,
                    ..
                } => (*in_table, *in_column) == (table, column) && row != "?",
                _ => false,
            };
            assert!(errors.iter().any(named), "{table}.{column}: {errors:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn the_row_that_cannot_be_read_is_named_by_its_id() {
    each(async |t| {
        let claimed = t.at_work("acme").await;
        t.raw("UPDATE jobs SET kind = 'dance'").await;
        let told = t
            .store
            .job(claimed.lease.job)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            told.starts_with(&format!(
                "jobs.kind of row {} cannot be read",
                claimed.lease.job
            )),
            "{told}"
        );
    })
    .await;
}

#[tokio::test]
async fn an_app_whose_name_cannot_be_read_is_named() {
    each(async |t| {
        let claimed = t.at_work("acme").await;
        t.raw("UPDATE apps SET name = 'not a name'").await;
        let told = t.store.job(claimed.lease.job).await.unwrap_err();
        assert!(
            matches!(&told, StoreError::Corrupt { table: "apps", column: "name", row, .. } if *row == claimed.app.id.to_string()),
            "{told}"
        );
    })
    .await;
}

#[tokio::test]
async fn an_app_that_cannot_be_read_does_not_hold_up_the_others() {
    each(async |t| {
        t.onboard("broken").await;
        t.raw("UPDATE apps SET spec = '{'").await;
        let next = t.onboard("acme").await;
        let mut claimed = None;
        for _ in 0..3 {
            claimed = claimed.or(t
                .store
                .claim("a worker", LEASE, DEADLINE)
                .await
                .ok()
                .flatten());
        }
        assert_eq!(claimed.map(|claimed| claimed.lease.job), Some(next.id));
    })
    .await;
}

#[tokio::test]
async fn an_app_that_cannot_be_read_holds_up_no_schedule() {
    each(async |t| {
        let day = Duration::from_secs(24 * 3600);
        let (broken, acme) = (t.rotating("broken").await, t.rotating("acme").await);
        assert_eq!(t.next_look(day).await, None);
        t.clock.advance(day * 8);
        t.raw("UPDATE apps SET drift_due_at = 1 WHERE name = 'broken'; UPDATE apps SET drift_due_at = 2 WHERE name = 'acme'").await;
        t.raw(&format!("UPDATE apps SET spec = '{{\"rotate_after\":\"1h\"' WHERE id = '{broken}'")).await;
        assert_eq!((t.next_look(day).await.as_deref(), t.next_look(day).await.as_deref()), (None, Some("acme")));
        assert_eq!(t.due().await, [Stage::AwaitingClaim], "the rotation of the app that can be read");

        t.raw(&format!("UPDATE rotations SET task = '{{' WHERE app_id = '{broken}'")).await;
        assert_eq!(t.due().await, [Stage::AwaitingClaim]);

        t.raw("UPDATE rotations SET stage = 'stopped', ended_at = 1, due_at = NULL").await;
        to_find(&t, acme, Duration::from_secs(3600)).await;
        let found = |apps: Vec<App>| apps.into_iter().map(|app| app.id).collect::<Vec<_>>();
        assert_eq!(found(t.store.apps_to_rotate().await.unwrap()), [acme]);

        t.raw("UPDATE apps SET state = 'quarantined', remove_at = 1").await;
        assert_eq!(found(t.store.due_removals().await.unwrap()), [acme]);
    })
    .await;
}
