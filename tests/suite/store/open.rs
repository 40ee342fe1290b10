//! Opening a database.

use super::*;

#[tokio::test]
async fn an_installation_keeps_its_id_and_another_database_has_another() {
    each(async |t| {
        let id = t.store.installation().clone();
        assert!(Ulid::from_string(&id).is_ok(), "{id}");
        assert_eq!(t.number("SELECT COUNT(*) FROM installation").await, 1);
        t.raw("INSERT INTO installation (id, one) VALUES ('another', 1) ON CONFLICT DO NOTHING")
            .await;
        assert_eq!(
            t.number(&format!(
                "SELECT COUNT(*) FROM installation WHERE id = '{id}'"
            ))
            .await,
            1,
            "there is one"
        );
    })
    .await;
}

#[tokio::test]
async fn what_was_committed_is_there_when_it_is_opened_again() {
    each(async |t| {
        let claimed = t.sealed("acme", "AKIAA").await;
        let before = everything(&t, claimed.app.id, claimed.lease.job).await;
        let Fixture {
            store,
            clock,
            url,
            backend,
            folder,
        } = t;
        drop(store);
        let store = reopen(&url, &clock).await;
        let t = Fixture {
            store,
            clock,
            url,
            backend,
            folder,
        };
        assert_eq!(
            everything(&t, claimed.app.id, claimed.lease.job).await,
            before
        );
        assert!(!t.store.renew_lease(claimed.lease, LEASE).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_sqlite_file_serves_one_process() {
    let t = Fixture::new(Backend::Sqlite).await;
    let second = Store::open(&t.url, Clock::default(), &Tasks::default())
        .await
        .err()
        .unwrap();
    assert!(matches!(second, StoreError::InUse(_)));
    let told = second.to_string();
    assert!(
        told.contains("slipway.db") && told.contains("stop the other one"),
        "{told}"
    );
    drop(t.store);
    reopen(&t.url, &t.clock).await;
}

#[tokio::test]
async fn a_database_that_cannot_be_opened_says_why() {
    let open = async |url: &str| {
        Store::open(url, Clock::default(), &Tasks::default())
            .await
            .err()
            .unwrap()
    };
    let told = open("mysql://host/db").await;
    assert!(
        matches!(told, StoreError::Url(_)) && told.to_string().contains("sqlite://PATH"),
        "{told}"
    );
    assert!(matches!(
        open("sqlite:///no/such/folder/slipway.db").await,
        StoreError::Unavailable(_)
    ));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("slipway.db");
    std::fs::write(
        &file,
        "not a database, although it is a file and long enough to be one".repeat(20),
    )
    .unwrap();
    assert!(matches!(
        open(&format!("sqlite://{}", file.display())).await,
        StoreError::Unavailable(_)
    ));
}
