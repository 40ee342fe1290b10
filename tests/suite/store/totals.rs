//! Totals for the metrics.

use slipway::domain::account::AccountState;
use slipway::domain::app::AppState;

use super::*;

#[tokio::test]
async fn access_keys_are_counted_by_age() {
    each(async |t| {
        let none = t.store.key_totals().await.unwrap();
        assert_eq!((none.all, none.oldest, none.unclaimed), (0, None, 0));
        for (app, key, days) in [("one", "AKIAA", 0), ("two", "AKIAB", 100), ("three", "AKIAC", 400), ("four", "AKIAD", 500)] {
            t.sealed(app, key).await;
            let age = i64::from(days) * 24 * 3600 * 1000;
            t.raw(&format!(
                "UPDATE credentials SET created_at = created_at - {age} WHERE access_key_id = '{key}'"
            ))
            .await;
        }
        t.raw("UPDATE credentials SET gone_at = created_at WHERE access_key_id = 'AKIAD'")
            .await;
        let app = t.app("one").await.id;
        t.claim_secret(app, "AKIAA", "ann", None).await;
        let totals = t.store.key_totals().await.unwrap();
        assert_eq!((totals.all, totals.older), (3, [2, 2, 1, 1]));
        assert_eq!(totals.unclaimed, 2);
        let oldest = t.store.clock().now().since(totals.oldest.unwrap());
        assert_eq!(oldest.as_secs() / (24 * 3600), 400);
    })
    .await;
}

#[tokio::test]
async fn apps_accounts_and_the_oldest_jobs_are_counted_by_state() {
    each(async |t| {
        t.register("second", "222222222222").await;
        t.ready("one").await;
        t.onboard("two").await;
        t.onboard("three").await;
        t.raw("UPDATE jobs SET created_at = created_at - 3600000 WHERE app_id = (SELECT id FROM apps WHERE name = 'two')")
            .await;
        let apps = t.store.app_totals().await.unwrap();
        let count = |state| apps.iter().find(|(at, _)| *at == state).map(|(_, count)| *count);
        assert_eq!(
            (count(AppState::Ready), count(AppState::Pending), count(AppState::Failed)),
            (Some(1), Some(2), None)
        );
        let accounts = t.store.account_totals().await.unwrap();
        let states: Vec<AccountState> = accounts.iter().map(|(state, _)| *state).collect();
        assert_eq!((states.len(), accounts[0].1), (1, 1));
        let jobs = t.store.active_jobs().await.unwrap();
        assert_eq!((jobs.len(), jobs[0].state, jobs[0].count), (1, JobState::Queued, 2));
        assert!(t.store.clock().now().since(jobs[0].oldest).as_secs() >= 3600);
    })
    .await;
}
