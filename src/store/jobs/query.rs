//! Reads jobs.

use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::job::{Job, JobState};
use crate::domain::job_kind::JobKind;
use crate::domain::names::{AccountName, AppName, NameError};
use crate::domain::scope::Scope;
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::rows::RowReader;
use crate::store::scope::restrict;
use crate::store::sql::Sql;

pub(super) const COLUMNS: &str = "SELECT j.id, j.kind, j.task, j.state, j.attempt, j.reason, j.next_attempt_at, j.result, j.error, j.requested_by, j.needs_approval, j.created_at, \
    j.started_at, j.finished_at, a.name, a.account, a.id AS app_id, s.steps FROM jobs j \
    JOIN apps a ON a.id = j.app_id LEFT JOIN steps s ON s.job_id = j.id";

/// Which jobs to list.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Within the scope of the caller.
    pub scope: Scope,
    /// Of this app.
    pub app: Option<AppName>,
    /// In this state.
    pub state: Option<JobState>,
    /// Of this kind.
    pub kind: Option<JobKind>,
    /// Before the one by this id, for the newest come first.
    pub before: Option<Ulid>,
    /// At most this many.
    pub limit: u32,
}

impl Store {
    /// When the next job is due that nobody can claim yet.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let due = "SELECT MIN(COALESCE(next_attempt_at, lease_until)) FROM jobs WHERE finished_at IS NULL AND state <> 'awaiting_approval'";
        let due: Option<i64> = sqlx::query_scalar(due)
            .fetch_one(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        Ok(due.map(Timestamp::from_millis))
    }

    /// The job by this id.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn job(&self, id: Ulid) -> Result<Option<Job>, StoreError> {
        let mut db = self.reader().await?;
        job_by_id(&mut db, id).with_timeout().await
    }

    /// Whether there is a job by this id within the scope.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn is_job_within(&self, id: Ulid, scope: &Scope) -> Result<bool, StoreError> {
        let mut sql =
            Sql::new("SELECT j.id FROM jobs j JOIN apps a ON a.id = j.app_id WHERE j.id = ");
        sql.bind(id.to_string())?;
        self.is_within(sql, scope).await
    }

    /// Jobs, the newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn jobs(&self, filter: &JobFilter) -> Result<Vec<Job>, StoreError> {
        let mut sql = Sql::new(COLUMNS);
        sql.push(" WHERE 1 = 1");
        if let Some(before) = filter.before {
            only_before(&mut sql, before)?;
        }
        if let Some(app) = &filter.app {
            sql.push(" AND j.app_id = (SELECT id FROM apps WHERE name_key = ")
                .bind(app.key())?
                .push(")");
        }
        restrict(&mut sql, &filter.scope, "a.name_key", "a.account")?;
        if let Some(state) = filter.state {
            sql.push(" AND j.state = ").bind(state.to_string())?;
        }
        if let Some(kind) = filter.kind {
            sql.push(" AND j.kind = ").bind(kind.to_string())?;
        }
        sql.push(" ORDER BY j.seq DESC LIMIT ")
            .bind(i64::from(filter.limit))?;
        let mut db = self.reader().await?;
        sql.query()
            .fetch_all(&mut *db)
            .with_timeout()
            .await?
            .iter()
            .map(read_job)
            .collect()
    }
}

/// Adds that the job comes before the one by this id, which may have been removed with old history since.
pub(in crate::store) fn only_before(sql: &mut Sql, job: Ulid) -> Result<(), StoreError> {
    sql.push(" AND j.seq < COALESCE((SELECT seq FROM jobs WHERE id = ")
        .bind(job.to_string())?;
    sql.push("), (SELECT MAX(seq) + 1 FROM jobs WHERE id < ")
        .bind(job.to_string())?
        .push("))");
    Ok(())
}

pub(super) async fn job_by_id(db: &mut AnyConnection, id: Ulid) -> Result<Option<Job>, StoreError> {
    let mut sql = Sql::new(COLUMNS);
    sql.push(" WHERE j.id = ").bind(id.to_string())?;
    sql.query()
        .fetch_optional(&mut *db)
        .await?
        .map(|row| read_job(&row))
        .transpose()
}

pub(super) fn read_job(row: &AnyRow) -> Result<Job, StoreError> {
    let row = RowReader::new(row, "jobs", "id");
    let name = |column| row.plain::<String>(column);
    let app: String = row.plain("app_id")?;
    let corrupt = |column, error: NameError| StoreError::Corrupt {
        table: "apps",
        column,
        row: app.clone(),
        why: error.to_string(),
    };
    Ok(Job {
        id: row.id("id")?,
        kind: row.parsed("kind")?,
        task: row.json("task")?,
        app: AppName::stored(&name("name")?).map_err(|error| corrupt("name", error))?,
        account: AccountName::parse(&name("account")?)
            .map_err(|error| corrupt("account", error))?,
        state: row.parsed("state")?,
        attempt: row.count("attempt")?,
        reason: row.plain("reason")?,
        next_attempt_at: row.moment_or_null("next_attempt_at")?,
        steps: row
            .in_table("steps")
            .json_or_null("steps")?
            .unwrap_or_default(),
        result: row.json_or_null("result")?,
        error: row.json_or_null("error")?,
        requested_by: row.plain("requested_by")?,
        needs_approval: row.plain::<i64>("needs_approval")? == 1,
        created_at: row.moment("created_at")?,
        started_at: row.moment_or_null("started_at")?,
        finished_at: row.moment_or_null("finished_at")?,
    })
}
