//! The service on the AWS in memory, in simulated time.
//!
//! Invariants:
//! - Everything runs on one thread with tokio's time paused, so no wait takes longer than what is done in it.
//! - A process can be lost or frozen at any step of its tasks; what it committed and what AWS did stays.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use axum::Router;
use axum::body::Body;
use serde_json::{Value, json};
use slipway::app::service::{Overrides, Service, StartError};
use slipway::aws::rate_limiter::Rates;
use slipway::clock::{Clock, Timestamp};
use slipway::config::Settings;
use slipway::provision::timing::Timing;
use slipway::shutdown::{SimulatedProcess, Tasks};
use slipway::store::{Store, StoreError};
use slipway::vault::Vault;
use tokio::sync::oneshot;
use tower::ServiceExt as _;

use super::api::Api;
use super::aws::AccountAdmin;
use super::server::ADMIN_TOKEN;
use super::wire::{Call, Fault};
use crate::aws::{Aws, Options};

/// When simulated time begins.
const EPOCH: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const ACCOUNT: &str = "123456789012";

/// A runtime for one simulation.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime")
}

/// A router and the process that it belongs to.
pub struct InProcess {
    router: Router,
    tasks: Tasks,
}

impl InProcess {
    /// The answer to a request; `None` when the process is lost before it answers.
    pub async fn answer(&self, request: reqwest::Request) -> Option<reqwest::Response> {
        let request = http::Request::<reqwest::Body>::try_from(request)
            .expect("a request")
            .map(Body::new);
        let (router, (tell, told)) = (self.router.clone(), oneshot::channel());
        self.tasks.spawn(async move {
            let Ok(response) = router.oneshot(request).await;
            let (head, body) = response.into_parts();
            if let Ok(body) = axum::body::to_bytes(body, usize::MAX).await {
                let _ = tell.send(http::Response::from_parts(head, body));
            }
        });
        told.await.ok().map(reqwest::Response::from)
    }
}

/// What runs the service's processes: an account of the AWS in memory, a database file, settings and time.
pub struct Host {
    pub aws: Aws,
    pub region: &'static str,
    pub clock: Clock,
    pub settings: Settings,
    pub timing: Timing,
    pub rates: Rates,
    /// The role's identity policy, where authorization is on.
    pub role_policy: Option<Value>,
    faults: Arc<Mutex<Vec<Planned>>>,
    _folder: tempfile::TempDir,
}

/// A fault of the nth call of an operation, and where it lasts, of those after it.
struct Planned {
    call: String,
    nth: usize,
    fault: Fault,
    met: bool,
}

impl Planned {
    fn hits(&self, call: &Call) -> bool {
        let last = self.nth.saturating_add(self.fault.lasts() - 1);
        self.call == call.name() && (self.nth..=last).contains(&call.nth)
    }
}

/// A running process of the service.
pub struct Process {
    pub api: Api,
    pub service: Arc<Service>,
    pub simulated: SimulatedProcess,
    tasks: Tasks,
}

/// An empty database with the present schema: each simulation begins with a copy.
fn template() -> &'static Path {
    static TEMPLATE: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
        let folder = folder();
        let path = folder.path().join("template.db");
        let open = async |path: PathBuf| {
            let tasks = Tasks::default();
            let store = Store::open(
                &format!("sqlite://{}", path.display()),
                Clock::default(),
                &tasks,
            )
            .await
            .expect("a database");
            while !store.truncate_log().await {}
            drop(store);
            tasks.all_ended().await;
        };
        std::thread::scope(|scope| {
            let made = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                runtime.block_on(open(path.clone()));
            });
            made.join().expect("a template");
        });
        (folder, path)
    });
    &TEMPLATE.1
}

/// A folder in memory, where the machine has one.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    }
    .expect("a folder")
}

impl Drop for Host {
    fn drop(&mut self) {
        self.aws.refuse_violations();
    }
}

impl Host {
    /// A host in a new account. Called within the simulation's runtime.
    pub fn new(options: Options) -> Self {
        let folder = folder();
        let database = folder.path().join("slipway.db");
        std::fs::copy(template(), &database).expect("a database");
        let settings = Settings {
            database_url: format!("sqlite://{}", database.display()),
            encryption_key: Some(Vault::new_key().expect("a key")),
            admin_token: Some(ADMIN_TOKEN.to_owned().into()),
            allow_user_credentials: false,
            drift_interval: Duration::ZERO,
            rate_limit: 0,
            ..Settings::default()
        };
        let epoch = SystemTime::UNIX_EPOCH + Duration::from_millis(EPOCH.millis() as u64);
        let aws = Aws::new(Options {
            epoch: Some(epoch),
            ..options
        });
        let faults: Arc<Mutex<Vec<Planned>>> = Arc::default();
        let planned = faults.clone();
        aws.on_call(move |call| {
            let mut planned = planned.lock().unwrap();
            let hit = planned.iter_mut().find(|planned| planned.hits(call))?;
            hit.met = true;
            Some(hit.fault)
        });
        Self {
            aws,
            region: "us-west-2",
            clock: Clock::simulated(EPOCH),
            settings,
            // Signals tell of what is due; a look without one is for what a lost process has left.
            timing: Timing {
                poll: Duration::from_secs(10),
                ..Timing::default()
            },
            rates: Rates::default(),
            role_policy: None,
            faults,
            _folder: folder,
        }
    }

    /// Starts a process on the database, with a session of its own.
    pub async fn start(&self) -> Process {
        self.start_with(None).await.expect("the service starts")
    }

    /// Starts a process beside others that have the database open.
    pub async fn start_with(&self, store: Option<Store>) -> Result<Process, StartError> {
        let session = self
            .aws
            .role_session(ACCOUNT, "slipway", self.role_policy.clone());
        let simulated = SimulatedProcess::default();
        let tasks = Tasks::of_process(simulated.clone());
        let overrides = Overrides {
            sdk: Some(self.sdk(&session)),
            clock: self.clock.clone(),
            timing: self.timing,
            rates: self.rates,
            resolver: None,
            store,
        };
        let mut tries = 0;
        let service = loop {
            tries += 1;
            match Service::start(self.settings.clone(), overrides.clone(), tasks.clone()).await {
                // The writer of a process that was lost just now still has the file.
                Err(StartError::Store(StoreError::InUse(_))) if tries < 1000 => {
                    tokio::time::sleep(Duration::from_millis(1)).await
                }
                started => break started?,
            }
        };
        slipway::background::start(&service);
        let in_process = InProcess {
            router: slipway::api::router::in_process(service.clone()),
            tasks: tasks.clone(),
        };
        // A client for its requests alone: they go by no connection.
        static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(reqwest::Client::new);
        let api = Api::in_process(CLIENT.clone(), in_process, ADMIN_TOKEN);
        Ok(Process {
            api,
            service,
            simulated,
            tasks,
        })
    }

    fn sdk(&self, session: &Credentials) -> aws_config::SdkConfig {
        self.aws
            .sdk(session)
            .into_builder()
            .region(aws_config::Region::new(self.region))
            .build()
    }

    /// From now on the nth call by each name meets its fault. The log begins anew.
    pub fn break_calls(&self, faults: &[(&str, usize, Fault)]) {
        self.aws.take_log();
        let planned = |(call, nth, fault): &(&str, usize, Fault)| Planned {
            call: (*call).to_owned(),
            nth: *nth,
            fault: *fault,
            met: false,
        };
        *self.faults.lock().unwrap() = faults.iter().map(planned).collect();
    }

    /// From now on calls meet what `fault` says.
    pub fn break_by(&self, fault: impl FnMut(&Call) -> Option<Fault> + Send + 'static) {
        self.aws.on_call(fault);
    }

    /// Nothing more goes wrong.
    pub fn mend(&self) {
        self.faults.lock().unwrap().clear();
    }

    /// Whether every fault has been met.
    pub fn all_met(&self) -> bool {
        self.faults
            .lock()
            .unwrap()
            .iter()
            .all(|planned| planned.met)
    }

    /// Whose key this is, as STS says.
    pub async fn identity_of(&self, access_key_id: &str, secret: &str) -> Result<Value, String> {
        let sdk = self.sdk(&Credentials::new(
            access_key_id,
            secret,
            None,
            None,
            "the app",
        ));
        let answer = aws_sdk_sts::Client::new(&sdk)
            .get_caller_identity()
            .send()
            .await;
        answer
            .map(|identity| json!({"Arn": identity.arn, "Account": identity.account}))
            .map_err(|error| format!("{error:?}"))
    }
}

impl AccountAdmin for Host {
    fn account(&self) -> &str {
        ACCOUNT
    }

    fn region(&self) -> &str {
        self.region
    }

    fn call(&self, service: &str, method: &str, args: Value) -> Result<Value, Value> {
        self.aws
            .owner(ACCOUNT)
            .in_region(self.region)
            .call(service, &operation_of(method), args)
            .map_err(Value::from)
    }
}

/// AWS's name of an operation that boto3 calls `method`.
fn operation_of(method: &str) -> String {
    let word = |word: &str| match word {
        "mfa" | "ssh" | "id" => word.to_uppercase(),
        _ => word[..1].to_uppercase() + &word[1..],
    };
    method.split('_').map(word).collect()
}

impl Deref for Process {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl Process {
    /// Loses the process: everything that it was doing ends where it stands.
    pub async fn kill(self) {
        self.simulated.kill();
        let tasks = self.tasks.clone();
        drop(self);
        tasks.ended().await;
        tasks.all_ended().await;
    }

    /// Stops in good order; no job may be left active.
    pub async fn stop(self) {
        let active = self
            .service
            .store
            .active_jobs()
            .await
            .expect("the database answers");
        assert!(active.is_empty(), "jobs are left over: {active:?}");
        self.tasks.stop();
        let tasks = self.tasks.clone();
        drop(self);
        tasks.ended().await;
        tasks.all_ended().await;
    }
}
