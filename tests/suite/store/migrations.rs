//! Databases of earlier releases.

use slipway::store::schema;

use super::*;

/// A database as it was after so many migrations.
async fn migrated_to(version: i64, backend: Backend, url: &str) -> sqlx::AnyConnection {
    sqlx::any::install_default_drivers();
    if backend == Backend::Sqlite {
        std::fs::File::create(url.strip_prefix("sqlite://").unwrap()).unwrap();
    }
    let mut db = sqlx::AnyConnection::connect(url).await.unwrap();
    match backend {
        Backend::Sqlite => schema::sqlite().run_to(version, &mut db).await.unwrap(),
        Backend::Postgres => schema::postgres().run_to(version, &mut db).await.unwrap(),
    }
    db
}

#[tokio::test]
async fn the_audit_begins_with_what_the_database_knows_already() {
    let refused = json!({"service": "iam", "operation": "CreateUser", "code": "AccessDenied", "request_id": "r-2"});
    let denied = json!({"code": "access_denied", "detail": "it may not", "remedy": null, "retryable": false, "aws": refused});
    let call = json!({"service": "iam", "operation": "CreateUser", "request_id": "r-1"});
    let unanswered = json!({"code": "conflict", "detail": "it is another's", "remedy": null, "retryable": false, "aws": null});
    let events = [
        json!({"event": "job_queued", "kind": "onboard", "requested_by": "ann"}),
        json!({"event": "job_started", "attempt": 1}),
        json!({"event": "change_applied", "resource": "iam:user/acme", "change": "create user acme", "calls": [call]}),
        json!({"event": "change_applied", "resource": "iam:group/Apps", "change": "create group Apps"}),
        json!({"event": "step_progress", "resource": "s3:bucket/acme", "message": "delete some", "calls": []}),
        json!({"event": "step_failed", "resource": "iam:user/acme", "error": denied}),
        json!({"event": "step_failed", "resource": "s3:bucket/acme", "error": unanswered}),
        json!({"event": "job_needs_attention", "error": denied}),
        json!({"event": "cancel_requested", "by": "bob"}),
        json!({"event": "job_canceled"}),
        json!({"event": "retry_requested", "by": "it's \"cy\""}),
        json!({"event": "job_failed", "error": unanswered}),
        json!({"event": "job_succeeded"}),
    ];
    for backend in BACKENDS {
        let (app, job, key) = (
            Ulid::from_parts(1, 1),
            Ulid::from_parts(2, 1),
            Ulid::from_parts(3, 1),
        );
        let (spec, result) = (
            serde_json::to_string(&new_app("acme").spec).unwrap(),
            serde_json::to_string(&JobResult::default()).unwrap(),
        );
        let rows = format!(
            "INSERT INTO apps (id, name, name_key, account, spec, state, version, created_by, created_at, updated_at, retained) \
             VALUES ('{app}', 'Acme', 'acme', 'default', '{spec}', 'ready', 1, 'ann', 1, 1, '{{}}'); \
             INSERT INTO jobs (id, app_id, kind, task, state, attempt, requested_by, cancel_requested, created_at, result, lease_token, finished_at) \
             VALUES ('{job}', '{app}', 'onboard', '{{\"kind\":\"onboard\"}}', 'succeeded', 1, 'ann', 0, 10, '{result}', 1, 30); \
             INSERT INTO credentials (id, app_id, job_id, access_key_id, seal_key, secret, readiness, created_at, claimed_at, claimed_by, claim_key) \
             VALUES ('{key}', '{app}', '{job}', 'AKIAA', 'k', 'claimed', 'ready', 20, 40, 'dan', 'the-claim-key'); \
             INSERT INTO tokens (id, name, role, hash, created_by, created_at) VALUES ('{key}', 'bot', 'viewer', 'the-hash', 'admin', 5)"
        );
        let t = Fixture::migrated(backend, async |url| {
            let mut db = migrated_to(3, backend, url).await;
            sqlx::raw_sql(sqlx::AssertSqlSafe(rows))
                .execute(&mut db)
                .await
                .unwrap();
            for (at, event) in (10_i64..).zip(&events) {
                let insert =
                    sqlx::query("INSERT INTO events (job_id, at, data) VALUES ($1, $2, $3)");
                insert
                    .bind(job.to_string())
                    .bind(at)
                    .bind(event.to_string())
                    .execute(&mut db)
                    .await
                    .unwrap();
            }
            db.close().await.unwrap();
        })
        .await;
        let entries: Vec<AuditEntry> = audit(&t, AuditFilter::default())
            .await
            .into_iter()
            .rev()
            .collect();
        let shown: Vec<String> = entries
            .iter()
            .map(|entry| {
                format!(
                    "{} {} {}",
                    entry.at.millis(),
                    entry.actor,
                    serde_json::to_string(&entry.event).unwrap()
                )
            })
            .collect();
        insta::allow_duplicates! {
            insta::assert_snapshot!(shown.join("\n"), @r#"
            5 admin {"action":"token_created","token_id":"00000000030000000000000001","name":"bot","role":"viewer"}
            10 ann {"action":"job_requested","task":{"kind":"onboard","accept_expiry":false}}
            12 ann {"action":"change_applied","resource":"iam:user/acme","change":"create user acme","calls":[{"service":"iam","operation":"CreateUser","request_id":"r-1"}]}
            13 ann {"action":"change_applied","resource":"iam:group/Apps","change":"create group Apps","calls":[]}
            14 ann {"action":"change_applied","resource":"s3:bucket/acme","change":"delete some","calls":[]}
            15 ann {"action":"step_failed","resource":"iam:user/acme","reason":"it may not","refused":{"service":"iam","operation":"CreateUser","code":"AccessDenied","request_id":"r-2"}}
            16 ann {"action":"step_failed","resource":"s3:bucket/acme","reason":"it is another's","refused":null}
            17 ann {"action":"job_ended","state":"needs_attention","reason":"it may not","refused":{"service":"iam","operation":"CreateUser","code":"AccessDenied","request_id":"r-2"}}
            18 bob {"action":"cancel_requested"}
            19 ann {"action":"job_ended","state":"canceled","reason":null,"refused":null}
            20 it's "cy" {"action":"retry_requested"}
            21 ann {"action":"job_ended","state":"failed","reason":"it is another's","refused":null}
            22 ann {"action":"job_ended","state":"succeeded","reason":null,"refused":null}
            40 dan {"action":"secret_claimed","access_key_id":"AKIAA","again":false}
            "#);
        }
        let of_app = |entry: &&AuditEntry| {
            (entry.app.as_deref(), entry.account.as_deref()) == (Some("Acme"), Some("default"))
        };
        assert_eq!(
            entries.iter().filter(of_app).count(),
            entries.len() - 1,
            "all but the token's"
        );
        let job_of = |entry: &&AuditEntry| entry.job == Some(job);
        assert_eq!(
            entries.iter().filter(job_of).count(),
            entries.len() - 2,
            "all but the token's and the claim"
        );
        let called = audit(
            &t,
            AuditFilter {
                operation: Some("CreateUser".into()),
                ..Default::default()
            },
        )
        .await;
        assert_eq!(called.len(), 2, "{called:#?}");
        t.ready("other").await;
        assert_eq!(
            told(&t).await.last().unwrap(),
            "job_ended ann other",
            "and it goes on"
        );
    }
}

/// A database as release 0.1.0 left it, with jobs in every state.
async fn of_release_0_1_0(backend: Backend, url: &str) {
    sqlx::any::install_default_drivers();
    if backend == Backend::Sqlite {
        std::fs::File::create(url.strip_prefix("sqlite://").unwrap()).unwrap();
    }
    let mut db = sqlx::AnyConnection::connect(url).await.unwrap();
    match backend {
        Backend::Sqlite => schema::sqlite().run_to(1, &mut db).await.unwrap(),
        Backend::Postgres => schema::postgres().run_to(1, &mut db).await.unwrap(),
    }
    let spec = serde_json::to_string(&new_app("acme").spec).unwrap();
    let states = [
        ("queued", "NULL, NULL, NULL, 0, NULL, NULL"),
        ("running", "NULL, NULL, 'a lost worker', 1, 1, NULL"),
        ("waiting", "1, NULL, NULL, 1, NULL, NULL"),
        ("succeeded", "NULL, '{}', NULL, 1, NULL, 5"),
    ];
    for (number, (state, rest)) in states.into_iter().enumerate() {
        let (app, job) = (
            Ulid::from_parts(1, number as u128),
            Ulid::from_parts(2, number as u128),
        );
        let spec = spec.replace("acme", &format!("acme-{state}"));
        let result = serde_json::to_string(&JobResult::default()).unwrap();
        let rest = rest.replace("{}", &result);
        let job_error = serde_json::to_string(&job_error())
            .unwrap()
            .replace('\'', "''");
        let insert = format!(
            "INSERT INTO apps (id, name, name_key, account, spec, state, version, created_by, created_at, updated_at) \
             VALUES ('{app}', 'acme-{state}', 'acme-{state}', 'default', '{spec}', 'pending', 1, 'ann', 1, 1); \
             INSERT INTO jobs (id, app_id, kind, state, attempt, requested_by, cancel_requested, created_at, \
             next_attempt_at, result, lease_owner, lease_token, lease_until, finished_at) \
             VALUES ('{job}', '{app}', 'onboard', '{state}', 1, 'ann', 0, 1, {rest}); \
             INSERT INTO steps (job_id, position, resource, state, changes, attempts, error, duration_ms) VALUES \
             ('{job}', 1, 'iam:group/Apps', 'failed', '[\"create group Apps\", \"say \\\"hi\\\"\"]', 2, '{job_error}', 7), \
             ('{job}', 0, 'iam:user/acme', 'pending', '[]', 0, NULL, NULL); \
             INSERT INTO events (job_id, at, data) VALUES ('{job}', 1, '{{\"event\": \"job_released\", \"reason\": \"x\"}}')"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(insert))
            .execute(&mut db)
            .await
            .unwrap();
    }
    db.close().await.unwrap();
}

#[tokio::test]
async fn a_database_of_the_release_before_goes_on_with_its_jobs_in_flight() {
    for backend in BACKENDS {
        let t = Fixture::migrated(backend, async |url| of_release_0_1_0(backend, url).await).await;
        for table in ["apps", "jobs", "steps", "events"] {
            assert_eq!(
                t.number(&format!("SELECT COUNT(*) FROM {table}")).await,
                4,
                "{table}"
            );
        }
        if backend == Backend::Sqlite {
            assert_eq!(
                t.number("SELECT COUNT(*) FROM pragma_foreign_key_check")
                    .await,
                0,
                "what refers to a table made anew still does"
            );
        }
        assert_eq!(
            t.store
                .jobs(&JobFilter {
                    limit: 10,
                    ..Default::default()
                })
                .await
                .unwrap()
                .len(),
            4
        );
        for table in ["apps", "jobs"] {
            let out_of_order = format!(
                "SELECT COUNT(*) FROM {table} a JOIN {table} b ON a.id < b.id AND a.seq >= b.seq"
            );
            assert_eq!(t.number(&out_of_order).await, 0, "the old order stays");
        }
        let mut went_on = BTreeSet::new();
        while let Some(claimed) = t.claim().await {
            let changes = vec!["create group Apps".to_owned(), "say \"hi\"".to_owned()];
            let failed = Step {
                state: StepState::Failed,
                changes,
                attempts: 2,
                error: Some(job_error()),
                ..Step::pending(resource_id("iam:group/Apps"))
            };
            let failed = Step {
                duration_ms: Some(7),
                ..failed
            };
            assert_eq!(
                (claimed.job.kind, claimed.job.steps),
                (
                    JobKind::Onboard,
                    vec![Step::pending(resource_id("iam:user/acme")), failed]
                )
            );
            t.store
                .record(claimed.lease, Some(done("iam:user/acme")), warning());
            t.end(claimed.lease, succeeded()).await;
            assert!(
                t.happenings(claimed.lease.job)
                    .await
                    .contains(&"job_succeeded")
            );
            went_on.insert(claimed.job.app.to_string());
        }
        assert_eq!(
            went_on.into_iter().collect::<Vec<_>>(),
            ["acme-queued", "acme-running", "acme-waiting"]
        );
        assert!(
            t.repair("acme-succeeded", None).await.is_ok(),
            "and new ones are taken"
        );
    }
}

/// Before there was a record of what was taken over, a job that did not bring it to its end left no trace of it.
#[tokio::test]
async fn what_was_taken_over_before_there_was_a_record_of_it_is_the_apps() {
    for backend in BACKENDS {
        let spec = serde_json::to_string(&new_app("acme").spec).unwrap();
        let mut sql = format!(
            "INSERT INTO apps (id, name, name_key, account, spec, state, version, created_by, created_at, updated_at, retained) \
             VALUES ('A', 'acme', 'acme', 'default', '{spec}', 'failed', 1, 'ann', 1, 1, '{{}}'); \
             INSERT INTO jobs (id, app_id, kind, task, state, attempt, requested_by, cancel_requested, lease_token, created_at, finished_at, error) \
             VALUES ('J', 'A', 'onboard', '{{\"kind\":\"onboard\"}}', 'failed', 1, 'ann', 0, 1, 1, 5, '{{}}')"
        );
        let conflict = serde_json::to_string(&job_error())
            .unwrap()
            .replace('\'', "''");
        let denied = conflict.replace("conflict", "access_denied");
        for (state, error) in [
            ("done", "NULL".to_owned()),
            ("failed", format!("'{denied}'")),
            ("waiting", "NULL".into()),
            ("skipped", "NULL".into()),
            ("running", "NULL".into()),
            ("pending", "NULL".into()),
            ("failed", format!("'{conflict}'")),
        ] {
            let resource = format!(
                "s3:bucket/{state}-{}",
                if error.contains("conflict") {
                    "foreign"
                } else {
                    "own"
                }
            );
            sql.push_str(&format!(
                "; INSERT INTO resources (app_id, resource, state, error, made, job_id, updated_at) VALUES ('A', '{resource}', '{state}', {error}, 0, 'J', 1)"
            ));
        }
        let t = Fixture::migrated(backend, async |url| {
            let mut db = migrated_to(8, backend, url).await;
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
                .execute(&mut db)
                .await
                .unwrap();
            db.close().await.unwrap();
        })
        .await;
        let mut db = t.connect().await;
        let adopted = "SELECT resource FROM resources WHERE adopted = 1 ORDER BY resource";
        let adopted: Vec<String> = sqlx::query_scalar(adopted)
            .fetch_all(&mut db)
            .await
            .unwrap();
        let own = ["done", "failed", "running", "skipped", "waiting"]
            .map(|state| format!("s3:bucket/{state}-own"));
        assert_eq!(adopted, own);
    }
}

/// The names that migration 0012 replaces, as rows and documents of 0011 have them.
const OLD_STAGES: [(&str, Stage); 10] = [
    ("making", Stage::Creating),
    ("claiming", Stage::AwaitingClaim),
    ("watching", Stage::Draining),
    ("switching_off", Stage::Deactivating),
    ("holding", Stage::PendingDeletion),
    ("deleting", Stage::Deleting),
    ("rolling_back", Stage::RollingBack),
    ("done", Stage::Done),
    ("rolled_back", Stage::RolledBack),
    ("stopped", Stage::Stopped),
];

#[tokio::test]
async fn a_database_with_the_names_of_0011_is_read_with_the_present_ones() {
    for backend in BACKENDS {
        let t = Fixture::migrated(backend, async |url| of_migration_0011(backend, url).await).await;
        reads_the_rows_of_0011(&t).await;
        let claimed = t.claim().await.unwrap();
        assert_eq!(
            (claimed.job.kind, claimed.job.task),
            (JobKind::SetKeyStatus, set_key_status()),
            "a job in flight goes on"
        );
        t.end(claimed.lease, succeeded()).await;
        let again = JobRequest::new(app_in("watching"), set_key_status(), Vec::new(), "ann");
        fresh(t.store.enqueue(again, None).await.unwrap());
    }
}

async fn reads_the_rows_of_0011(t: &Fixture) {
    let jobs = t
        .store
        .jobs(&JobFilter {
            kind: Some(JobKind::SetKeyStatus),
            limit: 10,
            ..Default::default()
        })
        .await
        .unwrap();
    assert_eq!(jobs.len(), 1);
    assert_eq!(
        (&jobs[0].task, jobs[0].steps.len()),
        (&set_key_status(), 1),
        "the job's task and steps"
    );
    let events = t.store.events(jobs[0].id, 0, 10).await.unwrap();
    assert_eq!(
        events[0].payload,
        EventPayload::JobQueued {
            kind: JobKind::SetKeyStatus,
            requested_by: "rotation".into()
        }
    );
    let entries = audit(t, AuditFilter::default()).await;
    let requested = AuditEvent::JobRequested {
        task: set_key_status(),
    };
    assert_eq!(
        entries.iter().map(|entry| &entry.event).collect::<Vec<_>>(),
        [&requested]
    );
    for (old, stage) in OLD_STAGES {
        let app = t.app(app_in(old).as_str()).await;
        let rotation = t.rotation(app.id).await;
        assert_eq!(rotation.stage, stage, "{old}");
        assert_eq!(rotation.reason.as_deref(), Some(r#"its "looked_at": {}"#));
    }
    let due = t.store.due_rotations().await.unwrap();
    assert_eq!(
        due.iter()
            .map(|due| (due.rotation.stage, due.task.kind()))
            .collect::<Vec<_>>(),
        [(Stage::Draining, JobKind::Rotate)]
    );
    let app = t.app(app_in("watching").as_str()).await;
    let drift = app.summary.drift.unwrap();
    assert_eq!(
        (drift.checked_at, drift.drifted),
        (Timestamp::from_millis(7), true)
    );
    assert_eq!(
        t.store.drift_report(app.id).await.unwrap(),
        Some(report("acme", true, Timestamp::from_millis(7)))
    );
    let keys = t.store.credentials(app.id).await.unwrap();
    assert_eq!(
        (keys.len(), keys[0].encryption_key.as_str()),
        (1, "0a1b2c3d")
    );
}

fn app_in(stage: &str) -> AppName {
    name(&format!("acme-{}", stage.replace('_', "-")))
}

fn set_key_status() -> Task {
    Task::SetKeyStatus {
        access_key_id: "OLD".into(),
        to: KeyStatus::Inactive,
        force: false,
        rotation: Some(Ulid::from_parts(3, 2)),
    }
}

/// A document as 0011 has it, quoted for SQL.
fn old_document(document: &impl serde::Serialize) -> String {
    let text = serde_json::to_string(document)
        .unwrap()
        .replace("set_key_status", "switch_key")
        .replace("checked_at", "looked_at")
        .replace("removal_request", "remove_with")
        .replace('\'', "''");
    format!("'{text}'")
}

/// One app for each stage of a rotation; the one that is watched has a job in flight, a drift report and a key.
async fn of_migration_0011(backend: Backend, url: &str) {
    let mut db = migrated_to(11, backend, url).await;
    let (spec, task) = (new_app("acme").spec, set_key_status());
    let rotate = Task::Rotate {
        rotation: Ulid::from_parts(3, 2),
        known_keys: vec!["OLD".into()],
        replace: None,
        force: false,
    };
    let mut sql = String::new();
    for (number, (stage, _)) in OLD_STAGES.into_iter().enumerate() {
        let [app, rotation] = [1, 3].map(|part| Ulid::from_parts(part, number as u128));
        let (name, spec) = (
            app_in(stage),
            AppSpec {
                name: app_in(stage),
                ..spec.clone()
            },
        );
        let (due_at, ended_at) = match stage {
            "watching" => ("1", "NULL"),
            "done" | "rolled_back" | "stopped" => ("NULL", "9"),
            _ => ("NULL", "NULL"),
        };
        sql.push_str(&format!(
            "INSERT INTO apps (id, name, name_key, account, spec, state, version, created_by, created_at, updated_at, retained) \
             VALUES ('{app}', '{name}', '{name}', 'default', {}, 'ready', 1, 'ann', 1, 1, '{{}}'); \
             INSERT INTO rotations (id, app_id, stage, task, new_key, old_key, forced, hold, requested_by, created_at, since, due_at, \
             reason, failures, ended_at) VALUES ('{rotation}', '{app}', '{stage}', {}, 'NEW', 'OLD', 0, 60000, 'ann', 1, 1, {due_at}, \
             'its \"looked_at\": {{}}', 0, {ended_at}); ",
            old_document(&spec),
            old_document(&rotate),
        ));
    }
    let (app, job, now) = (
        Ulid::from_parts(1, 2),
        Ulid::from_parts(2, 2),
        Clock::default().now().millis(),
    );
    let steps = old_document(&[Step::pending(resource_id("iam:access-key/acme-watching"))]);
    let queued = old_document(&EventPayload::JobQueued {
        kind: JobKind::SetKeyStatus,
        requested_by: "rotation".into(),
    });
    let requested = old_document(&AuditEvent::JobRequested { task: task.clone() });
    let task = old_document(&task);
    let report = old_document(&report("acme", true, Timestamp::from_millis(7)));
    let sealed = if backend == Backend::Sqlite {
        "X'0102'"
    } else {
        "'\\x0102'"
    };
    sql.push_str(&format!(
        "INSERT INTO jobs (id, app_id, kind, task, state, attempt, requested_by, cancel_requested, lease_token, created_at) \
         VALUES ('{job}', '{app}', 'switch_key', {task}, 'queued', 0, 'rotation', 0, 0, 1); \
         INSERT INTO steps (job_id, steps) VALUES ('{job}', {steps}); \
         INSERT INTO events (job_id, at, data) VALUES ('{job}', 1, {queued}); \
         INSERT INTO audit (at, actor, action, app_id, app, account, job_id, detail) \
         VALUES (1, 'rotation', 'job_requested', '{app}', 'acme-watching', 'default', '{job}', {requested}); \
         INSERT INTO drift_reports (app_id, looked_at, drifted, report) VALUES ('{app}', 7, 1, {report}); \
         INSERT INTO credentials (id, app_id, job_id, access_key_id, sealed, seal_key, secret, readiness, created_at) \
         VALUES ('{}', '{app}', '{job}', 'NEW', {sealed}, '0a1b2c3d', 'unclaimed', 'ready', {now})",
        Ulid::from_parts(4, 2),
    ));
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
        .execute(&mut db)
        .await
        .unwrap();
    db.close().await.unwrap();
}
