//! Writes jobs' progress behind: progress that arrives while a write of the job is queued joins that write.
//!
//! Invariants:
//! - Progress is written in the order in which it was recorded, and before later writes of the worker.
//! - Every event is kept. Of a step's states in one write, the last is kept.
//! - Progress whose write failed joins the attempt's next write, or its end.
//! - Nothing is written once the lease is lost.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use serde::Serialize;
use sqlx::AnyConnection;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::event::EventPayload;
use crate::domain::job::StepState;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::events::insert_events;
use crate::store::lease::{Lease, held, run_held};
use crate::store::progress_queue::{ProgressRecord, StepRecord};
use crate::store::rows::to_json;
use crate::store::signals::Signal;
use crate::store::sql::Sql;

impl Store {
    /// A worker's write about its job, together with the progress that the worker has recorded before.
    pub(super) async fn write_with_lease<T, F>(
        &self,
        lease: Lease,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, StoreError>>
            + Send
            + 'static,
    {
        let (load, carried) = self.progress.carry(lease, None);
        let written = self.writer.write_of(lease.job, move |db| {
            Box::pin(async move {
                insert(db, lease, load.take()).await?;
                work(db).await
            })
        });
        let written = written.await;
        if matches!(written, Ok(_) | Err(StoreError::LostLease))
            && carried.confirm()
            && written.is_ok()
        {
            self.signal(Signal::Progress(lease.job));
        }
        written
    }

    /// Records what happened to a step, without waiting for the commit. Nothing is recorded once the lease is lost.
    pub fn record(&self, lease: Lease, step: Option<StepRecord>, payload: EventPayload) {
        let told = ProgressRecord {
            at: self.clock.now(),
            step,
            payload,
        };
        let Some(wanted) = self.progress.add(lease, told) else {
            return;
        };
        let ((load, carried), store) = (
            self.progress.carry(lease, Some(wanted.clone())),
            self.clone(),
        );
        self.writer.write_behind(
            lease.job,
            wanted,
            move |db| Box::pin(async move { insert(db, lease, load.take()).await }),
            move |result: Result<(), StoreError>| match result {
                Ok(()) => {
                    if carried.confirm() {
                        store.signal(Signal::Progress(lease.job));
                    }
                }
                Err(StoreError::LostLease) => drop(carried.confirm()),
                Err(error) => {
                    tracing::warn!(job = %lease.job, %error, "cannot write progress yet")
                }
            },
        );
    }
}

/// A resource by its last record. Once created or adopted, it stays so.
#[derive(Serialize)]
struct Latest<'t> {
    resource: &'t str,
    arn: Option<&'t str>,
    made: i64,
    made_at: Option<i64>,
    owned: i64,
    state: StepState,
    error: Option<String>,
    at: i64,
    #[serde(skip)]
    gone: bool,
}

impl Latest<'_> {
    fn of_each(told: &[ProgressRecord]) -> Result<Vec<Latest<'_>>, StoreError> {
        let mut latest: BTreeMap<&str, Latest<'_>> = BTreeMap::new();
        for (
            at,
            StepRecord {
                step,
                arn,
                made,
                made_at,
                owned,
                gone,
                ..
            },
        ) in told
            .iter()
            .filter_map(|told| Some((told.at.millis(), told.step.as_ref()?)))
        {
            let earlier = latest.get(step.resource.as_str());
            let made = i64::from(*made || earlier.is_some_and(|earlier| earlier.made == 1));
            let owned = i64::from(*owned || earlier.is_some_and(|earlier| earlier.owned == 1));
            let made_at = made_at
                .map(Timestamp::millis)
                .or_else(|| earlier.and_then(|earlier| earlier.made_at));
            let (state, arn, gone) = (step.state, arn.as_deref(), *gone);
            let error = step.error.as_ref().map(to_json).transpose()?;
            latest.insert(
                step.resource.as_str(),
                Latest {
                    resource: step.resource.as_str(),
                    arn,
                    made,
                    made_at,
                    owned,
                    state,
                    error,
                    at,
                    gone,
                },
            );
        }
        Ok(latest.into_values().collect())
    }
}

/// Writes progress.
pub(super) async fn insert(
    db: &mut AnyConnection,
    lease: Lease,
    told: Vec<ProgressRecord>,
) -> Result<(), StoreError> {
    if told.is_empty() {
        return Ok(());
    }
    let mut sql = held(db, lease)?;
    if let Some(StepRecord { steps, .. }) = told.iter().rev().find_map(|told| told.step.as_ref()) {
        sql.then(db, "UPDATE steps SET steps = ")
            .bind(to_json(steps)?)?
            .push(" WHERE job_id = ")
            .bind(lease.job.to_string())?;
        let (gone, there): (Vec<_>, Vec<_>) = Latest::of_each(&told)?
            .into_iter()
            .partition(|latest| latest.gone);
        upsert_resources(db, &mut sql, lease.job, &there)?;
        if !gone.is_empty() {
            sql.then(
                db,
                "DELETE FROM resources WHERE app_id = (SELECT app_id FROM jobs WHERE id = ",
            )
            .bind(lease.job.to_string())?;
            sql.push(") AND resource IN (")
                .list(gone.iter().map(|latest| latest.resource))?
                .push(")");
        }
    }
    let waits = told.iter().rev().find_map(|told| match &told.payload {
        EventPayload::StepWaiting { reason, .. } => Some(reason),
        _ => None,
    });
    if let Some(reason) = waits {
        sql.then(db, "UPDATE jobs SET reason = ")
            .bind(reason)?
            .push(" WHERE id = ")
            .bind(lease.job.to_string())?;
    }
    insert_events(
        db,
        &mut sql,
        &told
            .iter()
            .map(|told| (lease.job, told.at, &told.payload))
            .collect::<Vec<_>>(),
    )?;
    run_held(db, lease, sql).await.map(drop)
}

fn upsert_resources(
    db: &AnyConnection,
    sql: &mut Sql,
    job: Ulid,
    latest: &[Latest<'_>],
) -> Result<(), StoreError> {
    sql.then(
        db,
        "INSERT INTO resources (app_id, resource, arn, made, adopted, made_at, state, error, job_id, updated_at) \
         SELECT j.app_id, item.value ->> 'resource', item.value ->> 'arn', CAST(item.value ->> 'made' AS BIGINT), \
         CAST(item.value ->> 'owned' AS BIGINT), CAST(item.value ->> 'made_at' AS BIGINT), item.value ->> 'state', item.value ->> 'error', j.id, CAST(item.value ->> 'at' AS BIGINT) FROM jobs j, ",
    );
    sql.rows(db, &latest)?.push(" WHERE j.id = ").bind(job.to_string())?.push(
        " ON CONFLICT (app_id, resource) DO UPDATE SET arn = excluded.arn, \
         made = CASE WHEN excluded.made > resources.made THEN excluded.made ELSE resources.made END, \
         adopted = CASE WHEN excluded.adopted > resources.adopted THEN excluded.adopted ELSE resources.adopted END, \
         made_at = COALESCE(excluded.made_at, resources.made_at), state = excluded.state, \
         error = excluded.error, job_id = excluded.job_id, updated_at = excluded.updated_at",
    );
    Ok(())
}
