//! Approvals of jobs.
//!
//! Invariants:
//! - A job in state `awaiting_approval` has a pending approval, and no other job has one.
//! - The row keeps the change of the app's record that was requested, until it is decided.

use std::collections::BTreeSet;

use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::approval::{
    Approval, ApprovalReason, ApprovalState, PlanDifference, PlanDigest,
};
use crate::domain::names::{AccountName, AppName, NameError};
use crate::domain::plan::PlannedChange;
use crate::domain::scope::Scope;
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::jobs::query::only_before;
use crate::store::refusal::Refusal;
use crate::store::rows::{RowReader, to_json};
use crate::store::scope::restrict;
use crate::store::sql::Sql;

const COLUMNS: &str = "SELECT p.job_id, p.state, p.reasons, p.changes, p.warnings, p.plan_digest, p.difference, p.requester, \
    p.expires_at, p.decided_by, p.decided_at, p.comment, p.break_glass, j.kind, j.requested_by, j.created_at, j.seq, a.id AS app_id, \
    a.name, a.account FROM approvals p JOIN jobs j ON j.id = p.job_id JOIN apps a ON a.id = j.app_id";

/// A plan that waits for an approval.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanToApprove {
    /// What the job would change.
    pub changes: Vec<PlannedChange>,
    /// What to be aware of.
    pub warnings: Vec<String>,
    /// The digest of the plan.
    pub digest: PlanDigest,
    /// When the job is canceled if nobody decides.
    pub expires_at: Timestamp,
}

/// The approval that a request for a job needs.
#[derive(Debug, Clone)]
pub struct NewApproval {
    /// Why.
    pub reasons: BTreeSet<ApprovalReason>,
    /// The plan.
    pub plan: PlanToApprove,
    /// The person or program behind the request, who cannot approve it.
    pub requester: String,
}

/// Which approvals to list.
#[derive(Debug, Clone, Default)]
pub struct ApprovalFilter {
    /// In this state.
    pub state: Option<ApprovalState>,
    /// Of this app.
    pub app: Option<AppName>,
    /// Within the scope of the caller.
    pub scope: Scope,
    /// Before that of this job: the newest come first.
    pub before: Option<Ulid>,
    /// At most this many.
    pub limit: u32,
}

/// An approval with the person or program behind its request.
pub(super) struct Row {
    pub approval: Approval,
    pub requester: String,
}

impl Store {
    /// Approvals, the newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn approvals(&self, filter: &ApprovalFilter) -> Result<Vec<Approval>, StoreError> {
        let mut sql = Sql::new(COLUMNS);
        sql.push(" WHERE 1 = 1");
        if let Some(state) = filter.state {
            sql.push(" AND p.state = ").bind(state.to_string())?;
        }
        if let Some(app) = &filter.app {
            sql.push(" AND a.name_key = ").bind(app.key())?;
        }
        restrict(&mut sql, &filter.scope, "a.name_key", "a.account")?;
        if let Some(before) = filter.before {
            only_before(&mut sql, before)?;
        }
        sql.push(" ORDER BY j.seq DESC LIMIT ")
            .bind(i64::from(filter.limit))?;
        let rows = sql
            .query()
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        rows.iter().map(|row| Ok(read(row)?.approval)).collect()
    }

    /// The approval that a job needs or needed.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn approval(&self, job: Ulid) -> Result<Option<Approval>, StoreError> {
        let mut db = self.reader().await?;
        let row = by_job(&mut db, job).with_timeout().await?;
        Ok(row.map(|row| row.approval))
    }
}

/// Records that a new job needs an approval, in the commit that inserts it.
pub(super) fn insert(
    db: &AnyConnection,
    sql: &mut Sql,
    job: Ulid,
    new: &NewApproval,
    change: Option<String>,
) -> Result<(), StoreError> {
    sql.then(
        db,
        "INSERT INTO approvals (state, break_glass, job_id, reasons, changes, warnings, plan_digest, requester, record_change, expires_at) \
         VALUES ('pending', 0, ",
    );
    sql.list([
        job.to_string(),
        to_json(&new.reasons)?,
        to_json(&new.plan.changes)?,
        to_json(&new.plan.warnings)?,
        new.plan.digest.as_str().to_owned(),
        new.requester.clone(),
    ])?;
    sql.push(", ").bind(change)?;
    sql.push(", ").bind(new.plan.expires_at.millis())?.push(")");
    Ok(())
}

/// Records that a job waits again, because its plan goes beyond the approved one.
pub(super) fn reopen(
    db: &AnyConnection,
    sql: &mut Sql,
    job: Ulid,
    plan: &PlanToApprove,
    difference: &PlanDifference,
) -> Result<(), StoreError> {
    sql.then(db, "UPDATE approvals SET state = 'pending', decided_by = NULL, decided_at = NULL, comment = NULL, break_glass = 0, changes = ");
    sql.bind(to_json(&plan.changes)?)?
        .push(", warnings = ")
        .bind(to_json(&plan.warnings)?)?;
    sql.push(", plan_digest = ")
        .bind(plan.digest.as_str().to_owned())?
        .push(", difference = ")
        .bind(to_json(difference)?)?;
    sql.push(", expires_at = ")
        .bind(plan.expires_at.millis())?
        .push(" WHERE job_id = ")
        .bind(job.to_string())?;
    Ok(())
}

/// Why a job that was not approved cannot be retried.
pub(super) async fn refuse_retry(
    db: &mut AnyConnection,
    job: Ulid,
) -> Result<Option<Refusal>, StoreError> {
    let state = by_job(db, job).await?.map(|row| row.approval.state);
    Ok(state
        .filter(|state| *state != ApprovalState::Approved)
        .map(Refusal::NotApproved))
}

/// Records how a pending approval ended without one.
pub(super) async fn end(
    db: &mut AnyConnection,
    job: Ulid,
    state: ApprovalState,
    by: Option<&str>,
    comment: Option<String>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut sql = Sql::new("UPDATE approvals SET record_change = NULL, state = ");
    sql.bind(state.to_string())?
        .push(", decided_by = ")
        .bind(by.map(str::to_owned))?;
    sql.push(", decided_at = ")
        .bind(now.millis())?
        .push(", comment = ")
        .bind(comment)?;
    sql.push(" WHERE state = 'pending' AND job_id = ")
        .bind(job.to_string())?;
    sql.run(db).await.map(drop)
}

pub(super) async fn by_job(db: &mut AnyConnection, job: Ulid) -> Result<Option<Row>, StoreError> {
    let mut sql = Sql::new(COLUMNS);
    sql.push(" WHERE p.job_id = ").bind(job.to_string())?;
    let row = sql.query().fetch_optional(&mut *db).await?;
    row.map(|row| read(&row)).transpose()
}

fn read(row: &AnyRow) -> Result<Row, StoreError> {
    let row = RowReader::new(row, "approvals", "job_id");
    let corrupt = |column, error: NameError| StoreError::Corrupt {
        table: "apps",
        column,
        row: row.plain("app_id").unwrap_or_default(),
        why: error.to_string(),
    };
    let digest: String = row.plain("plan_digest")?;
    let name =
        AppName::stored(&row.plain::<String>("name")?).map_err(|error| corrupt("name", error))?;
    let approval = Approval {
        job: row.id("job_id")?,
        kind: row.parsed("kind")?,
        app: Some(name).filter(|name| !name.is_of_setup()),
        account: AccountName::parse(&row.plain::<String>("account")?)
            .map_err(|error| corrupt("account", error))?,
        state: row.parsed("state")?,
        reasons: row.json("reasons")?,
        changes: row.json("changes")?,
        warnings: row.json("warnings")?,
        plan_digest: PlanDigest::parse(&digest).map_err(|error| corrupt("plan_digest", error))?,
        difference: row.json_or_null("difference")?,
        requested_by: row.plain("requested_by")?,
        requested_at: row.moment("created_at")?,
        expires_at: row.moment("expires_at")?,
        decided_by: row.plain("decided_by")?,
        decided_at: row.moment_or_null("decided_at")?,
        comment: row.plain("comment")?,
        break_glass: row.plain::<i64>("break_glass")? == 1,
    };
    Ok(Row {
        approval,
        requester: row.plain("requester")?,
    })
}
