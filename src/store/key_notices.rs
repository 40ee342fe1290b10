//! What webhooks are told of access keys that age.
//!
//! Invariant: a key is marked as told in the commit of the event that tells of it, while there is a webhook to tell.

use std::time::Duration;

use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::app::App;
use crate::domain::webhook::EventType;
use crate::store::apps;
use crate::store::audit::Subject;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::outbox::{Announcement, announce};
use crate::store::rows::{RowReader, readable};
use crate::store::signals::Signal;
use crate::store::sql::Sql;

/// Keys in one commit.
const BATCH: i64 = 20;
/// How often AWS is asked when a key was last used.
const CHECK_INTERVAL: Duration = Duration::from_secs(24 * 3600);
const IS_HEARD: &str = " AND EXISTS (SELECT 1 FROM webhooks WHERE state = 'active')";

/// An access key to be checked.
#[derive(Debug, Clone)]
pub struct KeyToCheck {
    /// Its row's id.
    pub id: Ulid,
    /// AWS's id of the key.
    pub access_key_id: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// Its app.
    pub app: App,
}

impl Store {
    /// Announces a batch of the keys that reach their app's `rotate_after` within `notice`. Returns their number.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn announce_expiring_keys(&self, notice: Duration) -> Result<u64, StoreError> {
        let now = self.clock.now();
        let told = self
            .writer
            .write(move |db| Box::pin(async move { announce_expiring(db, notice, now).await }))
            .await?;
        if told > 0 {
            self.signal(Signal::Outbox);
        }
        Ok(told)
    }

    /// Takes a batch of the keys that are older than `age` and were not checked within a day. Keys whose app cannot be
    /// read are left out.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn keys_to_check(&self, age: Duration) -> Result<Vec<KeyToCheck>, StoreError> {
        let now = self.clock.now();
        self.writer
            .write(move |db| Box::pin(async move { take(db, age, now).await }))
            .await
    }

    /// Records whether a key is unused, and announces one that was not before.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn record_key_use(
        &self,
        key: &KeyToCheck,
        is_unused: bool,
    ) -> Result<(), StoreError> {
        let (now, key) = (self.clock.now(), key.clone());
        self.writer
            .write(move |db| Box::pin(async move { record(db, &key, is_unused, now).await }))
            .await?;
        if is_unused {
            self.signal(Signal::Outbox);
        }
        Ok(())
    }
}

async fn announce_expiring(
    db: &mut AnyConnection,
    notice: Duration,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let mut sql = Sql::new(
        "UPDATE credentials SET is_told_expiring = 1 WHERE is_told_expiring = 0 AND id IN (SELECT c.id FROM credentials c \
         JOIN apps a ON a.id = c.app_id WHERE c.gone_at IS NULL AND c.is_told_expiring = 0 AND a.rotate_after IS NOT NULL \
         AND a.removal IS NULL AND a.state <> 'removed' AND NOT EXISTS (SELECT 1 FROM credentials n WHERE n.app_id = c.app_id \
         AND n.gone_at IS NULL AND n.seq > c.seq) AND c.created_at + a.rotate_after <= ",
    );
    sql.bind(now.after(notice).millis())?
        .push(&format!(" LIMIT {BATCH})"))
        .push(IS_HEARD)
        .push(" RETURNING id, app_id, access_key_id");
    let rows = sql.query().fetch_all(&mut *db).await?;
    for row in &rows {
        let row = RowReader::new(row, "credentials", "id");
        let access_key_id: String = row.plain("access_key_id")?;
        let event = Announcement {
            access_key_id: Some(&access_key_id),
            ..Announcement::new(EventType::KeyExpiring, Subject::App(row.id("app_id")?), now)
        };
        let mut sql = Sql::default();
        announce(db, &mut sql, event)?;
        sql.run(&mut *db).await?;
    }
    Ok(rows.len() as u64)
}

async fn take(
    db: &mut AnyConnection,
    age: Duration,
    now: Timestamp,
) -> Result<Vec<KeyToCheck>, StoreError> {
    let checked = now.before(CHECK_INTERVAL).millis();
    let mut sql = Sql::new("UPDATE credentials SET use_checked_at = ");
    sql.bind(now.millis())?
        .push(" WHERE COALESCE(use_checked_at, 0) <= ")
        .bind(checked)?;
    sql.push(
        " AND id IN (SELECT c.id FROM credentials c JOIN apps a ON a.id = c.app_id WHERE c.gone_at IS NULL \
         AND c.person IS NULL AND a.state <> 'removed' AND c.created_at <= ",
    )
    .bind(now.before(age).millis())?;
    sql.push(" AND COALESCE(c.use_checked_at, 0) <= ")
        .bind(checked)?
        .push(&format!(
            " ORDER BY COALESCE(c.use_checked_at, 0) LIMIT {BATCH})"
        ));
    sql.push(IS_HEARD)
        .push(" RETURNING id, app_id, access_key_id, created_at");
    let rows = sql.query().fetch_all(&mut *db).await?;
    let mut taken = Vec::new();
    for row in &rows {
        taken.extend(readable(key_to_check(db, row).await)?);
    }
    Ok(taken)
}

async fn key_to_check(db: &mut AnyConnection, row: &AnyRow) -> Result<KeyToCheck, StoreError> {
    let row = RowReader::new(row, "credentials", "id");
    Ok(KeyToCheck {
        id: row.id("id")?,
        access_key_id: row.plain("access_key_id")?,
        created_at: row.moment("created_at")?,
        app: apps::app_by_id(db, row.id("app_id")?).await?,
    })
}

async fn record(
    db: &mut AnyConnection,
    key: &KeyToCheck,
    is_unused: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    let is_unused = i64::from(is_unused);
    let mut sql = Sql::new("UPDATE credentials SET is_told_unused = ");
    sql.bind(is_unused)?
        .push(" WHERE gone_at IS NULL AND is_told_unused <> ")
        .bind(is_unused)?;
    sql.push(" AND id = ")
        .bind(key.id.to_string())?
        .push(" RETURNING id");
    let is_new = sql.query().fetch_optional(&mut *db).await?.is_some();
    if !is_new || is_unused == 0 {
        return Ok(());
    }
    let event = Announcement {
        access_key_id: Some(&key.access_key_id),
        ..Announcement::new(EventType::KeyUnused, Subject::App(key.app.id), now)
    };
    let mut sql = Sql::default();
    announce(db, &mut sql, event)?;
    sql.run(db).await.map(drop)
}
