//! What an attempt of a job did in AWS.
//!
//! Invariant: what the journal says was created, this attempt created itself, or an earlier attempt that this process
//! handed back for a short wait did. After a crash the journal is empty, and everything is observed again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::resource_id::ResourceId;

/// The journal of an attempt.
#[derive(Debug, Default)]
pub struct Journal(Mutex<Entries>);

#[derive(Debug, Default)]
pub(super) struct Entries {
    /// What was created, and when.
    pub created: HashMap<ResourceId, Timestamp>,
    /// What a create whose response was lost may have created, and when.
    pub maybe_created: BTreeMap<ResourceId, Timestamp>,
    /// What carries the tags that only a create of this app sets.
    pub created_by_app: BTreeSet<ResourceId>,
    /// The ARNs under which resources were observed.
    pub arns: HashMap<ResourceId, String>,
    /// What an interrupted attempt may have created, and when this attempt first observed it.
    pub found: HashMap<ResourceId, Timestamp>,
    /// What a call whose response was lost may have deleted.
    pub maybe_deleted: BTreeSet<ResourceId>,
    /// When the last part of a long change was made.
    pub progress: Option<Timestamp>,
    /// What AWS refused to delete because something depends on it, and since when.
    pub in_use: HashMap<ResourceId, Timestamp>,
    /// What was created, tagged or deleted so recently that AWS may not authorize calls on it yet.
    pub unsettled: Unsettled,
    /// What was reconciled, when, and with which warnings.
    pub reconciled: HashMap<ResourceId, (Instant, Vec<String>)>,
}

/// When resources were changed. On the monotonic clock: the wall clock can step back, and what is new must not look old then.
#[derive(Debug, Default)]
pub(super) struct Unsettled(HashMap<ResourceId, Instant>);

impl Unsettled {
    /// The resource was created now, whatever was done to an earlier one by its name.
    pub fn begin(&mut self, id: ResourceId) {
        self.0.insert(id, Instant::now());
    }

    /// The resource was changed `at` this time. The first time counts until `span` is over: a denial that outlasts it is not
    /// waited for again.
    pub fn note(&mut self, id: ResourceId, at: Instant, span: Duration) {
        let noted = self.0.entry(id).or_insert(at);
        if at.saturating_duration_since(*noted) >= span {
            *noted = at;
        }
    }

    /// The resource was changed at a time that is not known: it counts from when that is first noted.
    pub fn note_once(&mut self, id: ResourceId) {
        self.0.entry(id).or_insert_with(Instant::now);
    }

    /// Whether the resource was changed within `span`.
    pub fn contains(&self, id: &ResourceId, span: Duration) -> bool {
        self.0.get(id).is_some_and(|at| at.elapsed() < span)
    }
}

impl Journal {
    pub(super) fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this attempt created the resource.
    pub fn has_created(&self, id: &ResourceId) -> bool {
        self.created_at(id).is_some()
    }

    /// Whether a job of this app created the resource: this attempt, or by its tags an earlier one.
    pub fn is_created_by_app(&self, id: &ResourceId) -> bool {
        let entries = self.entries();
        entries.created.contains_key(id) || entries.created_by_app.contains(id)
    }

    /// The ARN under which the resource was observed, if it can differ from the usual one.
    pub fn arn(&self, id: &ResourceId) -> Option<String> {
        self.entries().arns.get(id).cloned()
    }

    /// When this attempt created the resource.
    pub fn created_at(&self, id: &ResourceId) -> Option<Timestamp> {
        self.entries().created.get(id).copied()
    }
}

/// Attempts that this process ended for a short wait, by their job, so that the next attempt resumes from them.
#[derive(Debug, Default)]
pub struct ResumableAttempts(Mutex<HashMap<Ulid, AttemptState>>);

/// What an attempt leaves to the next one.
#[derive(Debug, Clone)]
pub struct AttemptState {
    /// The attempt's number, starting at 1.
    pub attempt: u32,
    /// The job's deadline. A retry that a person requests sets another one, and then everything is observed again.
    pub deadline: Timestamp,
    pub journal: Arc<Journal>,
    /// Whether creates may still be tried before observing.
    pub create_first: bool,
}

impl ResumableAttempts {
    /// Stores the state of an attempt.
    pub fn store(&self, job: Ulid, state: AttemptState, now: Timestamp) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Another replica may have taken over some of the jobs.
        all.retain(|_, state| state.deadline > now);
        all.insert(job, state);
    }

    /// Removes and returns the state of the previous attempt, if this process made it.
    pub fn take(&self, job: Ulid, attempt: u32, deadline: Timestamp) -> Option<AttemptState> {
        let state = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&job)?;
        (state.attempt + 1 == attempt && state.deadline == deadline).then_some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(120);

    #[tokio::test(start_paused = true)]
    async fn what_is_created_anew_has_the_whole_time_after_a_deletion() {
        let (id, mut unsettled) = (ResourceId::new("iam:user", "acme"), Unsettled::default());
        unsettled.note(id.clone(), Instant::now(), SPAN);
        tokio::time::advance(SPAN - Duration::from_secs(1)).await;
        unsettled.begin(id.clone());
        tokio::time::advance(SPAN - Duration::from_secs(1)).await;
        assert!(unsettled.contains(&id, SPAN));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!unsettled.contains(&id, SPAN));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_time_counts_until_it_is_over() {
        let (id, mut unsettled) = (ResourceId::new("iam:user", "acme"), Unsettled::default());
        for _ in 0..4 {
            unsettled.note(id.clone(), Instant::now(), SPAN);
            unsettled.note_once(id.clone());
            assert!(unsettled.contains(&id, SPAN));
            tokio::time::advance(SPAN / 4).await;
        }
        assert!(
            !unsettled.contains(&id, SPAN),
            "not waited for again and again"
        );
        unsettled.note_once(id.clone());
        assert!(!unsettled.contains(&id, SPAN));
        unsettled.note(id.clone(), Instant::now(), SPAN);
        assert!(unsettled.contains(&id, SPAN), "another change");
    }
}
