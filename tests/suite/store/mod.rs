//! What every database has to do for the service, whichever it is.

mod accounts;
mod audit;
mod backup;
mod cancel_and_retry;
mod changes;
mod chat;
mod claim;
mod corrupt_rows;
mod credentials;
mod drift;
mod history;
mod hook_deliveries;
mod idempotency;
mod lists;
mod migrations;
mod onboard;
mod open;
mod order;
mod progress;
mod removal;
mod replicas;
mod resources;
mod rotations;
mod sessions;
mod setups;
mod tokens;
mod totals;
mod webhooks;
mod writer;

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use slipway::clock::{Clock, Timestamp};
use slipway::domain::access_key::{CLAIM_DEADLINE, CLAIM_REPLAY_WINDOW, Readiness, SecretState};
use slipway::domain::account::{AccountSettings, AccountState, RegisteredAccount};
use slipway::domain::app::{App, AppState};
use slipway::domain::approval::{ApprovalReason, PlanDifference, PlanDigest};
use slipway::domain::audit::{Action, AuditEntry, AuditEvent};
use slipway::domain::caller::{Caller, Person};
use slipway::domain::drift::{DriftReport, DriftSummary, Unexpected};
use slipway::domain::event::{AwsCall, EventPayload};
use slipway::domain::job::{Job, JobError, JobErrorCode, JobResult, JobState, Step, StepState};
use slipway::domain::job_kind::JobKind;
use slipway::domain::names::{AccountId, AccountName, AppName, BucketName, Region, RoleArn};
use slipway::domain::removal::Removal;
use slipway::domain::resource_id::ResourceId;
use slipway::domain::retained::RepairRequest;
use slipway::domain::role::Role;
use slipway::domain::rotation::{Rotation, RotationEvent, Stage};
use slipway::domain::scope::Scope;
use slipway::domain::spec::{AppSpec, BucketSpec, Defaults, Place};
use slipway::domain::task::{ImageExpiry, KeyStatus, Task};
use slipway::shutdown::Tasks;
use slipway::store::{
    Accepted, AccountCheckResult, AppChange, AppFilter, AttemptResult, AuditCursor, AuditFilter,
    ClaimAnswer, Claimed, IDEMPOTENCY_AGE, IdempotencyKey, JobFilter, JobRequest, Lease, NewApp,
    NewCredential, PlanToApprove, Refusal, Reopened, RotationChange, Signal, StepRecord, Store,
    StoreError,
};
use sqlx::Connection as _;
use strum::IntoEnumIterator as _;
use tokio::sync::broadcast::Receiver;
use ulid::Ulid;

use crate::support::database::{empty_database, new_database};

const LEASE: Duration = Duration::from_secs(30);

const DEADLINE: Duration = Duration::from_secs(900);

const MINUTE: Duration = Duration::from_secs(60);

/// The databases that the suite runs on.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Backend {
    Sqlite,
    Postgres,
}

const BACKENDS: [Backend; 2] = [Backend::Sqlite, Backend::Postgres];

/// A new database of one backend.
struct Fixture {
    store: Store,
    clock: Clock,
    url: String,
    backend: Backend,
    folder: tempfile::TempDir,
}

/// Runs a test on a new database of each backend.
async fn each(test: impl AsyncFn(Fixture)) {
    for backend in BACKENDS {
        eprintln!("on {backend:?}");
        test(Fixture::new(backend).await).await;
    }
}

fn sqlite_url(folder: &tempfile::TempDir) -> String {
    format!("sqlite://{}", folder.path().join("slipway.db").display())
}

impl Fixture {
    async fn new(backend: Backend) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = match backend {
            Backend::Sqlite => sqlite_url(&folder),
            Backend::Postgres => new_database().await,
        };
        Self::open(backend, folder, url).await
    }

    /// A database that an earlier version has left, as `prepare` makes it; migrated when it is opened.
    async fn migrated(backend: Backend, prepare: impl AsyncFnOnce(&str)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = match backend {
            Backend::Sqlite => sqlite_url(&folder),
            Backend::Postgres => empty_database().await,
        };
        prepare(&url).await;
        Self::open(backend, folder, url).await
    }

    async fn open(backend: Backend, folder: tempfile::TempDir, url: String) -> Self {
        let clock = Clock::default();
        let store = Store::open(&url, clock.clone(), &Tasks::default())
            .await
            .unwrap();
        Self {
            store,
            clock,
            url,
            backend,
            folder,
        }
    }

    async fn connect(&self) -> sqlx::AnyConnection {
        sqlx::AnyConnection::connect(&self.url).await.unwrap()
    }

    /// Runs SQL behind the store's back, with constraints out of the way.
    async fn raw(&self, sql: &str) {
        let mut db = self.connect().await;
        let freely = match self.backend {
            Backend::Sqlite => "PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF; ",
            Backend::Postgres => {
                "SET session_replication_role = replica; DO $$ DECLARE c RECORD; BEGIN FOR c IN \
                 SELECT conrelid::regclass AS t, conname FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace \
                 LOOP EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.t, c.conname); END LOOP; END $$; "
            }
        };
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("{freely}{sql}")))
            .execute(&mut db)
            .await
            .unwrap();
        db.close().await.unwrap();
    }

    /// One number, read behind the store's back.
    async fn number(&self, sql: &str) -> i64 {
        let mut db = self.connect().await;
        let number = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "SELECT CAST(({sql}) AS BIGINT)"
        )))
        .fetch_one(&mut db)
        .await
        .unwrap();
        db.close().await.unwrap();
        number
    }

    /// Every later INSERT into, or UPDATE of, the table fails.
    async fn refuse(&self, what: &str, table: &str) {
        match self.backend {
            Backend::Sqlite => {
                self.raw(&format!("CREATE TRIGGER refuse_{table} BEFORE {what} ON {table} BEGIN SELECT RAISE(ABORT, 'refused'); END"))
                    .await;
            }
            Backend::Postgres => {
                self.raw(&format!(
                    "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger AS $$ BEGIN RAISE 'refused'; END $$ LANGUAGE plpgsql; \
                     CREATE TRIGGER refuse_{table} BEFORE {what} ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()"
                ))
                .await;
            }
        }
    }

    async fn refuse_inserts(&self, table: &str) {
        self.refuse("INSERT", table).await;
    }

    async fn allow_inserts(&self, table: &str) {
        let on = if self.backend == Backend::Postgres {
            format!(" ON {table}")
        } else {
            String::new()
        };
        self.raw(&format!("DROP TRIGGER refuse_{table}{on}")).await;
    }

    async fn onboard(&self, app: &str) -> Box<Job> {
        next_millisecond().await;
        fresh(self.store.onboard(new_app(app), None).await.unwrap())
    }

    async fn claim(&self) -> Option<Claimed> {
        self.store.claim("a worker", LEASE, DEADLINE).await.unwrap()
    }

    /// An app whose onboarding is being worked on.
    async fn at_work(&self, app: &str) -> Claimed {
        let job = self.onboard(app).await;
        let claimed = self.claim().await.unwrap();
        assert_eq!(claimed.lease.job, job.id, "nothing else is due");
        claimed
    }

    async fn end(&self, lease: Lease, ended: AttemptResult) {
        self.store.finish(lease, ended).await.unwrap();
    }

    /// An app whose onboarding has succeeded.
    async fn ready(&self, app: &str) -> Claimed {
        let claimed = self.at_work(app).await;
        self.end(claimed.lease, succeeded()).await;
        claimed
    }

    async fn repair(&self, app: &str, key: Option<IdempotencyKey>) -> Result<Accepted, Refusal> {
        self.store.enqueue(a_repair(app), key).await.unwrap()
    }

    /// Removes an app, without a quarantine.
    async fn remove(&self, app: &str) {
        let removal = Removal {
            buckets: BTreeSet::new(),
            repositories: BTreeSet::new(),
            adopted: false,
            requested_by: "ann".into(),
            requested_at: self.clock.now(),
            remove_at: self.clock.now(),
            switched_off: BTreeSet::new(),
            lists: [].into(),
            restoring: false,
        };
        for (task, change) in [
            (Task::Offboard, Some(AppChange::Removal(removal))),
            (Task::Remove, None),
        ] {
            let ask = JobRequest {
                change,
                ..JobRequest::new(name(app), task, resources(app), "ann")
            };
            fresh(self.store.enqueue(ask, None).await.unwrap());
            self.run(succeeded()).await;
        }
    }

    async fn app(&self, app: &str) -> App {
        self.store.app(&name(app)).await.unwrap().unwrap()
    }

    /// Runs the one job that is due.
    async fn run(&self, ended: AttemptResult) {
        let claimed = self.claim().await.unwrap();
        self.end(claimed.lease, ended).await;
    }

    async fn job(&self, id: Ulid) -> Job {
        self.store.job(id).await.unwrap().unwrap()
    }

    async fn happenings(&self, job: Ulid) -> Vec<&'static str> {
        // What was recorded without waiting is committed before this.
        self.store.check().await.unwrap();
        self.store
            .events(job, 0, 100)
            .await
            .unwrap()
            .iter()
            .map(|event| event.payload.name())
            .collect()
    }

    /// A job in a state, of an app of its own.
    async fn job_in(&self, state: JobState, app: &str) -> Ulid {
        if state == JobState::Queued {
            return self.onboard(app).await.id;
        }
        let lease = self.at_work(app).await.lease;
        match state {
            JobState::Queued | JobState::Running => {}
            JobState::AwaitingApproval => self.end(lease, reopened()).await,
            JobState::Waiting => {
                self.end(lease, waiting_until(self.clock.now().after(MINUTE)))
                    .await
            }
            JobState::Succeeded => self.end(lease, succeeded()).await,
            JobState::Failed => self.end(lease, AttemptResult::Failed(job_error())).await,
            JobState::NeedsAttention => {
                self.end(lease, AttemptResult::NeedsAttention(job_error()))
                    .await
            }
            JobState::Canceled => self.end(lease, AttemptResult::Canceled).await,
        }
        lease.job
    }

    /// A key of an app at work, its secret sealed and not claimed.
    async fn sealed(&self, app: &str, access_key_id: &str) -> Claimed {
        let claimed = self.at_work(app).await;
        let intent = self
            .store
            .intend_key(claimed.lease, Vec::new())
            .await
            .unwrap();
        self.store
            .record_key(claimed.lease, intent.id, credential(access_key_id))
            .await
            .unwrap();
        claimed
    }

    /// The same database by a process that goes by another clock. SQLite serves one process, so the one before ends.
    async fn by(self, clock: &Clock) -> Self {
        let Self {
            store,
            url,
            backend,
            folder,
            ..
        } = self;
        drop(store);
        let store = reopen(&url, clock).await;
        Self {
            store,
            clock: clock.clone(),
            url,
            backend,
            folder,
        }
    }

    async fn claim_secret(
        &self,
        app: Ulid,
        access_key_id: &str,
        caller: &str,
        key: Option<&str>,
    ) -> ClaimAnswer {
        self.store
            .claim_secret(app, access_key_id, &bearer(caller), key.map(str::to_owned))
            .await
            .unwrap()
    }

    async fn sealed_secrets(&self) -> i64 {
        self.number("SELECT COUNT(*) FROM credentials WHERE sealed IS NOT NULL")
            .await
    }

    async fn secret_of(&self, app: Ulid) -> SecretState {
        self.store.credentials(app).await.unwrap()[0].secret
    }
}

/// Opens a database again once the writer of the store before has ended.
async fn reopen(url: &str, clock: &Clock) -> Store {
    for _ in 0..1000 {
        match Store::open(url, clock.clone(), &Tasks::default()).await {
            Err(StoreError::InUse(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
            opened => return opened.unwrap(),
        }
    }
    panic!("the database stays in use");
}

fn name(app: &str) -> AppName {
    AppName::parse(app).unwrap()
}

fn resources(app: &str) -> Vec<ResourceId> {
    ["iam:user", "iam:access-key"]
        .map(|kind| ResourceId::new(kind, app))
        .into()
}

fn new_app(app: &str) -> NewApp {
    new_app_in(app, "default")
}

fn new_app_in(app: &str, account: &str) -> NewApp {
    let region = Region::parse("us-west-2").unwrap();
    let place = Place {
        account_id: "123456789012",
        partition: "aws",
        region: Some(&region),
        regions: &[],
        lists: &[],
    };
    let body = json!({"name": app, "account": account, "buckets": [], "repositories": []});
    let spec = AppSpec::parse(&body, &Defaults::default(), &place).unwrap();
    NewApp {
        spec,
        resources: resources(app),
        accept_expiry: false,
        requested_by: "ann".into(),
        approval: None,
    }
}

/// The end of an attempt whose plan goes beyond the approved one.
fn reopened() -> AttemptResult {
    let plan = PlanToApprove {
        changes: Vec::new(),
        warnings: Vec::new(),
        digest: PlanDigest::parse(&"0".repeat(64)).unwrap(),
        expires_at: Timestamp::from_millis(i64::MAX),
    };
    let reopened = Reopened {
        reasons: BTreeSet::from([ApprovalReason::JobKind]),
        plan,
        difference: PlanDifference::default(),
    };
    AttemptResult::AwaitingApproval {
        reopened: Box::new(reopened),
    }
}

fn a_repair(app: &str) -> JobRequest {
    JobRequest::new(
        name(app),
        Task::Repair {
            remove: BTreeSet::new(),
            accept_expiry: false,
        },
        resources(app),
        "ann",
    )
}

fn fresh(accepted: Result<Accepted, Refusal>) -> Box<Job> {
    match accepted {
        Ok(Accepted::Fresh(job)) => job,
        other => panic!("not a new job: {other:?}"),
    }
}

fn replayed(accepted: Result<Accepted, Refusal>) -> Box<Job> {
    match accepted {
        Ok(Accepted::Replay(answer)) => answer,
        other => panic!("not what was answered before: {other:?}"),
    }
}

fn key(key: &str, fingerprint: &str) -> IdempotencyKey {
    IdempotencyKey {
        caller: "ann".into(),
        route: "POST /v1/apps".into(),
        key: key.into(),
        fingerprint: fingerprint.into(),
    }
}

fn bearer(name: &str) -> Caller {
    Caller {
        id: format!("the token of {name}"),
        name: name.into(),
        role: Role::Operator,
        scope: Scope::default(),
        identity: None,
        person: None,
        expires_at: None,
        session: None,
        proposes: false,
    }
}

fn succeeded() -> AttemptResult {
    AttemptResult::Succeeded(JobResult::default())
}

fn waiting_until(at: Timestamp) -> AttemptResult {
    AttemptResult::Waiting {
        reason: "AWS settles".into(),
        at,
    }
}

fn job_error() -> JobError {
    JobError {
        code: JobErrorCode::Conflict,
        detail: "it is somebody else's".into(),
        remedy: Some("ask them".into()),
        retryable: false,
        aws: None,
    }
}

fn credential(access_key_id: &str) -> NewCredential {
    let sealed = format!("the sealed secret of {access_key_id}").into_bytes();
    NewCredential {
        id: Ulid::generate(),
        access_key_id: access_key_id.into(),
        sealed,
        encryption_key: "0a1b2c3d".into(),
    }
}

fn done(resource: &str) -> StepRecord {
    let step = Step {
        state: StepState::Done,
        attempts: 1,
        changes: vec!["create it".into()],
        ..Step::pending(resource_id(resource))
    };
    let steps = vec![step.clone()];
    StepRecord {
        step,
        steps,
        arn: Some(format!("arn:aws:iam::123456789012:{resource}")),
        made: true,
        made_at: None,
        owned: true,
        gone: false,
    }
}

fn resource_id(id: &str) -> ResourceId {
    ResourceId::parse(id).unwrap()
}

fn warning() -> EventPayload {
    EventPayload::Warning {
        resource: resource_id("iam:user/acme"),
        message: "look".into(),
    }
}

/// Ids are told apart in time by the millisecond.
async fn next_millisecond() {
    tokio::time::sleep(Duration::from_millis(2)).await;
}

/// A clock that is an hour ahead, and one that is not: what a step back of an hour leaves, or two replicas.
fn clocks() -> (Clock, Clock) {
    let (ahead, behind) = (Clock::default(), Clock::default());
    ahead.advance(MINUTE * 60);
    (ahead, behind)
}

/// All that is recorded of an app and its job.
async fn everything(t: &Fixture, app: Ulid, job: Ulid) -> String {
    let (records, keys) = (
        t.store.key_records(app).await.unwrap(),
        t.store.credentials(app).await.unwrap(),
    );
    let records = (
        records.keys,
        records.open.map(|open| open.id),
        records.earlier,
    );
    let (shown, job_now, events) = (
        t.store.app(&name("acme")).await.unwrap(),
        t.job(job).await,
        t.happenings(job).await,
    );
    let leases = t
        .number("SELECT SUM(lease_token) + COALESCE(SUM(lease_until), 0) FROM jobs")
        .await;
    format!(
        "{records:?} {keys:?} {shown:?} {job_now:?} {events:?} {leases} {}",
        t.sealed_secrets().await
    )
}

/// Stores of several replicas on one new PostgreSQL database, opened at the same time.
async fn replicas<const N: usize>() -> [Store; N] {
    opened_together(&new_database().await).await
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

async fn audit(t: &Fixture, filter: AuditFilter) -> Vec<AuditEntry> {
    t.store
        .audit(&AuditFilter {
            limit: 1000,
            ..filter
        })
        .await
        .unwrap()
}

/// What the audit tells, oldest first: action, who, resource or what else distinguishes it.
async fn told(t: &Fixture) -> Vec<String> {
    let show = |entry: AuditEntry| {
        let of = entry
            .event
            .resource()
            .map(str::to_owned)
            .or(entry.app)
            .unwrap_or_default();
        format!("{} {} {of}", entry.event.action(), entry.actor)
    };
    audit(t, AuditFilter::default())
        .await
        .into_iter()
        .rev()
        .map(show)
        .collect()
}

fn applied(resource: &str, operations: &[&str]) -> EventPayload {
    let call = |operation: &&str| AwsCall {
        service: "iam".into(),
        operation: (*operation).into(),
        request_id: Some(format!("r-{operation}")),
    };
    EventPayload::ChangeApplied {
        resource: ResourceId::parse(resource).unwrap(),
        change: format!("make {resource}"),
        calls: operations.iter().map(call).collect(),
    }
}

/// The same app with buckets by these names.
fn spec_with(app: &str, buckets: &[&str]) -> AppSpec {
    let mut spec = new_app_in(app, "default").spec;
    let region = spec.region.clone();
    let bucket = |name: &&str| BucketSpec {
        name: BucketName::parse(name).unwrap(),
        region: region.clone(),
        upload_origins: Vec::new(),
    };
    spec.buckets = buckets.iter().map(bucket).collect();
    spec
}

impl Fixture {
    async fn next_look(&self, every: Duration) -> Option<String> {
        let account = AccountName::parse("default").unwrap();
        self.store
            .next_drift_check(&account, every)
            .await
            .unwrap()
            .map(|app| app.spec.name.to_string())
    }
}

/// An app with a key, and the request for a rotation of it.
async fn to_rotate(fixture: &Fixture, app: &str) -> (Ulid, JobRequest) {
    let claimed = fixture.sealed(app, "OLD").await;
    fixture.end(claimed.lease, succeeded()).await;
    (claimed.app.id, a_rotation(app))
}

fn a_rotation(app: &str) -> JobRequest {
    let task = Task::Rotate {
        rotation: Clock::default().new_id(),
        known_keys: vec!["OLD".into()],
        replace: None,
        force: false,
    };
    let change = AppChange::Rotation(RotationChange::Begin {
        old_key: Some("OLD".into()),
        hold: MINUTE,
    });
    JobRequest {
        change: Some(change),
        ..JobRequest::new(name(app), task, resources(app), "ann")
    }
}

impl Fixture {
    async fn rotation(&self, app: Ulid) -> Rotation {
        self.store.rotation(app).await.unwrap().unwrap()
    }

    /// A rotation whose new key is made. An earlier app's keys get other ids.
    async fn rotating(&self, app: &str) -> Ulid {
        self.raw("UPDATE credentials SET access_key_id = access_key_id || id")
            .await;
        let (id, ask) = to_rotate(self, app).await;
        fresh(self.store.enqueue(ask, None).await.unwrap());
        let claimed = self.claim().await.unwrap();
        let intent = self
            .store
            .intend_key(claimed.lease, vec!["OLD".into()])
            .await
            .unwrap();
        self.store
            .record_key(claimed.lease, intent.id, credential("NEW"))
            .await
            .unwrap();
        self.end(claimed.lease, succeeded()).await;
        id
    }

    async fn due(&self) -> Vec<Stage> {
        self.store
            .due_rotations()
            .await
            .unwrap()
            .into_iter()
            .map(|due| due.rotation.stage)
            .collect()
    }
}

async fn to_find(fixture: &Fixture, app: Ulid, age: Duration) {
    let spec = format!(
        "UPDATE apps SET rotate_after = {} WHERE id = '{app}'",
        age.as_millis()
    );
    fixture.raw(&spec).await;
}

fn report(app: &str, drifted: bool, at: Timestamp) -> DriftReport {
    DriftReport {
        app: name(app),
        checked_at: at,
        drifted,
        changes: Vec::new(),
        retained: Vec::new(),
        unexpected: vec![Unexpected {
            resource: ResourceId::new("iam:login-profile", app),
            detail: "a password".into(),
            since: Some(Timestamp::from_millis(1)),
            adopted: false,
            removal_request: RepairRequest {
                remove: BTreeSet::from([ResourceId::new("iam:login-profile", app)]),
            },
        }],
        warnings: vec!["look".into()],
        error: Some(job_error()),
        repair: None,
    }
}

async fn prune_all(t: &Fixture, age: Duration) -> u64 {
    let mut all = 0;
    loop {
        match t.store.prune_history(age).await.unwrap() {
            0 => return all,
            some => all += some,
        }
    }
}

async fn opened_together<const N: usize>(url: &str) -> [Store; N] {
    let stores =
        join_all((0..N).map(async |_| Store::open(url, Clock::default(), &Tasks::default()).await))
            .await;
    stores
        .into_iter()
        .map(Result::unwrap)
        .collect::<Vec<_>>()
        .try_into()
        .ok()
        .unwrap()
}
