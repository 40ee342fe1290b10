//! Progress of jobs that is not written yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::clock::Timestamp;
use crate::domain::event::EventPayload;
use crate::domain::job::Step;
use crate::store::lease::Lease;

/// A step's present state, recorded with an event.
#[derive(Debug, Clone)]
pub struct StepRecord {
    /// The step.
    pub step: Step,
    /// All steps of the job.
    pub steps: Vec<Step>,
    /// Its ARN.
    pub arn: Option<String>,
    /// Whether this job created it.
    pub made: bool,
    /// When this job created it.
    pub made_at: Option<Timestamp>,
    /// Whether the app owns it: a job has changed it, or found it as the spec says.
    pub owned: bool,
    /// Whether it was deleted or released.
    pub gone: bool,
}

#[derive(Clone, Default)]
pub(super) struct ProgressQueue {
    batches: Arc<Mutex<HashMap<Lease, Batch>>>,
    /// Progress whose write failed.
    lost: Arc<Mutex<HashMap<Lease, Vec<ProgressRecord>>>>,
}

struct Batch {
    /// Watched by the write. When it is dropped, another write has taken the batch.
    wanted: Arc<()>,
    told: Vec<ProgressRecord>,
}

#[derive(Clone)]
pub(super) struct ProgressRecord {
    pub(super) at: Timestamp,
    pub(super) step: Option<StepRecord>,
    pub(super) payload: EventPayload,
}

impl ProgressQueue {
    /// Adds to the batch that waits for the writer. Returns the handle of a new batch if none waits.
    pub(super) fn add(&self, lease: Lease, told: ProgressRecord) -> Option<Weak<()>> {
        let mut batches = self.batches();
        if let Some(batch) = batches.get_mut(&lease) {
            batch.told.push(told);
            return None;
        }
        let batch = Batch {
            wanted: Arc::default(),
            told: vec![told],
        };
        let wanted = Arc::downgrade(&batch.wanted);
        batches.insert(lease, batch);
        Some(wanted)
    }

    fn take(&self, lease: Lease) -> Vec<ProgressRecord> {
        self.batches()
            .remove(&lease)
            .map(|batch| batch.told)
            .unwrap_or_default()
    }

    /// The batch of `wanted`, if no write has taken it.
    fn take_own(&self, lease: Lease, wanted: &Weak<()>) -> Vec<ProgressRecord> {
        let mut batches = self.batches();
        let is_it = batches
            .get(&lease)
            .is_some_and(|batch| std::ptr::eq(Arc::as_ptr(&batch.wanted), wanted.as_ptr()));
        if is_it {
            batches
                .remove(&lease)
                .map(|batch| batch.told)
                .unwrap_or_default()
        } else {
            Vec::new()
        }
    }

    fn batches(&self) -> MutexGuard<'_, HashMap<Lease, Batch>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self) -> MutexGuard<'_, HashMap<Lease, Vec<ProgressRecord>>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The two halves of a write's progress: what the write takes, and what becomes of it. A write that is made for one
    /// batch passes its `wanted`.
    pub(super) fn carry(&self, lease: Lease, own: Option<Weak<()>>) -> (Load, Carried) {
        let told = Arc::default();
        let carried = Carried {
            progress: self.clone(),
            lease,
            own,
            told: Arc::clone(&told),
        };
        (
            Load {
                progress: self.clone(),
                lease,
                told,
            },
            carried,
        )
    }
}

/// Taken by a write when it runs.
pub(super) struct Load {
    progress: ProgressQueue,
    lease: Lease,
    told: Arc<Mutex<Option<Vec<ProgressRecord>>>>,
}

impl Load {
    /// Progress whose write failed, then what waits.
    pub(super) fn take(self) -> Vec<ProgressRecord> {
        let mut told = self.progress.lost().remove(&self.lease).unwrap_or_default();
        told.extend(self.progress.take(self.lease));
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(told.clone());
        told
    }
}

/// The progress that a write has taken. Unless it is confirmed, the next write takes it again.
pub(super) struct Carried {
    progress: ProgressQueue,
    lease: Lease,
    /// Of the batch that the write is made for.
    own: Option<Weak<()>>,
    told: Arc<Mutex<Option<Vec<ProgressRecord>>>>,
}

impl Carried {
    /// Confirms that the progress is on disk or obsolete. Returns whether there was any.
    pub(super) fn confirm(self) -> bool {
        let taken = self
            .told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(Vec::new());
        taken.is_some_and(|told| !told.is_empty())
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        let taken = self
            .told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // Or the write did not even begin: nothing is lost but its own batch. The next one has a write of its own.
        let own = || {
            self.own
                .as_ref()
                .map(|wanted| self.progress.take_own(self.lease, wanted))
                .unwrap_or_default()
        };
        let told = taken.unwrap_or_else(own);
        if !told.is_empty() {
            self.progress
                .lost()
                .entry(self.lease)
                .or_default()
                .extend(told);
        }
    }
}
