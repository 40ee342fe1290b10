//! Set-ups of accounts as subjects of jobs, and first console passwords.

use serde_json::Value;
use slipway::domain::account_setup::{AccountSetup, SetupPlace, SetupSpec};
use slipway::domain::names::GroupName;

use super::*;

const NORTH: &str = "222222222222";
const ANA: &str = "ana@example.com";

fn setup_of(account: &str, body: &Value) -> AppSpec {
    let group = GroupName::parse("Apps").unwrap();
    let place = SetupPlace {
        partition: "aws",
        account_id: NORTH,
        app_group: &group,
    };
    let spec = SetupSpec::parse(body, &place).unwrap();
    let setup = AccountSetup::new(spec, None, "ann", Timestamp::from_millis(1));
    let account = AccountName::parse(account).unwrap();
    AppSpec::of_setup(account, Region::parse("us-west-2").unwrap(), setup)
}

fn one_person() -> Value {
    json!({"people": [{"email": ANA}]})
}

impl Fixture {
    async fn ask_setup(&self, account: &str, body: &Value) -> Result<Accepted, Refusal> {
        let spec = setup_of(account, body);
        let task = Task::SetupAccount { remove: false };
        let request = JobRequest {
            change: Some(AppChange::Spec(Box::new(spec.clone()), Default::default())),
            ..JobRequest::new(spec.name.clone(), task, Vec::new(), "ann")
        };
        self.store.enqueue(request, None).await.unwrap()
    }

    /// A set-up that is being worked on, with a password that AWS is about to be asked to set.
    async fn setup_at_work(&self, account: &str) -> Claimed {
        fresh(self.ask_setup(account, &one_person()).await);
        let claimed = self.claim().await.unwrap();
        let new = credential("console-password/1");
        let intended = self.store.intend_password(claimed.lease, name(ANA), new);
        intended.await.unwrap();
        claimed
    }

    async fn setup(&self, account: &str) -> Option<App> {
        let name = AppName::of_setup(&AccountName::parse(account).unwrap());
        self.store.app(&name).await.unwrap()
    }

    async fn claim_password(&self, app: Ulid) -> ClaimAnswer {
        self.claim_secret(app, "console-password/1", "ann", None)
            .await
    }
}

#[tokio::test]
async fn a_set_up_is_a_subject_of_jobs_and_no_app() {
    each(async |t| {
        t.register("north", NORTH).await;
        let job = fresh(t.ask_setup("north", &one_person()).await);
        assert_eq!(job.kind, JobKind::SetupAccount);
        assert!(job.app.is_of_setup());
        let refused = t.ask_setup("north", &one_person()).await.unwrap_err();
        assert_eq!(refused, Refusal::Active(job.id));
        t.run(succeeded()).await;
        let setup = t.setup("north").await.unwrap();
        assert_eq!(setup.summary.state, AppState::Ready);
        let spec = setup_of("north", &one_person());
        assert_eq!(setup.spec, spec, "as it is read back");
        assert_eq!(t.store.apps(&AppFilter::default()).await.unwrap(), []);
        let counts = t.store.apps_by_account().await.unwrap();
        assert_eq!(counts, [], "no account has an app");
        let entries = audit(&t, AuditFilter::default()).await;
        let of_job: Vec<_> = entries.iter().filter(|it| it.job.is_some()).collect();
        assert!(!of_job.is_empty());
        for entry in of_job {
            let shown = (entry.app.as_deref(), entry.account.as_deref());
            assert_eq!(shown, (None, Some("north")));
        }
        // Another one takes its place, and the row is the same.
        fresh(t.ask_setup("north", &json!({})).await);
        let again = t.setup("north").await.unwrap();
        assert_eq!(again.id, setup.id);
        assert!(again.version > setup.version);
    })
    .await;
}

#[tokio::test]
async fn an_account_takes_a_set_up_when_it_is_ready() {
    each(async |t| {
        let refused = t.ask_setup("north", &json!({})).await.unwrap_err();
        assert_eq!(refused, Refusal::NoAccount);
        assert_eq!(t.setup("north").await, None);
        // The account of the service needs no registration.
        fresh(t.ask_setup("default", &json!({})).await);
    })
    .await;
}

#[tokio::test]
async fn a_password_is_claimed_once_after_aws_has_confirmed_it() {
    each(async |t| {
        t.register("north", NORTH).await;
        let claimed = t.setup_at_work("north").await;
        let app = claimed.app.id;
        let records = t.store.password_records(app).await.unwrap();
        let record = &records[0];
        assert_eq!((records.len(), record.is_set), (1, false));
        assert_eq!(record.person, name(ANA));
        let keys = t.store.key_records(app).await.unwrap();
        assert!(keys.keys.is_empty(), "a password is no access key");
        assert!(t.store.unverified_keys().await.unwrap().is_empty());
        assert!(t.store.sealed_password(record.id).await.unwrap().is_some());

        let lost = Lease {
            token: claimed.lease.token + 1,
            ..claimed.lease
        };
        let confirmed = t.store.confirm_password(lost, record.id).await;
        assert!(matches!(confirmed, Err(StoreError::LostLease)));
        let confirmed = t.store.confirm_password(claimed.lease, record.id).await;
        confirmed.unwrap();
        let records = t.store.password_records(app).await.unwrap();
        assert!(records[0].is_set && records[0].is_unclaimed);
        let answer = t.claim_password(app).await;
        assert!(matches!(answer, ClaimAnswer::Sealed(..)), "{answer:?}");
        let answer = t.claim_password(app).await;
        assert!(matches!(answer, ClaimAnswer::Claimed(_)), "{answer:?}");
        let entries = audit(&t, AuditFilter::default()).await;
        let event = AuditEvent::PasswordClaimed {
            person: ANA.into(),
            again: false,
        };
        assert_eq!(entries[0].event, event);
        let records = t.store.password_records(app).await.unwrap();
        assert!(!records[0].is_unclaimed);
    })
    .await;
}

#[tokio::test]
async fn deleting_the_registration_forgets_the_set_up_and_its_passwords() {
    each(async |t| {
        let north = t.register("north", NORTH).await;
        let claimed = t.setup_at_work("north").await;
        let delete = async || {
            let deleted = t.store.delete_account(north.name.clone(), "ann".into());
            deleted.await.unwrap()
        };
        let in_use = Refusal::AccountInUse(north.name.clone());
        assert_eq!(delete().await, Err(in_use), "while its job is active");
        t.end(claimed.lease, succeeded()).await;
        assert_eq!(t.sealed_secrets().await, 1);
        delete().await.unwrap();
        assert_eq!(t.sealed_secrets().await, 0);
        let setup = t.setup("north").await.unwrap();
        assert_eq!(setup.summary.state, AppState::Removed);
        // Registered again, it starts anew.
        t.register("north", NORTH).await;
        fresh(t.ask_setup("north", &one_person()).await);
        let again = t.setup("north").await.unwrap();
        assert_eq!(
            (again.id, again.summary.state),
            (setup.id, AppState::Pending)
        );
        assert!(again.resources.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_scope_reaches_a_set_up_by_its_account() {
    each(async |t| {
        t.register("north", NORTH).await;
        let job = fresh(t.ask_setup("north", &json!({})).await).id;
        for (scope, seen) in [
            (json!({"accounts": ["north"]}), true),
            (json!({"apps": ["acme-*"]}), true),
            (json!({"apps": ["acme-*"], "accounts": ["north"]}), true),
            (json!({"accounts": ["south"]}), false),
            (json!({"apps": ["acme-*"], "accounts": ["south"]}), false),
        ] {
            let scope: Scope = serde_json::from_value(scope).unwrap();
            let within = t.store.is_job_within(job, &scope).await.unwrap();
            assert_eq!(within, seen, "{scope}");
            let filter = JobFilter {
                scope: scope.clone(),
                limit: 10,
                ..JobFilter::default()
            };
            let listed = t.store.jobs(&filter).await.unwrap();
            assert_eq!(listed.len(), usize::from(seen), "{scope}");
        }
    })
    .await;
}
