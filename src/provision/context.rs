//! What a resource works with: the account, the app, the job, and what this job has made so far.
//!
//! Invariant: what a job notes as made here, it made itself in this attempt, or in one before it that this process handed
//! back to go on with soon; after a crash nothing is noted, and everything is looked at again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_iam::operation::RequestId;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use serde::Deserialize;
use tokio::time::Instant;
use ulid::Ulid;

use crate::aws::{Account, AwsError, ErrorKind, Service};
use crate::clock::{Clock, Timestamp};
use crate::domain::app::Recorded;
use crate::domain::event::AwsCall;
use crate::domain::names::AppName;
use crate::domain::spec::OnExisting;
use crate::domain::task::Data;
use crate::provision::fault::Fault;
use crate::provision::kinds::access_key::AccessKeyStore;
use crate::provision::resource::{Applied, ResourceId, Want};

/// How long things take. The settings' `[timing]`; AWS needs the defaults, a private cloud or an emulator may not.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timing {
    /// The first back-off; it doubles from there.
    #[serde(with = "humantime_serde")]
    pub backoff: Duration,
    /// The longest back-off.
    #[serde(with = "humantime_serde")]
    pub backoff_cap: Duration,
    /// How long AWS is left in peace while it settles.
    #[serde(with = "humantime_serde")]
    pub poll_delay: Duration,
    /// How long after our own create "not found" means "not visible yet" (IAM is eventually consistent).
    #[serde(with = "humantime_serde")]
    pub propagation: Duration,
    /// How long after a lost answer a user's keys are listed, and listed again. AWS may act when its caller has given up
    /// already, and lists a new key some ten seconds later.
    #[serde(with = "humantime_serde")]
    pub key_list: Duration,
    /// The longest wait for the answer to one AWS call.
    #[serde(with = "humantime_serde")]
    pub answer: Duration,
    /// The longest wait with the lease held; a longer one gives the worker back.
    #[serde(with = "humantime_serde")]
    pub hold: Duration,
    /// A key that was used within this time is in use: `SLIPWAY_ROTATION_IDLE_PERIOD`.
    #[serde(skip)]
    pub idle_period: Duration,
    /// The longest wait for the turn of one call while AWS throttles the account.
    #[serde(with = "humantime_serde")]
    pub turn: Duration,
    /// How long a new attachment of a policy gets to work everywhere before the one that it takes the place of goes.
    #[serde(with = "humantime_serde")]
    pub attachment: Duration,
    /// Between two looks into the database for work that is due, where no signal tells of it.
    #[serde(with = "humantime_serde")]
    pub poll: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            backoff: Duration::from_secs(1),
            backoff_cap: Duration::from_secs(60),
            poll_delay: Duration::from_secs(1),
            propagation: Duration::from_secs(120),
            key_list: Duration::from_secs(20),
            answer: Duration::from_secs(15),
            hold: Duration::from_secs(5),
            idle_period: Duration::from_secs(24 * 3600),
            turn: Duration::from_secs(20),
            attachment: Duration::from_secs(10),
            poll: Duration::from_secs(1),
        }
    }
}

/// How long a long change is tried after its last part.
const AFTER_PROGRESS: Duration = Duration::from_secs(15 * 60);

/// What the names of operations begin with that change nothing.
const LOOKS: [&str; 4] = ["Get", "List", "Head", "Describe"];

/// What a resource works with.
#[derive(Clone)]
pub struct ReconcileContext {
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
    pub interrupted: Arc<BTreeMap<ResourceId, Timestamp>>,
    /// What our record says of what jobs of this app have made and taken over.
    pub recorded: Arc<Recorded>,
    /// The id of this installation of Slipway, written into tags.
    pub installation: Arc<str>,
    /// Where intents and secrets of access keys are written.
    pub keys: Arc<dyn AccessKeyStore>,
    /// The clock.
    pub clock: Clock,
    /// How long things take.
    pub timing: Timing,
    /// What this attempt has made, and when.
    pub made: Arc<Made>,
    /// What is wanted of the resource that works with this.
    pub want: Want,
    /// Whether also what was adopted is removed, where it is not data.
    pub remove_adopted: bool,
    /// Whether an access key that goes with other things goes even if it is in use.
    pub force: bool,
    /// What may be done to what is in buckets and repositories that go.
    pub data: Data,
    /// Keys of tags that are taken off.
    pub dropped_tags: Arc<BTreeSet<String>>,
    /// The calls that have changed something since they were last taken.
    pub calls: Arc<Calls>,
}

/// Calls that have changed something in AWS.
#[derive(Debug, Default)]
pub struct Calls(Mutex<Vec<AwsCall>>);

impl Calls {
    /// Takes note of a call.
    pub fn note(&self, service: Service, operation: &str, request_id: Option<&str>) {
        let call = AwsCall {
            service: service.to_string(),
            operation: operation.to_owned(),
            request_id: request_id.map(str::to_owned),
        };
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(call);
    }

    /// Those noted since the last time.
    pub fn take(&self) -> Vec<AwsCall> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What an attempt has made, and when; and what it may have made.
#[derive(Debug, Default)]
pub struct Made {
    surely: Mutex<HashMap<ResourceId, Timestamp>>,
    perhaps: Mutex<BTreeMap<ResourceId, Timestamp>>,
    by_tags: Mutex<BTreeSet<ResourceId>>,
    arns: Mutex<HashMap<ResourceId, String>>,
    /// What an interrupted attempt may have made, and when this one has first seen it.
    found: Mutex<HashMap<ResourceId, Timestamp>>,
    /// What a call whose answer was lost may have taken away.
    perhaps_taken: Mutex<BTreeSet<ResourceId>>,
    /// When the last part of a long change was made.
    progress: Mutex<Option<Timestamp>>,
    /// What AWS did not delete because something hangs on it, and since when.
    held: Mutex<HashMap<ResourceId, Timestamp>>,
    /// What was made, tagged or deleted, or may have been, so short a time ago that AWS may not authorize calls on it.
    unsettled: Mutex<HashMap<ResourceId, Timestamp>>,
    /// What was brought to what is wanted, when, and what a person should know of it.
    done: Mutex<HashMap<ResourceId, (Instant, Vec<String>)>>,
}

/// What attempts have left that this process hands back to go on with soon, by their job.
#[derive(Debug, Default)]
pub struct HandedBack(Mutex<HashMap<Ulid, Left>>);

/// What an attempt has left.
#[derive(Debug, Clone)]
pub struct Left {
    /// Its number.
    pub attempt: u32,
    /// When trying ends. It is another one once a person has asked for a retry, which looks at everything again.
    pub deadline: Timestamp,
    /// What it has made, and what it has brought to what is wanted.
    pub made: Arc<Made>,
    /// Whether creates may be tried first still.
    pub untouched: bool,
}

impl HandedBack {
    /// Keeps what an attempt has left.
    pub fn keep(&self, job: Ulid, left: Left, now: Timestamp) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Of jobs that another replica has gone on with.
        all.retain(|_, left| left.deadline > now);
        all.insert(job, left);
    }

    /// What the attempt before this one has left, if it was this process's.
    pub fn take(&self, job: Ulid, attempt: u32, deadline: Timestamp) -> Option<Left> {
        let left = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&job)?;
        (left.attempt + 1 == attempt && left.deadline == deadline).then_some(left)
    }
}

impl Made {
    /// Whether this attempt has made `id`.
    pub fn has(&self, id: &str) -> bool {
        self.at(id).is_some()
    }

    /// Whether a job of this app has made `id`: this attempt, or by its tags an earlier one.
    pub fn is_ours(&self, id: &str) -> bool {
        self.has(id)
            || self
                .by_tags
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .contains(id)
    }

    /// The ARN under which `id` was seen, where that may differ from the one that we would give it.
    pub fn arn(&self, id: &str) -> Option<String> {
        self.arns
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
    }

    /// When this attempt has made `id`.
    pub fn at(&self, id: &str) -> Option<Timestamp> {
        self.surely
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .copied()
    }
}

impl ReconcileContext {
    /// The same for one resource: what is wanted of it, and its own note of calls.
    #[must_use]
    pub fn wanting(&self, want: Want) -> Self {
        Self {
            want,
            calls: Arc::default(),
            ..self.clone()
        }
    }

    /// Makes an AWS call of this job, and takes note of it if it is one that changes something.
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
        T: RequestId,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        // The SDK's futures are large, and each one around them would hold them by value.
        let call = Box::pin(call);
        self.account
            .turn(service, operation, self.timing.turn)
            .await?;
        self.call_at_once(service, operation, call).await
    }

    /// The same without waiting for a turn.
    ///
    /// # Errors
    /// What AWS refused, with its meaning.
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
        if !LOOKS.iter().any(|verb| operation.starts_with(verb)) {
            self.calls.note(service, operation, answer.request_id());
        }
        Ok(answer)
    }

    /// Takes note that this attempt has made `id`.
    pub fn note_made(&self, id: ResourceId) {
        self.made
            .surely
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, self.clock.now());
    }

    /// Takes note that `id` carries the tags that only a create of this app sets.
    pub fn note_made_by_us(&self, id: &str) {
        self.made
            .by_tags
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.to_owned());
    }

    /// Whether a job of this app has made `id`, by our record, in this attempt, or by its tags.
    pub fn is_made_by_us(&self, id: &str) -> bool {
        self.recorded.made.contains(id) || self.made.is_ours(id)
    }

    /// Whether `id` is this app's by our record, or was made in this attempt.
    pub fn owns(&self, id: &str) -> bool {
        self.recorded.owns(id) || self.made.is_ours(id)
    }

    /// Takes note of the ARN under which `id` was seen.
    pub fn note_arn(&self, id: ResourceId, arn: impl Into<String>) {
        self.made
            .arns
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, arn.into());
    }

    /// Takes note that the answer to the create of `id` was lost.
    pub fn note_in_doubt(&self, id: ResourceId) {
        self.made
            .perhaps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, self.clock.now());
    }

    /// Since when and until when this job may have made `id` without anybody having recorded it; `None` if
    /// no create of it was interrupted.
    pub fn may_have_made(&self, id: &str) -> Option<RangeInclusive<Timestamp>> {
        let now_lost = self
            .made
            .perhaps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .copied();
        let at = now_lost.or_else(|| self.interrupted.get(id).copied())?;
        Some(self.accepted_at..=at.after(self.timing.propagation))
    }

    /// Takes note that `id` is there. Nobody knows when an interrupted attempt has made it, so its age counts from here.
    pub fn note_found(&self, id: &str) {
        if self.may_have_made(id).is_some() {
            let mut found = self
                .made
                .found
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            found
                .entry(id.to_owned())
                .or_insert_with(|| self.clock.now());
        }
    }

    /// Takes note that a call whose answer was lost may have taken `id` away.
    pub fn note_perhaps_taken(&self, id: ResourceId) {
        self.made
            .perhaps_taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id);
    }

    /// Whether a call whose answer was lost may have taken `id` away.
    pub fn is_perhaps_taken(&self, id: &str) -> bool {
        self.made
            .perhaps_taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(id)
    }

    /// How long ago a job of this app has made `id`, as far as that is known.
    pub fn made_since(&self, id: &str) -> Option<Duration> {
        let found = || {
            self.made
                .found
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(id)
                .copied()
        };
        let at = self
            .made
            .at(id)
            .or_else(|| self.recorded.made_at.get(id).copied())
            .or_else(found)?;
        Some(self.clock.now().since(at))
    }

    /// Takes note that `id` was made, tagged or deleted just now, or may have been.
    pub fn note_unsettled(&self, id: ResourceId) {
        self.note_unsettled_since(id, self.clock.now());
    }

    /// The same at `at`. The first time counts until it is over: a denial that outlasts it is not waited for again.
    pub fn note_unsettled_since(&self, id: ResourceId, at: Timestamp) {
        let mut unsettled = self
            .made
            .unsettled
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let noted = unsettled.entry(id).or_insert(at);
        if at.since(*noted) >= self.timing.propagation {
            *noted = at;
        }
    }

    /// Takes note of when AWS says that `id` of this app was made.
    pub fn note_creation(&self, id: ResourceId, at: Option<&aws_smithy_types::DateTime>) {
        if let Some(at) = at.and_then(|at| at.to_millis().ok()) {
            self.note_unsettled_since(id, Timestamp::from_millis(at));
        }
    }

    /// Whether AWS may not show `id` yet, nor authorize calls on it, or may show it still.
    pub fn is_unsettled(&self, id: &str) -> bool {
        let unsettled = self
            .made
            .unsettled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .copied();
        let now = self.clock.now();
        // AWS's clock may be a little ahead of ours.
        let young = |at: Timestamp| now.since(at).max(at.since(now)) < self.timing.propagation;
        self.made.at(id).is_some_and(young) || unsettled.is_some_and(young)
    }

    /// Takes note that `id` is as wanted.
    pub fn note_done(&self, id: ResourceId, warnings: Vec<String>) {
        self.made
            .done
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, (Instant::now(), warnings));
    }

    /// What a person should know of `id`, if it was brought to what is wanted so short a time ago that nobody looks again.
    pub fn done_lately(&self, id: &str) -> Option<Vec<String>> {
        let done = self
            .made
            .done
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        done.get(id)
            .filter(|(at, _)| at.elapsed() < self.timing.propagation)
            .map(|(_, warnings)| warnings.clone())
    }

    /// Takes note that a part of a long change is made: trying begins anew.
    pub fn note_progress(&self) {
        *self
            .made
            .progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(self.clock.now());
    }

    /// When trying ends, by the job's deadline and by the last part of a long change.
    pub fn deadline(&self, deadline: Timestamp) -> Timestamp {
        let progress = *self
            .made
            .progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        progress.map_or(deadline, |at| deadline.max(at.after(AFTER_PROGRESS)))
    }

    /// Whether this attempt has made `id`.
    pub fn has_made(&self, id: &str) -> bool {
        self.made.has(id)
    }

    /// Whether AWS did not delete `id` in this attempt because something hangs on it.
    pub fn is_held(&self, id: &str) -> bool {
        self.made
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(id)
    }

    /// What the answer to the deletion of `id` means. Something that hangs on it is looked for once more; after
    /// that it may be that AWS still shows what is gone already, and at last it is for a person.
    ///
    /// # Errors
    /// When it is not deleted; `remedy` says what a person does about what hangs on it.
    pub fn deleted<T>(
        &self,
        id: &str,
        answer: Result<T, AwsError>,
        remedy: &str,
    ) -> Result<Applied, Fault> {
        let error = match answer {
            Err(error) if error.kind == ErrorKind::InUse => error,
            answer => return Applied::gone(answer),
        };
        let now = self.clock.now();
        let first = self
            .made
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.to_owned(), now);
        let Some(since) = first else {
            return Ok(Applied::More);
        };
        self.made
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.to_owned(), since);
        if now.since(since) < self.timing.propagation {
            return Err(Fault::Wait {
                why: error.to_string(),
                after: self.timing.poll_delay,
            });
        }
        Err(Fault::held(&error, remedy))
    }

    /// The fault of a call that did not find `id`: shortly after our own create, AWS just does not show it yet.
    pub fn missing_after_create(&self, id: &str, error: AwsError) -> Fault {
        if error.kind != ErrorKind::NotFound {
            return error.into();
        }
        if self.is_unsettled(id) {
            return Fault::Wait {
                why: format!("AWS does not show {id} everywhere yet"),
                after: self.timing.poll_delay,
            };
        }
        self.account.forget();
        error.into()
    }
}
