//! What is recorded of an app's resources.

use super::*;

#[tokio::test]
async fn what_a_job_has_made_stays_the_apps() {
    each(async |t| {
        let first = t.at_work("acme").await;
        t.store
            .record(first.lease, Some(done("iam:user/acme")), warning());
        t.store.record(
            first.lease,
            Some(StepRecord {
                made: false,
                ..done("iam:group/Apps")
            }),
            warning(),
        );
        t.end(first.lease, succeeded()).await;
        fresh(t.repair("acme", None).await);
        let second = t.claim().await.unwrap();
        t.store.record(
            second.lease,
            Some(StepRecord {
                made: false,
                ..done("iam:user/acme")
            }),
            warning(),
        );
        t.store.check().await.unwrap();
        assert_eq!(
            t.store.recorded(first.app.id).await.unwrap().made,
            BTreeSet::from([resource_id("iam:user/acme")])
        );
    })
    .await;
}

#[tokio::test]
async fn what_a_job_has_adopted_and_when_something_was_made_stays_known() {
    each(async |t| {
        let first = t.at_work("acme").await;
        let made_at = Timestamp::from_millis(7);
        t.store.record(
            first.lease,
            Some(StepRecord {
                made_at: Some(made_at),
                ..done("iam:user/acme")
            }),
            warning(),
        );
        t.store.record(
            first.lease,
            Some(StepRecord {
                made: false,
                ..done("s3:bucket/adopted")
            }),
            warning(),
        );
        t.store.record(
            first.lease,
            Some(StepRecord {
                made: false,
                owned: false,
                ..done("s3:bucket/foreign")
            }),
            warning(),
        );
        t.end(first.lease, AttemptResult::Failed(job_error())).await;
        fresh(t.repair("acme", None).await);
        let second = t.claim().await.unwrap();
        for resource in ["iam:user/acme", "s3:bucket/adopted"] {
            let pending = StepRecord {
                step: Step::pending(resource_id(resource)),
                made: false,
                owned: false,
                ..done(resource)
            };
            t.store.record(second.lease, Some(pending), warning());
        }
        t.store.check().await.unwrap();
        let recorded = t.store.recorded(first.app.id).await.unwrap();
        assert_eq!(
            recorded.made,
            BTreeSet::from([resource_id("iam:user/acme")])
        );
        assert_eq!(
            recorded.adopted,
            BTreeSet::from([resource_id("s3:bucket/adopted")])
        );
        assert_eq!(
            recorded.made_at,
            [(resource_id("iam:user/acme"), made_at)].into()
        );
        assert!(!recorded.owns(&resource_id("s3:bucket/foreign")));
        t.end(second.lease, succeeded()).await;
        let left: Vec<String> = t
            .app("acme")
            .await
            .resources
            .into_iter()
            .map(|it| it.resource.to_string())
            .collect();
        assert_eq!(
            left,
            ["iam:user/acme", "s3:bucket/adopted"],
            "what was named in vain is forgotten once all is well"
        );
    })
    .await;
}

#[tokio::test]
async fn what_is_gone_is_not_shown_as_the_apps() {
    each(async |t| {
        t.ready("acme").await;
        fresh(t.store.enqueue(a_repair("acme"), None).await.unwrap());
        let claimed = t.claim().await.unwrap();
        t.store
            .record(claimed.lease, Some(done("iam:group/Apps")), warning());
        t.store.record(
            claimed.lease,
            Some(StepRecord {
                gone: true,
                ..done("iam:user/acme")
            }),
            warning(),
        );
        t.end(claimed.lease, succeeded()).await;
        let shown: Vec<String> = t
            .app("acme")
            .await
            .resources
            .into_iter()
            .map(|it| it.resource.to_string())
            .collect();
        assert_eq!(shown, ["iam:group/Apps"]);
    })
    .await;
}
