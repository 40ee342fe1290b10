//! What every database has to do for the service, whichever it is.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use slipway::clock::{Clock, Timestamp};
use slipway::domain::access_key::{Readiness, SecretState};
use slipway::domain::app::{App, AppState};
use slipway::domain::audit::{Action, AuditEntry, AuditEvent};
use slipway::domain::drift::{DriftReport, DriftSummary, RepairRequest, Unexpected};
use slipway::domain::event::{AwsCall, EventPayload};
use slipway::domain::job::{
    Job, JobError, JobErrorCode, JobKind, JobResult, JobState, Step, StepState,
};
use slipway::domain::names::{AccountName, AppName, BucketName, Region};
use slipway::domain::role::{Caller, Role};
use slipway::domain::rotation::{Rotation, RotationEvent, Stage};
use slipway::domain::spec::{AppSpec, BucketSpec, Defaults, Place};
use slipway::domain::task::{KeyStatus, Removal, Task};
use slipway::shutdown::Tasks;
use slipway::store::{
    Accepted, Answer, AppChange, AppFilter, AttemptResult, AuditCursor, AuditFilter, ClaimAnswer,
    Claimed, IDEMPOTENCY_AGE, IdempotencyKey, JobFilter, JobRequest, Lease, NewApp, NewCredential,
    REPEATABLE, Refusal, RotationChange, Signal, StepRecord, Store, StoreError, UNCLAIMED,
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

impl Fixture {
    async fn new(backend: Backend) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = match backend {
            Backend::Sqlite => format!("sqlite://{}", folder.path().join("slipway.db").display()),
            Backend::Postgres => new_database().await,
        };
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
        self.store.end(lease, ended).await.unwrap();
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
            .encryption_key(claimed.lease, intent.id, credential(access_key_id))
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

fn resources(app: &str) -> Vec<String> {
    vec![format!("iam:user/{app}"), format!("iam:access-key/{app}")]
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
    };
    let body = json!({"name": app, "account": account, "buckets": [], "repositories": []});
    let spec = AppSpec::parse(&body, &Defaults::default(), &place).unwrap();
    NewApp {
        spec,
        resources: resources(app),
        accept_expiry: false,
        requested_by: "ann".into(),
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

fn replayed(accepted: Result<Accepted, Refusal>) -> Answer {
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
        ..Step::pending(resource)
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

fn warning() -> EventPayload {
    EventPayload::Warning {
        resource: "iam:user/acme".into(),
        message: "look".into(),
    }
}

/// Ids are told apart in time by the millisecond.
async fn next_millisecond() {
    tokio::time::sleep(Duration::from_millis(2)).await;
}

#[tokio::test]
async fn an_accepted_onboarding_is_there_as_a_whole() {
    each(async |t| {
        let job = fresh(
            t.store
                .onboard(new_app("acme"), Some(key("k", "f")))
                .await
                .unwrap(),
        );
        assert_eq!(
            (job.state, job.attempt, job.kind),
            (JobState::Queued, 0, JobKind::Onboard)
        );
        assert_eq!(
            t.job(job.id).await,
            *job,
            "what is answered is what is stored"
        );
        assert_eq!(
            job.steps,
            resources("acme")
                .iter()
                .map(Step::pending)
                .collect::<Vec<_>>()
        );
        let app = t.store.app(&name("acme")).await.unwrap().unwrap();
        assert_eq!(
            (app.summary.state, app.summary.active_job, app.last_job),
            (AppState::Pending, Some(job.id), Some(job.id))
        );
        assert_eq!(app.spec, new_app("acme").spec);
        let events = t.store.events(job.id, 0, 100).await.unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!(
            events[0].payload,
            EventPayload::JobQueued {
                kind: JobKind::Onboard,
                requested_by: "ann".into()
            }
        );
        assert_eq!(t.number("SELECT COUNT(*) FROM idempotency").await, 1);
    })
    .await;
}

#[tokio::test]
async fn an_onboarding_that_cannot_be_written_whole_is_not_written_at_all() {
    each(async |t| {
        let tables = ["apps", "jobs", "steps", "events", "idempotency"];
        for table in tables {
            t.refuse_inserts(table).await;
            let refused = t.store.onboard(new_app("acme"), Some(key("k", "f"))).await;
            assert!(
                matches!(refused, Err(StoreError::Unavailable(_))),
                "{table}: {refused:?}"
            );
            t.allow_inserts(table).await;
            for other in tables {
                assert_eq!(
                    t.number(&format!("SELECT COUNT(*) FROM {other}")).await,
                    0,
                    "{other}, when {table} cannot be written"
                );
            }
        }
        t.onboard("acme").await;
    })
    .await;
}

#[tokio::test]
async fn names_are_unique_without_regard_to_case() {
    each(async |t| {
        t.onboard("Acme").await;
        let refused = t.store.onboard(new_app("aCME"), None).await.unwrap();
        assert_eq!(refused, Err(Refusal::AppExists(name("aCME"))));
        assert_eq!(
            t.store
                .app(&name("ACME"))
                .await
                .unwrap()
                .unwrap()
                .summary
                .name,
            "Acme"
        );
    })
    .await;
}

#[tokio::test]
async fn an_onboarding_that_never_succeeded_can_be_asked_for_anew() {
    each(async |t| {
        for (state, allowed) in [
            (JobState::Failed, true),
            (JobState::Canceled, true),
            (JobState::NeedsAttention, false),
            (JobState::Succeeded, false),
            (JobState::Waiting, false),
        ] {
            let app = format!("acme-{state}");
            let first = t.job_in(state, &app).await;
            next_millisecond().await;
            let again = t
                .store
                .onboard(new_app_in(&app, "second"), None)
                .await
                .unwrap();
            let account = t
                .store
                .app(&name(&app))
                .await
                .unwrap()
                .unwrap()
                .summary
                .account;
            if allowed {
                let job = fresh(again);
                assert_ne!(job.id, first);
                assert_eq!(
                    (t.claim().await.unwrap().lease.job, account.as_str()),
                    (job.id, "second"),
                    "with the new spec"
                );
            } else {
                assert_eq!(
                    (again, account.as_str()),
                    (Err(Refusal::AppExists(name(&app))), "default"),
                    "{state}"
                );
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_app_that_was_ready_once_cannot_be_onboarded_anew() {
    each(async |t| {
        t.ready("acme").await;
        next_millisecond().await;
        fresh(t.repair("acme", None).await);
        t.end(
            t.claim().await.unwrap().lease,
            AttemptResult::Failed(job_error()),
        )
        .await;
        assert_eq!(
            t.store.onboard(new_app("acme"), None).await.unwrap(),
            Err(Refusal::AppExists(name("acme")))
        );
    })
    .await;
}

#[tokio::test]
async fn an_app_has_one_active_job() {
    each(async |t| {
        for state in [JobState::Queued, JobState::Running, JobState::Waiting] {
            let active = t.job_in(state, &format!("acme-{state}")).await;
            assert_eq!(t.repair(&format!("acme-{state}"), None).await, Err(Refusal::Active(active)));
            t.raw("UPDATE jobs SET state = 'canceled', finished_at = 1, lease_owner = NULL, lease_until = NULL, next_attempt_at = NULL")
                .await;
        }
        t.ready("ready").await;
        fresh(t.repair("ready", None).await);
        assert_eq!(t.repair("nobody", None).await, Err(Refusal::NoApp));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_requests_for_one_app_one_wins() {
    each(async |t| {
        let asked = join_all((0..40).map(|n| {
            t.store
                .onboard(new_app("acme"), Some(key(&format!("k{n}"), "f")))
        }))
        .await;
        let (won, lost): (Vec<_>, Vec<_>) = asked
            .into_iter()
            .map(Result::unwrap)
            .partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 39));
        assert!(
            lost.iter()
                .all(|refused| *refused == Err(Refusal::AppExists(name("acme"))))
        );
        assert_eq!(
            t.number("SELECT COUNT(*) FROM idempotency").await,
            1,
            "a refusal leaves no record"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_many_times_at_once_is_one_job() {
    each(async |t| {
        let asked =
            join_all((0..40).map(|_| t.store.onboard(new_app("acme"), Some(key("k", "f"))))).await;
        let (jobs, again): (Vec<_>, Vec<_>) = asked
            .into_iter()
            .map(|a| a.unwrap().unwrap())
            .partition(|a| matches!(a, Accepted::Fresh(_)));
        assert_eq!((jobs.len(), again.len()), (1, 39));
        let job = fresh(Ok(jobs[0].clone()));
        for answer in again {
            assert_eq!(
                replayed(Ok(answer)).location,
                Some(format!("/v1/jobs/{}", job.id))
            );
        }
    })
    .await;
}

#[tokio::test]
async fn the_same_request_again_gets_the_first_answer_and_another_body_is_refused() {
    each(async |t| {
        let job = fresh(
            t.store
                .onboard(new_app("acme"), Some(key("k", "f")))
                .await
                .unwrap(),
        );
        let answer = replayed(
            t.store
                .onboard(new_app("acme"), Some(key("k", "f")))
                .await
                .unwrap(),
        );
        assert_eq!(
            (answer.status, answer.location),
            (202, Some(format!("/v1/jobs/{}", job.id)))
        );
        assert_eq!(
            serde_json::from_str::<Value>(&answer.body).unwrap(),
            serde_json::to_value(&job).unwrap()
        );
        assert_eq!(
            t.store
                .onboard(new_app("other"), Some(key("k", "other")))
                .await
                .unwrap(),
            Err(Refusal::KeyReused)
        );
        fresh(
            t.store
                .onboard(
                    new_app("b"),
                    Some(IdempotencyKey {
                        caller: "ben".into(),
                        ..key("k", "f")
                    }),
                )
                .await
                .unwrap(),
        );
        fresh(
            t.store
                .onboard(
                    new_app("c"),
                    Some(IdempotencyKey {
                        route: "POST /v1/c".into(),
                        ..key("k", "f")
                    }),
                )
                .await
                .unwrap(),
        );
    })
    .await;
}

#[tokio::test]
async fn a_request_that_a_job_does_already_keeps_its_answer_for_its_key() {
    each(async |t| {
        let job = *t.onboard("acme").await;
        let joined = async |key| t.store.join(job.clone(), key).await.unwrap();
        assert_eq!(fresh(joined(None).await).id, job.id);
        assert_eq!(
            fresh(joined(Some(key("k1", "the request"))).await).id,
            job.id
        );
        assert_eq!(
            replayed(joined(Some(key("k1", "the request"))).await).status,
            202
        );
        assert_eq!(
            joined(Some(key("k1", "another request"))).await,
            Err(Refusal::KeyReused)
        );
    })
    .await;
}

#[tokio::test]
async fn an_idempotency_record_lives_a_day() {
    each(async |t| {
        t.ready("acme").await;
        let first = fresh(t.repair("acme", Some(key("k", "f"))).await);
        t.end(t.claim().await.unwrap().lease, succeeded()).await;
        t.clock.advance(IDEMPOTENCY_AGE - MINUTE);
        assert_eq!(t.store.prune_idempotency().await.unwrap(), 0);
        replayed(t.repair("acme", Some(key("k", "f"))).await);
        assert_eq!(
            t.repair("acme", Some(key("k", "other"))).await,
            Err(Refusal::KeyReused)
        );
        t.clock.advance(MINUTE);
        let second = fresh(t.repair("acme", Some(key("k", "other"))).await);
        assert_ne!(first.id, second.id);
        let answer = replayed(t.repair("acme", Some(key("k", "other"))).await);
        assert_eq!(
            answer.location,
            Some(format!("/v1/jobs/{}", second.id)),
            "the new record is in the place of the old one"
        );
    })
    .await;
}

#[tokio::test]
async fn old_idempotency_records_are_removed() {
    each(async |t| {
        t.store
            .onboard(new_app("old"), Some(key("old", "f")))
            .await
            .unwrap()
            .unwrap();
        t.clock.advance(IDEMPOTENCY_AGE);
        t.store
            .onboard(new_app("new"), Some(key("new", "f")))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(t.store.prune_idempotency().await.unwrap(), 1);
        replayed(
            t.store
                .onboard(new_app("new"), Some(key("new", "f")))
                .await
                .unwrap(),
        );
    })
    .await;
}

#[tokio::test]
async fn the_oldest_job_is_claimed_first() {
    each(async |t| {
        let mut asked = Vec::new();
        for app in ["one", "two", "three"] {
            asked.push(t.onboard(app).await.id);
        }
        let mut claimed = Vec::new();
        while let Some(next) = t.claim().await {
            claimed.push(next.lease.job);
        }
        assert_eq!(claimed, asked);
    })
    .await;
}

/// A clock that is an hour ahead, and one that is not: what a step back of an hour leaves, or two replicas.
fn clocks() -> (Clock, Clock) {
    let (ahead, behind) = (Clock::default(), Clock::default());
    ahead.advance(MINUTE * 60);
    (ahead, behind)
}

#[tokio::test]
async fn what_is_latest_is_what_came_last_whatever_the_clocks_say() {
    each(async |t| {
        let (ahead, behind) = clocks();
        let mut t = t.by(&ahead).await;
        let mut jobs = vec![t.at_work("acme").await.lease];
        t.end(jobs[0], AttemptResult::Failed(job_error())).await;
        for clock in [&behind, &ahead, &behind] {
            t = t.by(clock).await;
            fresh(t.repair("acme", None).await);
            jobs.push(t.claim().await.unwrap().lease);
            t.end(*jobs.last().unwrap(), AttemptResult::Failed(job_error()))
                .await;
        }
        let mut newest_first: Vec<Ulid> = jobs.iter().map(|lease| lease.job).collect();
        newest_first.reverse();
        let latest = newest_first[0];
        assert_eq!(t.app("acme").await.last_job, Some(latest));
        for earlier in &newest_first[1..] {
            assert_eq!(
                t.store.retry(*earlier, "ben".into(), false).await.unwrap(),
                Err(Refusal::Superseded(latest))
            );
        }
        let mut paged = Vec::new();
        while let Some(job) = t
            .store
            .jobs(&JobFilter {
                before: paged.last().copied(),
                limit: 1,
                ..Default::default()
            })
            .await
            .unwrap()
            .pop()
        {
            paged.push(job.id);
        }
        assert_eq!(paged, newest_first);
        t.store
            .retry(latest, "ben".into(), false)
            .await
            .unwrap()
            .unwrap();
        t.run(succeeded()).await;
        t = t.by(&ahead).await;
        t.clock.advance(YEAR);
        assert_eq!(prune_all(&t, YEAR / 2).await, 3);
        assert_eq!(t.app("acme").await.last_job, Some(latest));
        let gone = JobFilter {
            before: Some(newest_first[1]),
            limit: 10,
            ..Default::default()
        };
        assert!(
            t.store.jobs(&gone).await.unwrap().len() <= 1,
            "a page goes on after a job that was removed meanwhile"
        );
    })
    .await;
}

#[tokio::test]
async fn apps_are_listed_and_jobs_are_claimed_in_the_order_they_came_whatever_the_clocks_say() {
    each(async |t| {
        let (ahead, behind) = clocks();
        let (mut t, mut asked) = (t, Vec::new());
        for (app, clock) in [
            ("zeta", &ahead),
            ("acme", &behind),
            ("beta", &ahead),
            ("alfa", &behind),
        ] {
            t = t.by(clock).await;
            t.onboard(app).await;
            asked.push(app);
        }
        let (mut listed, mut after) = (Vec::new(), None);
        while let Some(app) = t
            .store
            .apps(&AppFilter {
                after,
                limit: 1,
                ..Default::default()
            })
            .await
            .unwrap()
            .pop()
        {
            after = Some(app.id);
            listed.push(app.summary.name);
        }
        assert_eq!(listed, asked);
        let claimed = t
            .store
            .claim_up_to(3, "a worker", LEASE, DEADLINE)
            .await
            .unwrap();
        assert_eq!(
            claimed
                .iter()
                .map(|claimed| claimed.job.app.as_str())
                .collect::<Vec<_>>(),
            asked[..3]
        );
    })
    .await;
}

#[tokio::test]
async fn the_latest_key_and_rotation_are_what_came_last_whatever_the_clocks_say() {
    each(async |t| {
        let (ahead, behind) = clocks();
        let t = t.by(&ahead).await;
        let id = t.rotating("acme").await;
        let first = t.rotation(id).await;
        t.store
            .move_rotation(&first, RotationEvent::Stopped, None)
            .await
            .unwrap();
        let t = t.by(&behind).await;
        fresh(t.store.enqueue(a_rotation("acme"), None).await.unwrap());
        assert_ne!(t.rotation(id).await.id, first.id);
        let claimed = t.claim().await.unwrap();
        let intent = t
            .store
            .intend_key(claimed.lease, vec!["OLD".into(), "NEW".into()])
            .await
            .unwrap();
        let newest = NewCredential {
            id: Ulid::nil(),
            ..credential("NEWEST")
        };
        t.store
            .encryption_key(claimed.lease, intent.id, newest)
            .await
            .unwrap();
        t.end(claimed.lease, succeeded()).await;
        let keys: Vec<String> = t
            .store
            .credentials(id)
            .await
            .unwrap()
            .into_iter()
            .map(|key| key.access_key_id)
            .collect();
        assert_eq!(keys, ["OLD", "NEW", "NEWEST"]);
        assert_eq!(t.rotation(id).await.new_key.as_deref(), Some("NEWEST"));
        let t = t.by(&behind).await;
        t.clock.advance(YEAR);
        prune_all(&t, MINUTE).await;
        assert_eq!(t.rotation(id).await.new_key.as_deref(), Some("NEWEST"));
    })
    .await;
}

#[tokio::test]
async fn an_app_that_was_ready_once_cannot_be_onboarded_anew_whatever_the_clocks_say() {
    each(async |t| {
        let (ahead, behind) = clocks();
        let t = t.by(&ahead).await;
        let claimed = t.at_work("acme").await;
        t.end(claimed.lease, AttemptResult::Failed(job_error()))
            .await;
        let t = t.by(&behind).await;
        fresh(t.store.onboard(new_app("acme"), None).await.unwrap());
        t.run(succeeded()).await;
        fresh(t.repair("acme", None).await);
        t.run(AttemptResult::Failed(job_error())).await;
        assert_eq!(
            t.store.onboard(new_app("acme"), None).await.unwrap(),
            Err(Refusal::AppExists(name("acme")))
        );
    })
    .await;
}

#[tokio::test]
async fn as_many_jobs_are_claimed_at_once_as_are_asked_for_and_due() {
    each(async |t| {
        let mut asked = Vec::new();
        for i in 0..5 {
            asked.push(t.onboard(&format!("app-{i}")).await.id);
        }
        t.raw(&format!(
            "UPDATE jobs SET kind = 'dance' WHERE id = '{}'",
            asked.remove(1)
        ))
        .await;
        let claim = async |most| -> Vec<Ulid> {
            let claimed = t
                .store
                .claim_up_to(most, "a worker", LEASE, DEADLINE)
                .await
                .unwrap();
            claimed
                .into_iter()
                .map(|claimed| claimed.lease.job)
                .collect()
        };
        assert_eq!(
            claim(3).await,
            asked[..3],
            "the oldest first, but for the one that cannot be read"
        );
        assert_eq!(claim(3).await, asked[3..]);
        assert!(claim(3).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_claim_hands_over_all_that_its_worker_needs() {
    each(async |t| {
        let asked = t.onboard("acme").await;
        let claimed = t.claim().await.unwrap();
        assert_eq!(
            (claimed.job.state, claimed.job.attempt),
            (JobState::Running, 1)
        );
        assert_eq!(claimed.job.steps, asked.steps);
        assert_eq!(claimed.app.spec, new_app("acme").spec);
        let trying = claimed.deadline.since(claimed.job.started_at.unwrap());
        assert_eq!(trying, DEADLINE);
        assert_eq!(t.happenings(asked.id).await, ["job_queued", "job_started"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_workers_claim_each_job_once() {
    each(async |t| {
        let mut asked = BTreeSet::new();
        for n in 0..60 {
            asked.insert(t.onboard(&format!("app-{n}")).await.id);
        }
        let worker = async || {
            let mut mine = Vec::new();
            while let Some(claimed) = t.claim().await {
                mine.push(claimed.lease.job);
            }
            mine
        };
        let claimed: Vec<Ulid> = join_all((0..16).map(|_| worker())).await.concat();
        assert_eq!(claimed.len(), 60, "each job once");
        assert_eq!(claimed.into_iter().collect::<BTreeSet<_>>(), asked);
    })
    .await;
}

#[tokio::test]
async fn a_lease_that_runs_out_is_claimed_by_another_with_a_higher_token() {
    each(async |t| {
        let lost = t.at_work("acme").await;
        t.clock.advance(LEASE - Duration::from_secs(1));
        assert_eq!(t.claim().await, None);
        t.clock.advance(Duration::from_secs(2));
        let found = t.claim().await.unwrap();
        assert_eq!(found.lease.job, lost.lease.job);
        assert!(found.lease.token > lost.lease.token);
        assert_eq!(
            (found.job.attempt, found.deadline),
            (2, lost.deadline),
            "the deadline is the job's, not the attempt's"
        );
    })
    .await;
}

#[tokio::test]
async fn a_renewed_lease_does_not_run_out() {
    each(async |t| {
        let lease = t.at_work("acme").await.lease;
        for _ in 0..5 {
            t.clock.advance(LEASE - Duration::from_secs(1));
            assert!(!t.store.renew(lease, LEASE).await.unwrap());
            assert_eq!(t.claim().await, None);
        }
    })
    .await;
}

/// Everything that a worker can write, tried under a lease that is lost.
async fn write_all(t: &Fixture, lost: Lease, intent: Ulid) {
    let store = &t.store;
    let gone = |result: Result<(), StoreError>, what: &str| {
        assert!(
            matches!(result, Err(StoreError::LostLease)),
            "{what}: {result:?}"
        )
    };
    gone(store.renew(lost, LEASE).await.map(|_| ()), "renew");
    for ended in [
        succeeded(),
        waiting_until(t.clock.now()),
        AttemptResult::Failed(job_error()),
        AttemptResult::Canceled,
        AttemptResult::Released { reason: "x".into() },
    ] {
        gone(store.end(lost, ended).await, "end");
    }
    gone(
        store.intend_key(lost, Vec::new()).await.map(|_| ()),
        "intend_key",
    );
    gone(store.close_intent(lost, intent).await, "close_intent");
    gone(
        store
            .encryption_key(lost, intent, credential("AKIAB"))
            .await,
        "encryption_key",
    );
    gone(
        store.keys_gone(lost, vec!["AKIAA".into()]).await,
        "keys_gone",
    );
    store.record(lost, Some(done("iam:user/acme")), warning());
    store.check().await.unwrap();
}

#[tokio::test]
async fn nothing_is_written_under_a_lost_lease() {
    each(async |t| {
        let lost = t.sealed("acme", "AKIAA").await;
        let intent = t
            .store
            .intend_key(lost.lease, vec!["AKIAA".into()])
            .await
            .unwrap()
            .id;
        let changes_nothing = async |lease: Lease| {
            let before = everything(&t, lost.app.id, lost.lease.job).await;
            write_all(&t, lease, intent).await;
            assert_eq!(everything(&t, lost.app.id, lost.lease.job).await, before);
        };
        t.clock.advance(LEASE * 2);
        let holder = t.claim().await.unwrap().lease;
        changes_nothing(lost.lease).await;
        t.end(
            holder,
            AttemptResult::Released {
                reason: "the service stops".into(),
            },
        )
        .await;
        changes_nothing(holder).await;
        let last = t.claim().await.unwrap().lease;
        t.end(last, AttemptResult::Failed(job_error())).await;
        changes_nothing(last).await;
        changes_nothing(lost.lease).await;
    })
    .await;
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

#[tokio::test]
async fn every_lease_of_a_process_that_has_ended_is_given_back() {
    each(async |t| {
        let running = [t.at_work("one").await, t.at_work("two").await];
        let waiting = t.job_in(JobState::Waiting, "three").await;
        assert_eq!(t.store.release_all().await.unwrap(), 2);
        for claimed in &running {
            assert_eq!(t.job(claimed.lease.job).await.state, JobState::Queued);
            assert_eq!(
                t.happenings(claimed.lease.job).await.last(),
                Some(&"job_released")
            );
            assert!(matches!(
                t.store.renew(claimed.lease, LEASE).await,
                Err(StoreError::LostLease)
            ));
        }
        assert_eq!(t.job(waiting).await.state, JobState::Waiting);
        let again = t.claim().await.unwrap();
        assert_eq!(
            (again.lease.job, again.lease.token),
            (running[0].lease.job, running[0].lease.token + 1)
        );
        assert_eq!(t.store.release_all().await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_job_that_waits_is_due_at_its_time_and_not_before() {
    each(async |t| {
        let lease = t.at_work("acme").await.lease;
        let at = t.clock.now().after(MINUTE);
        t.end(lease, waiting_until(at)).await;
        let job = t.job(lease.job).await;
        assert_eq!(
            (job.state, job.next_attempt_at, job.reason.as_deref()),
            (JobState::Waiting, Some(at), Some("AWS settles"))
        );
        t.clock.advance(MINUTE - Duration::from_secs(1));
        assert_eq!(t.claim().await, None);
        t.clock.advance(Duration::from_secs(1));
        let job = t.claim().await.unwrap().job;
        assert_eq!(
            (job.state, job.attempt, job.next_attempt_at, job.reason),
            (JobState::Running, 2, None, None)
        );
    })
    .await;
}

#[tokio::test]
async fn what_is_due_next_is_the_earliest_end_of_a_wait_or_a_lease() {
    each(async |t| {
        assert_eq!(t.store.next_due().await.unwrap(), None);
        let far = t.clock.now().after(MINUTE * 10);
        let lease = t.at_work("one").await.lease;
        t.end(lease, waiting_until(far)).await;
        assert_eq!(t.store.next_due().await.unwrap(), Some(far));
        let lease = t.at_work("two").await.lease;
        let due = t.store.next_due().await.unwrap().unwrap();
        assert!(
            due > t.clock.now() && due <= t.clock.now().after(LEASE),
            "the lease's end is the next"
        );
        t.end(lease, succeeded()).await;
        t.onboard("three").await;
        assert_eq!(
            t.store.next_due().await.unwrap(),
            Some(far),
            "what has ended or can be claimed now is not waited for"
        );
    })
    .await;
}

#[tokio::test]
async fn the_app_is_left_as_its_job_ended() {
    each(async |t| {
        for (state, left) in [
            (JobState::Waiting, AppState::Pending),
            (JobState::Succeeded, AppState::Ready),
            (JobState::Failed, AppState::Failed),
            (JobState::NeedsAttention, AppState::NeedsAttention),
            (JobState::Canceled, AppState::Canceled),
        ] {
            let job = t.job(t.job_in(state, &format!("acme-{state}")).await).await;
            let app = t.store.app(&job.app).await.unwrap().unwrap();
            assert_eq!((job.state, app.summary.state), (state, left));
            assert_eq!(
                app.summary.active_job,
                state.is_active().then_some(job.id),
                "{state}"
            );
            assert_eq!(job.finished_at.is_some(), !state.is_active(), "{state}");
            let in_trouble = matches!(state, JobState::Failed | JobState::NeedsAttention);
            assert_eq!(job.error, in_trouble.then(job_error), "{state}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_job_can_be_canceled_until_it_has_ended() {
    each(async |t| {
        for (state, after) in [
            (JobState::Queued, Some(JobState::Canceled)),
            (JobState::Waiting, Some(JobState::Canceled)),
            (JobState::NeedsAttention, Some(JobState::Canceled)),
            (JobState::Running, Some(JobState::Running)),
            (JobState::Succeeded, None),
            (JobState::Failed, None),
            (JobState::Canceled, None),
        ] {
            let id = t.job_in(state, &format!("acme-{state}")).await;
            let answer = t.store.cancel(id, "ben".into()).await.unwrap();
            match after {
                Some(after) => assert_eq!(answer.unwrap().state, after, "{state}"),
                None => assert!(
                    matches!(answer, Err(Refusal::State(_))),
                    "{state}: {answer:?}"
                ),
            }
            let told = t.happenings(id).await.contains(&"cancel_requested");
            assert_eq!(told, after.is_some(), "{state}");
            t.raw(&format!(
                "DELETE FROM events; DELETE FROM steps; DELETE FROM jobs WHERE id = '{id}'"
            ))
            .await;
        }
        assert_eq!(
            t.store
                .cancel(Ulid::generate(), "ben".into())
                .await
                .unwrap(),
            Err(Refusal::NoJob)
        );
    })
    .await;
}

#[tokio::test]
async fn the_worker_of_a_canceled_job_hears_of_it_when_it_renews_its_lease() {
    each(async |t| {
        let lease = t.at_work("acme").await.lease;
        t.store
            .cancel(lease.job, "ben".into())
            .await
            .unwrap()
            .unwrap();
        assert!(t.store.renew(lease, LEASE).await.unwrap());
        t.end(lease, AttemptResult::Canceled).await;
        assert_eq!(t.job(lease.job).await.state, JobState::Canceled);
        t.store
            .retry(lease.job, "ben".into(), false)
            .await
            .unwrap()
            .unwrap();
        let lease = t.claim().await.unwrap().lease;
        assert!(
            !t.store.renew(lease, LEASE).await.unwrap(),
            "the cancel was for the attempt before"
        );
    })
    .await;
}

#[tokio::test]
async fn a_job_that_ended_without_success_can_be_retried() {
    each(async |t| {
        for (state, allowed) in [
            (JobState::Failed, true),
            (JobState::NeedsAttention, true),
            (JobState::Canceled, true),
            (JobState::Waiting, true),
            (JobState::Queued, false),
            (JobState::Running, false),
            (JobState::Succeeded, false),
        ] {
            let id = t.job_in(state, &format!("acme-{state}")).await;
            let answer = t.store.retry(id, "ben".into(), false).await.unwrap();
            if allowed {
                let job = answer.unwrap();
                assert_eq!(
                    (job.state, job.error, job.reason, job.finished_at),
                    (JobState::Queued, None, None, None),
                    "{state}"
                );
                assert_eq!(t.happenings(id).await.last(), Some(&"retry_requested"));
            } else {
                assert!(
                    matches!(answer, Err(Refusal::State(_))),
                    "{state}: {answer:?}"
                );
            }
            t.raw(&format!(
                "DELETE FROM events; DELETE FROM steps; DELETE FROM jobs WHERE id = '{id}'"
            ))
            .await;
        }
        assert_eq!(
            t.store
                .retry(Ulid::generate(), "ben".into(), false)
                .await
                .unwrap(),
            Err(Refusal::NoJob)
        );
    })
    .await;
}

#[tokio::test]
async fn a_retried_job_gets_a_new_deadline() {
    each(async |t| {
        let first = t.at_work("acme").await;
        t.end(first.lease, AttemptResult::Failed(job_error())).await;
        t.clock.advance(DEADLINE * 2);
        t.store
            .retry(first.lease.job, "ben".into(), false)
            .await
            .unwrap()
            .unwrap();
        let second = t.claim().await.unwrap();
        assert!(second.deadline > t.clock.now());
        assert_eq!(second.job.started_at, first.job.started_at);
    })
    .await;
}

#[tokio::test]
async fn a_retry_is_refused_while_another_job_of_the_app_is_active() {
    each(async |t| {
        let failed = t.job_in(JobState::Failed, "acme").await;
        let active = fresh(t.repair("acme", None).await);
        assert_eq!(
            t.store.retry(failed, "ben".into(), false).await.unwrap(),
            Err(Refusal::Active(active.id))
        );
        assert_eq!(t.job(failed).await.state, JobState::Failed);
    })
    .await;
}

#[tokio::test]
async fn a_step_is_recorded_with_what_happened_to_it() {
    each(async |t| {
        let claimed = t.at_work("acme").await;
        t.store
            .record(claimed.lease, Some(done("iam:user/acme")), warning());
        assert_eq!(
            t.happenings(claimed.lease.job).await,
            ["job_queued", "job_started", "warning"]
        );
        assert_eq!(
            t.job(claimed.lease.job).await.steps[0],
            done("iam:user/acme").step
        );
        let app = t.store.app(&name("acme")).await.unwrap().unwrap();
        assert_eq!(app.resources.len(), 1);
        assert_eq!(
            (app.resources[0].arn.clone(), app.resources[0].state),
            (done("iam:user/acme").arn, StepState::Done)
        );
    })
    .await;
}

#[tokio::test]
async fn a_job_whose_task_cannot_be_read_is_given_back_and_then_parked() {
    each(async |t| {
        let claimed = t.at_work("acme").await;
        t.raw(&format!(
            "UPDATE jobs SET task = 'lost' WHERE id = '{}'",
            claimed.lease.job
        ))
        .await;
        assert_eq!(
            t.store.release_all().await.unwrap(),
            1,
            "the service starts"
        );
        assert_eq!(t.claim().await, None);
        t.raw("UPDATE jobs SET task = '{\"kind\":\"onboard\"}'")
            .await;
        let job = t.job(claimed.lease.job).await;
        assert_eq!(
            (job.state, job.error.unwrap().code),
            (JobState::NeedsAttention, JobErrorCode::Internal)
        );
        assert_eq!(t.app("acme").await.summary.state, AppState::NeedsAttention);
    })
    .await;
}

#[tokio::test]
async fn what_a_worker_has_told_is_on_disk_with_what_it_writes_later() {
    each(async |t| {
        let claimed = t.at_work("acme").await;
        t.store.record(
            claimed.lease,
            Some(done("iam:user/acme")),
            applied("iam:user/acme", &["CreateUser"]),
        );
        t.store.intend_key(claimed.lease, Vec::new()).await.unwrap();
        assert_eq!(
            t.happenings(claimed.lease.job).await.last(),
            Some(&"change_applied")
        );
        assert_eq!(
            t.store.recorded(claimed.app.id).await.unwrap().made,
            BTreeSet::from(["iam:user/acme".to_owned()])
        );
    })
    .await;
}

#[tokio::test]
async fn what_is_told_can_have_any_character() {
    each(async |t| {
        let claimed = t.at_work("acme").await;
        let odd = "a NUL \u{0}, a \"quote\", a \\u0000 and an é";
        let error = JobError {
            detail: odd.into(),
            ..job_error()
        };
        let failed = Step {
            state: StepState::Failed,
            error: Some(error.clone()),
            ..Step::pending("iam:user/acme")
        };
        let record = StepRecord {
            steps: vec![failed.clone()],
            step: failed.clone(),
            ..done("iam:user/acme")
        };
        let payload = EventPayload::StepFailed {
            resource: "iam:user/acme".into(),
            error: error.clone(),
        };
        t.store.record(claimed.lease, Some(record), payload.clone());
        t.store.check().await.unwrap();
        assert_eq!(
            t.store
                .events(claimed.lease.job, 0, 100)
                .await
                .unwrap()
                .last()
                .unwrap()
                .payload,
            payload
        );
        assert_eq!(t.job(claimed.lease.job).await.steps, [failed]);
        assert_eq!(t.app("acme").await.resources[0].error, Some(error));
        let newest = t
            .store
            .audit(&AuditFilter {
                limit: 1,
                ..AuditFilter::default()
            })
            .await
            .unwrap()
            .remove(0);
        assert!(matches!(newest.event, AuditEvent::StepFailed { reason, .. } if reason == odd));
    })
    .await;
}

#[tokio::test]
async fn of_what_is_told_together_every_event_stays_and_of_a_step_the_last_state() {
    each(async |t| {
        let claimed = t.at_work("acme").await;
        let failed = Step {
            state: StepState::Failed,
            ..done("iam:user/acme").step
        };
        for record in [
            done("iam:group/Apps"),
            done("iam:user/acme"),
            StepRecord {
                step: failed.clone(),
                steps: vec![failed],
                arn: None,
                made: false,
                made_at: None,
                owned: false,
                gone: false,
            },
        ] {
            t.store.record(claimed.lease, Some(record), warning());
        }
        t.end(claimed.lease, succeeded()).await;
        assert_eq!(
            t.happenings(claimed.lease.job).await,
            [
                "job_queued",
                "job_started",
                "warning",
                "warning",
                "warning",
                "job_succeeded"
            ]
        );
        let app = t.store.app(&name("acme")).await.unwrap().unwrap();
        let told = app
            .resources
            .iter()
            .map(|resource| (resource.resource.as_str(), resource.state));
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                ("iam:group/Apps", StepState::Done),
                ("iam:user/acme", StepState::Failed)
            ]
        );
        let made = ["iam:group/Apps", "iam:user/acme"].map(str::to_owned);
        assert_eq!(
            t.store.recorded(claimed.app.id).await.unwrap().made,
            BTreeSet::from(made),
            "what was made once stays made"
        );
    })
    .await;
}

#[tokio::test]
async fn progress_that_the_database_did_not_take_goes_along_with_the_next_that_it_takes() {
    each(async |t| {
        let claimed = t.at_work("acme").await;
        t.refuse_inserts("events").await;
        t.store
            .record(claimed.lease, Some(done("iam:user/acme")), warning());
        t.store.check().await.unwrap();
        assert!(!t.happenings(claimed.lease.job).await.contains(&"warning"));
        assert!(
            t.store.end(claimed.lease, succeeded()).await.is_err(),
            "nor does it take the end"
        );
        t.allow_inserts("events").await;
        t.end(claimed.lease, succeeded()).await;
        let happenings = t.happenings(claimed.lease.job).await;
        assert_eq!(
            happenings[happenings.len() - 2..],
            ["warning", "job_succeeded"],
            "once, and in order"
        );
        assert_eq!(
            happenings.iter().filter(|name| **name == "warning").count(),
            1
        );
        let job = t.job(claimed.lease.job).await;
        assert_eq!(
            job.steps
                .iter()
                .find(|step| step.resource == "iam:user/acme")
                .unwrap()
                .state,
            StepState::Done
        );
        assert!(
            t.store
                .recorded(claimed.app.id)
                .await
                .unwrap()
                .made
                .contains("iam:user/acme")
        );
    })
    .await;
}

#[tokio::test]
async fn progress_that_went_along_with_a_write_does_not_hold_up_what_is_told_next() {
    each(async |t| {
        let lease = t.at_work("acme").await.lease;
        for n in 0..20 {
            // Its own write is held back and waits to be dropped once another has taken it along.
            t.store.record(lease, None, warning());
            t.store.intend_key(lease, Vec::new()).await.unwrap();
            t.store.record(lease, None, warning());
            // Nobody writes anything else, and a process that is lost now would lose it.
            let written = async || {
                let told = t.store.events(lease.job, 0, 100).await.unwrap();
                told.iter()
                    .filter(|event| event.payload.name() == "warning")
                    .count()
            };
            let until = tokio::time::Instant::now() + MINUTE / 6;
            while written().await < 2 * n + 2 {
                assert!(
                    tokio::time::Instant::now() < until,
                    "what was told last is not written"
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            t.raw("DELETE FROM key_intents").await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_older_job_cannot_be_canceled_over_a_later_ones_head() {
    each(async |t| {
        let first = t.job_in(JobState::NeedsAttention, "acme").await;
        next_millisecond().await;
        let later = fresh(t.repair("acme", None).await);
        assert_eq!(
            t.store
                .cancel(first, "ann".into())
                .await
                .unwrap()
                .unwrap_err(),
            Refusal::Active(later.id)
        );
        t.end(t.claim().await.unwrap().lease, succeeded()).await;
        assert_eq!(
            t.store
                .cancel(first, "ann".into())
                .await
                .unwrap()
                .unwrap_err(),
            Refusal::Superseded(later.id)
        );
        assert_eq!(
            t.store
                .app(&name("acme"))
                .await
                .unwrap()
                .unwrap()
                .summary
                .state,
            AppState::Ready
        );
    })
    .await;
}

#[tokio::test]
async fn what_a_job_has_made_stays_the_apps() {
    each(async |t| {
        let first = t.at_work("acme").await;
        t.store
            .record(first.lease, Some(done("iam:user/acme")), warning());
        t.store.record(
            first.lease,
            Some(StepRecord {
                made: false,
                ..done("iam:group/Apps")
            }),
            warning(),
        );
        t.end(first.lease, succeeded()).await;
        fresh(t.repair("acme", None).await);
        let second = t.claim().await.unwrap();
        t.store.record(
            second.lease,
            Some(StepRecord {
                made: false,
                ..done("iam:user/acme")
            }),
            warning(),
        );
        t.store.check().await.unwrap();
        assert_eq!(
            t.store.recorded(first.app.id).await.unwrap().made,
            BTreeSet::from(["iam:user/acme".to_owned()])
        );
    })
    .await;
}

#[tokio::test]
async fn what_a_job_has_adopted_and_when_something_was_made_stays_known() {
    each(async |t| {
        let first = t.at_work("acme").await;
        let made_at = Timestamp::from_millis(7);
        t.store.record(
            first.lease,
            Some(StepRecord {
                made_at: Some(made_at),
                ..done("iam:user/acme")
            }),
            warning(),
        );
        t.store.record(
            first.lease,
            Some(StepRecord {
                made: false,
                ..done("s3:bucket/adopted")
            }),
            warning(),
        );
        t.store.record(
            first.lease,
            Some(StepRecord {
                made: false,
                owned: false,
                ..done("s3:bucket/foreign")
            }),
            warning(),
        );
        t.end(first.lease, AttemptResult::Failed(job_error())).await;
        fresh(t.repair("acme", None).await);
        let second = t.claim().await.unwrap();
        for resource in ["iam:user/acme", "s3:bucket/adopted"] {
            let pending = StepRecord {
                step: Step::pending(resource),
                made: false,
                owned: false,
                ..done(resource)
            };
            t.store.record(second.lease, Some(pending), warning());
        }
        t.store.check().await.unwrap();
        let recorded = t.store.recorded(first.app.id).await.unwrap();
        assert_eq!(recorded.made, BTreeSet::from(["iam:user/acme".to_owned()]));
        assert_eq!(
            recorded.adopted,
            BTreeSet::from(["s3:bucket/adopted".to_owned()])
        );
        assert_eq!(
            recorded.made_at,
            [("iam:user/acme".to_owned(), made_at)].into()
        );
        assert!(!recorded.owns("s3:bucket/foreign"));
        t.end(second.lease, succeeded()).await;
        let left: Vec<String> = t
            .app("acme")
            .await
            .resources
            .into_iter()
            .map(|it| it.resource)
            .collect();
        assert_eq!(
            left,
            ["iam:user/acme", "s3:bucket/adopted"],
            "what was named in vain is forgotten once all is well"
        );
    })
    .await;
}

#[tokio::test]
async fn an_app_that_is_asked_for_anew_remembers_what_its_first_spec_has_named() {
    each(async |t| {
        let first = NewApp {
            spec: spec_with("acme", &["first-bucket", "both-bucket"]),
            ..new_app("acme")
        };
        fresh(t.store.onboard(first, None).await.unwrap());
        t.run(AttemptResult::Failed(job_error())).await;
        let second = NewApp {
            spec: spec_with("acme", &["both-bucket"]),
            ..new_app("acme")
        };
        fresh(t.store.onboard(second, None).await.unwrap());
        let app = t.app("acme").await;
        let dropped: Vec<&str> = app
            .dropped
            .buckets
            .iter()
            .map(|bucket| bucket.name.as_str())
            .collect();
        assert_eq!((dropped, app.version), (vec!["first-bucket"], 3));
    })
    .await;
}

#[tokio::test]
async fn an_installation_keeps_its_id_and_another_database_has_another() {
    each(async |t| {
        let id = t.store.installation().clone();
        assert!(Ulid::from_string(&id).is_ok(), "{id}");
        assert_eq!(t.number("SELECT COUNT(*) FROM installation").await, 1);
        t.raw("INSERT INTO installation (id, one) VALUES ('another', 1) ON CONFLICT DO NOTHING")
            .await;
        assert_eq!(
            t.number(&format!(
                "SELECT COUNT(*) FROM installation WHERE id = '{id}'"
            ))
            .await,
            1,
            "there is one"
        );
    })
    .await;
}

#[tokio::test]
async fn events_are_numbered_in_one_rising_sequence_and_read_on_from_any_of_them() {
    each(async |t| {
        let (one, two) = (t.at_work("one").await.lease, t.at_work("two").await.lease);
        for n in 0..20 {
            t.store
                .record(if n % 2 == 0 { one } else { two }, None, warning());
        }
        t.store.check().await.unwrap();
        let all = t.store.events(one.job, 0, 100).await.unwrap();
        let numbers: Vec<i64> = all.iter().map(|event| event.seq).collect();
        assert_eq!(numbers.len(), 12);
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        assert!(all.iter().all(|event| event.job_id == one.job));
        for (read, number) in numbers.iter().enumerate() {
            assert_eq!(
                t.store.events(one.job, *number, 100).await.unwrap(),
                all[read + 1..]
            );
        }
        assert_eq!(
            t.store.events(one.job, numbers[2], 3).await.unwrap(),
            all[3..6]
        );
    })
    .await;
}

#[tokio::test]
async fn whoever_listens_hears_of_commits() {
    each(async |t| {
        let (mut signals, mut progress) = (t.store.signals(), t.store.progress_signals());
        let job = t.onboard("acme").await.id;
        assert_eq!(signals.recv().await.unwrap(), Signal::Queued);
        let lease = t.claim().await.unwrap().lease;
        assert_eq!(progress.recv().await.unwrap(), Signal::Progress(job));
        t.store.record(lease, None, warning());
        assert_eq!(progress.recv().await.unwrap(), Signal::Progress(job));
        assert_eq!(
            t.happenings(job).await.last(),
            Some(&"warning"),
            "it is there when it is told"
        );
        t.store.cancel(job, "ben".into()).await.unwrap().unwrap();
        assert_eq!(signals.recv().await.unwrap(), Signal::CancelAsked(job));
    })
    .await;
}

async fn names(t: &Fixture, filter: AppFilter) -> Vec<String> {
    t.store
        .apps(&filter)
        .await
        .unwrap()
        .into_iter()
        .map(|app| app.summary.name)
        .collect()
}

#[tokio::test]
async fn apps_are_found_by_account_state_and_text() {
    each(async |t| {
        t.ready("Shop_1").await;
        next_millisecond().await;
        t.store
            .onboard(new_app_in("shop-2", "second"), None)
            .await
            .unwrap()
            .unwrap();
        t.onboard("blog").await;
        let any = AppFilter {
            limit: 10,
            ..AppFilter::default()
        };
        assert_eq!(names(&t, any.clone()).await, ["Shop_1", "shop-2", "blog"]);
        assert_eq!(
            names(
                &t,
                AppFilter {
                    account: Some("second".into()),
                    ..any.clone()
                }
            )
            .await,
            ["shop-2"]
        );
        assert_eq!(
            names(
                &t,
                AppFilter {
                    state: Some(AppState::Ready),
                    ..any.clone()
                }
            )
            .await,
            ["Shop_1"]
        );
        assert_eq!(
            names(
                &t,
                AppFilter {
                    query: Some("HOP".into()),
                    ..any.clone()
                }
            )
            .await,
            ["Shop_1", "shop-2"]
        );
        for (text, found) in [
            ("_", vec!["Shop_1"]),
            ("%", vec![]),
            ("\\", vec![]),
            ("p_", vec!["Shop_1"]),
        ] {
            assert_eq!(
                names(
                    &t,
                    AppFilter {
                        query: Some(text.into()),
                        ..any.clone()
                    }
                )
                .await,
                found,
                "{text} stands for itself"
            );
        }
        assert_eq!(
            names(
                &t,
                AppFilter {
                    query: Some("shop".into()),
                    state: Some(AppState::Pending),
                    ..any
                }
            )
            .await,
            ["shop-2"]
        );
    })
    .await;
}

#[tokio::test]
async fn pages_of_apps_are_whole_and_in_order() {
    each(async |t| {
        let mut asked = Vec::new();
        for n in 0..7 {
            t.onboard(&format!("app-{n}")).await;
            asked.push(format!("app-{n}"));
        }
        let (mut after, mut seen) = (None, Vec::new());
        for length in [3, 3, 1, 0] {
            let page = t
                .store
                .apps(&AppFilter {
                    after,
                    limit: 3,
                    ..AppFilter::default()
                })
                .await
                .unwrap();
            assert_eq!(page.len(), length);
            after = page.last().map(|app| app.id);
            seen.extend(page.into_iter().map(|app| app.summary.name));
        }
        assert_eq!(seen, asked);
    })
    .await;
}

#[tokio::test]
async fn jobs_are_found_by_app_state_and_kind() {
    each(async |t| {
        let first = t.ready("acme").await.lease.job;
        next_millisecond().await;
        let repair = fresh(t.repair("acme", None).await).id;
        let other = t.onboard("other").await.id;
        let found = async |filter: JobFilter| -> Vec<Ulid> {
            t.store
                .jobs(&JobFilter {
                    limit: 10,
                    ..filter
                })
                .await
                .unwrap()
                .into_iter()
                .map(|job| job.id)
                .collect()
        };
        assert_eq!(
            found(JobFilter::default()).await,
            [other, repair, first],
            "the newest first"
        );
        assert_eq!(
            found(JobFilter {
                app: Some(name("ACME")),
                ..JobFilter::default()
            })
            .await,
            [repair, first]
        );
        assert_eq!(
            found(JobFilter {
                state: Some(JobState::Succeeded),
                ..JobFilter::default()
            })
            .await,
            [first]
        );
        assert_eq!(
            found(JobFilter {
                kind: Some(JobKind::Repair),
                ..JobFilter::default()
            })
            .await,
            [repair]
        );
        assert_eq!(
            found(JobFilter {
                before: Some(repair),
                ..JobFilter::default()
            })
            .await,
            [first]
        );
        let page = t
            .store
            .jobs(&JobFilter {
                limit: 2,
                ..JobFilter::default()
            })
            .await
            .unwrap();
        assert_eq!(
            page.iter().map(|job| job.id).collect::<Vec<_>>(),
            [other, repair]
        );
        assert!(
            page.iter().all(|job| job.steps.len() == 2),
            "with their steps"
        );
    })
    .await;
}

#[tokio::test]
async fn active_jobs_are_counted_by_state() {
    each(async |t| {
        t.job_in(JobState::Waiting, "one").await;
        t.job_in(JobState::Succeeded, "two").await;
        t.job_in(JobState::Running, "three").await;
        t.onboard("four").await;
        t.onboard("five").await;
        let mut counted = t.store.active_jobs().await.unwrap();
        counted.sort_by_key(|(state, _)| state.to_string());
        assert_eq!(
            counted,
            [
                (JobState::Queued, 2),
                (JobState::Running, 1),
                (JobState::Waiting, 1)
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn an_app_has_one_open_key_intent() {
    each(async |t| {
        let claimed = t.at_work("acme").await;
        let intent = t
            .store
            .intend_key(claimed.lease, vec!["AKIAOLD".into()])
            .await
            .unwrap();
        let open = async || {
            t.store
                .key_records(claimed.app.id)
                .await
                .unwrap()
                .open
                .map(|open| (open.id, open.known_keys))
        };
        assert_eq!(open().await, Some((intent.id, vec!["AKIAOLD".to_owned()])));
        assert!(t.store.intend_key(claimed.lease, Vec::new()).await.is_err());
        assert_eq!(
            open().await,
            Some((intent.id, vec!["AKIAOLD".to_owned()])),
            "the first one stays"
        );
        t.store
            .close_intent(claimed.lease, intent.id)
            .await
            .unwrap();
        assert_eq!(open().await, None);
        t.store.intend_key(claimed.lease, Vec::new()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn sealing_a_key_closes_its_intent_in_the_same_commit() {
    each(async |t| {
        let claimed = t.sealed("acme", "AKIAA").await;
        let records = t.store.key_records(claimed.app.id).await.unwrap();
        assert_eq!(
            (
                records.keys.len(),
                records.keys[0].0.as_str(),
                &records.open
            ),
            (1, "AKIAA", &None)
        );
        let intent = t
            .store
            .intend_key(claimed.lease, vec!["AKIAA".into()])
            .await
            .unwrap();
        t.refuse("UPDATE", "key_intents").await;
        assert!(
            t.store
                .encryption_key(claimed.lease, intent.id, credential("AKIAB"))
                .await
                .is_err()
        );
        let records = t.store.key_records(claimed.app.id).await.unwrap();
        assert_eq!(
            (records.keys.len(), records.open.map(|open| open.id)),
            (1, Some(intent.id)),
            "neither without the other"
        );
    })
    .await;
}

#[tokio::test]
async fn a_secret_is_claimed_once() {
    each(async |t| {
        let app = t.sealed("acme", "AKIAA").await.app.id;
        let ClaimAnswer::Sealed(row, sealed) = t.claim_secret(app, "AKIAA", "ann", None).await
        else {
            panic!("not handed out")
        };
        assert_eq!(sealed, credential("AKIAA").sealed);
        assert_eq!(
            (row.secret, row.claimed_by.as_deref()),
            (SecretState::Claimed, Some("ann"))
        );
        assert_eq!(
            t.sealed_secrets().await,
            0,
            "without a key to repeat it by, the claim destroys it"
        );
        assert!(matches!(
            t.claim_secret(app, "AKIAA", "ann", None).await,
            ClaimAnswer::Claimed(_)
        ));
        assert_eq!(
            t.claim_secret(app, "AKIAB", "ann", None).await,
            ClaimAnswer::NoKey
        );
        assert_eq!(
            t.claim_secret(Ulid::generate(), "AKIAA", "ann", None).await,
            ClaimAnswer::NoKey,
            "another app's"
        );
        assert_eq!(t.store.credentials(app).await.unwrap(), [*row]);
    })
    .await;
}

#[tokio::test]
async fn a_look_at_a_secret_does_not_claim_it() {
    each(async |t| {
        let app = t.sealed("acme", "AKIAA").await.app.id;
        for _ in 0..2 {
            let look = t
                .store
                .sealed_secret(app, "AKIAA", &bearer("ann"), None)
                .await
                .unwrap();
            assert!(
                matches!(look, ClaimAnswer::Sealed(row, _) if row.secret == SecretState::Unclaimed)
            );
        }
        t.claim_secret(app, "AKIAA", "ann", None).await;
        let look = t
            .store
            .sealed_secret(app, "AKIAA", &bearer("ann"), None)
            .await
            .unwrap();
        assert!(matches!(look, ClaimAnswer::Claimed(_)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_claims_of_a_secret_one_gets_it() {
    each(async |t| {
        let app = t.sealed("acme", "AKIAA").await.app.id;
        let ann = bearer("ann");
        let answers = join_all((0..30).map(|n| {
            t.store
                .claim_secret(app, "AKIAA", &ann, Some(format!("key {n}")))
        }))
        .await;
        let handed_out = answers
            .iter()
            .filter(|answer| matches!(answer, Ok(ClaimAnswer::Sealed(..))))
            .count();
        assert_eq!(handed_out, 1);
    })
    .await;
}

#[tokio::test]
async fn a_claim_can_be_repeated_by_the_same_caller_with_the_same_key_for_ten_minutes() {
    each(async |t| {
        let app = t.sealed("acme", "AKIAA").await.app.id;
        let again = async |caller: &str, key: Option<&str>| match t
            .claim_secret(app, "AKIAA", caller, key)
            .await
        {
            ClaimAnswer::Sealed(_, sealed) => sealed == credential("AKIAA").sealed,
            ClaimAnswer::Claimed(_) => false,
            other => panic!("{other:?}"),
        };
        assert!(again("ann", Some("k")).await);
        t.clock.advance(REPEATABLE - MINUTE);
        assert_eq!(t.store.destroy_secrets().await.unwrap(), 0);
        assert!(again("ann", Some("k")).await);
        assert!(!again("ben", Some("k")).await);
        assert!(!again("ann", Some("other")).await);
        assert!(!again("ann", None).await);
        t.clock.advance(MINUTE);
        assert!(
            !again("ann", Some("k")).await,
            "also before it is destroyed"
        );
        assert_eq!(t.store.destroy_secrets().await.unwrap(), 1);
        assert_eq!(t.sealed_secrets().await, 0);
        assert_eq!(t.secret_of(app).await, SecretState::Claimed);
    })
    .await;
}

#[tokio::test]
async fn a_secret_that_nobody_claims_is_destroyed_after_seven_days() {
    each(async |t| {
        let app = t.sealed("acme", "AKIAA").await.app.id;
        t.clock.advance(UNCLAIMED - MINUTE);
        assert_eq!(t.store.destroy_secrets().await.unwrap(), 0);
        t.clock.advance(MINUTE);
        assert_eq!(
            t.claim_secret(app, "AKIAA", "ann", None).await,
            ClaimAnswer::Expired,
            "also before it is destroyed"
        );
        assert_eq!(t.store.destroy_secrets().await.unwrap(), 1);
        assert_eq!(t.sealed_secrets().await, 0);
        assert_eq!(t.secret_of(app).await, SecretState::Expired);
        assert_eq!(
            t.claim_secret(app, "AKIAA", "ann", None).await,
            ClaimAnswer::Expired
        );
        assert_eq!(t.store.destroy_secrets().await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn the_secret_of_a_key_that_is_gone_is_destroyed() {
    each(async |t| {
        let claimed = t.sealed("acme", "AKIAA").await;
        t.store
            .keys_gone(claimed.lease, vec!["AKIAA".into()])
            .await
            .unwrap();
        assert_eq!(t.sealed_secrets().await, 0);
        assert_eq!(t.secret_of(claimed.app.id).await, SecretState::Expired);
        assert_eq!(t.store.key_records(claimed.app.id).await.unwrap().keys, []);
        assert!(t.store.unverified().await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_key_is_unverified_until_aws_is_seen_to_accept_it() {
    each(async |t| {
        let app = t.sealed("acme", "AKIAA").await.app.id;
        let unverified = t.store.unverified().await.unwrap();
        assert_eq!(
            (unverified.len(), &unverified[0].1),
            (1, &credential("AKIAA").sealed)
        );
        t.store.key_is_ready(unverified[0].0.id).await.unwrap();
        assert!(t.store.unverified().await.unwrap().is_empty());
        assert_eq!(
            t.store.credentials(app).await.unwrap()[0].readiness,
            Readiness::Ready
        );
    })
    .await;
}

/// Whether the text stands anywhere in the database's files.
fn on_disk(t: &Fixture, text: &[u8]) -> bool {
    let files = std::fs::read_dir(t.folder.path()).unwrap();
    files
        .map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .any(|bytes| bytes.windows(text.len()).any(|window| window == text))
}

#[tokio::test]
async fn a_destroyed_secret_is_in_no_file_even_sealed() {
    let t = Fixture::new(Backend::Sqlite).await;
    let app = t.sealed("acme", "AKIAA").await.app.id;
    assert!(on_disk(&t, &credential("AKIAA").sealed));
    t.claim_secret(app, "AKIAA", "ann", Some("k")).await;
    t.clock.advance(REPEATABLE);
    assert_eq!(t.store.destroy_secrets().await.unwrap(), 1);
    assert!(!on_disk(&t, &credential("AKIAA").sealed));
}

/// The access keys whose secret is sealed under another key than this.
async fn sealed_otherwise(
    t: &Fixture,
    encryption_key: &str,
    after: Option<Ulid>,
    limit: u32,
) -> Vec<String> {
    let found = t
        .store
        .sealed_otherwise(encryption_key, after, limit)
        .await
        .unwrap();
    found
        .into_iter()
        .map(|(row, sealed)| format!("{} {}", row.access_key_id, String::from_utf8_lossy(&sealed)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_secrets_are_counted_and_listed_by_their_seal_key() {
    each(async |t| {
        assert_eq!(t.store.sealed_by_key().await.unwrap(), []);
        let first = t.sealed("acme-a", "AKIAA").await;
        next_millisecond().await;
        t.sealed("acme-b", "AKIAB").await;
        assert_eq!(
            t.store.sealed_by_key().await.unwrap(),
            [("0a1b2c3d".to_owned(), 2)]
        );
        let both = [
            "AKIAA the sealed secret of AKIAA",
            "AKIAB the sealed secret of AKIAB",
        ];
        assert_eq!(sealed_otherwise(&t, "ffffffff", None, 9).await, both);
        assert_eq!(sealed_otherwise(&t, "ffffffff", None, 1).await, both[..1]);
        let (row, _) = t
            .store
            .sealed_otherwise("ffffffff", None, 1)
            .await
            .unwrap()
            .remove(0);
        assert_eq!(
            sealed_otherwise(&t, "ffffffff", Some(row.id), 9).await,
            both[1..],
            "goes on after a row"
        );
        assert!(sealed_otherwise(&t, "0a1b2c3d", None, 9).await.is_empty());
        t.claim_secret(first.app.id, "AKIAA", "ann", None).await;
        assert_eq!(
            sealed_otherwise(&t, "ffffffff", None, 9).await,
            both[1..],
            "a destroyed secret is none"
        );
        assert_eq!(
            t.store.sealed_by_key().await.unwrap(),
            [("0a1b2c3d".to_owned(), 1)]
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_resealed_where_it_still_is_as_it_was() {
    each(async |t| {
        let app = t.sealed("acme", "AKIA").await.app.id;
        let (row, was) = t
            .store
            .sealed_otherwise("ffffffff", None, 1)
            .await
            .unwrap()
            .remove(0);
        let reseal = async |was: &[u8], sealed: &str| {
            t.store
                .reseal(
                    row.id,
                    was.to_vec(),
                    sealed.as_bytes().to_vec(),
                    "ffffffff".into(),
                )
                .await
                .unwrap()
        };
        assert!(!reseal(b"something else", "lost").await);
        assert!(reseal(&was, "sealed anew").await);
        assert!(!reseal(&was, "sealed twice").await, "another was faster");
        assert_eq!(
            t.store.sealed_by_key().await.unwrap(),
            [("ffffffff".to_owned(), 1)]
        );
        match t.claim_secret(app, "AKIA", "ann", None).await {
            ClaimAnswer::Sealed(claimed, sealed) => assert_eq!(
                (claimed.encryption_key.as_str(), sealed),
                ("ffffffff", b"sealed anew".to_vec())
            ),
            other => panic!("{other:?}"),
        }
        assert!(!reseal(b"sealed anew", "back again").await, "a claim wins");
        assert_eq!(t.sealed_secrets().await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_token_is_known_by_its_hash_until_it_is_revoked() {
    each(async |t| {
        let token = t
            .store
            .create_token("deploy-bot", Role::Operator, "hash-1".into(), "admin")
            .await
            .unwrap();
        next_millisecond().await;
        let other = t
            .store
            .create_token("board", Role::Viewer, "hash-2".into(), "admin")
            .await
            .unwrap();
        let caller = Caller {
            id: token.id.to_string(),
            name: "deploy-bot".into(),
            role: Role::Operator,
        };
        assert_eq!(
            t.store.caller_by_token_hash("hash-1").await.unwrap(),
            Some(caller)
        );
        assert_eq!(t.store.caller_by_token_hash("hash").await.unwrap(), None);
        assert_eq!(
            t.store.tokens().await.unwrap(),
            [token.clone(), other.clone()]
        );
        assert!(
            t.store
                .create_token("copy", Role::Admin, "hash-1".into(), "admin")
                .await
                .is_err()
        );
        assert!(t.store.delete_token(token.id, "admin").await.unwrap());
        assert!(!t.store.delete_token(token.id, "admin").await.unwrap());
        assert_eq!(t.store.caller_by_token_hash("hash-1").await.unwrap(), None);
        assert_eq!(t.store.tokens().await.unwrap(), [other]);
    })
    .await;
}

#[tokio::test]
async fn what_was_committed_is_there_when_it_is_opened_again() {
    each(async |t| {
        let claimed = t.sealed("acme", "AKIAA").await;
        let before = everything(&t, claimed.app.id, claimed.lease.job).await;
        let Fixture {
            store,
            clock,
            url,
            backend,
            folder,
        } = t;
        drop(store);
        let store = reopen(&url, &clock).await;
        let t = Fixture {
            store,
            clock,
            url,
            backend,
            folder,
        };
        assert_eq!(
            everything(&t, claimed.app.id, claimed.lease.job).await,
            before
        );
        assert!(!t.store.renew(claimed.lease, LEASE).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_sqlite_file_serves_one_process() {
    let t = Fixture::new(Backend::Sqlite).await;
    let second = Store::open(&t.url, Clock::default(), &Tasks::default())
        .await
        .err()
        .unwrap();
    assert!(matches!(second, StoreError::InUse(_)));
    let told = second.to_string();
    assert!(
        told.contains("slipway.db") && told.contains("stop the other one"),
        "{told}"
    );
    drop(t.store);
    reopen(&t.url, &t.clock).await;
}

#[tokio::test]
async fn a_database_that_cannot_be_opened_says_why() {
    let open = async |url: &str| {
        Store::open(url, Clock::default(), &Tasks::default())
            .await
            .err()
            .unwrap()
    };
    let told = open("mysql://host/db").await;
    assert!(
        matches!(told, StoreError::Url(_)) && told.to_string().contains("sqlite://PATH"),
        "{told}"
    );
    assert!(matches!(
        open("sqlite:///no/such/folder/slipway.db").await,
        StoreError::Unavailable(_)
    ));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("slipway.db");
    std::fs::write(
        &file,
        "not a database, although it is a file and long enough to be one".repeat(20),
    )
    .unwrap();
    assert!(matches!(
        open(&format!("sqlite://{}", file.display())).await,
        StoreError::Unavailable(_)
    ));
}

/// On one thread, requests that are polled together reach the writer together.
#[tokio::test(flavor = "current_thread")]
async fn a_request_that_fails_does_not_undo_what_is_committed_with_it() {
    each(async |t| {
        t.refuse_inserts("events").await;
        let neighbour = async |n: i32| {
            t.store
                .create_token(
                    &format!("token {n}"),
                    Role::Viewer,
                    format!("hash {n}"),
                    "admin",
                )
                .await
                .is_ok()
        };
        let failing = async || {
            let answer = t.store.onboard(new_app("acme"), None).await;
            assert!(
                matches!(answer, Err(StoreError::Unavailable(_))),
                "{answer:?}"
            );
            true
        };
        // The one that fails is between others, the last and the first.
        let answers = [
            tokio::join!(neighbour(1), failing(), neighbour(2)),
            tokio::join!(neighbour(3), neighbour(4), failing()),
            tokio::join!(failing(), neighbour(5), neighbour(6)),
        ];
        assert_eq!(answers, [(true, true, true); 3]);
        assert_eq!(t.store.tokens().await.unwrap().len(), 6);
        failing().await;
        assert_eq!(
            t.number("SELECT COUNT(*) FROM apps").await,
            0,
            "what it had written before it failed is undone"
        );
    })
    .await;
}

#[tokio::test]
async fn requests_that_come_together_are_committed_in_their_order() {
    each(async |t| {
        let lease = t.at_work("acme").await.lease;
        for n in 0..300 {
            t.store.record(
                lease,
                None,
                EventPayload::Warning {
                    resource: "iam:user/acme".into(),
                    message: n.to_string(),
                },
            );
        }
        t.end(lease, succeeded()).await;
        let events = t.store.events(lease.job, 0, 1000).await.unwrap();
        let messages: Vec<String> = events
            .iter()
            .filter_map(|event| match &event.payload {
                EventPayload::Warning { message, .. } => Some(message.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(
            messages,
            (0..300).map(|n| n.to_string()).collect::<Vec<_>>()
        );
        assert_eq!(events.last().unwrap().payload, EventPayload::JobSucceeded);
    })
    .await;
}

/// Reads all that the store can read of the app `acme`, its job and its key.
async fn read_all(t: &Fixture, app: Ulid, job: Ulid) -> Vec<StoreError> {
    let errors = [
        t.store.app(&name("acme")).await.err(),
        t.store
            .apps(&AppFilter {
                limit: 10,
                ..AppFilter::default()
            })
            .await
            .err(),
        t.store.job(job).await.err(),
        t.store
            .jobs(&JobFilter {
                limit: 10,
                ..JobFilter::default()
            })
            .await
            .err(),
        t.store.events(job, 0, 100).await.err(),
        t.store.key_records(app).await.err(),
        t.store.credentials(app).await.err(),
        t.store.tokens().await.err(),
        t.store.caller_by_token_hash("hash").await.err(),
        t.store
            .audit(&AuditFilter {
                limit: 10,
                ..AuditFilter::default()
            })
            .await
            .err(),
    ];
    errors.into_iter().flatten().collect()
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_named() {
    for (table, column, garbage) in [
        ("apps", "spec", "'{\"name\": 1}'"),
        ("apps", "state", "'lost'"),
        ("apps", "created_at", "'soon'"),
        ("jobs", "state", "'lost'"),
        ("jobs", "kind", "'dance'"),
        ("jobs", "task", "'dance'"),
        ("jobs", "attempt", "-1"),
        ("jobs", "result", "'nothing'"),
        ("jobs", "error", "'[]'"),
        ("jobs", "started_at", "'soon'"),
        ("steps", "steps", "'[{\"state\": \"lost\"}]'"),
        ("resources", "state", "'lost'"),
        ("resources", "updated_at", "'soon'"),
        ("events", "data", "'{\"event\": \"danced\"}'"),
        ("key_intents", "known_keys", "'none'"),
        ("credentials", "secret", "'lost'"),
        ("credentials", "readiness", "'soon'"),
        ("credentials", "created_at", "'soon'"),
        ("tokens", "role", "'king'"),
        ("tokens", "created_at", "'soon'"),
        ("audit", "detail", "'{\"action\": \"danced\"}'"),
    ] {
        each(async |t| {
            if t.backend == Backend::Postgres && column.ends_with("_at") {
                // Its columns have types, so there is no text among the numbers.
                return;
            }
            let claimed = t.sealed("acme", "AKIAA").await;
            t.store.intend_key(claimed.lease, Vec::new()).await.unwrap();
            t.store
                .record(claimed.lease, Some(done("iam:user/acme")), warning());
            t.store
                .create_token("bot", Role::Viewer, "hash".into(), "admin")
                .await
                .unwrap();
            // What was recorded without waiting is committed before this.
            t.store.check().await.unwrap();
            t.raw(&format!("UPDATE {table} SET {column} = {garbage}"))
                .await;
            let errors = read_all(&t, claimed.app.id, claimed.lease.job).await;
            let named = |error: &StoreError| match error {
                StoreError::Corrupt {
                    table: in_table,
                    column: in_column,
                    row,
                    ..
                } => (*in_table, *in_column) == (table, column) && row != "?",
                _ => false,
            };
            assert!(errors.iter().any(named), "{table}.{column}: {errors:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn the_row_that_cannot_be_read_is_named_by_its_id() {
    each(async |t| {
        let claimed = t.at_work("acme").await;
        t.raw("UPDATE jobs SET kind = 'dance'").await;
        let told = t
            .store
            .job(claimed.lease.job)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            told.starts_with(&format!(
                "jobs.kind of row {} cannot be read",
                claimed.lease.job
            )),
            "{told}"
        );
    })
    .await;
}

#[tokio::test]
async fn an_idempotency_record_that_cannot_be_read_is_named() {
    each(async |t| {
        t.store.onboard(new_app("acme"), Some(key("k", "f"))).await.unwrap().unwrap();
        t.raw("UPDATE idempotency SET status = 100000").await;
        let told = t.store.onboard(new_app("acme"), Some(key("k", "f"))).await.unwrap_err();
        assert!(matches!(&told, StoreError::Corrupt { table: "idempotency", column: "status", row, .. } if row == "k"), "{told}");
    })
    .await;
}

#[tokio::test]
async fn an_app_whose_name_cannot_be_read_is_named() {
    each(async |t| {
        let claimed = t.at_work("acme").await;
        t.raw("UPDATE apps SET name = 'not a name'").await;
        let told = t.store.job(claimed.lease.job).await.unwrap_err();
        assert!(
            matches!(&told, StoreError::Corrupt { table: "apps", column: "name", row, .. } if *row == claimed.app.id.to_string()),
            "{told}"
        );
    })
    .await;
}

#[tokio::test]
async fn an_app_that_cannot_be_read_does_not_hold_up_the_others() {
    each(async |t| {
        t.onboard("broken").await;
        t.raw("UPDATE apps SET spec = '{'").await;
        let next = t.onboard("acme").await;
        let mut claimed = None;
        for _ in 0..3 {
            claimed = claimed.or(t
                .store
                .claim("a worker", LEASE, DEADLINE)
                .await
                .ok()
                .flatten());
        }
        assert_eq!(claimed.map(|claimed| claimed.lease.job), Some(next.id));
    })
    .await;
}

#[tokio::test]
async fn an_app_that_cannot_be_read_holds_up_no_schedule() {
    each(async |t| {
        let day = Duration::from_secs(24 * 3600);
        let (broken, acme) = (t.rotating("broken").await, t.rotating("acme").await);
        assert_eq!(t.next_look(day).await, None);
        t.clock.advance(day * 8);
        t.raw("UPDATE apps SET drift_due_at = 1 WHERE name = 'broken'; UPDATE apps SET drift_due_at = 2 WHERE name = 'acme'").await;
        t.raw(&format!("UPDATE apps SET spec = '{{\"rotate_after\":\"1h\"' WHERE id = '{broken}'")).await;
        assert_eq!((t.next_look(day).await.as_deref(), t.next_look(day).await.as_deref()), (None, Some("acme")));
        assert_eq!(t.due().await, [Stage::AwaitingClaim], "the rotation of the app that can be read");

        t.raw(&format!("UPDATE rotations SET task = '{{' WHERE app_id = '{broken}'")).await;
        assert_eq!(t.due().await, [Stage::AwaitingClaim]);

        t.raw("UPDATE rotations SET stage = 'stopped', ended_at = 1, due_at = NULL").await;
        to_find(&t, acme, "1h").await;
        let found = |apps: Vec<App>| apps.into_iter().map(|app| app.id).collect::<Vec<_>>();
        assert_eq!(found(t.store.apps_to_rotate().await.unwrap()), [acme]);

        t.raw("UPDATE apps SET state = 'quarantined', remove_at = 1").await;
        assert_eq!(found(t.store.due_removals().await.unwrap()), [acme]);
    })
    .await;
}

#[tokio::test]
async fn a_cancel_that_was_accepted_outlives_the_attempt() {
    each(async |t| {
        let ends = [
            waiting_until(t.clock.now().after(MINUTE)),
            AttemptResult::Released {
                reason: "the service stops".into(),
            },
            succeeded(),
            AttemptResult::Failed(job_error()),
            AttemptResult::NeedsAttention(job_error()),
        ];
        for (n, ended) in ends.into_iter().enumerate() {
            let lease = t.at_work(&format!("acme-{n}")).await.lease;
            t.store
                .cancel(lease.job, "ben".into())
                .await
                .unwrap()
                .unwrap();
            t.end(lease, ended).await;
            assert_eq!(t.job(lease.job).await.state, JobState::Canceled);
        }
    })
    .await;
}

#[tokio::test]
async fn a_cancel_that_was_accepted_outlives_the_worker() {
    each(async |t| {
        let lost = t.at_work("acme").await;
        t.store
            .cancel(lost.lease.job, "ben".into())
            .await
            .unwrap()
            .unwrap();
        t.clock.advance(LEASE);
        let mut heard = t.store.progress_signals();
        let other = t.onboard("other").await;
        let claimed = t
            .store
            .claim_up_to(5, "another worker", LEASE, DEADLINE)
            .await
            .unwrap();
        assert_eq!(
            claimed
                .iter()
                .map(|claimed| claimed.lease.job)
                .collect::<Vec<_>>(),
            [other.id],
            "nobody goes on with it"
        );
        let job = t.job(lost.lease.job).await;
        assert_eq!(
            (job.state, t.app("acme").await.summary.state),
            (JobState::Canceled, AppState::Canceled)
        );
        assert_eq!(t.happenings(job.id).await.last(), Some(&"job_canceled"));
        assert_eq!(
            heard.recv().await.unwrap(),
            Signal::Progress(job.id),
            "who follows it is told"
        );
        // A key of it may be live.
        let lost = t.at_work("third").await;
        t.store.intend_key(lost.lease, Vec::new()).await.unwrap();
        t.store
            .cancel(lost.lease.job, "ben".into())
            .await
            .unwrap()
            .unwrap();
        t.clock.advance(LEASE);
        while t.claim().await.is_some() {}
        let job = t.job(lost.lease.job).await;
        assert_eq!(
            (job.state, job.error.unwrap().code),
            (JobState::NeedsAttention, JobErrorCode::CredentialInDoubt)
        );
        // A retry takes the cancel back.
        t.store
            .retry(lost.lease.job, "ben".into(), false)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(t.claim().await.unwrap().lease.job, lost.lease.job);
    })
    .await;
}

#[tokio::test]
async fn a_job_whose_task_cannot_be_read_is_parked_also_when_its_cancel_was_accepted() {
    each(async |t| {
        let lost = t.at_work("acme").await;
        t.store
            .cancel(lost.lease.job, "ben".into())
            .await
            .unwrap()
            .unwrap();
        t.raw("UPDATE jobs SET task = 'what?'").await;
        t.clock.advance(LEASE);
        assert_eq!(t.claim().await, None);
        assert_eq!(
            t.number("SELECT COUNT(*) FROM jobs WHERE state = 'needs_attention'")
                .await,
            1
        );
    })
    .await;
}

/// Stores of several replicas on one new PostgreSQL database, opened at the same time.
async fn replicas<const N: usize>() -> [Store; N] {
    opened_together(&new_database().await).await
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

#[tokio::test]
async fn replicas_that_start_together_migrate_one_after_the_other() {
    for store in opened_together::<8>(&empty_database().await).await {
        store.check().await.unwrap();
        assert!(
            store
                .jobs(&JobFilter {
                    limit: 10,
                    ..Default::default()
                })
                .await
                .unwrap()
                .is_empty()
        );
    }
}

#[tokio::test]
async fn of_many_replicas_each_job_is_claimed_by_one() {
    let stores = replicas::<4>().await;
    for i in 0..40 {
        fresh(
            stores[i % 4]
                .onboard(new_app(&format!("app-{i}")), None)
                .await
                .unwrap(),
        );
    }
    let claims = join_all((0..60).map(|i| stores[i % 4].claim("a worker", LEASE, DEADLINE))).await;
    let claimed: Vec<_> = claims
        .into_iter()
        .filter_map(Result::unwrap)
        .map(|claimed| claimed.lease.job)
        .collect();
    assert_eq!(
        claimed.iter().collect::<BTreeSet<_>>().len(),
        claimed.len(),
        "none twice"
    );
    // A claim that comes in the way of another passes over its job, and may find none: the next look does.
    let mut all: BTreeSet<_> = claimed.into_iter().collect();
    while let Some(claimed) = stores[0].claim("a worker", LEASE, DEADLINE).await.unwrap() {
        assert!(all.insert(claimed.lease.job));
    }
    assert_eq!(all.len(), 40);
}

#[tokio::test]
async fn the_same_request_at_many_replicas_is_one_job() {
    let stores = replicas::<4>().await;
    for round in 0..10 {
        let app = format!("app-{round}");
        let asked = (0..8).map(|i| stores[i % 4].onboard(new_app(&app), Some(key(&app, "body"))));
        let answers: Vec<_> = join_all(asked)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let fresh = answers
            .iter()
            .filter(|answer| matches!(answer, Ok(Accepted::Fresh(_))))
            .count();
        let replayed = answers
            .iter()
            .filter(|answer| matches!(answer, Ok(Accepted::Replay(_))))
            .count();
        assert_eq!((fresh, replayed), (1, 7), "{answers:?}");
    }
}

#[tokio::test]
async fn of_many_requests_for_one_app_at_many_replicas_one_wins() {
    let stores = replicas::<4>().await;
    for round in 0..10 {
        let app = format!("app-{round}");
        let answers = join_all((0..8).map(|i| stores[i % 4].onboard(new_app(&app), None))).await;
        let refused = answers
            .iter()
            .filter(|answer| matches!(answer, Ok(Err(Refusal::AppExists(_)))))
            .count();
        assert_eq!(refused, 7, "{answers:?}");
        let claimed = stores[0]
            .claim("a worker", LEASE, DEADLINE)
            .await
            .unwrap()
            .unwrap();
        stores[0]
            .end(claimed.lease, AttemptResult::Failed(job_error()))
            .await
            .unwrap();
        let ask = |i: usize| stores[i % 4].enqueue(a_repair(&app), None);
        let retry = |i: usize| stores[i % 4].retry(claimed.lease.job, "ann".into(), false);
        let (asked, retried) = tokio::join!(join_all((0..4).map(ask)), join_all((0..4).map(retry)));
        let won = asked
            .into_iter()
            .map(Result::unwrap)
            .filter(Result::is_ok)
            .count()
            + retried
                .into_iter()
                .map(Result::unwrap)
                .filter(Result::is_ok)
                .count();
        assert_eq!(won, 1, "round {round}");
        let claimed = stores[1]
            .claim("a worker", LEASE, DEADLINE)
            .await
            .unwrap()
            .unwrap();
        stores[1].end(claimed.lease, succeeded()).await.unwrap();
    }
}

#[tokio::test]
async fn of_replicas_whose_clocks_are_apart_the_jobs_of_an_app_are_in_the_order_they_came() {
    let url = new_database().await;
    let (ahead, behind) = clocks();
    let stores = [
        Store::open(&url, ahead, &Tasks::default()).await.unwrap(),
        Store::open(&url, behind, &Tasks::default()).await.unwrap(),
    ];
    fresh(stores[0].onboard(new_app("acme"), None).await.unwrap());
    let first = stores[0]
        .claim("a worker", LEASE, DEADLINE)
        .await
        .unwrap()
        .unwrap();
    stores[0].end(first.lease, succeeded()).await.unwrap();
    let came = std::sync::Mutex::new(vec![first.lease.job]);
    // Four at each replica ask at the same time; whose request wins works on it at once.
    join_all((0..8).map(async |n| {
        let store = &stores[n % 2];
        // Most requests lose, and how many depends on the machine.
        while came.lock().unwrap().len() <= 10 {
            let Ok(Accepted::Fresh(job)) = store.enqueue(a_repair("acme"), None).await.unwrap()
            else {
                continue;
            };
            let claimed = store
                .claim("a worker", LEASE, DEADLINE)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(claimed.lease.job, job.id);
            came.lock().unwrap().push(job.id);
            store.end(claimed.lease, succeeded()).await.unwrap();
        }
    }))
    .await;
    let mut came = came.into_inner().unwrap();
    came.reverse();
    assert!(came.len() > 10, "{}", came.len());
    for store in &stores {
        let jobs = store
            .jobs(&JobFilter {
                limit: 200,
                ..Default::default()
            })
            .await
            .unwrap();
        assert_eq!(jobs.iter().map(|job| job.id).collect::<Vec<_>>(), came);
        assert_eq!(
            store.app(&name("acme")).await.unwrap().unwrap().last_job,
            Some(came[0])
        );
    }
}

#[tokio::test]
async fn of_many_claims_of_a_secret_at_many_replicas_one_gets_it() {
    let stores = replicas::<4>().await;
    fresh(stores[0].onboard(new_app("acme"), None).await.unwrap());
    let claimed = stores[0]
        .claim("a worker", LEASE, DEADLINE)
        .await
        .unwrap()
        .unwrap();
    let intent = stores[0]
        .intend_key(claimed.lease, Vec::new())
        .await
        .unwrap();
    stores[0]
        .encryption_key(claimed.lease, intent.id, credential("AKIAA"))
        .await
        .unwrap();
    let caller = bearer("ann");
    let claims = join_all(
        (0..16).map(|i| stores[i % 4].claim_secret(claimed.app.id, "AKIAA", &caller, None)),
    )
    .await;
    let sealed = claims
        .into_iter()
        .filter(|claim| matches!(claim, Ok(ClaimAnswer::Sealed(..))))
        .count();
    assert_eq!(sealed, 1);
}

#[tokio::test]
async fn replicas_hear_of_one_anothers_commits() {
    let [here, there] = replicas::<2>().await;
    let (mut signals, mut progress) = (there.signals(), there.progress_signals());
    // A notice that comes before the other listens is lost, which its poll makes up for.
    let job = loop {
        let app = format!("app-{}", Ulid::generate().to_string().to_lowercase());
        let job = fresh(here.onboard(new_app(&app), None).await.unwrap());
        if let Ok(Ok(signal)) =
            tokio::time::timeout(Duration::from_millis(200), signals.recv()).await
        {
            assert_eq!(signal, Signal::Queued);
            break job;
        }
    };
    here.cancel(job.id, "ann".into()).await.unwrap().unwrap();
    let heard = async |of: Signal, signals: &mut Receiver<Signal>| {
        while tokio::time::timeout(MINUTE, signals.recv())
            .await
            .unwrap()
            .unwrap()
            != of
        {}
    };
    heard(Signal::CancelAsked(job.id), &mut signals).await;
    heard(Signal::Progress(job.id), &mut progress).await;
}

#[tokio::test]
async fn replicas_go_by_the_databases_time() {
    let url = new_database().await;
    let slow = Clock::default();
    let here = slow.now();
    slow.follow(here.before(MINUTE * 60), here);
    Store::open(&url, slow.clone(), &Tasks::default())
        .await
        .unwrap();
    assert!(
        slow.now().since(here) < MINUTE && here.since(slow.now()) < MINUTE,
        "the same machine, so the same time"
    );
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

async fn prune_all(t: &Fixture, age: Duration) -> u64 {
    let mut all = 0;
    loop {
        match t.store.prune_history(age).await.unwrap() {
            0 => return all,
            some => all += some,
        }
    }
}

#[tokio::test]
async fn history_goes_when_it_is_old_and_explains_nothing_that_is_there() {
    each(async |t| {
        let onboarded = t.at_work("acme").await;
        t.store
            .record(onboarded.lease, Some(done("iam:user/acme")), warning());
        t.end(onboarded.lease, succeeded()).await;
        let mut repairs = Vec::new();
        for _ in 0..250 {
            next_millisecond().await;
            let repair = fresh(t.repair("acme", None).await);
            let lease = t.claim().await.unwrap().lease;
            t.store.record(lease, None, warning());
            t.end(lease, succeeded()).await;
            repairs.push(repair.id);
        }
        t.clock.advance(YEAR);
        let waiting = t.job_in(JobState::Waiting, "other").await;
        assert_eq!(prune_all(&t, YEAR * 2).await, 0, "not so old yet");
        assert_eq!(prune_all(&t, YEAR / 2).await, 249);
        let newest = repairs.pop().unwrap();
        for gone in repairs {
            assert_eq!(t.store.job(gone).await.unwrap(), None);
            assert!(t.store.events(gone, 0, 10).await.unwrap().is_empty());
        }
        assert_eq!(
            t.number("SELECT COUNT(*) FROM steps").await,
            3,
            "of three jobs"
        );
        for kept in [onboarded.lease.job, newest, waiting] {
            assert!(!t.job(kept).await.steps.is_empty());
            assert!(!t.store.events(kept, 0, 10).await.unwrap().is_empty());
        }
        assert_eq!(
            t.store.app(&name("acme")).await.unwrap().unwrap().last_job,
            Some(newest)
        );
    })
    .await;
}

#[tokio::test]
async fn the_job_that_made_a_key_is_kept_as_long_as_the_key_is_known() {
    each(async |t| {
        let made = t.sealed("acme", "AKIAA").await;
        t.end(made.lease, succeeded()).await;
        next_millisecond().await;
        let later = fresh(t.repair("acme", None).await);
        t.end(t.claim().await.unwrap().lease, succeeded()).await;
        t.clock.advance(YEAR);
        assert_eq!(
            prune_all(&t, YEAR / 2).await,
            0,
            "{} and {} stay",
            made.lease.job,
            later.id
        );
    })
    .await;
}

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
        resource: resource.into(),
        change: format!("make {resource}"),
        calls: operations.iter().map(call).collect(),
    }
}

#[tokio::test]
async fn what_is_done_is_in_the_audit() {
    each(async |t| {
        let token = t
            .store
            .create_token("bot", Role::Operator, "hash".into(), "admin")
            .await
            .unwrap();
        let claimed = t.sealed("acme", "AKIAA").await;
        t.store.record(
            claimed.lease,
            Some(done("iam:user/acme")),
            applied("iam:user/acme", &["CreateUser"]),
        );
        t.store.record(
            claimed.lease,
            None,
            applied(
                "iam:policy/acme",
                &["DeletePolicyVersion", "CreatePolicyVersion"],
            ),
        );
        t.store.record(
            claimed.lease,
            None,
            EventPayload::StepFailed {
                resource: "iam:group/Apps".into(),
                error: job_error(),
            },
        );
        t.end(claimed.lease, AttemptResult::NeedsAttention(job_error()))
            .await;
        let id = claimed.lease.job;
        t.store.cancel(id, "bob".into()).await.unwrap().unwrap();
        t.store
            .retry(id, "cy".into(), false)
            .await
            .unwrap()
            .unwrap();
        let again = t.claim().await.unwrap();
        t.end(again.lease, succeeded()).await;
        for _ in 0..2 {
            assert!(matches!(
                t.claim_secret(claimed.app.id, "AKIAA", "dan", Some("hash-of-a-key"))
                    .await,
                ClaimAnswer::Sealed(..)
            ));
        }
        assert!(t.store.delete_token(token.id, "eve").await.unwrap());
        let expected = [
            "token_created admin ",
            "job_requested ann acme",
            "change_applied ann iam:user/acme",
            "change_applied ann iam:policy/acme",
            "change_applied ann iam:policy/acme",
            "step_failed ann iam:group/Apps",
            "job_ended ann acme",
            "cancel_requested bob acme",
            "job_ended ann acme",
            "retry_requested cy acme",
            "job_ended ann acme",
            "secret_claimed dan acme",
            "secret_claimed dan acme",
            "token_revoked eve ",
        ];
        assert_eq!(told(&t).await, expected);
        let all = audit(&t, AuditFilter::default()).await;
        assert!(
            all.windows(2)
                .all(|two| two[0].seq > two[1].seq && two[0].at >= two[1].at)
        );
        let text = serde_json::to_string(&all).unwrap();
        for secret in ["sealed", "hash-of-a-key", "\"hash\""] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        let AuditEvent::SecretClaimed { again, .. } = &all[1].event else {
            panic!("{:?}", all[1])
        };
        assert!(again, "the second time");
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_written_to_the_audit_is_not_done() {
    each(async |t| {
        let claimed = t.sealed("acme", "AKIAA").await;
        t.end(claimed.lease, AttemptResult::Failed(job_error()))
            .await;
        let id = claimed.lease.job;
        let token = t
            .store
            .create_token("bot", Role::Operator, "hash".into(), "admin")
            .await
            .unwrap();
        t.refuse_inserts("audit").await;
        assert!(t.store.onboard(new_app("other"), None).await.is_err());
        assert!(t.store.retry(id, "ann".into(), false).await.is_err());
        assert!(
            t.store
                .create_token("copy", Role::Viewer, "hash-2".into(), "admin")
                .await
                .is_err()
        );
        assert!(t.store.delete_token(token.id, "admin").await.is_err());
        assert!(
            t.store
                .claim_secret(claimed.app.id, "AKIAA", &bearer("ann"), None)
                .await
                .is_err()
        );
        t.allow_inserts("audit").await;
        assert_eq!(t.store.app(&name("other")).await.unwrap(), None);
        assert_eq!(t.job(id).await.state, JobState::Failed);
        assert_eq!(t.store.tokens().await.unwrap(), [token]);
        assert_eq!(t.secret_of(claimed.app.id).await, SecretState::Unclaimed);
        let before = t.number("SELECT COUNT(*) FROM audit").await;
        let lost = Lease {
            token: claimed.lease.token - 1,
            ..claimed.lease
        };
        t.store
            .record(lost, None, applied("iam:user/acme", &["CreateUser"]));
        t.store.check().await.unwrap();
        assert_eq!(
            t.number("SELECT COUNT(*) FROM audit").await,
            before,
            "nothing under a lost lease"
        );
    })
    .await;
}

#[tokio::test]
async fn the_table_takes_the_actions_that_there_are_and_no_other() {
    each(async |t| {
        let mut db = t.connect().await;
        let insert = "INSERT INTO audit (at, actor, action, detail) VALUES (1, 'ann', $1, '{}')";
        for action in Action::iter() {
            sqlx::query(insert)
                .bind(action.to_string())
                .execute(&mut db)
                .await
                .unwrap();
        }
        assert!(
            sqlx::query(insert)
                .bind("danced")
                .execute(&mut db)
                .await
                .is_err()
        );
    })
    .await;
}

#[tokio::test]
async fn entries_are_found_by_each_filter_and_by_all_together_in_whole_pages() {
    each(async |t| {
        for app in ["one", "two"] {
            let claimed = t.at_work(app).await;
            t.store.record(
                claimed.lease,
                None,
                applied(&format!("iam:user/{app}"), &["CreateUser"]),
            );
            t.store.record(
                claimed.lease,
                None,
                applied(&format!("iam:user_{app}"), &["TagUser"]),
            );
            t.end(claimed.lease, succeeded()).await;
            next_millisecond().await;
        }
        t.store
            .create_token("bot", Role::Operator, "hash".into(), "admin")
            .await
            .unwrap();
        let all = audit(&t, AuditFilter::default()).await;
        assert_eq!(all.len(), 9);
        let job = all.last().unwrap().job;
        let middle = all[4].at;
        let some = |text: &str| Some(text.to_owned());
        let base = AuditFilter::default;
        let filters = [
            (
                AuditFilter {
                    app: Some(name("ONE")),
                    ..base()
                },
                4,
            ),
            (
                AuditFilter {
                    actor: some("ann"),
                    ..base()
                },
                8,
            ),
            (
                AuditFilter {
                    action: Some(Action::ChangeApplied),
                    ..base()
                },
                4,
            ),
            (AuditFilter { job, ..base() }, 4),
            (
                AuditFilter {
                    resource: some("iam:user/"),
                    ..base()
                },
                2,
            ),
            (
                AuditFilter {
                    resource: some("iam:user_"),
                    ..base()
                },
                2,
            ),
            (
                AuditFilter {
                    resource: some("iam:"),
                    ..base()
                },
                4,
            ),
            (
                AuditFilter {
                    service: some("iam"),
                    ..base()
                },
                4,
            ),
            (
                AuditFilter {
                    operation: some("TagUser"),
                    ..base()
                },
                2,
            ),
            (
                AuditFilter {
                    since: Some(middle),
                    ..base()
                },
                all.iter().filter(|it| it.at >= middle).count(),
            ),
            (
                AuditFilter {
                    until: Some(middle),
                    ..base()
                },
                all.iter().filter(|it| it.at < middle).count(),
            ),
            (
                AuditFilter {
                    app: Some(name("one")),
                    actor: some("ann"),
                    action: Some(Action::ChangeApplied),
                    job,
                    resource: some("iam:user/one"),
                    service: some("iam"),
                    operation: some("CreateUser"),
                    since: Some(Timestamp::from_millis(0)),
                    until: Some(t.clock.now().after(MINUTE)),
                    ..base()
                },
                1,
            ),
        ];
        for (filter, expected) in filters {
            let found = audit(&t, filter.clone()).await;
            assert_eq!(found.len(), expected, "{filter:?}: {found:#?}");
            let (mut paged, mut before) = (Vec::new(), None);
            loop {
                let page = t
                    .store
                    .audit(&AuditFilter {
                        before,
                        limit: 2,
                        ..filter.clone()
                    })
                    .await
                    .unwrap();
                let Some(last) = page.last() else { break };
                before = Some(AuditCursor::of(last));
                paged.extend(page);
                assert!(
                    paged.len() <= found.len(),
                    "{filter:?}: an entry came twice"
                );
            }
            assert_eq!(paged, found, "{filter:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_audit_outlives_jobs_and_goes_by_its_own_age() {
    each(async |t| {
        t.ready("acme").await;
        t.clock.advance(YEAR);
        next_millisecond().await;
        fresh(t.repair("acme", None).await);
        t.end(t.claim().await.unwrap().lease, succeeded()).await;
        let old = audit(&t, AuditFilter::default()).await.into_iter().map(|entry| entry.at).min().unwrap();
        t.raw("DELETE FROM events; DELETE FROM steps; DELETE FROM resources; DELETE FROM jobs").await;
        assert_eq!(audit(&t, AuditFilter { app: Some(name("acme")), ..Default::default() }).await.len(), 4);
        assert_eq!(t.store.prune_audit(YEAR * 2).await.unwrap(), 0, "not so old yet");
        assert_eq!(t.store.prune_audit(YEAR / 2).await.unwrap(), 2);
        let left = audit(&t, AuditFilter::default()).await;
        assert_eq!(left.len(), 2);
        assert!(left.iter().all(|entry| entry.at > old));
        t.raw(&format!("INSERT INTO audit (at, actor, action, detail) SELECT 1, 'ann', 'retry_requested', '{{}}' FROM {NUMBERS}")).await;
        assert_eq!(t.store.prune_audit(YEAR / 2).await.unwrap(), 1000, "so many in a commit");
        assert_eq!(t.store.prune_audit(YEAR / 2).await.unwrap(), 500);
    })
    .await;
}

/// 1500 rows, in the SQL of both.
const NUMBERS: &str = "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500) SELECT i FROM n) numbers";

#[tokio::test]
async fn of_one_job_the_numbers_of_entries_rise_as_they_are_committed_at_many_replicas_too() {
    let stores = replicas::<4>().await;
    let each_asks = |i: usize| stores[i % 4].onboard(new_app(&format!("acme-{i}")), None);
    join_all((0..40).map(each_asks)).await;
    let work = async |store: &Store| {
        while let Some(claimed) = store.claim("a worker", LEASE, DEADLINE).await.unwrap() {
            for number in 0..5 {
                store.record(
                    claimed.lease,
                    None,
                    applied(&format!("iam:user/{number}"), &["CreateUser"]),
                );
                tokio::task::yield_now().await;
            }
            store.end(claimed.lease, succeeded()).await.unwrap();
        }
    };
    join_all(stores.iter().map(work)).await;
    let mut entries = stores[0]
        .audit(&AuditFilter {
            limit: 1000,
            ..Default::default()
        })
        .await
        .unwrap();
    assert_eq!(entries.len(), 40 * 7);
    let places: BTreeSet<String> = entries
        .iter()
        .map(|entry| AuditCursor::of(entry).to_string())
        .collect();
    assert_eq!(places.len(), entries.len(), "no two share a place");
    entries.sort_by_key(|entry| (entry.job, entry.seq));
    for of_job in entries.chunk_by(|a, b| a.job == b.job) {
        let told: Vec<_> = of_job
            .iter()
            .map(|entry| {
                entry
                    .event
                    .resource()
                    .unwrap_or(if entry.seq == of_job[0].seq {
                        "asked"
                    } else {
                        "ended"
                    })
            })
            .collect();
        assert_eq!(
            told,
            [
                "asked",
                "iam:user/0",
                "iam:user/1",
                "iam:user/2",
                "iam:user/3",
                "iam:user/4",
                "ended"
            ]
        );
    }
}

/// A database as it was after so many migrations.
async fn migrated_to(version: i64, backend: Backend, url: &str) -> sqlx::AnyConnection {
    sqlx::any::install_default_drivers();
    if backend == Backend::Sqlite {
        std::fs::File::create(url.strip_prefix("sqlite://").unwrap()).unwrap();
    }
    let mut db = sqlx::AnyConnection::connect(url).await.unwrap();
    match backend {
        Backend::Sqlite => sqlx::migrate!("migrations/sqlite")
            .run_to(version, &mut db)
            .await
            .unwrap(),
        Backend::Postgres => sqlx::migrate!("migrations/postgres")
            .run_to(version, &mut db)
            .await
            .unwrap(),
    }
    db
}

#[tokio::test]
async fn the_audit_begins_with_what_the_database_knows_already() {
    let refused = json!({"service": "iam", "operation": "CreateUser", "code": "AccessDenied", "request_id": "r-2"});
    let denied = json!({"code": "access_denied", "detail": "it may not", "remedy": null, "retryable": false, "aws": refused});
    let call = json!({"service": "iam", "operation": "CreateUser", "request_id": "r-1"});
    let unanswered = json!({"code": "conflict", "detail": "it is another's", "remedy": null, "retryable": false, "aws": null});
    let events = [
        json!({"event": "job_queued", "kind": "onboard", "requested_by": "ann"}),
        json!({"event": "job_started", "attempt": 1}),
        json!({"event": "change_applied", "resource": "iam:user/acme", "change": "create user acme", "calls": [call]}),
        json!({"event": "change_applied", "resource": "iam:group/Apps", "change": "create group Apps"}),
        json!({"event": "step_progress", "resource": "s3:bucket/acme", "message": "delete some", "calls": []}),
        json!({"event": "step_failed", "resource": "iam:user/acme", "error": denied}),
        json!({"event": "step_failed", "resource": "s3:bucket/acme", "error": unanswered}),
        json!({"event": "job_needs_attention", "error": denied}),
        json!({"event": "cancel_requested", "by": "bob"}),
        json!({"event": "job_canceled"}),
        json!({"event": "retry_requested", "by": "it's \"cy\""}),
        json!({"event": "job_failed", "error": unanswered}),
        json!({"event": "job_succeeded"}),
    ];
    for backend in BACKENDS {
        let folder = tempfile::tempdir().unwrap();
        let url = match backend {
            Backend::Sqlite => format!("sqlite://{}", folder.path().join("slipway.db").display()),
            Backend::Postgres => empty_database().await,
        };
        let mut db = migrated_to(3, backend, &url).await;
        let (app, job, key) = (
            Ulid::from_parts(1, 1),
            Ulid::from_parts(2, 1),
            Ulid::from_parts(3, 1),
        );
        let (spec, result) = (
            serde_json::to_string(&new_app("acme").spec).unwrap(),
            serde_json::to_string(&JobResult::default()).unwrap(),
        );
        let rows = format!(
            "INSERT INTO apps (id, name, name_key, account, spec, state, version, created_by, created_at, updated_at, retained) \
             VALUES ('{app}', 'Acme', 'acme', 'default', '{spec}', 'ready', 1, 'ann', 1, 1, '{{}}'); \
             INSERT INTO jobs (id, app_id, kind, task, state, attempt, requested_by, cancel_requested, created_at, result, lease_token, finished_at) \
             VALUES ('{job}', '{app}', 'onboard', '{{\"kind\":\"onboard\"}}', 'succeeded', 1, 'ann', 0, 10, '{result}', 1, 30); \
             INSERT INTO credentials (id, app_id, job_id, access_key_id, encryption_key, secret, readiness, created_at, claimed_at, claimed_by, claim_key) \
             VALUES ('{key}', '{app}', '{job}', 'AKIAA', 'k', 'claimed', 'ready', 20, 40, 'dan', 'the-claim-key'); \
             INSERT INTO tokens (id, name, role, hash, created_by, created_at) VALUES ('{key}', 'bot', 'viewer', 'the-hash', 'admin', 5)"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(rows))
            .execute(&mut db)
            .await
            .unwrap();
        for (at, event) in (10_i64..).zip(&events) {
            let insert = sqlx::query("INSERT INTO events (job_id, at, data) VALUES ($1, $2, $3)");
            insert
                .bind(job.to_string())
                .bind(at)
                .bind(event.to_string())
                .execute(&mut db)
                .await
                .unwrap();
        }
        db.close().await.unwrap();

        let clock = Clock::default();
        let store = Store::open(&url, clock.clone(), &Tasks::default())
            .await
            .unwrap();
        let t = Fixture {
            store,
            clock,
            url,
            backend,
            folder,
        };
        let entries: Vec<AuditEntry> = audit(&t, AuditFilter::default())
            .await
            .into_iter()
            .rev()
            .collect();
        let shown: Vec<String> = entries
            .iter()
            .map(|entry| {
                format!(
                    "{} {} {}",
                    entry.at.millis(),
                    entry.actor,
                    serde_json::to_string(&entry.event).unwrap()
                )
            })
            .collect();
        insta::allow_duplicates! {
            insta::assert_snapshot!(shown.join("\n"), @r#"
            5 admin {"action":"token_created","token_id":"00000000030000000000000001","name":"bot","role":"viewer"}
            10 ann {"action":"job_requested","task":{"kind":"onboard","accept_expiry":false}}
            12 ann {"action":"change_applied","resource":"iam:user/acme","change":"create user acme","calls":[{"service":"iam","operation":"CreateUser","request_id":"r-1"}]}
            13 ann {"action":"change_applied","resource":"iam:group/Apps","change":"create group Apps","calls":[]}
            14 ann {"action":"change_applied","resource":"s3:bucket/acme","change":"delete some","calls":[]}
            15 ann {"action":"step_failed","resource":"iam:user/acme","reason":"it may not","refused":{"service":"iam","operation":"CreateUser","code":"AccessDenied","request_id":"r-2"}}
            16 ann {"action":"step_failed","resource":"s3:bucket/acme","reason":"it is another's","refused":null}
            17 ann {"action":"job_ended","state":"needs_attention","reason":"it may not","refused":{"service":"iam","operation":"CreateUser","code":"AccessDenied","request_id":"r-2"}}
            18 bob {"action":"cancel_requested"}
            19 ann {"action":"job_ended","state":"canceled","reason":null,"refused":null}
            20 it's "cy" {"action":"retry_requested"}
            21 ann {"action":"job_ended","state":"failed","reason":"it is another's","refused":null}
            22 ann {"action":"job_ended","state":"succeeded","reason":null,"refused":null}
            40 dan {"action":"secret_claimed","access_key_id":"AKIAA","again":false}
            "#);
        }
        let of_app = |entry: &&AuditEntry| {
            (entry.app.as_deref(), entry.account.as_deref()) == (Some("Acme"), Some("default"))
        };
        assert_eq!(
            entries.iter().filter(of_app).count(),
            entries.len() - 1,
            "all but the token's"
        );
        let job_of = |entry: &&AuditEntry| entry.job == Some(job);
        assert_eq!(
            entries.iter().filter(job_of).count(),
            entries.len() - 2,
            "all but the token's and the claim"
        );
        let called = audit(
            &t,
            AuditFilter {
                operation: Some("CreateUser".into()),
                ..Default::default()
            },
        )
        .await;
        assert_eq!(called.len(), 2, "{called:#?}");
        t.ready("other").await;
        assert_eq!(
            told(&t).await.last().unwrap(),
            "job_ended ann other",
            "and it goes on"
        );
    }
}

#[tokio::test]
async fn a_backup_of_a_database_in_use_is_whole() {
    let t = Fixture::new(Backend::Sqlite).await;
    let before = t.sealed("acme", "AKIAA").await;
    let writing = async {
        for i in 0..200 {
            t.onboard(&format!("app-{i}")).await;
        }
    };
    let to = t.folder.path().join("backup.db");
    let (backup, ()) = tokio::join!(slipway::store::backup(&t.url, &to), writing);
    backup.unwrap();
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&to).unwrap().permissions());
    assert_eq!(
        mode & 0o777,
        0o600,
        "sealed secrets are nobody else's to copy"
    );
    let url = format!("sqlite://{}", to.display());
    let copy = Store::open(&url, t.clock.clone(), &Tasks::default())
        .await
        .unwrap();
    assert_eq!(
        copy.job(before.lease.job).await.unwrap(),
        t.store.job(before.lease.job).await.unwrap()
    );
    let apps = copy
        .apps(&AppFilter {
            limit: 1000,
            ..Default::default()
        })
        .await
        .unwrap();
    let jobs = copy
        .jobs(&JobFilter {
            limit: 1000,
            ..Default::default()
        })
        .await
        .unwrap();
    assert_eq!(
        apps.len(),
        jobs.len(),
        "an app and its job are one commit, in the copy too"
    );
    let taken = slipway::store::backup(&t.url, &to).await;
    assert!(
        matches!(taken, Err(StoreError::Backup(path, _)) if path == to),
        "a file that is there is not written over"
    );
    let nowhere = slipway::store::backup(&t.url, &t.folder.path().join("nowhere/backup.db")).await;
    assert!(
        matches!(nowhere, Err(StoreError::Backup(..))),
        "{nowhere:?}"
    );
    std::fs::write(
        t.folder.path().join("again.db.partial"),
        "of a process that was killed",
    )
    .unwrap();
    slipway::store::backup(&t.url, &t.folder.path().join("again.db"))
        .await
        .unwrap();
    let names = std::fs::read_dir(t.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(
        names.into_iter().all(|name| !name.contains("partial")),
        "what is not whole does not stay"
    );
}

/// A database as release 0.1.0 left it, with jobs in every state.
async fn of_release_0_1_0(backend: Backend, url: &str) {
    sqlx::any::install_default_drivers();
    if backend == Backend::Sqlite {
        std::fs::File::create(url.strip_prefix("sqlite://").unwrap()).unwrap();
    }
    let mut db = sqlx::AnyConnection::connect(url).await.unwrap();
    match backend {
        Backend::Sqlite => sqlx::migrate!("migrations/sqlite")
            .run_to(1, &mut db)
            .await
            .unwrap(),
        Backend::Postgres => sqlx::migrate!("migrations/postgres")
            .run_to(1, &mut db)
            .await
            .unwrap(),
    }
    let spec = serde_json::to_string(&new_app("acme").spec).unwrap();
    let states = [
        ("queued", "NULL, NULL, NULL, 0, NULL, NULL"),
        ("running", "NULL, NULL, 'a lost worker', 1, 1, NULL"),
        ("waiting", "1, NULL, NULL, 1, NULL, NULL"),
        ("succeeded", "NULL, '{}', NULL, 1, NULL, 5"),
    ];
    for (number, (state, rest)) in states.into_iter().enumerate() {
        let (app, job) = (
            Ulid::from_parts(1, number as u128),
            Ulid::from_parts(2, number as u128),
        );
        let spec = spec.replace("acme", &format!("acme-{state}"));
        let result = serde_json::to_string(&JobResult::default()).unwrap();
        let rest = rest.replace("{}", &result);
        let job_error = serde_json::to_string(&job_error())
            .unwrap()
            .replace('\'', "''");
        let insert = format!(
            "INSERT INTO apps (id, name, name_key, account, spec, state, version, created_by, created_at, updated_at) \
             VALUES ('{app}', 'acme-{state}', 'acme-{state}', 'default', '{spec}', 'pending', 1, 'ann', 1, 1); \
             INSERT INTO jobs (id, app_id, kind, state, attempt, requested_by, cancel_requested, created_at, \
             next_attempt_at, result, lease_owner, lease_token, lease_until, finished_at) \
             VALUES ('{job}', '{app}', 'onboard', '{state}', 1, 'ann', 0, 1, {rest}); \
             INSERT INTO steps (job_id, position, resource, state, changes, attempts, error, duration_ms) VALUES \
             ('{job}', 1, 'iam:group/Apps', 'failed', '[\"create group Apps\", \"say \\\"hi\\\"\"]', 2, '{job_error}', 7), \
             ('{job}', 0, 'iam:user/acme', 'pending', '[]', 0, NULL, NULL); \
             INSERT INTO events (job_id, at, data) VALUES ('{job}', 1, '{{\"event\": \"job_released\", \"reason\": \"x\"}}')"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(insert))
            .execute(&mut db)
            .await
            .unwrap();
    }
    db.close().await.unwrap();
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

fn a_change(app: &App, spec: AppSpec, remove: bool) -> JobRequest {
    let dropped = app.dropped.after(&app.spec, &spec);
    let task = Task::Update {
        remove,
        dropped_tags: BTreeSet::new(),
        drop_key: false,
        force: false,
        confirmed: false,
        accept_expiry: false,
    };
    let ask = JobRequest::new(
        app.spec.name.clone(),
        task,
        resources(app.spec.name.as_str()),
        "ann",
    );
    JobRequest {
        if_version: Some(app.version),
        change: Some(AppChange::Spec(Box::new(spec), dropped)),
        ..ask
    }
}

#[tokio::test]
async fn a_change_writes_the_spec_with_its_job_and_only_on_the_version_it_was_decided_on() {
    each(async |t| {
        t.ready("acme").await;
        let before = t.app("acme").await;
        let two = spec_with("acme", &["one-bucket", "two-bucket"]);
        let job = fresh(
            t.store
                .enqueue(a_change(&before, two.clone(), false), None)
                .await
                .unwrap(),
        );
        assert_eq!((job.kind, t.app("acme").await.spec), (JobKind::Update, two));
        t.run(succeeded()).await;
        let stale = t
            .store
            .enqueue(a_change(&before, spec_with("acme", &[]), false), None)
            .await
            .unwrap();
        assert_eq!(stale, Err(Refusal::Changed), "somebody else was first");

        let now = t.app("acme").await;
        fresh(
            t.store
                .enqueue(
                    a_change(&now, spec_with("acme", &["two-bucket"]), false),
                    None,
                )
                .await
                .unwrap(),
        );
        t.run(succeeded()).await;
        let dropped: Vec<String> = t
            .app("acme")
            .await
            .dropped
            .buckets
            .iter()
            .map(|bucket| bucket.name.to_string())
            .collect();
        assert_eq!(dropped, ["one-bucket"], "what was dropped is remembered");
        let now = t.app("acme").await;
        fresh(
            t.store
                .enqueue(
                    a_change(&now, spec_with("acme", &["two-bucket"]), true),
                    None,
                )
                .await
                .unwrap(),
        );
        t.run(AttemptResult::Failed(job_error())).await;
        assert!(
            !t.app("acme").await.dropped.is_empty(),
            "a failed change has removed nothing for sure"
        );
        let now = t.app("acme").await;
        fresh(
            t.store
                .enqueue(
                    a_change(&now, spec_with("acme", &["two-bucket"]), true),
                    None,
                )
                .await
                .unwrap(),
        );
        t.run(succeeded()).await;
        assert!(t.app("acme").await.dropped.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_removal_can_be_restored_until_it_is_done_and_leaves_a_name_that_can_be_used_again() {
    each(async |t| {
        t.ready("acme").await;
        let ask = |task: Task| JobRequest::new(name("acme"), task, resources("acme"), "ann");
        assert_eq!(
            t.store
                .enqueue(
                    ask(Task::Restore {
                        accept_expiry: false
                    }),
                    None
                )
                .await
                .unwrap(),
            Err(Refusal::NotBeingRemoved)
        );
        let removal = |at: Timestamp| Removal {
            buckets: BTreeSet::new(),
            repositories: BTreeSet::new(),
            adopted: false,
            requested_by: "ann".into(),
            requested_at: t.clock.now(),
            remove_at: at,
            switched_off: BTreeSet::new(),
        };
        let offboard = |at| JobRequest {
            change: Some(AppChange::Removal(removal(at))),
            ..ask(Task::Offboard)
        };
        let later = t.clock.now().after(Duration::from_secs(60));
        fresh(t.store.enqueue(offboard(later), None).await.unwrap());
        let claimed = t.claim().await.unwrap();
        t.store
            .note_switched_off(claimed.lease, BTreeSet::from(["AKIA1".to_owned()]))
            .await
            .unwrap();
        t.end(claimed.lease, succeeded()).await;
        let app = t.app("acme").await;
        assert_eq!(
            (app.summary.state, app.removal.unwrap().switched_off.len()),
            (AppState::Quarantined, 1)
        );
        assert_eq!(
            t.store.enqueue(a_repair("acme"), None).await.unwrap(),
            Err(Refusal::BeingRemoved(name("acme")))
        );
        assert!(
            t.store.due_removals().await.unwrap().is_empty(),
            "its time has not come"
        );
        fresh(
            t.store
                .enqueue(
                    ask(Task::Restore {
                        accept_expiry: false,
                    }),
                    None,
                )
                .await
                .unwrap(),
        );
        t.run(succeeded()).await;
        let app = t.app("acme").await;
        assert_eq!((app.summary.state, app.removal), (AppState::Ready, None));

        fresh(
            t.store
                .enqueue(offboard(t.clock.now()), None)
                .await
                .unwrap(),
        );
        assert!(
            t.store.due_removals().await.unwrap().is_empty(),
            "its keys are not off yet"
        );
        t.run(succeeded()).await;
        assert_eq!(t.store.due_removals().await.unwrap().len(), 1);
        fresh(t.store.enqueue(ask(Task::Remove), None).await.unwrap());
        t.run(succeeded()).await;
        assert_eq!(t.app("acme").await.summary.state, AppState::Removed);
        let removed = t.app("acme").await.summary;
        assert_eq!(
            t.store.enqueue(a_repair("acme"), None).await.unwrap(),
            Err(Refusal::Removed(name("acme"), removed.updated_at))
        );
        assert!(
            t.store
                .apps(&AppFilter {
                    limit: 9,
                    ..AppFilter::default()
                })
                .await
                .unwrap()
                .is_empty(),
            "it is not listed"
        );
        assert!(!t.store.is_taken(&name("ACME")).await.unwrap());
        assert!(
            t.store
                .onboard(new_app_in("Acme", "default"), None)
                .await
                .unwrap()
                .is_ok(),
            "in other case, too"
        );
        let app = t.app("acme").await;
        assert_eq!(
            (app.summary.name.as_str(), app.summary.state),
            ("Acme", AppState::Pending)
        );
        t.run(AttemptResult::Failed(job_error())).await;
        assert!(
            t.store
                .onboard(new_app_in("Acme", "default"), None)
                .await
                .unwrap()
                .is_ok(),
            "a failed one can be asked for anew"
        );
    })
    .await;
}

#[tokio::test]
async fn what_a_removal_has_left_is_nothing_of_the_app_that_gets_its_name() {
    each(async |t| {
        let first = NewApp {
            spec: spec_with("acme", &["left-bucket"]),
            ..new_app("acme")
        };
        fresh(t.store.onboard(first, None).await.unwrap());
        let claimed = t.claim().await.unwrap();
        t.store.record(
            claimed.lease,
            Some(done("s3:bucket/left-bucket")),
            warning(),
        );
        t.end(claimed.lease, succeeded()).await;
        t.remove("acme").await;
        let app = t.app("acme").await;
        assert_eq!(
            (app.dropped.buckets.len(), app.resources.len()),
            (1, 1),
            "the removed app tells what it has left"
        );

        fresh(t.store.onboard(new_app("acme"), None).await.unwrap());
        let app = t.app("acme").await;
        assert!(app.dropped.is_empty(), "{:?}", app.dropped);
        assert!(
            !t.store
                .recorded(app.id)
                .await
                .unwrap()
                .owns("s3:bucket/left-bucket")
        );
    })
    .await;
}

#[tokio::test]
async fn what_is_gone_is_not_shown_as_the_apps() {
    each(async |t| {
        t.ready("acme").await;
        fresh(t.store.enqueue(a_repair("acme"), None).await.unwrap());
        let claimed = t.claim().await.unwrap();
        t.store
            .record(claimed.lease, Some(done("iam:group/Apps")), warning());
        t.store.record(
            claimed.lease,
            Some(StepRecord {
                gone: true,
                ..done("iam:user/acme")
            }),
            warning(),
        );
        t.end(claimed.lease, succeeded()).await;
        let shown: Vec<String> = t
            .app("acme")
            .await
            .resources
            .into_iter()
            .map(|it| it.resource)
            .collect();
        assert_eq!(shown, ["iam:group/Apps"]);
    })
    .await;
}

#[tokio::test]
async fn a_database_of_the_release_before_goes_on_with_its_jobs_in_flight() {
    for backend in BACKENDS {
        let folder = tempfile::tempdir().unwrap();
        let url = match backend {
            Backend::Sqlite => format!("sqlite://{}", folder.path().join("slipway.db").display()),
            Backend::Postgres => empty_database().await,
        };
        of_release_0_1_0(backend, &url).await;
        let clock = Clock::default();
        let store = Store::open(&url, clock.clone(), &Tasks::default())
            .await
            .unwrap();
        let t = Fixture {
            store,
            clock,
            url,
            backend,
            folder,
        };
        for table in ["apps", "jobs", "steps", "events"] {
            assert_eq!(
                t.number(&format!("SELECT COUNT(*) FROM {table}")).await,
                4,
                "{table}"
            );
        }
        if backend == Backend::Sqlite {
            assert_eq!(
                t.number("SELECT COUNT(*) FROM pragma_foreign_key_check")
                    .await,
                0,
                "what refers to a table made anew still does"
            );
        }
        assert_eq!(
            t.store
                .jobs(&JobFilter {
                    limit: 10,
                    ..Default::default()
                })
                .await
                .unwrap()
                .len(),
            4
        );
        for table in ["apps", "jobs"] {
            let out_of_order = format!(
                "SELECT COUNT(*) FROM {table} a JOIN {table} b ON a.id < b.id AND a.seq >= b.seq"
            );
            assert_eq!(t.number(&out_of_order).await, 0, "the old order stays");
        }
        let mut went_on = BTreeSet::new();
        while let Some(claimed) = t.claim().await {
            let changes = vec!["create group Apps".to_owned(), "say \"hi\"".to_owned()];
            let failed = Step {
                state: StepState::Failed,
                changes,
                attempts: 2,
                error: Some(job_error()),
                ..Step::pending("iam:group/Apps")
            };
            let failed = Step {
                duration_ms: Some(7),
                ..failed
            };
            assert_eq!(
                (claimed.job.kind, claimed.job.steps),
                (
                    JobKind::Onboard,
                    vec![Step::pending("iam:user/acme"), failed]
                )
            );
            t.store
                .record(claimed.lease, Some(done("iam:user/acme")), warning());
            t.end(claimed.lease, succeeded()).await;
            assert!(
                t.happenings(claimed.lease.job)
                    .await
                    .contains(&"job_succeeded")
            );
            went_on.insert(claimed.job.app.to_string());
        }
        assert_eq!(
            went_on.into_iter().collect::<Vec<_>>(),
            ["acme-queued", "acme-running", "acme-waiting"]
        );
        assert!(
            t.repair("acme-succeeded", None).await.is_ok(),
            "and new ones are taken"
        );
    }
}

/// Before there was a record of what was taken over, a job that did not bring it to its end left no trace of it.
#[tokio::test]
async fn what_was_taken_over_before_there_was_a_record_of_it_is_the_apps() {
    for backend in BACKENDS {
        let folder = tempfile::tempdir().unwrap();
        let url = match backend {
            Backend::Sqlite => format!("sqlite://{}", folder.path().join("slipway.db").display()),
            Backend::Postgres => empty_database().await,
        };
        let mut db = migrated_to(8, backend, &url).await;
        let spec = serde_json::to_string(&new_app("acme").spec).unwrap();
        let mut sql = format!(
            "INSERT INTO apps (id, name, name_key, account, spec, state, version, created_by, created_at, updated_at, retained) \
             VALUES ('A', 'acme', 'acme', 'default', '{spec}', 'failed', 1, 'ann', 1, 1, '{{}}'); \
             INSERT INTO jobs (id, app_id, kind, task, state, attempt, requested_by, cancel_requested, lease_token, created_at, finished_at, error) \
             VALUES ('J', 'A', 'onboard', '{{\"kind\":\"onboard\"}}', 'failed', 1, 'ann', 0, 1, 1, 5, '{{}}')"
        );
        let conflict = serde_json::to_string(&job_error())
            .unwrap()
            .replace('\'', "''");
        let denied = conflict.replace("conflict", "access_denied");
        for (state, error) in [
            ("done", "NULL".to_owned()),
            ("failed", format!("'{denied}'")),
            ("waiting", "NULL".into()),
            ("skipped", "NULL".into()),
            ("running", "NULL".into()),
            ("pending", "NULL".into()),
            ("failed", format!("'{conflict}'")),
        ] {
            let resource = format!(
                "s3:bucket/{state}-{}",
                if error.contains("conflict") {
                    "foreign"
                } else {
                    "own"
                }
            );
            sql.push_str(&format!(
                "; INSERT INTO resources (app_id, resource, state, error, made, job_id, updated_at) VALUES ('A', '{resource}', '{state}', {error}, 0, 'J', 1)"
            ));
        }
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut db)
            .await
            .unwrap();
        db.close().await.unwrap();
        drop(
            Store::open(&url, Clock::default(), &Tasks::default())
                .await
                .unwrap(),
        );
        let mut db = sqlx::AnyConnection::connect(&url).await.unwrap();
        let adopted = "SELECT resource FROM resources WHERE adopted = 1 ORDER BY resource";
        let adopted: Vec<String> = sqlx::query_scalar(adopted)
            .fetch_all(&mut db)
            .await
            .unwrap();
        let own = ["done", "failed", "running", "skipped", "waiting"]
            .map(|state| format!("s3:bucket/{state}-own"));
        assert_eq!(adopted, own);
    }
}

fn report(app: &str, drifted: bool, at: Timestamp) -> DriftReport {
    DriftReport {
        app: name(app),
        checked_at: at,
        drifted,
        changes: Vec::new(),
        retained: Vec::new(),
        unexpected: vec![Unexpected {
            resource: format!("iam:login-profile/{app}"),
            detail: "a password".into(),
            since: Some(Timestamp::from_millis(1)),
            adopted: false,
            removal_request: RepairRequest {
                remove: BTreeSet::from([format!("iam:login-profile/{app}")]),
            },
        }],
        warnings: vec!["look".into()],
        error: Some(job_error()),
        repair: None,
    }
}

impl Fixture {
    async fn next_look(&self, every: Duration) -> Option<String> {
        let account = AccountName::parse("default").unwrap();
        self.store
            .next_look(&account, every)
            .await
            .unwrap()
            .map(|app| app.spec.name.to_string())
    }
}

#[tokio::test]
async fn the_last_drift_report_is_kept_and_shown_with_its_app() {
    each(async |t| {
        t.ready("acme").await;
        t.ready("calm").await;
        let (app, now) = (t.app("acme").await, t.clock.now());
        assert_eq!(
            (
                t.store.drift_report(app.id).await.unwrap(),
                app.summary.drift
            ),
            (None, None)
        );
        for drifted in [false, true] {
            let found = report("acme", drifted, now);
            t.store.keep_drift(&app, &found).await.unwrap().unwrap();
            assert_eq!(t.store.drift_report(app.id).await.unwrap(), Some(found));
            assert_eq!(
                t.app("acme").await.summary.drift,
                Some(DriftSummary {
                    checked_at: now,
                    drifted
                })
            );
            assert_eq!(t.store.drifted_apps().await.unwrap(), u32::from(drifted));
            let listed = async |drifted| {
                t.store
                    .apps(&AppFilter {
                        drifted,
                        limit: 10,
                        ..AppFilter::default()
                    })
                    .await
                    .unwrap()
                    .len()
            };
            assert_eq!(
                (
                    listed(Some(drifted)).await,
                    listed(Some(!drifted)).await,
                    listed(None).await
                ),
                (1, 0, 2)
            );
        }
        let again = reopen_if_alone(&t).await;
        assert_eq!(
            again.drift_report(app.id).await.unwrap(),
            Some(report("acme", true, now))
        );
        t.raw("UPDATE apps SET state = 'removed'").await;
        // Made anew at a replica whose clock is behind.
        t.clock.step_back(MINUTE);
        fresh(t.store.onboard(new_app("acme"), None).await.unwrap());
        assert_eq!(
            (
                t.store.drift_report(app.id).await.unwrap(),
                t.app("acme").await.summary.drift
            ),
            (None, None)
        );
    })
    .await;
}

/// On PostgreSQL another replica reads it too.
async fn reopen_if_alone(t: &Fixture) -> Store {
    match t.backend {
        Backend::Sqlite => t.store.clone(),
        Backend::Postgres => Store::open(&t.url, t.clock.clone(), &Tasks::default())
            .await
            .unwrap(),
    }
}

#[tokio::test]
async fn a_report_that_a_job_has_overtaken_is_not_kept() {
    each(async |t| {
        t.ready("acme").await;
        let app = t.app("acme").await;
        let job = fresh(t.repair("acme", None).await);
        let refused = async |app: &App| {
            t.store
                .keep_drift(app, &report("acme", true, t.clock.now()))
                .await
                .unwrap()
                .unwrap_err()
        };
        assert_eq!(
            refused(&app).await,
            Refusal::Active(job.id),
            "the job is at work"
        );
        let claimed = t.claim().await.unwrap();
        t.end(claimed.lease, succeeded()).await;
        assert_eq!(
            refused(&app).await,
            Refusal::Active(job.id),
            "it has ended since"
        );
        t.store
            .keep_drift(&t.app("acme").await, &report("acme", true, t.clock.now()))
            .await
            .unwrap()
            .unwrap();
        t.raw("UPDATE apps SET state = 'removed'").await;
        assert!(matches!(refused(&app).await, Refusal::Removed(..)));
        assert_eq!(
            t.store.drifted_apps().await.unwrap(),
            0,
            "a removed app has none"
        );
    })
    .await;
}

#[tokio::test]
async fn each_app_is_looked_at_once_in_a_period_when_it_is_at_rest() {
    each(async |t| {
        let day = Duration::from_secs(24 * 3600);
        for app in ["a", "b", "busy"] {
            t.ready(app).await;
        }
        t.onboard("young").await;
        fresh(t.repair("busy", None).await);
        assert_eq!(
            t.next_look(day).await,
            None,
            "the first looks are spread over the period"
        );
        t.clock.advance(day);
        let mut looked = Vec::new();
        while let Some(app) = t.next_look(day).await {
            looked.push(app);
        }
        looked.sort();
        assert_eq!(looked, ["a", "b"], "each once, and none with a job at work");
        t.clock.advance(day.mul_f64(0.8));
        assert_eq!(t.next_look(day).await, None);
        t.clock.advance(day.mul_f64(0.31));
        assert!(t.next_look(day).await.is_some() && t.next_look(day).await.is_some());

        // A shorter period counts from now on.
        let minute = Duration::from_secs(60);
        assert_eq!(t.next_look(minute).await, None);
        t.clock.advance(minute);
        assert!(t.next_look(minute).await.is_some());
    })
    .await;
}

#[tokio::test]
async fn a_turn_to_look_is_taken_by_one_alone() {
    each(async |t| {
        let minute = Duration::from_secs(60);
        for app in ["a", "b", "c"] {
            t.ready(app).await;
        }
        assert_eq!(t.next_look(minute).await, None);
        t.clock.advance(minute);
        let turns = join_all((0..12).map(|_| t.next_look(minute))).await;
        let mut taken: Vec<String> = turns.into_iter().flatten().collect();
        taken.sort();
        assert_eq!(taken, ["a", "b", "c"]);
    })
    .await;
}

#[tokio::test]
async fn an_app_that_repairs_itself_is_looked_at_again_soon() {
    each(async |t| {
        let day = Duration::from_secs(24 * 3600);
        t.ready("acme").await;
        let (app, now) = (t.app("acme").await, t.clock.now());
        t.next_look(day).await;
        let repaired = DriftReport {
            repair: Some(Ulid::generate()),
            ..report("acme", true, now)
        };
        t.store
            .drift_is_repaired(app.id, &repaired, now.after(MINUTE))
            .await
            .unwrap();
        assert_eq!(t.store.drift_report(app.id).await.unwrap(), Some(repaired));
        assert_eq!(t.next_look(day).await, None);
        t.clock.advance(MINUTE);
        assert_eq!(t.next_look(day).await.as_deref(), Some("acme"));
        assert_eq!(t.next_look(day).await, None);
    })
    .await;
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

/// The request for a job of the rotation's next stage.
fn moved(app: &str, rotation: &Rotation, event: RotationEvent, to: KeyStatus) -> JobRequest {
    let task = Task::SetKeyStatus {
        access_key_id: "OLD".into(),
        to,
        force: false,
        rotation: Some(rotation.id),
    };
    let change = AppChange::Rotation(RotationChange::Move(rotation.id, event));
    JobRequest {
        change: Some(change),
        ..JobRequest::new(name(app), task, resources(app), "rotation")
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
            .encryption_key(claimed.lease, intent.id, credential("NEW"))
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

#[tokio::test]
async fn a_rotation_goes_from_stage_to_stage_with_its_jobs() {
    each(async |fixture| {
        let app = fixture.rotating("acme").await;
        let rotation = fixture.rotation(app).await;
        assert_eq!(
            (rotation.stage, rotation.new_key.as_deref()),
            (Stage::AwaitingClaim, Some("NEW"))
        );
        assert_eq!(rotation.due_at, Some(rotation.since.after(UNCLAIMED)));
        assert_eq!(fixture.due().await, []);
        fixture.claim_secret(app, "OLD", "bob", None).await;
        assert_eq!(
            fixture.rotation(app).await.stage,
            Stage::AwaitingClaim,
            "another key"
        );
        fixture.claim_secret(app, "NEW", "bob", None).await;
        assert_eq!(
            fixture.due().await,
            [Stage::Draining],
            "the claim is noted with the claim"
        );

        let seen = fixture.rotation(app).await;
        let off = || moved("acme", &seen, RotationEvent::Quiet, KeyStatus::Inactive);
        let job = fresh(fixture.store.enqueue(off(), None).await.unwrap());
        let rotation = fixture.rotation(app).await;
        assert_eq!(
            (rotation.stage, rotation.due_at, rotation.job),
            (Stage::Deactivating, None, Some(job.id))
        );
        assert!(matches!(
            fixture.store.enqueue(off(), None).await.unwrap(),
            Err(Refusal::Active(_))
        ));
        fixture.run(succeeded()).await;
        let rotation = fixture.rotation(app).await;
        assert_eq!(
            (rotation.stage, rotation.due_at),
            (Stage::PendingDeletion, Some(rotation.since.after(MINUTE)))
        );
        assert!(
            matches!(
                fixture.store.enqueue(off(), None).await.unwrap(),
                Err(Refusal::RotationStage(_))
            ),
            "asked twice is done once"
        );

        fixture.clock.advance(MINUTE);
        assert_eq!(fixture.due().await, [Stage::PendingDeletion]);
        let gone = moved(
            "acme",
            &rotation,
            RotationEvent::HoldOver,
            KeyStatus::Deleted,
        );
        fresh(fixture.store.enqueue(gone, None).await.unwrap());
        fixture.run(succeeded()).await;
        let rotation = fixture.rotation(app).await;
        assert!(
            rotation.stage == Stage::Done
                && rotation.ended_at.is_some()
                && rotation.due_at.is_none()
        );
        assert_eq!(fixture.due().await, []);
        fresh(
            fixture
                .store
                .enqueue(a_rotation("acme"), None)
                .await
                .unwrap(),
        );
        assert_eq!(
            fixture.rotation(app).await.stage,
            Stage::Creating,
            "another can begin"
        );
    })
    .await;
}

#[tokio::test]
async fn a_key_that_is_claimed_before_its_job_ends_is_claimed() {
    each(async |fixture| {
        let (app, ask) = to_rotate(&fixture, "acme").await;
        fresh(fixture.store.enqueue(ask, None).await.unwrap());
        let claimed = fixture.claim().await.unwrap();
        let intent = fixture
            .store
            .intend_key(claimed.lease, vec!["OLD".into()])
            .await
            .unwrap();
        fixture
            .store
            .encryption_key(claimed.lease, intent.id, credential("NEW"))
            .await
            .unwrap();
        fixture.claim_secret(app, "NEW", "bob", None).await;
        fixture.end(claimed.lease, succeeded()).await;
        assert_eq!(fixture.rotation(app).await.stage, Stage::Draining);
    })
    .await;
}

/// Somebody cancels what the rotation has asked for: it does not ask again, whichever job it was.
#[tokio::test]
async fn a_rotation_whose_job_is_canceled_stops_and_says_so() {
    each(async |t| {
        for (app, stage, to, event) in [
            (
                "acme",
                Stage::Deactivating,
                KeyStatus::Inactive,
                RotationEvent::Quiet,
            ),
            (
                "blog",
                Stage::Deleting,
                KeyStatus::Deleted,
                RotationEvent::HoldOver,
            ),
        ] {
            let id = t.rotating(app).await;
            t.raw(&format!(
                "UPDATE rotations SET stage = 'draining' WHERE app_id = '{id}'"
            ))
            .await;
            if to == KeyStatus::Deleted {
                t.raw(&format!(
                    "UPDATE rotations SET stage = 'pending_deletion' WHERE app_id = '{id}'"
                ))
                .await;
            }
            let rotation = t.rotation(id).await;
            let job = fresh(
                t.store
                    .enqueue(moved(app, &rotation, event, to), None)
                    .await
                    .unwrap(),
            );
            assert_eq!(t.rotation(id).await.stage, stage);
            t.store.cancel(job.id, "ann".into()).await.unwrap().unwrap();
            let rotation = t.rotation(id).await;
            assert_eq!((rotation.stage, rotation.due_at), (Stage::Stopped, None));
            assert!(
                rotation.reason.as_ref().unwrap().contains("was canceled"),
                "{rotation:?}"
            );
        }
    })
    .await;
}

/// A rotation whose first job is being worked on and has an open intent.
async fn making(t: &Fixture, app: &str) -> (Claimed, Ulid) {
    let (_, ask) = to_rotate(t, app).await;
    fresh(t.store.enqueue(ask, None).await.unwrap());
    let claimed = t.claim().await.unwrap();
    let intent = t
        .store
        .intend_key(claimed.lease, vec!["OLD".into()])
        .await
        .unwrap();
    (claimed, intent.id)
}

#[tokio::test]
async fn a_rotation_that_is_canceled_after_its_key_was_made_says_that_there_are_two() {
    each(async |t| {
        let (claimed, intent) = making(&t, "acme").await;
        t.store
            .encryption_key(claimed.lease, intent, credential("NEW"))
            .await
            .unwrap();
        t.store
            .cancel(claimed.lease.job, "ann".into())
            .await
            .unwrap()
            .unwrap();
        t.end(claimed.lease, succeeded()).await;
        assert_eq!(t.job(claimed.lease.job).await.state, JobState::Canceled);
        let rotation = t.rotation(claimed.app.id).await;
        assert_eq!(
            (rotation.stage, rotation.new_key.as_deref()),
            (Stage::Stopped, Some("NEW"))
        );
        let reason = rotation.reason.unwrap();
        assert!(
            ["NEW", "OLD", "claim", "delete"]
                .iter()
                .all(|word| reason.contains(word)),
            "{reason}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_rotation_that_is_canceled_while_its_key_is_in_doubt_stops() {
    each(async |t| {
        let (claimed, _) = making(&t, "acme").await;
        t.store
            .cancel(claimed.lease.job, "ann".into())
            .await
            .unwrap()
            .unwrap();
        t.end(claimed.lease, AttemptResult::Canceled).await;
        let job = t.job(claimed.lease.job).await;
        assert_eq!(
            (job.state, job.error.unwrap().code),
            (JobState::NeedsAttention, JobErrorCode::CredentialInDoubt)
        );
        let rotation = t.rotation(claimed.app.id).await;
        assert_eq!(
            (rotation.stage, rotation.due_at),
            (Stage::Stopped, None),
            "nothing asks for it again"
        );
        assert_eq!(
            rotation.reason.as_deref(),
            Some("its first job was canceled")
        );
    })
    .await;
}

#[tokio::test]
async fn a_rotation_whose_old_key_is_gone_is_done() {
    each(async |t| {
        for stage in ["awaiting_claim", "draining", "pending_deletion"] {
            let app = format!("acme-{stage}");
            let id = t.rotating(&app).await;
            t.raw(&format!(
                "UPDATE rotations SET stage = '{stage}' WHERE app_id = '{id}'"
            ))
            .await;
            fresh(t.repair(&app, None).await);
            let claimed = t.claim().await.unwrap();
            t.store
                .keys_gone(claimed.lease, vec!["SOME".into()])
                .await
                .unwrap();
            assert_eq!(
                t.rotation(id).await.stage.to_string(),
                stage,
                "that was another key"
            );
            t.store
                .keys_gone(claimed.lease, vec!["OLD".into()])
                .await
                .unwrap();
            let rotation = t.rotation(id).await;
            assert!(
                rotation.stage == Stage::Done
                    && rotation.ended_at.is_some()
                    && rotation.due_at.is_none(),
                "{rotation:?}"
            );
            t.end(claimed.lease, succeeded()).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_app_has_one_rotation_at_a_time_and_none_while_it_is_removed() {
    each(async |fixture| {
        let app = fixture.rotating("acme").await;
        let active = fixture.rotation(app).await.id;
        assert_eq!(
            fixture
                .store
                .enqueue(a_rotation("acme"), None)
                .await
                .unwrap(),
            Err(Refusal::RotationActive(active))
        );
        assert_eq!(fixture.number("SELECT COUNT(*) FROM rotations").await, 1);
        let removal = Removal {
            buckets: BTreeSet::new(),
            repositories: BTreeSet::new(),
            adopted: false,
            requested_by: "ann".into(),
            requested_at: fixture.clock.now(),
            remove_at: fixture.clock.now().after(MINUTE),
            switched_off: BTreeSet::new(),
        };
        let ask = JobRequest {
            change: Some(AppChange::Removal(removal)),
            ..JobRequest::new(name("acme"), Task::Offboard, resources("acme"), "ann")
        };
        fresh(fixture.store.enqueue(ask, None).await.unwrap());
        let rotation = fixture.rotation(app).await;
        assert!(
            rotation.stage == Stage::Stopped && rotation.reason.unwrap().contains("being removed")
        );
        fixture.run(succeeded()).await;
        assert!(matches!(
            fixture
                .store
                .enqueue(a_rotation("acme"), None)
                .await
                .unwrap(),
            Err(Refusal::BeingRemoved(_))
        ));
    })
    .await;
}

#[tokio::test]
async fn a_rotation_whose_job_does_not_succeed_waits_longer_each_time() {
    each(async |fixture| {
        let (app, ask) = to_rotate(&fixture, "acme").await;
        let task = ask.task.clone();
        fresh(fixture.store.enqueue(ask, None).await.unwrap());
        for minutes in [1, 2, 4] {
            fixture.run(AttemptResult::Failed(job_error())).await;
            let rotation = fixture.rotation(app).await;
            assert_eq!(
                (rotation.stage, rotation.error),
                (Stage::Creating, Some(job_error()))
            );
            assert_eq!(fixture.due().await, []);
            fixture.clock.advance(MINUTE * minutes);
            assert_eq!(fixture.due().await, [Stage::Creating], "{minutes}");
            let change =
                AppChange::Rotation(RotationChange::Move(rotation.id, RotationEvent::AskedAgain));
            let again = JobRequest {
                change: Some(change),
                ..JobRequest::new(name("acme"), task.clone(), resources("acme"), "rotation")
            };
            fresh(fixture.store.enqueue(again, None).await.unwrap());
            assert_eq!(fixture.due().await, [], "its job is at work");
        }
        fixture.run(AttemptResult::Canceled).await;
        let rotation = fixture.rotation(app).await;
        assert!(rotation.stage == Stage::Stopped && rotation.reason.unwrap().contains("canceled"));
    })
    .await;
}

#[tokio::test]
async fn a_key_that_is_in_use_after_all_is_watched_again() {
    each(async |fixture| {
        let app = fixture.rotating("acme").await;
        fixture.claim_secret(app, "NEW", "bob", None).await;
        let off = moved(
            "acme",
            &fixture.rotation(app).await,
            RotationEvent::Quiet,
            KeyStatus::Inactive,
        );
        fresh(fixture.store.enqueue(off, None).await.unwrap());
        fixture
            .run(AttemptResult::NeedsAttention(JobError {
                code: JobErrorCode::KeyInUse,
                ..job_error()
            }))
            .await;
        let rotation = fixture.rotation(app).await;
        assert_eq!(
            (rotation.stage, rotation.reason),
            (Stage::Draining, Some(job_error().detail))
        );
        assert_eq!(fixture.due().await, []);
        fixture.clock.advance(MINUTE);
        assert_eq!(fixture.due().await, [Stage::Draining]);
        let seen = fixture.rotation(app).await;
        fixture
            .store
            .keep_rotation(
                &seen,
                fixture.clock.now().after(MINUTE),
                Some("it is in use".into()),
            )
            .await
            .unwrap();
        assert_eq!(fixture.due().await, []);
        assert!(
            fixture
                .store
                .move_rotation(&seen, RotationEvent::Off, None)
                .await
                .unwrap()
        );
        assert!(
            !fixture
                .store
                .move_rotation(&seen, RotationEvent::Off, None)
                .await
                .unwrap(),
            "it is there already"
        );
        let back = moved(
            "acme",
            &seen,
            RotationEvent::RollbackAsked,
            KeyStatus::Active,
        );
        fresh(fixture.store.enqueue(back, None).await.unwrap());
        fixture.run(succeeded()).await;
        assert_eq!(fixture.rotation(app).await.stage, Stage::RolledBack);
    })
    .await;
}

#[tokio::test]
async fn a_rollback_that_cannot_be_ends_the_rotation() {
    each(async |fixture| {
        let gone = JobError {
            code: JobErrorCode::Rejected,
            detail: "the key is gone".into(),
            ..job_error()
        };
        for (app, ended, reason) in [
            ("gone", AttemptResult::Failed(gone), "the key is gone"),
            (
                "canceled",
                AttemptResult::Canceled,
                "its rollback was canceled",
            ),
        ] {
            let id = fixture.rotating(app).await;
            let back = moved(
                app,
                &fixture.rotation(id).await,
                RotationEvent::RollbackAsked,
                KeyStatus::Active,
            );
            fresh(fixture.store.enqueue(back, None).await.unwrap());
            fixture.run(ended).await;
            let rotation = fixture.rotation(id).await;
            assert_eq!(
                (rotation.stage, rotation.reason.as_deref(), rotation.due_at),
                (Stage::Stopped, Some(reason), None)
            );
            fresh(fixture.store.enqueue(a_rotation(app), None).await.unwrap());
            fixture.run(AttemptResult::Canceled).await;
        }
        let id = fixture.rotating("denied").await;
        let back = moved(
            "denied",
            &fixture.rotation(id).await,
            RotationEvent::RollbackAsked,
            KeyStatus::Active,
        );
        fresh(fixture.store.enqueue(back, None).await.unwrap());
        fixture
            .run(AttemptResult::Failed(JobError {
                code: JobErrorCode::AccessDenied,
                ..job_error()
            }))
            .await;
        assert_eq!(
            fixture.rotation(id).await.stage,
            Stage::RollingBack,
            "it is asked for again"
        );
    })
    .await;
}

#[tokio::test]
async fn keys_that_are_too_old_are_found() {
    each(async |fixture| {
        let (app, _) = to_rotate(&fixture, "acme").await;
        to_find(&fixture, app, "2h").await;
        assert_eq!(fixture.store.apps_to_rotate().await.unwrap(), []);
        fixture.clock.advance(MINUTE * 120);
        assert_eq!(fixture.store.apps_to_rotate().await.unwrap().len(), 1);
        fresh(
            fixture
                .store
                .enqueue(a_rotation("acme"), None)
                .await
                .unwrap(),
        );
        assert_eq!(
            fixture.store.apps_to_rotate().await.unwrap(),
            [],
            "it is under way"
        );
        fixture.run(AttemptResult::Canceled).await;
        assert_eq!(
            fixture.store.apps_to_rotate().await.unwrap(),
            [],
            "a person has just said no"
        );
        fixture.clock.advance(MINUTE * 60 * 25);
        assert_eq!(fixture.store.apps_to_rotate().await.unwrap().len(), 1);
    })
    .await;
}

async fn to_find(fixture: &Fixture, app: Ulid, age: &str) {
    let spec = format!(
        "UPDATE apps SET spec = REPLACE(spec, '\"protected\":false', '\"protected\":false,\"rotate_after\":\"{age}\"') WHERE id = '{app}'"
    );
    fixture.raw(&spec).await;
}
