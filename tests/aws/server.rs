//! A service of the test's own on an AWS in memory, over real HTTP, on a database file of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use serde_json::Value;
use slipway::app::service::{Overrides, Service, StartError};
use slipway::aws::rate_limiter;
use slipway::clock::Clock;
use slipway::config::Settings;
use slipway::domain::public_url::PublicUrl;
use slipway::domain::spec::Defaults;
use slipway::provision::conventions::Conventions;
use slipway::provision::permissions;
use slipway::provision::timing::Timing;
use slipway::shutdown::Tasks;
use slipway::store::StoreError;
use slipway::vault::Vault;
use tokio::net::TcpListener;

use super::{Aws, Options, Owner};
use crate::support;
use crate::support::api::Api;
use crate::support::server::{ADMIN_TOKEN, Server};

/// The account that a test's service works in.
pub const ACCOUNT: &str = "123456789012";

/// The policy that `slipway role-policy` prints for an account.
pub fn role_policy(account: &str) -> Value {
    permissions::role_policy(&Conventions::new(&Defaults::default(), "aws", account))
}

/// What a service on an AWS in memory is started with.
pub struct Setup {
    pub aws: Aws,
    pub session: Credentials,
    pub region: &'static str,
    pub timing: Timing,
    pub rates: rate_limiter::Rates,
    pub clock: Clock,
    pub settings: Settings,
    pub folder: Arc<tempfile::TempDir>,
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.aws.refuse_violations();
    }
}

impl Setup {
    /// A service that may do everything.
    pub fn new(options: Options) -> Self {
        Self::with_policy(options, None)
    }

    /// A service whose role has the printed policy, unmodified, in an AWS that evaluates it.
    pub fn least_privilege(options: Options) -> Self {
        Self::with_policy(
            Options {
                authorization: true,
                ..options
            },
            Some(role_policy(ACCOUNT)),
        )
    }

    fn with_policy(options: Options, policy: Option<Value>) -> Self {
        let aws = Aws::new(options);
        let session = aws.role_session(ACCOUNT, "slipway", policy);
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let settings = Settings {
            database_url: format!("sqlite://{}", folder.path().join("slipway.db").display()),
            encryption_key: Some(Vault::new_key().expect("a key")),
            admin_token: Some(ADMIN_TOKEN.to_owned().into()),
            allow_user_credentials: false,
            job_deadline: Duration::from_secs(60),
            drift_interval: Duration::ZERO,
            ..Settings::default()
        };
        let (timing, rates, clock) = (
            support::fast(),
            rate_limiter::Rates::default(),
            Clock::default(),
        );
        Self {
            aws,
            session,
            region: "us-west-2",
            timing,
            rates,
            clock,
            settings,
            folder,
        }
    }

    pub fn database(&self) -> PathBuf {
        self.folder.path().join("slipway.db")
    }

    pub fn owner(&self) -> Owner {
        self.aws.owner(ACCOUNT)
    }

    pub fn snapshot(&self) -> Value {
        self.aws.snapshot(ACCOUNT)
    }

    /// Starts the service, as often as wanted on the same database.
    pub async fn start(&self) -> Server {
        slipway::telemetry::metrics();
        let tasks = Tasks::default();
        let sdk = Some(self.aws.sdk_in(self.region, &self.session));
        let overrides = Overrides {
            sdk,
            clock: self.clock.clone(),
            timing: self.timing,
            rates: self.rates,
            ..Overrides::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let mut settings = self.settings.clone();
        // Where an identity provider sends browsers back to.
        settings.public_url = settings.public_url.or(PublicUrl::parse(&url).ok());
        let service = loop {
            match Service::start(settings.clone(), overrides.clone(), tasks.clone()).await {
                Err(StartError::Store(StoreError::InUse(_))) => {
                    tokio::time::sleep(Duration::from_millis(5)).await
                }
                started => break started.expect("the service starts"),
            }
        };
        slipway::background::start(&service);
        let pages = slipway::console::router(&service);
        tasks.spawn(slipway::api::server::serve(
            listener,
            service.clone(),
            pages,
        ));
        Server {
            api: Api::new(url, ADMIN_TOKEN),
            service,
            tasks,
        }
    }
}
