//! Figures over all apps and jobs, and keys that somebody should see to.

use sqlx::any::AnyRow;

use crate::clock::Timestamp;
use crate::domain::app::AppState;
use crate::domain::job::JobState;
use crate::domain::names::AppName;
use crate::domain::scope::Scope;
use crate::domain::spec::AppSpec;
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::rows::RowReader;
use crate::store::scope::restrict;
use crate::store::sql::{Sql, indexed_by};

/// An access key that somebody should see to.
#[derive(Debug, Clone, PartialEq)]
pub struct NotedKey {
    /// The app.
    pub app: AppName,
    /// Its spec.
    pub spec: AppSpec,
    /// The ID of the key.
    pub access_key_id: String,
    /// When it was created.
    pub created_at: Timestamp,
}

impl Store {
    /// The number of apps in each state, without the removed ones.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn apps_by_state(&self, scope: &Scope) -> Result<Vec<(AppState, u64)>, StoreError> {
        let mut sql = Sql::new(
            "SELECT a.state, COUNT(*) AS n FROM apps a WHERE a.state <> 'removed' AND a.subject = 'app'",
        );
        restrict(&mut sql, scope, "a.name_key", "a.account")?;
        sql.push(" GROUP BY a.state");
        let rows = self.rows_of(sql).await?;
        rows.iter()
            .map(|row| {
                let row = RowReader::new(row, "apps", "state");
                Ok((row.parsed("state")?, row.count("n")?))
            })
            .collect()
    }

    /// The number of jobs that ended since a time, by state.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn jobs_ended_since(
        &self,
        scope: &Scope,
        since: Timestamp,
    ) -> Result<Vec<(JobState, u64)>, StoreError> {
        let mut db = self.reader().await?;
        // SQLite would take the index of states, which has the jobs of all times.
        let index = indexed_by(&db, "jobs_finished");
        let mut sql = Sql::new(&format!(
            "SELECT j.state, COUNT(*) AS n FROM jobs j {index} JOIN apps a ON a.id = j.app_id WHERE j.finished_at >= ",
        ));
        sql.bind(since.millis())?;
        restrict(&mut sql, scope, "a.name_key", "a.account")?;
        sql.push(" GROUP BY j.state");
        let rows = sql.query().fetch_all(&mut *db).with_timeout().await?;
        rows.iter()
            .map(|row| {
                let row = RowReader::new(row, "jobs", "state");
                Ok((row.parsed("state")?, row.count("n")?))
            })
            .collect()
    }

    /// Keys of apps that were created before a time, the oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn keys_created_before(
        &self,
        scope: &Scope,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<NotedKey>, StoreError> {
        let mut sql = Sql::new(NOTED_KEYS);
        sql.push(" AND c.created_at < ").bind(before.millis())?;
        self.noted_keys(sql, scope, limit).await
    }

    /// Keys whose secrets wait to be claimed, the oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn unclaimed_keys(
        &self,
        scope: &Scope,
        after: Timestamp,
        limit: u32,
    ) -> Result<Vec<NotedKey>, StoreError> {
        let mut sql = Sql::new(NOTED_KEYS);
        sql.push(" AND c.secret = 'unclaimed' AND c.created_at > ")
            .bind(after.millis())?;
        self.noted_keys(sql, scope, limit).await
    }

    async fn noted_keys(
        &self,
        mut sql: Sql,
        scope: &Scope,
        limit: u32,
    ) -> Result<Vec<NotedKey>, StoreError> {
        restrict(&mut sql, scope, "a.name_key", "a.account")?;
        sql.push(" ORDER BY c.created_at LIMIT ")
            .bind(i64::from(limit))?;
        self.rows_of(sql).await?.iter().map(read_key).collect()
    }

    async fn rows_of(&self, sql: Sql) -> Result<Vec<AnyRow>, StoreError> {
        let mut db = self.reader().await?;
        sql.query().fetch_all(&mut *db).with_timeout().await
    }
}

const NOTED_KEYS: &str = "SELECT a.name, a.spec, c.access_key_id, c.created_at FROM credentials c \
    JOIN apps a ON a.id = c.app_id WHERE c.gone_at IS NULL AND a.state <> 'removed' AND a.subject = 'app'";

fn read_key(row: &AnyRow) -> Result<NotedKey, StoreError> {
    let key = RowReader::new(row, "credentials", "access_key_id");
    let app = key.in_table("apps");
    Ok(NotedKey {
        app: app.named("name", AppName::parse)?,
        spec: app.json("spec")?,
        access_key_id: key.plain("access_key_id")?,
        created_at: key.moment("created_at")?,
    })
}
