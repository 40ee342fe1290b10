//! The service: its settings, database, accounts and workers, put together once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::time::Instant;
use ulid::Ulid;

use crate::app::background::BackgroundStatus;
use crate::aws::account::{Limits, load_config};
use crate::aws::identity::IdentityError;
use crate::aws::rate_limiter::Rates;
use crate::aws::{Account, Identity};
use crate::clock::{Clock, Timestamp};
use crate::config::Settings;
use crate::domain::app::App;
use crate::domain::names::{AccountName, AppName};
use crate::domain::spec::{Place, default_account};
use crate::provision::context::HandedBack;
use crate::provision::context::Timing;
use crate::provision::kinds::access_key::{Intent, KeyRecords};
use crate::provision::resource::Conventions;
use crate::provision::retained::retained;
use crate::shutdown::Tasks;
use crate::store::{Store, StoreError, fingerprint};
use crate::vault::{Vault, VaultError};

/// Why the service cannot start; each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No or a wrong encryption key.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The database does not open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// AWS does not know the service, or the service may not work as what it is.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The address cannot be listened on.
    #[error("cannot listen on {0}: {1}. Set SLIPWAY_LISTEN to a free address")]
    Listen(std::net::SocketAddr, std::io::Error),
}

/// The service.
pub struct Service {
    /// Its settings.
    pub settings: Settings,
    /// Its database.
    pub store: Store,
    /// Opens and seals secrets.
    pub vault: Vault,
    /// Its clock.
    pub clock: Clock,
    /// How long things take.
    pub timing: Timing,
    /// Its tasks.
    pub tasks: Tasks,
    /// What its background tasks do.
    pub background: BackgroundStatus,
    account: Arc<Account>,
    admin_token_hash: Option<String>,
    /// When the dispatcher last gave a sign of life, in milliseconds.
    dispatched_at: AtomicI64,
    /// When AWS last took the credentials.
    aws_seen_at: AtomicI64,
    /// When this process first met intents to create a key whose outcome is not known.
    intents: Mutex<HashMap<Ulid, Instant>>,
    /// What attempts leave that are to go on soon.
    pub handed_back: HandedBack,
}

/// For this long AWS is not asked again whether it takes the credentials.
const AWS_SEEN: Duration = Duration::from_secs(30);

/// What tests put in the place of the world overrides.
#[derive(Clone, Default)]
pub struct Overrides {
    /// The AWS SDK's configuration; the default chain's when absent.
    pub sdk: Option<aws_config::SdkConfig>,
    /// The clock.
    pub clock: Clock,
    /// How long things take.
    pub timing: Timing,
    /// How fast calls go when AWS throttles.
    pub rates: Rates,
    /// A database that is open already: the other replicas' in a simulation.
    pub store: Option<Store>,
}

impl Service {
    /// Opens the database and resolves the AWS identity. `background::start` then starts the workers.
    ///
    /// # Errors
    /// When a setting is missing, the database does not open, or the identity will not do.
    pub async fn start(
        settings: Settings,
        overrides: Overrides,
        tasks: Tasks,
    ) -> Result<Arc<Self>, StartError> {
        let is_shared = overrides.store.is_some();
        let service = Self::assemble(settings, overrides, tasks).await?;
        let released = if is_shared || service.store.is_shared() {
            0
        } else {
            service.store.release_all_leases().await?
        };
        if released > 0 {
            tracing::info!(released, "jobs of an earlier process go on");
        }
        Ok(service)
    }

    /// The same, but leaves the jobs of an earlier process alone.
    ///
    /// # Errors
    /// As [`Service::start`].
    pub async fn assemble(
        settings: Settings,
        overrides: Overrides,
        tasks: Tasks,
    ) -> Result<Arc<Self>, StartError> {
        let vault = settings.vault()?;
        let account = async {
            let config = match overrides.sdk {
                Some(config) => config,
                None => load_config().await,
            };
            let limits = Limits {
                answer: overrides.timing.answer,
                backoff: overrides.timing.backoff,
                rates: overrides.rates,
            };
            Account::connect(config, limits, settings.allow_user_credentials)
                .await
                .map_err(StartError::from)
        };
        let store = async {
            match overrides.store {
                Some(store) => Ok(store),
                None => Store::open(&settings.database_url, overrides.clock.clone(), &tasks)
                    .await
                    .map_err(StartError::from),
            }
        };
        let (account, store) = tokio::try_join!(account, store)?;
        let identity = account.identity();
        tracing::info!(arn = identity.arn, provider = %identity.provider, "working as");
        let admin_token_hash = settings
            .admin_token
            .as_ref()
            .map(|token| token_hash(token.expose_secret()));
        Ok(Arc::new(Self {
            store,
            vault,
            clock: overrides.clock.clone(),
            timing: Timing {
                idle_period: settings.rotation_idle_period,
                ..overrides.timing
            },
            background: BackgroundStatus::default(),
            account: Arc::new(account),
            admin_token_hash,
            dispatched_at: AtomicI64::new(0),
            aws_seen_at: AtomicI64::new(overrides.clock.now().millis()),
            intents: Mutex::default(),
            handed_back: HandedBack::default(),
            settings,
            tasks,
        }))
    }

    /// The registered account by this name.
    pub fn account(&self, name: &AccountName) -> Option<Arc<Account>> {
        (*name == default_account()).then(|| self.account.clone())
    }

    /// The account that the service itself runs in.
    pub fn own_account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Who the service is in its own account.
    pub fn identity(&self) -> &Identity {
        self.account.identity()
    }

    /// What specs are filled in for.
    pub fn place(&self) -> Place<'_> {
        let identity = self.identity();
        Place {
            account_id: &identity.account,
            partition: &identity.partition,
            region: identity.region.as_ref(),
            regions: &self.settings.regions.0,
        }
    }

    /// The organisation's names in an account.
    pub fn conventions(&self, account: &Account) -> Conventions {
        let identity = account.identity();
        Conventions::new(
            &self.settings.defaults,
            &identity.partition,
            &identity.account,
        )
        .of_installation(self.store.installation())
    }

    /// The app by this name, without regard to case, with what it has besides what its spec names.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn app(&self, name: &AppName) -> Result<Option<App>, StoreError> {
        let Some(mut app) = self.store.app(name).await? else {
            return Ok(None);
        };
        if let Some(account) = self.account(&app.spec.account) {
            app.retained = retained(&app, &self.conventions(&account));
        }
        Ok(Some(app))
    }

    /// Whether this is the hash of the bootstrap token.
    pub fn is_admin_token(&self, hash: &str) -> bool {
        self.admin_token_hash.as_deref() == Some(hash)
    }

    /// Whether AWS takes the service's credentials, by a look not older than half a minute.
    ///
    /// # Errors
    /// Why it does not, and what to do.
    pub async fn aws_check(&self) -> Result<(), String> {
        let now = self.clock.now();
        if now.since(Timestamp::from_millis(
            self.aws_seen_at.load(Ordering::Relaxed),
        )) < AWS_SEEN
        {
            return Ok(());
        }
        self.account
            .check()
            .await
            .map_err(|error| error.to_string())?;
        self.aws_seen_at.store(now.millis(), Ordering::Relaxed);
        Ok(())
    }

    /// What is recorded of an app's keys. An intent that is open counts from when this process first met it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn key_records(&self, app: Ulid) -> Result<KeyRecords, StoreError> {
        let mut records = self.store.key_records(app).await?;
        if let Some(intent) = &mut records.open {
            intent.met = self.met(intent);
        }
        Ok(records)
    }

    /// When this process first met an intent.
    pub fn met(&self, intent: &Intent) -> Instant {
        *self.intents().entry(intent.id).or_insert(intent.met)
    }

    /// Takes note that the outcome of an intent is known.
    pub fn settled(&self, intent: Ulid) {
        self.intents().remove(&intent);
    }

    /// How many intents this process has met whose outcome is not known.
    pub fn open_intents(&self) -> usize {
        self.intents().len()
    }

    fn intents(&self) -> MutexGuard<'_, HashMap<Ulid, Instant>> {
        self.intents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note that the dispatcher is alive.
    pub fn note_dispatch(&self) {
        self.dispatched_at
            .store(self.clock.now().millis(), Ordering::Relaxed);
    }

    /// Whether jobs are being taken.
    pub fn is_dispatching(&self) -> bool {
        let last = Timestamp::from_millis(self.dispatched_at.load(Ordering::Relaxed));
        self.clock.now().since(last) < Duration::from_secs(30)
    }
}

/// What is stored of a token. Tokens are long random texts, so a plain hash cannot be guessed back.
pub fn token_hash(token: &str) -> String {
    fingerprint(&[token.as_bytes()])
}
