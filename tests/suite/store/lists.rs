//! Lists of apps and jobs.

use super::*;

async fn names(t: &Fixture, filter: AppFilter) -> Vec<String> {
    t.store
        .apps(&filter)
        .await
        .unwrap()
        .into_iter()
        .map(|app| app.summary.name)
        .collect()
}

#[tokio::test]
async fn apps_are_found_by_account_state_and_text() {
    each(async |t| {
        t.register("second", "222222222222").await;
        t.ready("Shop_1").await;
        next_millisecond().await;
        t.store
            .onboard(new_app_in("shop-2", "second"), None)
            .await
            .unwrap()
            .unwrap();
        t.onboard("blog").await;
        let any = AppFilter {
            limit: 10,
            ..AppFilter::default()
        };
        assert_eq!(names(&t, any.clone()).await, ["Shop_1", "shop-2", "blog"]);
        assert_eq!(
            names(
                &t,
                AppFilter {
                    account: Some("second".into()),
                    ..any.clone()
                }
            )
            .await,
            ["shop-2"]
        );
        assert_eq!(
            names(
                &t,
                AppFilter {
                    state: Some(AppState::Ready),
                    ..any.clone()
                }
            )
            .await,
            ["Shop_1"]
        );
        assert_eq!(
            names(
                &t,
                AppFilter {
                    query: Some("HOP".into()),
                    ..any.clone()
                }
            )
            .await,
            ["Shop_1", "shop-2"]
        );
        for (text, found) in [
            ("_", vec!["Shop_1"]),
            ("%", vec![]),
            ("\\", vec![]),
            ("p_", vec!["Shop_1"]),
        ] {
            assert_eq!(
                names(
                    &t,
                    AppFilter {
                        query: Some(text.into()),
                        ..any.clone()
                    }
                )
                .await,
                found,
                "{text} stands for itself"
            );
        }
        assert_eq!(
            names(
                &t,
                AppFilter {
                    query: Some("shop".into()),
                    state: Some(AppState::Pending),
                    ..any
                }
            )
            .await,
            ["shop-2"]
        );
    })
    .await;
}

#[tokio::test]
async fn pages_of_apps_are_whole_and_in_order() {
    each(async |t| {
        let mut asked = Vec::new();
        for n in 0..7 {
            t.onboard(&format!("app-{n}")).await;
            asked.push(format!("app-{n}"));
        }
        let (mut after, mut seen) = (None, Vec::new());
        for length in [3, 3, 1, 0] {
            let page = t
                .store
                .apps(&AppFilter {
                    after,
                    limit: 3,
                    ..AppFilter::default()
                })
                .await
                .unwrap();
            assert_eq!(page.len(), length);
            after = page.last().map(|app| app.id);
            seen.extend(page.into_iter().map(|app| app.summary.name));
        }
        assert_eq!(seen, asked);
    })
    .await;
}

#[tokio::test]
async fn jobs_are_found_by_app_state_and_kind() {
    each(async |t| {
        let first = t.ready("acme").await.lease.job;
        next_millisecond().await;
        let repair = fresh(t.repair("acme", None).await).id;
        let other = t.onboard("other").await.id;
        let found = async |filter: JobFilter| -> Vec<Ulid> {
            t.store
                .jobs(&JobFilter {
                    limit: 10,
                    ..filter
                })
                .await
                .unwrap()
                .into_iter()
                .map(|job| job.id)
                .collect()
        };
        assert_eq!(
            found(JobFilter::default()).await,
            [other, repair, first],
            "the newest first"
        );
        assert_eq!(
            found(JobFilter {
                app: Some(name("ACME")),
                ..JobFilter::default()
            })
            .await,
            [repair, first]
        );
        assert_eq!(
            found(JobFilter {
                state: Some(JobState::Succeeded),
                ..JobFilter::default()
            })
            .await,
            [first]
        );
        assert_eq!(
            found(JobFilter {
                kind: Some(JobKind::Repair),
                ..JobFilter::default()
            })
            .await,
            [repair]
        );
        assert_eq!(
            found(JobFilter {
                before: Some(repair),
                ..JobFilter::default()
            })
            .await,
            [first]
        );
        let page = t
            .store
            .jobs(&JobFilter {
                limit: 2,
                ..JobFilter::default()
            })
            .await
            .unwrap();
        assert_eq!(
            page.iter().map(|job| job.id).collect::<Vec<_>>(),
            [other, repair]
        );
        assert!(
            page.iter().all(|job| job.steps.len() == 2),
            "with their steps"
        );
    })
    .await;
}

#[tokio::test]
async fn active_jobs_are_counted_by_state() {
    each(async |t| {
        t.job_in(JobState::Waiting, "one").await;
        t.job_in(JobState::Succeeded, "two").await;
        t.job_in(JobState::Running, "three").await;
        t.onboard("four").await;
        t.onboard("five").await;
        let mut counted = t.store.active_jobs().await.unwrap();
        counted.sort_by_key(|total| total.state.to_string());
        let counts: Vec<_> = counted
            .iter()
            .map(|total| (total.state, total.count))
            .collect();
        assert_eq!(
            counts,
            [
                (JobState::Queued, 2),
                (JobState::Running, 1),
                (JobState::Waiting, 1)
            ]
        );
    })
    .await;
}
