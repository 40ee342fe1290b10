//! Progress of jobs, written behind: what is told of a job while a write of it waits for its turn goes along.
//!
//! Invariants:
//! - What is told of a job is written in the order it was told in, before what is asked of the writer later.
//! - Each event is kept; of the states of a step that go together, the last.
//! - What a write did not get to disk goes along with the attempt's next write, or with its end.
//! - Nothing is written once the lease is lost.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use sqlx::AnyConnection;
use ulid::Ulid;

use super::audit::{self, Of};
use super::jobs::{Lease, StepRecord, hold};
use super::rows::to_json;
use super::sql::Sql;
use super::{Signal, Store, StoreError};
use crate::clock::Timestamp;
use crate::domain::audit::Deed;
use crate::domain::event::Happening;
use crate::domain::job::Step;

/// What was told of attempts and is not written yet.
#[derive(Clone, Default)]
pub(super) struct Progress {
    batches: Arc<Mutex<HashMap<Lease, Batch>>>,
    /// What was on its way when the database was in trouble.
    lost: Arc<Mutex<HashMap<Lease, Vec<Told>>>>,
}

/// What goes in one write.
struct Batch {
    /// Held by the write. When it is gone without having taken the batch, the writer has dropped it.
    write: Weak<()>,
    told: Vec<Told>,
}

#[derive(Clone)]
pub(super) struct Told {
    at: Timestamp,
    step: Option<StepRecord>,
    happening: Happening,
}

impl Progress {
    /// Adds to the batch that waits for the writer; answers a new batch's write, to be queued, if none waits.
    fn add(&self, lease: Lease, told: Told) -> Option<Arc<()>> {
        let mut batches = self.batches();
        batches.retain(|_, batch| batch.write.strong_count() > 0);
        if let Some(batch) = batches.get_mut(&lease) {
            batch.told.push(told);
            return None;
        }
        let write = Arc::new(());
        batches.insert(lease, Batch { write: Arc::downgrade(&write), told: vec![told] });
        Some(write)
    }

    fn take(&self, lease: Lease) -> Vec<Told> {
        self.batches().remove(&lease).map(|batch| batch.told).unwrap_or_default()
    }

    fn batches(&self) -> MutexGuard<'_, HashMap<Lease, Batch>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self) -> MutexGuard<'_, HashMap<Lease, Vec<Told>>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way to disk of what a write takes along: a batch of its own, or only what was lost before.
    pub(super) fn carry(&self, lease: Lease, batch: bool) -> (Load, Carried) {
        let told = Arc::default();
        let carried = Carried { progress: self.clone(), lease, batch, told: Arc::clone(&told) };
        (Load { progress: self.clone(), lease, batch, told }, carried)
    }
}

/// What a write is about to take along.
pub(super) struct Load {
    progress: Progress,
    lease: Lease,
    batch: bool,
    told: Arc<Mutex<Option<Vec<Told>>>>,
}

impl Load {
    /// What was lost before, then what waits.
    pub(super) fn take(self) -> Vec<Told> {
        let mut told = self.progress.lost().remove(&self.lease).unwrap_or_default();
        if self.batch {
            told.extend(self.progress.take(self.lease));
        }
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(told.clone());
        told
    }
}

/// What a write has taken along; dropped without having been confirmed, it is lost, to be taken along by the next.
pub(super) struct Carried {
    progress: Progress,
    lease: Lease,
    batch: bool,
    told: Arc<Mutex<Option<Vec<Told>>>>,
}

impl Carried {
    /// It is on disk, or nobody wants it any more.
    pub(super) fn confirm(self) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        let taken = self.told.lock().unwrap_or_else(PoisonError::into_inner).take();
        let told = match taken {
            Some(told) => told,
            // The write did not even begin.
            None if self.batch => self.progress.take(self.lease),
            None => Vec::new(),
        };
        if !told.is_empty() {
            self.progress.lost().entry(self.lease).or_default().extend(told);
        }
    }
}

impl Store {
    /// Records what happened to a step, without waiting for the commit. Nothing is recorded once the lease is lost.
    pub fn record(&self, lease: Lease, step: Option<StepRecord>, happening: Happening) {
        let told = Told { at: self.clock.now(), step, happening };
        let Some(write) = self.progress.add(lease, told) else { return };
        let ((load, carried), store) = (self.progress.carry(lease, true), self.clone());
        self.writer.write_behind(
            lease.job,
            move |db| {
                Box::pin(async move {
                    let told = load.take();
                    drop(write);
                    insert(db, lease, told).await
                })
            },
            move |result: Result<(), StoreError>| match result {
                Ok(()) => {
                    carried.confirm();
                    store.signal(Signal::Progress(lease.job));
                }
                Err(StoreError::LostLease) => carried.confirm(),
                Err(error) => tracing::warn!(job = %lease.job, %error, "progress is not recorded yet"),
            },
        );
    }
}

/// What the last of a step's records says; what one of them has made stays made.
struct Latest<'t> {
    step: &'t Step,
    arn: Option<&'t str>,
    made: bool,
    gone: bool,
    at: Timestamp,
}

/// Writes what was told; nothing, if nothing was.
pub(super) async fn insert(db: &mut AnyConnection, lease: Lease, told: Vec<Told>) -> Result<(), StoreError> {
    if told.is_empty() {
        return Ok(());
    }
    let app = hold(db, lease).await?;
    let mut steps: BTreeMap<&str, Latest<'_>> = BTreeMap::new();
    for told in &told {
        if let Some(StepRecord { step, arn, made, gone }) = &told.step {
            let made = *made || steps.get(step.resource.as_str()).is_some_and(|earlier| earlier.made);
            steps.insert(&step.resource, Latest { step, arn: arn.as_deref(), made, gone: *gone, at: told.at });
        }
    }
    for latest in steps.values() {
        update_step(db, lease.job, latest.step).await?;
    }
    let (gone, there): (Vec<_>, Vec<_>) = steps.into_values().partition(|latest| latest.gone);
    if !there.is_empty() {
        upsert_resources(db, app, lease.job, there.into_iter()).await?;
    }
    if !gone.is_empty() {
        let mut sql = Sql::new("DELETE FROM resources WHERE app_id = ");
        sql.bind(app.to_string())?.push(" AND resource IN (").list(gone.iter().map(|latest| &latest.step.resource))?.push(")");
        sql.query().execute(&mut *db).await?;
    }
    insert_events(db, lease.job, &told).await?;
    let deeds: Vec<_> = told.iter().flat_map(|told| Deed::of(&told.happening).into_iter().map(|deed| (told.at, deed))).collect();
    audit::note(db, Of::Job(lease.job), None, &deeds).await
}

async fn update_step(db: &mut AnyConnection, job: Ulid, step: &Step) -> Result<(), StoreError> {
    let update =
        "UPDATE steps SET state = $1, changes = $2, attempts = $3, error = $4, duration_ms = $5 WHERE job_id = $6 AND resource = $7";
    let error = step.error.as_ref().map(to_json).transpose()?;
    let update = sqlx::query(update).bind(step.state.to_string()).bind(to_json(&step.changes)?).bind(i64::from(step.attempts));
    let update = update.bind(error).bind(step.duration_ms).bind(job.to_string()).bind(&step.resource);
    update.execute(db).await?;
    Ok(())
}

async fn upsert_resources<'t>(
    db: &mut AnyConnection,
    app: Ulid,
    job: Ulid,
    latest: impl Iterator<Item = Latest<'t>>,
) -> Result<(), StoreError> {
    let mut sql = Sql::new("INSERT INTO resources (app_id, resource, arn, made, state, error, job_id, updated_at) VALUES ");
    for (position, Latest { step, arn, made, at, .. }) in latest.enumerate() {
        let error = step.error.as_ref().map(to_json).transpose()?;
        sql.push(if position == 0 { "(" } else { ", (" }).bind(app.to_string())?;
        sql.push(", ").bind(&step.resource)?.push(", ").bind(arn)?.push(", ").bind(i64::from(made))?;
        sql.push(", ").bind(step.state.to_string())?.push(", ").bind(error)?;
        sql.push(", ").bind(job.to_string())?.push(", ").bind(at.millis())?.push(")");
    }
    sql.push(
        " ON CONFLICT (app_id, resource) DO UPDATE SET arn = excluded.arn, \
         made = CASE WHEN excluded.made > resources.made THEN excluded.made ELSE resources.made END, state = excluded.state, \
         error = excluded.error, job_id = excluded.job_id, updated_at = excluded.updated_at",
    );
    sql.query().execute(db).await?;
    Ok(())
}

async fn insert_events(db: &mut AnyConnection, job: Ulid, told: &[Told]) -> Result<(), StoreError> {
    let mut sql = Sql::new("INSERT INTO events (job_id, at, data) VALUES ");
    for (position, told) in told.iter().enumerate() {
        sql.push(if position == 0 { "(" } else { ", (" }).bind(job.to_string())?;
        sql.push(", ").bind(told.at.millis())?.push(", ").bind(to_json(&told.happening)?)?.push(")");
    }
    sql.query().execute(db).await?;
    Ok(())
}
