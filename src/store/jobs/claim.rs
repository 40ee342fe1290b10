//! Claims jobs and keeps their leases.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::app::App;
use crate::domain::event::EventPayload;
use crate::domain::job::{Job, JobError, JobErrorCode};
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::events::insert_events;
use crate::store::jobs::finish::{AttemptResult, finish_attempt};
use crate::store::jobs::query::{COLUMNS, read_job};
use crate::store::lease::Lease;
use crate::store::rows::RowReader;
use crate::store::signals::Signal;
use crate::store::sql::{Sql, skip_locked};
use crate::store::{apps, chat_requests, deliveries, hook_deliveries};
use crate::telemetry::TraceParent;

/// Jobs in one claim. Leases count from before its commit.
pub const MAX_CLAIM_BATCH: usize = 32;

/// A claimed job, with what its worker needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// The lease.
    pub lease: Lease,
    /// The job.
    pub job: Job,
    /// Its app.
    pub app: App,
    /// When attempts end.
    pub deadline: Timestamp,
    /// The trace of its request.
    pub requested: Option<TraceParent>,
}

impl Store {
    /// Claims the oldest job that is due: queued, done waiting, or left by a lost worker.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn claim(
        &self,
        owner: &str,
        lease: Duration,
        deadline: Duration,
    ) -> Result<Option<Claimed>, StoreError> {
        Ok(self.claim_up_to(1, owner, lease, deadline).await?.pop())
    }

    /// Claims up to `most` jobs that are due, in one commit.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn claim_up_to(
        &self,
        most: usize,
        owner: &str,
        lease: Duration,
        deadline: Duration,
    ) -> Result<Vec<Claimed>, StoreError> {
        let now = self.clock.now();
        let terms = ClaimTerms {
            owner: owner.to_owned(),
            now,
            lease_until: now.after(lease),
            deadline_at: now.after(deadline),
        };
        let (claimed, taken) = self
            .writer
            .write(move |db| Box::pin(async move { claim_up_to(db, most, &terms).await }))
            .await?;
        for job in taken {
            self.signal(Signal::Progress(job));
        }
        Ok(claimed)
    }

    /// Renews the lease. Returns whether the job's cancellation was requested.
    ///
    /// # Errors
    /// [`StoreError::LostLease`] when another worker has it.
    pub async fn renew_lease(&self, lease: Lease, span: Duration) -> Result<bool, StoreError> {
        let clock = self.clock.clone();
        self.writer
            .write_of(lease.job, move |db| {
                Box::pin(async move {
                    // Read when it is this write's turn: one that waited long must not renew into the past.
                    let until = clock.now().after(span).millis();
                    let renew =
                        "UPDATE jobs SET lease_until = $1 WHERE id = $2 AND lease_token = $3 AND state = 'running' RETURNING cancel_requested";
                    let row: Option<i64> =
                        sqlx::query_scalar(renew).bind(until).bind(lease.job.to_string()).bind(lease.token).fetch_optional(db).await?;
                    row.map(|asked| asked == 1).ok_or(StoreError::LostLease)
                })
            })
            .await
    }

    /// Releases every lease. Only for a process that has the database alone: the former holders are gone.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn release_all_leases(&self) -> Result<u64, StoreError> {
        let now = self.clock.now();
        self.writer
            .write(move |db| {
                Box::pin(async move {
                    let rows: Vec<(String, i64)> =
                        sqlx::query_as("SELECT id, lease_token FROM jobs WHERE state = 'running'")
                            .fetch_all(&mut *db)
                            .await?;
                    deliveries::release_all(&mut *db).await?;
                    chat_requests::release_all(&mut *db).await?;
                    hook_deliveries::release_all(&mut *db).await?;
                    for (id, token) in &rows {
                        let job = Ulid::from_string(id)
                            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
                        let ended = AttemptResult::Released {
                            reason: "The previous process stopped while the job was running."
                                .into(),
                        };
                        finish_attempt(db, Lease { job, token: *token }, &ended, now).await?;
                    }
                    Ok(rows.len() as u64)
                })
            })
            .await
    }
}

struct ClaimTerms {
    owner: String,
    now: Timestamp,
    lease_until: Timestamp,
    /// When attempts end, if this is the first one.
    deadline_at: Timestamp,
}

/// Returns the jobs for workers, and the ids of all claimed ones: some end here.
async fn claim_up_to(
    db: &mut AnyConnection,
    most: usize,
    terms: &ClaimTerms,
) -> Result<(Vec<Claimed>, Vec<Ulid>), StoreError> {
    let (most, mut claimed, mut all) = (most.min(MAX_CLAIM_BATCH), Vec::new(), Vec::new());
    loop {
        let taken = take_leases(db, most - claimed.len(), terms).await?;
        let handed_over = claimed.len() + taken.len();
        all.extend(taken.iter().map(|taken| taken.lease.job));
        if !taken.is_empty() {
            claimed.extend(load(db, taken, terms.now).await?);
        }
        if claimed.len() == handed_over {
            return Ok((claimed, all));
        }
    }
}

struct LeasedJob {
    lease: Lease,
    app: Ulid,
    attempt: u32,
    deadline: Timestamp,
    cancel_requested: bool,
    seq: i64,
    requested: Option<TraceParent>,
}

/// A job never waits so long for its next attempt, nor are replicas' clocks so far apart: a later time was written before
/// the clock stepped back.
const MAX_WAIT: Duration = Duration::from_secs(30 * 60);

async fn take_leases(
    db: &mut AnyConnection,
    most: usize,
    terms: &ClaimTerms,
) -> Result<Vec<LeasedJob>, StoreError> {
    let now = terms.now.millis();
    // Materialized: a plan that looks into it again would take the next ones, too.
    let mut sql = Sql::new(
        "WITH due AS MATERIALIZED (SELECT id FROM jobs WHERE finished_at IS NULL AND state <> 'awaiting_approval' ",
    );
    // A queued job has neither time, a waiting one the first, a running one the second.
    sql.push("AND (COALESCE(next_attempt_at, lease_until, 0) <= ")
        .bind(now)?;
    sql.push(" OR next_attempt_at > ")
        .bind(terms.now.after(MAX_WAIT).millis())?
        .push(")");
    sql.push(" ORDER BY seq LIMIT ")
        .bind(most as i64)?
        .push(skip_locked(db));
    sql.push(") UPDATE jobs SET state = 'running', attempt = attempt + 1, lease_owner = ")
        .bind(&terms.owner)?;
    sql.push(", lease_token = lease_token + 1, lease_until = ")
        .bind(terms.lease_until.millis())?;
    sql.push(", started_at = COALESCE(started_at, ").bind(now)?;
    sql.push("), deadline_at = COALESCE(deadline_at, ")
        .bind(terms.deadline_at.millis())?;
    sql.push("), next_attempt_at = NULL, reason = NULL WHERE id IN (SELECT id FROM due) ");
    sql.push("RETURNING id, app_id, attempt, lease_token, deadline_at, cancel_requested, seq, trace_parent");
    let read = |row: &AnyRow| {
        let row = RowReader::new(row, "jobs", "id");
        let lease = Lease {
            job: row.id("id")?,
            token: row.plain("lease_token")?,
        };
        Ok(LeasedJob {
            lease,
            app: row.id("app_id")?,
            attempt: row.count("attempt")?,
            deadline: row.moment("deadline_at")?,
            cancel_requested: row.plain::<i64>("cancel_requested")? == 1,
            seq: row.plain("seq")?,
            requested: row
                .plain::<Option<String>>("trace_parent")?
                .and_then(|text| TraceParent::parse(&text)),
        })
    };
    let taken = sql.query().fetch_all(db).await?;
    let mut taken = taken
        .iter()
        .map(read)
        .collect::<Result<Vec<_>, StoreError>>()?;
    taken.sort_by_key(|taken| taken.seq);
    Ok(taken)
}

/// Records that the jobs have started, and reads them and their apps. A job that cannot be read is parked, and one whose
/// cancellation was accepted in a lost attempt is canceled.
async fn load(
    db: &mut AnyConnection,
    taken: Vec<LeasedJob>,
    now: Timestamp,
) -> Result<Vec<Claimed>, StoreError> {
    let (canceled, taken): (Vec<_>, Vec<_>) =
        taken.into_iter().partition(|taken| taken.cancel_requested);
    for LeasedJob { lease, .. } in canceled {
        match finish_attempt(db, lease, &AttemptResult::Canceled, now).await {
            Err(error @ StoreError::Corrupt { .. }) => {
                finish_attempt(
                    db,
                    lease,
                    &AttemptResult::NeedsAttention(unreadable(&error)),
                    now,
                )
                .await?
            }
            ended => ended?,
        }
    }
    if taken.is_empty() {
        return Ok(Vec::new());
    }
    let started: Vec<_> = taken
        .iter()
        .map(|taken| {
            (
                taken.lease.job,
                EventPayload::JobStarted {
                    attempt: taken.attempt,
                },
            )
        })
        .collect();
    let mut sql = Sql::default();
    insert_events(
        db,
        &mut sql,
        &started
            .iter()
            .map(|(job, payload)| (*job, now, payload))
            .collect::<Vec<_>>(),
    )?;
    sql.then(db, COLUMNS)
        .push(" WHERE j.id IN (")
        .list(taken.iter().map(|taken| taken.lease.job.to_string()))?
        .push(")");
    let (jobs, apps) = (
        sql.run(db).await?,
        apps::rows_by_id(db, taken.iter().map(|taken| taken.app)).await?,
    );
    let (jobs, apps) = (by_id(&jobs, "jobs")?, by_id(&apps, "apps")?);
    let mut claimed = Vec::new();
    for LeasedJob {
        lease,
        app,
        deadline,
        requested,
        ..
    } in taken
    {
        let gone = || StoreError::Unavailable(format!("the job {} is gone", lease.job));
        let (job, app) = (
            jobs.get(&lease.job).ok_or_else(gone)?,
            apps.get(&app).ok_or_else(gone)?,
        );
        match read_job(job).and_then(|job| Ok((job, apps::read_app(app)?))) {
            Ok((job, app)) => claimed.push(Claimed {
                lease,
                job,
                app,
                deadline,
                requested,
            }),
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::error!(%error, "a job is parked because its record cannot be read");
                finish_attempt(
                    db,
                    lease,
                    &AttemptResult::NeedsAttention(unreadable(&error)),
                    now,
                )
                .await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(claimed)
}

fn by_id<'r>(
    rows: &'r [AnyRow],
    table: &'static str,
) -> Result<HashMap<Ulid, &'r AnyRow>, StoreError> {
    rows.iter()
        .map(|row| Ok((RowReader::new(row, table, "id").id("id")?, row)))
        .collect()
}

/// A job that cannot be read must not block the others.
fn unreadable(error: &StoreError) -> JobError {
    JobError::new(
        JobErrorCode::Internal,
        error.to_string(),
        "Put the row right in the database, then retry the job.",
    )
}
