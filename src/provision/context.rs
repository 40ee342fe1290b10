//! What the reconcile of one resource works with.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_iam::operation::RequestId;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tokio::time::Instant;
use ulid::Ulid;

use crate::aws::{Account, AwsError, Effect, ErrorKind, Service};
use crate::clock::{Clock, Timestamp};
use crate::domain::app::Recorded;
use crate::domain::event::AwsCall;
use crate::domain::names::AppName;
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::OnExisting;
use crate::domain::task::Data;
use crate::provision::access_key_store::AccessKeys;
use crate::provision::change::{Applied, Want};
use crate::provision::fault::Fault;
use crate::provision::journal::Journal;
use crate::provision::timing::Timing;

/// How long a long change is tried after its last part.
const AFTER_PROGRESS: Duration = Duration::from_secs(15 * 60);

/// What the reconcile of one resource works with.
#[derive(Clone)]
pub struct ReconcileContext {
    /// The account that the app lives in.
    pub account: Arc<Account>,
    pub request: Arc<Request>,
    /// What the database says of the resources that jobs of this app worked on.
    pub recorded: Arc<Recorded>,
    pub journal: Arc<Journal>,
    pub keys: AccessKeys,
    pub clock: Clock,
    pub timing: Timing,
    /// What is wanted of the resource.
    pub want: Want,
    calls: Arc<Calls>,
}

/// What a job asks for. It does not change while the job runs.
#[derive(Debug, Clone)]
pub struct Request {
    pub app: AppName,
    /// The job's id, written into tags.
    pub job: Ulid,
    /// The id of this installation of Slipway, written into tags.
    pub installation: Arc<str>,
    /// When the job was accepted.
    pub accepted_at: Timestamp,
    /// What to do about foreign resources.
    pub on_existing: OnExisting,
    /// Whether images that carry protected tags may expire.
    pub accept_expiry: bool,
    /// Whether creates may be tried before observing, because no job has worked on the app yet.
    pub create_first: bool,
    /// Whether adopted resources are removed too, unless they hold data.
    pub remove_adopted: bool,
    /// Whether an access key is removed with other resources even if it is in use.
    pub force: bool,
    /// What may happen to the contents of buckets and repositories that are removed.
    pub data: Data,
    /// Keys of tags to remove.
    pub dropped_tags: BTreeSet<String>,
    /// The steps at which an earlier attempt was interrupted, and since when: it may have created these resources.
    pub interrupted: BTreeMap<ResourceId, Timestamp>,
}

/// The mutating calls of one resource since they were last taken.
#[derive(Debug, Default)]
struct Calls(Mutex<Vec<AwsCall>>);

impl ReconcileContext {
    pub fn new(
        account: Arc<Account>,
        request: Request,
        recorded: Recorded,
        journal: Arc<Journal>,
        keys: AccessKeys,
        clock: Clock,
        timing: Timing,
    ) -> Self {
        Self {
            account,
            request: Arc::new(request),
            recorded: Arc::new(recorded),
            journal,
            keys,
            clock,
            timing,
            want: Want::Present,
            calls: Arc::default(),
        }
    }

    /// The context for one resource.
    #[must_use]
    pub fn wanting(&self, want: Want) -> Self {
        Self {
            want,
            calls: Arc::default(),
            ..self.clone()
        }
    }

    /// Makes an AWS call of this job, and records it if it changes something.
    ///
    /// # Errors
    /// The classified AWS error.
    pub async fn call<T, E>(
        &self,
        service: Service,
        operation: &'static str,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, AwsError>
    where
        T: RequestId,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        // The SDK's futures are large, and each one around them would hold them by value.
        let call = Box::pin(call);
        self.account
            .acquire(service, operation, self.timing.turn)
            .await?;
        self.call_at_once(service, operation, call).await
    }

    /// Makes a call without waiting for the rate limiter.
    ///
    /// # Errors
    /// The classified AWS error.
    pub async fn call_at_once<T, E>(
        &self,
        service: Service,
        operation: &'static str,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, AwsError>
    where
        T: RequestId,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let answer = self
            .account
            .call_at_once(service, operation, self.timing.turn, call)
            .await?;
        if self.account.effect_of(service, operation) == Effect::Change {
            let call = AwsCall {
                service: service.to_string(),
                operation: operation.to_owned(),
                request_id: answer.request_id().map(str::to_owned),
            };
            self.calls
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(call);
        }
        Ok(answer)
    }

    /// Removes and returns the recorded mutating calls.
    pub fn take_calls(&self) -> Vec<AwsCall> {
        std::mem::take(&mut self.calls.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records that this attempt created the resource.
    pub fn note_created(&self, id: ResourceId) {
        let mut entries = self.journal.entries();
        entries.unsettled.begin(id.clone());
        entries.created.insert(id, self.clock.now());
    }

    /// Records that the resource carries the tags that only a create of this app sets.
    pub fn note_created_by_app(&self, id: &ResourceId) {
        self.journal.entries().created_by_app.insert(id.clone());
    }

    /// Whether a job of this app created the resource: by the database, by the journal, or by its tags.
    pub fn is_created_by_app(&self, id: &ResourceId) -> bool {
        self.recorded.made.contains(id) || self.journal.is_created_by_app(id)
    }

    /// Whether the resource is this app's by the database, or was created in this attempt.
    pub fn owns(&self, id: &ResourceId) -> bool {
        self.recorded.owns(id) || self.journal.is_created_by_app(id)
    }

    /// Records the ARN under which the resource was observed.
    pub fn note_arn(&self, id: ResourceId, arn: impl Into<String>) {
        self.journal.entries().arns.insert(id, arn.into());
    }

    /// Records that the response to the create of the resource was lost.
    pub fn note_maybe_created(&self, id: ResourceId) {
        self.journal
            .entries()
            .maybe_created
            .insert(id, self.clock.now());
    }

    /// The time in which this job may have created the resource without a record of it; `None` if no create of it was
    /// interrupted.
    pub fn maybe_created_within(&self, id: &ResourceId) -> Option<RangeInclusive<Timestamp>> {
        let lost_now = self.journal.entries().maybe_created.get(id).copied();
        let at = lost_now.or_else(|| self.request.interrupted.get(id).copied())?;
        Some(self.request.accepted_at..=at.after(self.timing.propagation))
    }

    /// Records that the resource exists. It is not known when an interrupted attempt created it, so its age counts from
    /// here.
    pub fn note_found(&self, id: &ResourceId) {
        if self.maybe_created_within(id).is_some() {
            self.journal
                .entries()
                .found
                .entry(id.clone())
                .or_insert_with(|| self.clock.now());
        }
    }

    /// Records that a call whose response was lost may have deleted the resource.
    pub fn note_maybe_deleted(&self, id: ResourceId) {
        self.journal.entries().maybe_deleted.insert(id);
    }

    /// Whether a call whose response was lost may have deleted the resource.
    pub fn is_maybe_deleted(&self, id: &ResourceId) -> bool {
        self.journal.entries().maybe_deleted.contains(id)
    }

    /// How long ago a job of this app created the resource, if that is known.
    pub fn age(&self, id: &ResourceId) -> Option<Duration> {
        let entries = self.journal.entries();
        let at = entries
            .created
            .get(id)
            .or_else(|| self.recorded.made_at.get(id))
            .or_else(|| entries.found.get(id))?;
        Some(self.clock.now().since(*at))
    }

    /// Records that the resource was, or may have been, created, tagged or deleted just now.
    pub fn note_unsettled(&self, id: ResourceId) {
        let (now, span) = (Instant::now(), self.timing.propagation);
        self.journal.entries().unsettled.note(id, now, span);
    }

    /// The same at `at`, by AWS's clock or the database. A time in the future is from before our clock was set back, or by
    /// a clock that is ahead.
    pub fn note_unsettled_since(&self, id: ResourceId, at: Timestamp) {
        let (age, span) = (self.clock.now().since(at), self.timing.propagation);
        let mut entries = self.journal.entries();
        match Instant::now().checked_sub(age) {
            _ if age.is_zero() => entries.unsettled.note_once(id),
            Some(at) => entries.unsettled.note(id, at, span),
            // Longer ago than this machine runs.
            None => {}
        }
    }

    /// Records when AWS says that the resource of this app was created.
    pub fn note_created_at(&self, id: ResourceId, at: Option<&aws_smithy_types::DateTime>) {
        if let Some(at) = at.and_then(|at| at.to_millis().ok()) {
            self.note_unsettled_since(id, Timestamp::from_millis(at));
        }
    }

    /// Whether AWS may not show the resource yet or authorize calls on it, or may still show it.
    pub fn is_unsettled(&self, id: &ResourceId) -> bool {
        let span = self.timing.propagation;
        self.journal.entries().unsettled.contains(id, span)
    }

    /// Records that the resource was reconciled.
    pub fn note_reconciled(&self, id: ResourceId, warnings: Vec<String>) {
        self.journal
            .entries()
            .reconciled
            .insert(id, (Instant::now(), warnings));
    }

    /// The warnings of a resource that was reconciled so recently that it is not observed again.
    pub fn recently_reconciled(&self, id: &ResourceId) -> Option<Vec<String>> {
        self.journal
            .entries()
            .reconciled
            .get(id)
            .filter(|(at, _)| at.elapsed() < self.timing.propagation)
            .map(|(_, warnings)| warnings.clone())
    }

    /// Records that a part of a long change is made, which extends the deadline.
    pub fn note_progress(&self) {
        self.journal.entries().progress = Some(self.clock.now());
    }

    /// When trying ends, by the job's deadline and by the last part of a long change.
    pub fn deadline(&self, deadline: Timestamp) -> Timestamp {
        let progress = self.journal.entries().progress;
        progress.map_or(deadline, |at| deadline.max(at.after(AFTER_PROGRESS)))
    }

    /// Whether this attempt created the resource.
    pub fn has_created(&self, id: &ResourceId) -> bool {
        self.journal.has_created(id)
    }

    /// Whether AWS refused to delete the resource in this attempt because something depends on it.
    pub fn is_in_use(&self, id: &ResourceId) -> bool {
        self.journal.entries().in_use.contains_key(id)
    }

    /// Interprets the response to a delete. If something depends on the resource, it is observed once more. After that AWS
    /// may still show what is already deleted, and in the end a person has to act.
    ///
    /// # Errors
    /// When the resource is not deleted. `remedy` says what to do about what depends on it.
    pub fn deleted<T>(
        &self,
        id: &ResourceId,
        response: Result<T, AwsError>,
        remedy: &str,
    ) -> Result<Applied, Fault> {
        let error = match response {
            Err(error) if error.kind == ErrorKind::InUse => error,
            response => return Applied::gone(response),
        };
        let now = self.clock.now();
        let mut entries = self.journal.entries();
        let Some(since) = entries.in_use.get(id).copied() else {
            entries.in_use.insert(id.clone(), now);
            return Ok(Applied::More);
        };
        if now.since(since) < self.timing.propagation {
            return Err(Fault::Wait {
                why: error.to_string(),
                after: self.timing.poll_delay,
            });
        }
        Err(Fault::in_use(&error, remedy))
    }

    /// The fault of a call that did not find the resource: shortly after our own create, AWS may not show it yet.
    pub fn missing_after_create(&self, id: &ResourceId, error: AwsError) -> Fault {
        if error.kind != ErrorKind::NotFound {
            return error.into();
        }
        if self.is_unsettled(id) {
            return Fault::Wait {
                why: format!("Waiting for AWS to propagate {id}."),
                after: self.timing.poll_delay,
            };
        }
        self.account.clear_cache();
        error.into()
    }
}
