//! What a resource works with: the account, the app, the job, and what this job has made so far.
//!
//! Invariant: what a job notes as made here, it made itself in this attempt; after a crash nothing is
//! noted, and everything is looked at again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use ulid::Ulid;

use super::access_key::KeyLedger;
use super::{Fault, ResourceId};
use crate::aws::{Account, AwsError, Meaning, Service};
use crate::clock::{Clock, Timestamp};
use crate::domain::names::AppName;
use crate::domain::spec::OnExisting;

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// The first back-off; it doubles from there.
    pub backoff: Duration,
    /// The longest back-off.
    pub backoff_cap: Duration,
    /// How long AWS is left in peace while it settles.
    pub settle: Duration,
    /// How long after our own create "not found" means "not visible yet" (IAM is eventually consistent).
    pub propagation: Duration,
    /// How long after a lost answer a user's keys are listed, and listed again.
    pub key_list: Duration,
    /// The longest wait for the answer to one AWS call.
    pub answer: Duration,
    /// The longest wait with the lease held; a longer one gives the worker back.
    pub hold: Duration,
    /// The longest wait for the turn of one call while AWS throttles the account.
    pub turn: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            backoff: Duration::from_secs(1),
            backoff_cap: Duration::from_secs(60),
            settle: Duration::from_secs(1),
            propagation: Duration::from_secs(120),
            key_list: Duration::from_secs(10),
            answer: Duration::from_secs(15),
            hold: Duration::from_secs(5),
            turn: Duration::from_secs(15),
        }
    }
}

/// What a resource works with.
pub struct Cx {
    /// The account that the app lives in.
    pub account: Arc<Account>,
    /// The app.
    pub app: AppName,
    /// The job, written into tags.
    pub job: Ulid,
    /// When the job was accepted.
    pub accepted_at: Timestamp,
    /// What to do about foreign things.
    pub on_existing: OnExisting,
    /// Whether images that carry protected tags may expire.
    pub accept_expiry: bool,
    /// Whether no job has looked at the app's things yet, so that creates may be tried first.
    pub untouched: bool,
    /// What an earlier attempt was at when it was interrupted, and since when: it may have made these.
    pub interrupted: BTreeMap<ResourceId, Timestamp>,
    /// What our record says that jobs of this app have made.
    pub recorded: BTreeSet<ResourceId>,
    /// Where intents and secrets of access keys are written.
    pub keys: Arc<dyn KeyLedger>,
    /// The clock.
    pub clock: Clock,
    /// How long things take.
    pub timing: Timing,
    /// What this attempt has made, and when.
    pub made: Arc<Made>,
}

/// What an attempt has made, and when; and what it may have made.
#[derive(Debug, Default)]
pub struct Made {
    surely: Mutex<HashMap<ResourceId, Timestamp>>,
    perhaps: Mutex<BTreeMap<ResourceId, Timestamp>>,
    by_tags: Mutex<BTreeSet<ResourceId>>,
    arns: Mutex<HashMap<ResourceId, String>>,
}

impl Made {
    /// Whether this attempt has made `id`.
    pub fn has(&self, id: &str) -> bool {
        self.at(id).is_some()
    }

    /// Whether a job of this app has made `id`: this attempt, or by its tags an earlier one.
    pub fn is_ours(&self, id: &str) -> bool {
        self.has(id) || self.by_tags.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    /// The ARN under which `id` was seen, where that may differ from the one that we would give it.
    pub fn arn(&self, id: &str) -> Option<String> {
        self.arns.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn at(&self, id: &str) -> Option<Timestamp> {
        self.surely.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied()
    }
}

impl Cx {
    /// Makes an AWS call of this job.
    ///
    /// # Errors
    /// What AWS refused, with its meaning.
    pub async fn call<T, E>(
        &self,
        service: Service,
        operation: &'static str,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, AwsError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        self.account.turn(service, operation, self.timing.turn).await?;
        self.account.call_at_once(service, operation, call).await
    }

    /// Takes note that this attempt has made `id`.
    pub fn note_made(&self, id: ResourceId) {
        self.made.surely.lock().unwrap_or_else(PoisonError::into_inner).insert(id, self.clock.now());
    }

    /// Takes note that `id` carries the tags that only a create of this app sets.
    pub fn note_made_by_us(&self, id: &str) {
        self.made.by_tags.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
    }

    /// Whether a job of this app has made `id`, by our record, in this attempt, or by its tags.
    pub fn is_made_by_us(&self, id: &str) -> bool {
        self.recorded.contains(id) || self.made.is_ours(id)
    }

    /// Takes note of the ARN under which `id` was seen.
    pub fn note_arn(&self, id: ResourceId, arn: impl Into<String>) {
        self.made.arns.lock().unwrap_or_else(PoisonError::into_inner).insert(id, arn.into());
    }

    /// Takes note that the answer to the create of `id` was lost.
    pub fn note_in_doubt(&self, id: ResourceId) {
        self.made.perhaps.lock().unwrap_or_else(PoisonError::into_inner).insert(id, self.clock.now());
    }

    /// Since when and until when this job may have made `id` without anybody having recorded it; `None` if
    /// no create of it was interrupted.
    pub fn may_have_made(&self, id: &str) -> Option<RangeInclusive<Timestamp>> {
        let now_lost = self.made.perhaps.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied();
        let at = now_lost.or_else(|| self.interrupted.get(id).copied())?;
        Some(self.accepted_at..=at.after(self.timing.propagation))
    }

    /// Whether this attempt has made `id`.
    pub fn has_made(&self, id: &str) -> bool {
        self.made.has(id)
    }

    /// The fault of a call that did not find `id`: shortly after our own create, AWS just does not show it yet.
    pub fn missing_after_create(&self, id: &str, error: AwsError) -> Fault {
        if error.meaning != Meaning::NotFound {
            return error.into();
        }
        let young = |at: Timestamp| self.clock.now().since(at) < self.timing.propagation;
        match self.made.at(id) {
            Some(at) if young(at) => Fault::Wait { why: format!("AWS does not show {id} everywhere yet"), after: self.timing.settle },
            _ => {
                self.account.forget();
                error.into()
            }
        }
    }
}
