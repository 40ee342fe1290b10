//! Backups of SQLite.

use super::*;

#[tokio::test]
async fn a_backup_of_a_database_in_use_is_whole() {
    let t = Fixture::new(Backend::Sqlite).await;
    let before = t.sealed("acme", "AKIAA").await;
    let writing = async {
        for i in 0..200 {
            t.onboard(&format!("app-{i}")).await;
        }
    };
    let to = t.folder.path().join("backup.db");
    let (backup, ()) = tokio::join!(slipway::store::backup(&t.url, &to), writing);
    backup.unwrap();
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&to).unwrap().permissions());
    assert_eq!(
        mode & 0o777,
        0o600,
        "sealed secrets are nobody else's to copy"
    );
    let url = format!("sqlite://{}", to.display());
    let copy = Store::open(&url, t.clock.clone(), &Tasks::default())
        .await
        .unwrap();
    assert_eq!(
        copy.job(before.lease.job).await.unwrap(),
        t.store.job(before.lease.job).await.unwrap()
    );
    let apps = copy
        .apps(&AppFilter {
            limit: 1000,
            ..Default::default()
        })
        .await
        .unwrap();
    let jobs = copy
        .jobs(&JobFilter {
            limit: 1000,
            ..Default::default()
        })
        .await
        .unwrap();
    assert_eq!(
        apps.len(),
        jobs.len(),
        "an app and its job are one commit, in the copy too"
    );
    let taken = slipway::store::backup(&t.url, &to).await;
    assert!(
        matches!(taken, Err(StoreError::Backup(path, _)) if path == to),
        "a file that is there is not written over"
    );
    let nowhere = slipway::store::backup(&t.url, &t.folder.path().join("nowhere/backup.db")).await;
    assert!(
        matches!(nowhere, Err(StoreError::Backup(..))),
        "{nowhere:?}"
    );
    std::fs::write(
        t.folder.path().join("again.db.partial"),
        "of a process that was killed",
    )
    .unwrap();
    slipway::store::backup(&t.url, &t.folder.path().join("again.db"))
        .await
        .unwrap();
    let names = std::fs::read_dir(t.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(
        names.into_iter().all(|name| !name.contains("partial")),
        "what is not whole does not stay"
    );
}
