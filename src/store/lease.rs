//! Leases, which guard every write of a worker.

use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use ulid::Ulid;

use crate::store::error::StoreError;
use crate::store::rows::RowReader;
use crate::store::sql::{Sql, for_update, is_postgres};

/// The right to work on a job. Its token rises with every claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The job.
    pub job: Ulid,
    /// The fencing token.
    pub token: i64,
}

/// Begins a worker's write: what follows has no effect unless the lease is held. The statements that follow must return
/// no rows.
pub(super) fn held(db: &AnyConnection, lease: Lease) -> Result<Sql, StoreError> {
    let mut sql = Sql::new(
        "SELECT app_id, id, task, cancel_requested FROM jobs WHERE state = 'running' AND id = ",
    );
    sql.bind(lease.job.to_string())?
        .push(" AND lease_token = ")
        .bind(lease.token)?
        .push(for_update(db));
    Ok(sql)
}

/// Runs what [`held`] begins and returns the job's app. Without the lease, the request's transaction rolls back.
pub(super) async fn run_held(
    db: &mut AnyConnection,
    lease: Lease,
    sql: Sql,
) -> Result<Ulid, StoreError> {
    match sql.run_if_found(db).await {
        Ok(found) => app_of(found),
        // Who has lost the lease may run into what its holder has written.
        Err(error) if !is_postgres(db) => hold(db, lease).await.and(Err(error)),
        Err(error) => Err(error),
    }
}

/// Fails unless the lease is held; returns the job's app.
pub(super) async fn hold(db: &mut AnyConnection, lease: Lease) -> Result<Ulid, StoreError> {
    app_of(held(db, lease)?.run_if_found(db).await?)
}

fn app_of(found: Option<AnyRow>) -> Result<Ulid, StoreError> {
    RowReader::new(&found.ok_or(StoreError::LostLease)?, "jobs", "id").id("app_id")
}
