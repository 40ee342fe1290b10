//! Totals over the whole database, for the metrics.

use std::time::Duration;

use sqlx::any::AnyRow;

use crate::clock::Timestamp;
use crate::domain::account::AccountState;
use crate::domain::app::AppState;
use crate::domain::job::JobState;
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::rows::RowReader;
use crate::store::sql::Sql;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// The ages by which access keys are counted, in days: those that rotation policies usually name.
pub const KEY_AGES: [u32; 4] = [30, 90, 180, 365];

/// The active jobs in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobTotal {
    /// The state.
    pub state: JobState,
    /// How many there are.
    pub count: u32,
    /// When the oldest one was requested.
    pub oldest: Timestamp,
}

/// The access keys that exist in AWS, as far as the database knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyTotals {
    /// How many there are.
    pub all: u32,
    /// How many are older than each of [`KEY_AGES`].
    pub older: [u32; KEY_AGES.len()],
    /// When the oldest one was created.
    pub oldest: Option<Timestamp>,
    /// How many have a secret that nobody has claimed.
    pub unclaimed: u32,
}

impl Store {
    /// The active jobs, by state.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn active_jobs(&self) -> Result<Vec<JobTotal>, StoreError> {
        let count = "SELECT state, COUNT(*) AS n, MIN(created_at) AS oldest FROM jobs \
            WHERE state IN ('awaiting_approval', 'queued', 'running', 'waiting') GROUP BY state";
        let rows = sqlx::query(count)
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        let read = |row: &AnyRow| {
            let row = RowReader::new(row, "jobs", "state");
            Ok(JobTotal {
                state: row.parsed("state")?,
                count: row.count("n")?,
                oldest: row.moment("oldest")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// How many apps are in each state.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn app_totals(&self) -> Result<Vec<(AppState, u32)>, StoreError> {
        let count = "SELECT state, COUNT(*) AS n FROM apps GROUP BY state";
        let rows = sqlx::query(count)
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        let read = |row: &AnyRow| {
            let row = RowReader::new(row, "apps", "state");
            Ok((row.parsed("state")?, row.count("n")?))
        };
        rows.iter().map(read).collect()
    }

    /// How many registered accounts are in each state.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn account_totals(&self) -> Result<Vec<(AccountState, u32)>, StoreError> {
        let count = "SELECT state, COUNT(*) AS n FROM accounts GROUP BY state";
        let rows = sqlx::query(count)
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        let read = |row: &AnyRow| {
            let row = RowReader::new(row, "accounts", "state");
            Ok((row.parsed("state")?, row.count("n")?))
        };
        rows.iter().map(read).collect()
    }

    /// How many access keys there are, by age.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn key_totals(&self) -> Result<KeyTotals, StoreError> {
        let now = self.clock.now();
        let mut sql = Sql::new(
            "SELECT 'all' AS which, COUNT(*) AS n, MIN(created_at) AS oldest, COUNT(CASE WHEN secret = 'unclaimed' THEN 1 END) AS unclaimed",
        );
        for (days, column) in KEY_AGES.into_iter().zip(AGE_COLUMNS) {
            sql.push(", COUNT(CASE WHEN created_at <= ")
                .bind(now.before(DAY * days).millis())?
                .push(" THEN 1 END) AS ")
                .push(column);
        }
        sql.push(" FROM credentials WHERE gone_at IS NULL");
        let row = sql
            .query()
            .fetch_one(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        let row = RowReader::new(&row, "credentials", "which");
        let mut older = [0; KEY_AGES.len()];
        for (older, column) in older.iter_mut().zip(AGE_COLUMNS) {
            *older = row.count(column)?;
        }
        Ok(KeyTotals {
            all: row.count("n")?,
            older,
            oldest: row.moment_or_null("oldest")?,
            unclaimed: row.count("unclaimed")?,
        })
    }
}

/// The columns of [`KEY_AGES`].
const AGE_COLUMNS: [&str; KEY_AGES.len()] = ["older_1", "older_2", "older_3", "older_4"];
