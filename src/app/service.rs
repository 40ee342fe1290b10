//! The service: settings, database, AWS account and vault, which the use cases share.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::time::Instant;
use ulid::Ulid;

use crate::app::background::BackgroundStatus;
use crate::app::identity_provider::SignIn;
use crate::app::in_progress::InProgress;
use crate::app::permission_check::PermissionCheck;
use crate::aws::account::{Limits, load_config};
use crate::aws::assumed_role::registered_account;
use crate::aws::identity::IdentityError;
use crate::aws::rate_limiter::Rates;
use crate::aws::{Account, Identity};
use crate::clock::{Clock, Timestamp};
use crate::config::Settings;
use crate::domain::access_key::{Intent, KeyRecords};
use crate::domain::app::App;
use crate::domain::names::{AccountName, AppName, RoleArn};
use crate::domain::spec::{Defaults, Place, default_account};
use crate::oidc::{KeyCache, KeyCacheLimits};
use crate::outbound::{AddressPolicy, Connector, Resolver};
use crate::provision::conventions::Conventions;
use crate::provision::journal::ResumableAttempts;
use crate::provision::kinds::spec_lists;
use crate::provision::permissions::required_access;
use crate::provision::retained::retained;
use crate::provision::timing::Timing;
use crate::shutdown::Tasks;
use crate::store::{Store, StoreError, fingerprint};
use crate::telemetry::TracesError;
use crate::vault::{Vault, VaultError};

/// Why the service cannot start. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The encryption key is missing or malformed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The database cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// AWS rejects the credentials, or the identity is not allowed.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The configured role is not that of the service.
    #[error(
        "SLIPWAY_ROLE_ARN is {0}, but the service works as {1}. Set it to the ARN of the service's own role, or unset it"
    )]
    RoleArn(RoleArn, String),
    /// Traces cannot be exported.
    #[error(transparent)]
    Traces(#[from] TracesError),
    /// The address cannot be bound.
    #[error("cannot listen on {0}: {1}. Set SLIPWAY_LISTEN to a free address")]
    Listen(std::net::SocketAddr, std::io::Error),
}

/// The running service.
#[expect(missing_docs, reason = "the fields are named after their types")]
pub struct Service {
    pub settings: Settings,
    pub store: Store,
    pub vault: Vault,
    pub clock: Clock,
    pub timing: Timing,
    pub tasks: Tasks,
    /// What its background tasks do.
    pub background: BackgroundStatus,
    account: Arc<Account>,
    /// The registered accounts that were used.
    registered: Mutex<HashMap<AccountName, Arc<Account>>>,
    /// The keys of the issuers of ID tokens.
    pub issuer_keys: KeyCache,
    /// Sign-in of people, where it is configured.
    pub sign_in: Option<SignIn>,
    /// Connects to the receivers of webhooks.
    pub webhook_connector: Connector,
    admin_token_hash: Option<String>,
    /// When the dispatcher last ran, in milliseconds.
    dispatched_at: AtomicI64,
    /// When AWS last accepted the credentials, in milliseconds.
    aws_seen_at: AtomicI64,
    /// When this process first saw each intent to create a key whose outcome is not known.
    intents: Mutex<HashMap<Ulid, Instant>>,
    /// The new keys, by the ids of their rows, that are being tried until AWS accepts them.
    pub verifications: InProgress<Ulid>,
    /// Whether the policy of the service's role allows what jobs need.
    pub permission_check: PermissionCheck,
    /// State of attempts that continue soon.
    pub resumable_attempts: ResumableAttempts,
}

/// How long a successful check of the credentials is valid.
const AWS_CHECK_TTL: Duration = Duration::from_secs(30);

/// What tests replace.
#[derive(Clone, Default)]
#[expect(missing_docs, reason = "the fields are named after their types")]
pub struct Overrides {
    /// The AWS SDK's configuration; the default chain when absent.
    pub sdk: Option<aws_config::SdkConfig>,
    pub clock: Clock,
    pub timing: Timing,
    /// The rates of AWS calls under throttling.
    pub rates: Rates,
    /// What finds the addresses of the receivers of webhooks.
    pub resolver: Option<Arc<dyn Resolver>>,
    /// An open database, shared with other replicas in a simulation.
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
            tracing::info!(released, "released jobs of an earlier process");
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
            Account::connect(
                config,
                limits,
                settings.allow_user_credentials,
                required_access,
            )
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
        if let Some(arn) = &settings.role_arn
            && !identity.is_session_of(arn)
        {
            return Err(StartError::RoleArn(arn.clone(), identity.arn.clone()));
        }
        tracing::info!(arn = identity.arn, provider = %identity.provider, "working as");
        let admin_token_hash = settings
            .admin_token
            .as_ref()
            .map(|token| token_hash(token.expose_secret()));
        Ok(Arc::new(Self {
            clock: store.clock().clone(),
            aws_seen_at: AtomicI64::new(store.clock().now().millis()),
            store,
            vault,
            timing: Timing {
                idle_period: settings.rotation_idle_period,
                ..overrides.timing
            },
            background: BackgroundStatus::default(),
            account: Arc::new(account),
            registered: Mutex::default(),
            issuer_keys: KeyCache::new(KeyCacheLimits::default(), settings.oidc_allow_http),
            sign_in: SignIn::of(&settings),
            webhook_connector: Connector::new(
                AddressPolicy::public_and(settings.webhook_allowed_cidrs.0.clone()),
                overrides.resolver,
            ),
            admin_token_hash,
            dispatched_at: AtomicI64::new(0),
            intents: Mutex::default(),
            verifications: InProgress::default(),
            permission_check: PermissionCheck::default(),
            resumable_attempts: ResumableAttempts::default(),
            settings,
            tasks,
        }))
    }

    /// The account by this name: the service's own, or a registered one as the database has it now.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn account(&self, name: &AccountName) -> Result<Option<Arc<Account>>, StoreError> {
        if *name == default_account() {
            return Ok(Some(self.account.clone()));
        }
        let registration = self.store.registered_account(name).await?;
        let mut registered = self
            .registered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(registration) = registration else {
            registered.remove(name);
            return Ok(None);
        };
        // Its clients, credentials, rate limits and cache live until its registration changes.
        let is_same = |account: &&Arc<Account>| {
            account.registration().is_some_and(|known| {
                (&known.external_id, known.version)
                    == (&registration.external_id, registration.version)
            })
        };
        if let Some(account) = registered.get(name).filter(is_same) {
            return Ok(Some(account.clone()));
        }
        let account = Arc::new(registered_account(&self.account, &registration));
        registered.insert(name.clone(), account.clone());
        Ok(Some(account))
    }

    /// The accounts that this process has used: the service's own and registered ones.
    pub fn used_accounts(&self) -> Vec<Arc<Account>> {
        let registered = self
            .registered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let own = std::iter::once(&self.account);
        own.chain(registered.values()).cloned().collect()
    }

    /// The account that the service itself runs in.
    pub fn own_account(&self) -> &Arc<Account> {
        &self.account
    }

    /// The identity of the service in its own account.
    pub fn identity(&self) -> &Identity {
        self.account.identity()
    }

    /// Who assumes the roles in registered accounts, as trust policies name it: the service's own role or user. AWS does
    /// not tell the path of an assumed role, so a role with a path has to be set.
    pub fn principal(&self) -> String {
        let identity = self.identity();
        match (&self.settings.role_arn, identity.assumed_role()) {
            (Some(arn), _) => arn.to_string(),
            (None, Some(arn)) => arn,
            (None, None) => identity.arn.clone(),
        }
    }

    /// The place whose defaults complete a spec in an account.
    pub fn place<'a>(&'a self, account: &'a Account) -> Place<'a> {
        let identity = account.identity();
        Place {
            account_id: &identity.account,
            partition: &identity.partition,
            region: identity.region.as_ref(),
            regions: &self.settings.regions.0,
            lists: spec_lists(),
        }
    }

    /// The defaults of the apps in an account.
    pub fn defaults(&self, account: &Account) -> Cow<'_, Defaults> {
        let settings = &self.settings.defaults;
        match account.registration() {
            None => Cow::Borrowed(settings),
            Some(account) => Cow::Owned(account.defaults_over(settings)),
        }
    }

    /// The naming conventions in an account.
    pub fn conventions(&self, account: &Account) -> Conventions {
        let identity = account.identity();
        Conventions::new(
            &self.defaults(account),
            &identity.partition,
            &identity.account,
        )
        .of_installation(self.store.installation())
    }

    /// The app by this name, ignoring case, with its retained resources.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn app(&self, name: &AppName) -> Result<Option<App>, StoreError> {
        let Some(mut app) = self.store.app(name).await? else {
            return Ok(None);
        };
        if let Some(account) = self.account(&app.spec.account).await? {
            app.retained = retained(&app, &self.conventions(&account));
        }
        Ok(Some(app))
    }

    /// Whether this is the hash of the bootstrap token.
    pub fn is_admin_token(&self, hash: &str) -> bool {
        self.admin_token_hash.as_deref() == Some(hash)
    }

    /// Whether AWS accepts the service's credentials. The result is cached for 30 seconds.
    ///
    /// # Errors
    /// Why it does not, and what to do.
    pub async fn aws_check(&self) -> Result<(), String> {
        let now = self.clock.now();
        if now.since(Timestamp::from_millis(
            self.aws_seen_at.load(Ordering::Relaxed),
        )) < AWS_CHECK_TTL
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

    /// The recorded keys of an app. The age of an open intent counts from when this process first saw it.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn key_records(&self, app: Ulid) -> Result<KeyRecords, StoreError> {
        let mut records = self.store.key_records(app).await?;
        if let Some(intent) = &mut records.open {
            intent.met = self.met(intent);
        }
        Ok(records)
    }

    /// When this process first saw an intent.
    pub fn met(&self, intent: &Intent) -> Instant {
        *self.intents().entry(intent.id).or_insert(intent.met)
    }

    /// Notes that the outcome of an intent is known.
    pub fn settled(&self, intent: Ulid) {
        self.intents().remove(&intent);
    }

    /// The number of intents whose outcome is not known.
    pub fn open_intents(&self) -> usize {
        self.intents().len()
    }

    fn intents(&self) -> MutexGuard<'_, HashMap<Ulid, Instant>> {
        self.intents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the dispatcher is running.
    pub fn note_dispatch(&self) {
        self.dispatched_at
            .store(self.clock.now().millis(), Ordering::Relaxed);
    }

    /// Whether the dispatcher has run within the last 30 seconds.
    pub fn is_dispatching(&self) -> bool {
        let last = Timestamp::from_millis(self.dispatched_at.load(Ordering::Relaxed));
        self.clock.now().since(last) < Duration::from_secs(30)
    }
}

/// The stored hash of a token. A plain hash is enough, since tokens are long and random.
pub fn token_hash(token: &str) -> String {
    fingerprint(&[token.as_bytes()])
}
