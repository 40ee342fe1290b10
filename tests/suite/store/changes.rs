//! Changes of an app's spec.

use super::*;

fn a_change(app: &App, spec: AppSpec, remove: bool) -> JobRequest {
    let dropped = app.dropped.after(&app.spec, &spec);
    let task = Task::Update {
        remove,
        dropped_tags: BTreeSet::new(),
        drop_key: false,
        force: false,
        confirmed: false,
        accept_expiry: false,
    };
    let ask = JobRequest::new(
        app.spec.name.clone(),
        task,
        resources(app.spec.name.as_str()),
        "ann",
    );
    JobRequest {
        if_version: Some(app.version),
        change: Some(AppChange::Spec(Box::new(spec), dropped)),
        ..ask
    }
}

#[tokio::test]
async fn a_change_writes_the_spec_with_its_job_and_only_on_the_version_it_was_decided_on() {
    each(async |t| {
        t.ready("acme").await;
        let before = t.app("acme").await;
        let two = spec_with("acme", &["one-bucket", "two-bucket"]);
        let job = fresh(
            t.store
                .enqueue(a_change(&before, two.clone(), false), None)
                .await
                .unwrap(),
        );
        assert_eq!((job.kind, t.app("acme").await.spec), (JobKind::Update, two));
        t.run(succeeded()).await;
        let stale = t
            .store
            .enqueue(a_change(&before, spec_with("acme", &[]), false), None)
            .await
            .unwrap();
        assert_eq!(stale, Err(Refusal::Changed), "somebody else was first");

        let now = t.app("acme").await;
        fresh(
            t.store
                .enqueue(
                    a_change(&now, spec_with("acme", &["two-bucket"]), false),
                    None,
                )
                .await
                .unwrap(),
        );
        t.run(succeeded()).await;
        let dropped: Vec<String> = t
            .app("acme")
            .await
            .dropped
            .buckets
            .iter()
            .map(|bucket| bucket.name.to_string())
            .collect();
        assert_eq!(dropped, ["one-bucket"], "what was dropped is remembered");
        let now = t.app("acme").await;
        fresh(
            t.store
                .enqueue(
                    a_change(&now, spec_with("acme", &["two-bucket"]), true),
                    None,
                )
                .await
                .unwrap(),
        );
        t.run(AttemptResult::Failed(job_error())).await;
        assert!(
            !t.app("acme").await.dropped.is_empty(),
            "a failed change has removed nothing for sure"
        );
        let now = t.app("acme").await;
        fresh(
            t.store
                .enqueue(
                    a_change(&now, spec_with("acme", &["two-bucket"]), true),
                    None,
                )
                .await
                .unwrap(),
        );
        t.run(succeeded()).await;
        assert!(t.app("acme").await.dropped.is_empty());
    })
    .await;
}
