//! One AWS account: its clients, its rate limiters, and a cache of the resources that its apps share.
//!
//! Invariants:
//! - A client exists once per service and region; the account's credentials are behind all of them. There are at
//!   most [`MAX_CLIENTS`] of a service, whatever regions are asked for.
//! - The cache is only a shortcut: a job that finds a cached resource missing clears the cache and observes again.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_iam::config::retry::{RetryPartition, TokenBucket};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use secrecy::{ExposeSecret, SecretString};
use strum::{EnumCount as _, IntoEnumIterator as _};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::aws::error::{AwsError, Effect, ErrorKind, RequiredAccess, Service};
use crate::aws::fence::before_fence;
use crate::aws::identity::{Identity, IdentityError, Provider};
use crate::aws::rate_limiter::{LimiterState, QueueFull, RateLimiter, Rates};
use crate::aws::retries::{ATTEMPTS, Attempts, MAX_ATTEMPTS, MAX_THROTTLE_WAIT, RetryPolicy};
use crate::aws::throttle_interceptor::ThrottleInterceptor;
use crate::domain::account::RegisteredAccount;
use crate::domain::names::Region;
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::DEFAULT_ACCOUNT;
use crate::telemetry::spans;

/// How long an entry of the cache is valid.
const CACHE_TTL: Duration = Duration::from_secs(600);

/// Clients of one service that are kept: more than AWS has regions in its largest partition. Each holds a connection
/// pool and caches of its own.
const MAX_CLIENTS: usize = 64;

/// The session of a registered account is renewed this long before it ends.
const REFRESH_EARLY: Duration = Duration::from_secs(300);
/// The timeout of an AssumeRole, with its retries and its wait for the rate limiter.
const ASSUME_TIMEOUT: Duration = Duration::from_secs(60);

/// Tells what the service's role needs to call an operation, so that a denied call names the missing actions.
pub type RequiredAccessOf = fn(Service, &str) -> RequiredAccess;

/// The value of a cache entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CacheKey {
    /// The resource exists. The value is what other resources need from it, such as its ARN.
    Exists(ResourceId),
    /// The resource matches its target and need not be observed.
    Converged(ResourceId),
    /// S3 accepts tags with CreateBucket in this region.
    CreateBucketTakesTags(Region),
}

/// One AWS account.
#[derive(Debug)]
pub struct Account {
    config: SdkConfig,
    identity: Identity,
    /// Absent for the service's own account.
    registration: Option<RegisteredAccount>,
    /// Whether a call found that the role of the account cannot be assumed.
    is_refused: AtomicBool,
    iam: aws_sdk_iam::Client,
    sts: aws_sdk_sts::Client,
    s3: Clients<aws_sdk_s3::Client>,
    ecr: Clients<aws_sdk_ecr::Client>,
    limiters: RateLimiters,
    rates: Rates,
    required_access: RequiredAccessOf,
    cache: Mutex<HashMap<CacheKey, (Instant, String)>>,
}

/// The clients of one service by region, in order of last use.
#[derive(Debug)]
struct Clients<C>(Mutex<VecDeque<(Region, C)>>);

impl<C: Clone> Clients<C> {
    fn new() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }

    /// The client of a region. If there would be more than [`MAX_CLIENTS`], the least recently used one is dropped.
    fn of(&self, region: &Region, build: impl FnOnce() -> C) -> C {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = clients
            .iter()
            .position(|(known, _)| known == region)
            .and_then(|at| clients.remove(at));
        let (region, client) = known.unwrap_or_else(|| (region.clone(), build()));
        clients.push_back((region, client.clone()));
        if clients.len() > MAX_CLIENTS {
            clients.pop_front();
        }
        client
    }
}

/// The rate limiter of each service.
#[derive(Debug)]
struct RateLimiters([Arc<RateLimiter>; Service::COUNT]);

impl RateLimiters {
    fn new(rates: Rates) -> Self {
        Self(std::array::from_fn(|_| Arc::new(RateLimiter::new(rates))))
    }

    fn of(&self, service: Service) -> &Arc<RateLimiter> {
        &self.0[service as usize]
    }

    /// Every client of a service gets one, so that its throttles reach the limiter.
    fn interceptor(&self, service: Service) -> ThrottleInterceptor {
        ThrottleInterceptor {
            service,
            limiter: self.of(service).clone(),
        }
    }
}

/// The default chain and settings of the SDK.
pub async fn load_config() -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest()).load().await
}

/// The timeout and the retry settings of one call.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The timeout of a call.
    pub answer: Duration,
    /// The first backoff between the attempts of the SDK.
    pub backoff: Duration,
    /// The rates to use once AWS throttles.
    pub rates: Rates,
}

/// Adds timeouts and an attempt limit: the SDK sets no operation timeout by default.
fn with_limits(config: SdkConfig, limits: Limits) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(limits.answer.min(Duration::from_secs(3)))
        .read_timeout(limits.answer)
        .operation_attempt_timeout(limits.answer)
        .operation_timeout(limits.answer.saturating_mul(ATTEMPTS + 2))
        .build();
    let retry = RetryConfig::standard()
        .with_max_attempts(MAX_ATTEMPTS)
        .with_initial_backoff(limits.backoff);
    let retry = retry.with_max_backoff(limits.backoff.saturating_mul(8));
    // IAM and STS answer in every region; without a region of its own, apps have to name theirs.
    let region = config
        .region()
        .cloned()
        .unwrap_or_else(|| aws_config::Region::from_static("us-east-1"));
    config
        .into_builder()
        .timeout_config(timeouts)
        .retry_config(retry)
        .region(region)
        .build()
}

/// The SDK stops all retries of a client once many calls were retried. Here the rate limiter slows calls down
/// instead.
fn without_quota() -> RetryPartition {
    RetryPartition::custom("slipway")
        .token_bucket(TokenBucket::unlimited())
        .build()
}

fn sts_client(config: &SdkConfig, limiters: &RateLimiters) -> aws_sdk_sts::Client {
    let config = aws_sdk_sts::config::Builder::from(config)
        .interceptor(limiters.interceptor(Service::Sts))
        .retry_classifier(RetryPolicy {
            service: Service::Sts,
        })
        .retry_partition(without_quota());
    aws_sdk_sts::Client::from_conf(config.build())
}

fn iam_client(config: &SdkConfig, limiters: &RateLimiters) -> aws_sdk_iam::Client {
    let config = aws_sdk_iam::config::Builder::from(config)
        .interceptor(limiters.interceptor(Service::Iam))
        .retry_classifier(RetryPolicy {
            service: Service::Iam,
        })
        .retry_partition(without_quota());
    aws_sdk_iam::Client::from_conf(config.build())
}

impl Account {
    /// The account that the credentials of `config` belong to.
    ///
    /// # Errors
    /// When AWS does not return the identity, or the service must not use it.
    pub async fn connect(
        config: SdkConfig,
        limits: Limits,
        allow_users: bool,
        required_access: RequiredAccessOf,
    ) -> Result<Self, IdentityError> {
        let region = config
            .region()
            .and_then(|region| Region::parse(region.as_ref()).ok());
        let config = with_limits(config, limits);
        let limiters = RateLimiters::new(limits.rates);
        let sts = sts_client(&config, &limiters);
        let identity = Identity::of(&config, &sts, region)
            .await?
            .permitted(allow_users)?;
        Ok(Self {
            iam: iam_client(&config, &limiters),
            sts,
            s3: Clients::new(),
            ecr: Clients::new(),
            limiters,
            rates: limits.rates,
            required_access,
            cache: Mutex::default(),
            config,
            identity,
            registration: None,
            is_refused: AtomicBool::new(false),
        })
    }

    /// A registered account, with the credentials of a role in it.
    pub(super) fn with_credentials(
        &self,
        credentials: SharedCredentialsProvider,
        account: &RegisteredAccount,
    ) -> Self {
        let settings = &account.settings;
        let cache = IdentityCache::lazy()
            .buffer_time(REFRESH_EARLY)
            .load_timeout(ASSUME_TIMEOUT);
        let config = self.config.clone().into_builder();
        let config = config
            .credentials_provider(credentials)
            .identity_cache(cache.build())
            .region(aws_config::Region::new(settings.region.to_string()))
            .build();
        let limiters = RateLimiters::new(self.rates);
        Self {
            iam: iam_client(&config, &limiters),
            sts: sts_client(&config, &limiters),
            s3: Clients::new(),
            ecr: Clients::new(),
            limiters,
            rates: self.rates,
            required_access: self.required_access,
            cache: Mutex::default(),
            config,
            identity: Identity {
                provider: Provider::AssumedRole,
                arn: settings.role_arn.to_string(),
                account: account.account_id.to_string(),
                partition: settings.role_arn.partition().to_owned(),
                region: Some(settings.region.clone()),
            },
            registration: Some(account.clone()),
            is_refused: AtomicBool::new(false),
        }
    }

    /// The identity of the service in this account.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Checks whether AWS still accepts the credentials.
    ///
    /// # Errors
    /// When AWS rejects the credentials or cannot be reached.
    pub async fn check(&self) -> Result<(), AwsError> {
        // Somebody waits for this: a throttle is an answer, which says nothing against the credentials.
        let call = self.sts.get_caller_identity().send();
        match self
            .call_at_once(Service::Sts, "GetCallerIdentity", Duration::ZERO, call)
            .await
        {
            Err(error) if error.kind == ErrorKind::Throttled => Ok(()),
            answer => answer.map(|_| ()),
        }
    }

    /// The account's registration. `None` for the service's own account.
    pub fn registration(&self) -> Option<&RegisteredAccount> {
        self.registration.as_ref()
    }

    /// Whether a call since the last question found that the role of the account cannot be assumed.
    pub fn take_refusal(&self) -> bool {
        self.is_refused.swap(false, Ordering::Relaxed)
    }

    /// The name by which specs refer to the account.
    pub fn name(&self) -> &str {
        self.registration
            .as_ref()
            .map_or(DEFAULT_ACCOUNT, |account| account.name.as_str())
    }

    /// The client of STS.
    pub(super) fn sts(&self) -> &aws_sdk_sts::Client {
        &self.sts
    }

    /// The ID of the account that the credentials belong to, as AWS says.
    ///
    /// # Errors
    /// When AWS rejects the credentials or cannot be reached.
    pub async fn caller_account(&self) -> Result<String, AwsError> {
        let call = self.sts.get_caller_identity().send();
        let answer = self.call(Service::Sts, "GetCallerIdentity", call).await?;
        let unreadable = || AwsError::unreadable(Service::Sts, "GetCallerIdentity");
        answer.account.ok_or_else(unreadable)
    }

    /// The account alias. An account has one at most (IAM User Guide, "Your AWS account ID and its alias").
    ///
    /// # Errors
    /// When AWS rejects the call or cannot be reached.
    pub async fn alias(&self) -> Result<Option<String>, AwsError> {
        let call = self.iam.list_account_aliases().send();
        let answer = self.call(Service::Iam, "ListAccountAliases", call).await?;
        Ok(answer.account_aliases.into_iter().next())
    }

    /// The client of IAM, a global service.
    pub fn iam(&self) -> &aws_sdk_iam::Client {
        &self.iam
    }

    /// The S3 client of a region.
    pub fn s3(&self, region: &Region) -> aws_sdk_s3::Client {
        let build = || {
            let config = aws_sdk_s3::config::Builder::from(&self.config)
                .region(aws_sdk_s3::config::Region::new(region.to_string()))
                // Emulators and private endpoints do not have a host name per bucket.
                .force_path_style(self.config.endpoint_url().is_some())
                .interceptor(self.limiters.interceptor(Service::S3))
                .retry_classifier(RetryPolicy {
                    service: Service::S3,
                })
                .retry_partition(without_quota())
                .build();
            aws_sdk_s3::Client::from_conf(config)
        };
        self.s3.of(region, build)
    }

    /// The ECR client of a region.
    pub fn ecr(&self, region: &Region) -> aws_sdk_ecr::Client {
        let build = || {
            let region = aws_sdk_ecr::config::Region::new(region.to_string());
            let config = aws_sdk_ecr::config::Builder::from(&self.config)
                .region(region)
                .interceptor(self.limiters.interceptor(Service::Ecr));
            let config = config
                .retry_classifier(RetryPolicy {
                    service: Service::Ecr,
                })
                .retry_partition(without_quota());
            aws_sdk_ecr::Client::from_conf(config.build())
        };
        self.ecr.of(region, build)
    }

    /// Checks whether STS accepts the access key of an app.
    ///
    /// # Errors
    /// When STS does not accept the key yet, or cannot be reached.
    pub async fn check_key(
        &self,
        access_key_id: &str,
        secret: &SecretString,
    ) -> Result<(), AwsError> {
        let credentials = aws_credential_types::Credentials::new(
            access_key_id,
            secret.expose_secret(),
            None,
            None,
            "app",
        );
        // A client of its own would open a connection of its own, with a TLS handshake, for every look.
        let as_the_app = aws_sdk_sts::Config::builder().credentials_provider(credentials);
        // Nor is the secret kept for longer than its look.
        let as_the_app = as_the_app.identity_cache(aws_sdk_sts::config::IdentityCache::no_cache());
        let call = self
            .sts
            .get_caller_identity()
            .customize()
            .config_override(as_the_app)
            .send();
        self.call(Service::Sts, "GetCallerIdentity", call)
            .await
            .map(|_| ())
    }

    /// Makes one AWS call outside a job: rate-limited, counted, logged and classified.
    ///
    /// # Errors
    /// The classified AWS error, or that too many calls are queued already.
    pub async fn call<T, E>(
        &self,
        service: Service,
        operation: &'static str,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, AwsError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let call = Box::pin(call);
        self.acquire(service, operation, MAX_THROTTLE_WAIT).await?;
        self.call_at_once(service, operation, MAX_THROTTLE_WAIT, call)
            .await
    }

    /// What the rate limiter of each service does at the moment.
    pub fn limiters(&self) -> impl Iterator<Item = (Service, LimiterState)> {
        Service::iter().map(|service| (service, self.limiters.of(service).state()))
    }

    pub fn effect_of(&self, service: Service, operation: &str) -> Effect {
        (self.required_access)(service, operation).effect
    }

    /// The error of one part of a call that otherwise succeeded.
    pub fn error_of_part(
        &self,
        service: Service,
        operation: &'static str,
        code: &str,
        message: String,
    ) -> AwsError {
        AwsError {
            access: (self.required_access)(service, operation),
            ..AwsError::of_part(service, operation, code, message)
        }
    }

    /// Waits until a call to `service` may proceed. Returns at once while AWS does not throttle.
    ///
    /// # Errors
    /// When the wait exceeds `max_wait`.
    pub async fn acquire(
        &self,
        service: Service,
        operation: &'static str,
        max_wait: Duration,
    ) -> Result<(), AwsError> {
        let acquired = self.limiters.of(service).acquire(max_wait).await;
        acquired.map_err(|QueueFull { waiting }| AwsError::crowded(service, operation, waiting))
    }

    /// Makes a call without waiting for the rate limiter, and retries it for up to `max_wait` while AWS throttles it.
    ///
    /// # Errors
    /// The classified AWS error, or that the lease of the job has expired.
    pub async fn call_at_once<T, E>(
        &self,
        service: Service,
        operation: &'static str,
        max_wait: Duration,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, AwsError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let began = Instant::now();
        let span = spans::aws_call(service.into(), operation, self.name());
        let attempts = before_fence(Attempts::of(max_wait, call)).instrument(span.clone());
        let Some((answer, in_doubt)) = attempts.await else {
            spans::aws_failed(&span, "lease_expired");
            return Err(AwsError::fenced(service, operation));
        };
        let answer = answer.map_err(|error| AwsError {
            in_doubt,
            access: (self.required_access)(service, operation),
            ..AwsError::of(service, operation, &error)
        });
        if matches!(&answer, Err(error) if error.kind == ErrorKind::AccountRefused) {
            self.is_refused.store(true, Ordering::Relaxed);
        }
        match &answer {
            // What does not exist is what many calls are to find out.
            Err(error) if error.kind != ErrorKind::NotFound => {
                spans::aws_failed(&span, &error.code)
            }
            _ => {}
        }
        let outcome = answer
            .as_ref()
            .map_or_else(|error| error.kind.to_string(), |_| "Ok".to_owned());
        // The interceptor has reported throttles attempt by attempt. Without a response there is nothing to report.
        if !matches!(&answer, Err(error) if matches!(error.kind, ErrorKind::Throttled | ErrorKind::Transient))
        {
            self.limiters.of(service).on_success();
        }
        let service: &'static str = service.into();
        metrics::counter!("slipway_aws_calls_total", "account" => self.name().to_owned(), "service" => service, "operation" => operation, "outcome" => outcome.clone())
            .increment(1);
        metrics::histogram!("slipway_aws_call_seconds", "service" => service, "operation" => operation)
            .record(began.elapsed().as_secs_f64());
        tracing::debug!(
            service,
            operation,
            outcome,
            ms = began.elapsed().as_millis(),
            "aws call"
        );
        answer
    }

    /// The value of a cache entry that is still valid.
    pub fn cached(&self, key: &CacheKey) -> Option<String> {
        self.entries()
            .get(key)
            .filter(|(at, _)| at.elapsed() < CACHE_TTL)
            .map(|(_, value)| value.clone())
    }

    /// Adds an entry to the cache.
    pub fn cache(&self, key: CacheKey, value: impl Into<String>) {
        self.entries().insert(key, (Instant::now(), value.into()));
    }

    /// Clears the cache, because a cached resource no longer exists, or because a plan needs fresh observations.
    pub fn clear_cache(&self) {
        self.entries().clear();
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<CacheKey, (Instant, String)>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_made_once_a_region_and_those_used_last_are_kept() {
        let (clients, made) = (Clients::new(), std::cell::Cell::new(0));
        let of = |name: &str| {
            clients.of(&Region::parse(name).unwrap(), || {
                made.set(made.get() + 1);
                name.to_owned()
            })
        };
        assert_eq!(
            (of("us-west-2"), of("us-west-2"), made.get()),
            ("us-west-2".into(), "us-west-2".into(), 1)
        );
        for letter in 'a'..='z' {
            for number in 0..10 {
                of(&format!("x{letter}-lab-{number}"));
                of("us-west-2");
            }
        }
        assert_eq!(
            (made.get(), clients.0.lock().unwrap().len()),
            (261, MAX_CLIENTS)
        );
    }
}
