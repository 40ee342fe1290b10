//! A service of the test's own, over real HTTP, on a database file of its own.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use slipway::app::service::{Overrides, Service, StartError};
use slipway::aws::rate_limiter::Rates;
use slipway::clock::Clock;
use slipway::config::Settings;
use slipway::domain::public_url::PublicUrl;
use slipway::outbound::Resolver;
use slipway::provision::timing::Timing;
use slipway::shutdown::Tasks;
use slipway::store::StoreError;
use slipway::vault::Vault;
use tokio::net::TcpListener;

use super::api::Api;
use super::aws::Place;
use super::proxy::Proxy;

pub const ADMIN_TOKEN: &str = "the-admin-token-of-these-tests";

/// What a test's service is started with.
pub struct Setup {
    pub place: Place,
    pub proxy: Proxy,
    pub timing: Timing,
    pub rates: Rates,
    pub clock: Clock,
    pub settings: Settings,
    pub folder: Arc<tempfile::TempDir>,
    /// What finds the addresses of the receivers of webhooks, if not the system.
    pub resolver: Option<Arc<dyn Resolver>>,
}

/// A running service.
pub struct Server {
    pub api: Api,
    pub service: Arc<Service>,
    pub tasks: Tasks,
}

impl Setup {
    pub fn new(place: Place) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let settings = Settings {
            database_url: format!("sqlite://{}", folder.path().join("slipway.db").display()),
            encryption_key: Some(Vault::new_key().expect("a key")),
            admin_token: Some(ADMIN_TOKEN.to_owned().into()),
            allow_user_credentials: false,
            job_deadline: Duration::from_secs(60),
            // Looks by themselves would come among the calls that a test counts.
            drift_interval: Duration::ZERO,
            ..Settings::default()
        };
        let proxy = Proxy::before(&place.endpoint);
        let (timing, rates, clock) = (super::fast(), Rates::default(), Clock::default());
        Self {
            place,
            proxy,
            timing,
            rates,
            clock,
            settings,
            folder,
            resolver: None,
        }
    }

    pub fn database(&self) -> PathBuf {
        self.folder.path().join("slipway.db")
    }

    /// Starts the service, as often as wanted on the same database.
    pub async fn start(&self) -> Server {
        slipway::telemetry::metrics();
        let tasks = Tasks::default();
        let sdk = Some(self.place.sdk(&self.proxy.endpoint));
        let overrides = Overrides {
            sdk,
            clock: self.clock.clone(),
            timing: self.timing,
            rates: self.rates,
            resolver: self.resolver.clone(),
            ..Overrides::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let mut settings = self.settings.clone();
        // Where an identity provider sends browsers back to.
        settings.public_url = settings.public_url.or(PublicUrl::parse(&url).ok());
        let service = loop {
            match Service::start(settings.clone(), overrides.clone(), tasks.clone()).await {
                // The writer of a service that was stopped just now has a last word to say.
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

impl Deref for Server {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl Server {
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
        self.tasks.ended().await;
    }
}
