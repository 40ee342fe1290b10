//! Limits on what the service handles at once, and on the request rate of one caller.
//!
//! Invariants:
//! - A request that is being handled holds one of `max_requests` permits, from before its body is read until its work
//!   has ended. A request that may write runs to its end with its permit, even if its client disconnects. So the
//!   permits also bound the database's write queue.
//! - A request that only waits (for its body, for a job to end, on an event stream) holds one of `max_long_polls`
//!   permits instead.
//! - A request that gets no permit is refused at once. Only requests that return from waiting queue for one.
//! - `/healthz`, `/readyz` and `/metrics` have their own limit, so that an overloaded service can be observed.
//! - A caller is identified by a valid token or session or else by the address of the connection. So attempts to guess a token
//!   are limited, no header can fake an address, and callers at one address cannot use up the rate of a valid token.

use std::future::Future;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::BoxError;
use axum::Router;
use axum::error_handling::HandleErrorLayer;
use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, oneshot};
use tokio::time::Instant;
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower_governor::governor::GovernorConfigBuilder;
use tower_governor::key_extractor::KeyExtractor;
use tower_governor::{GovernorError, GovernorLayer};
use tracing::Instrument as _;

use crate::api::credential::Credential;
use crate::api::job_watch::JobWatch;
use crate::api::known_tokens::KnownTokens;
use crate::api::problem::{ApiError, Limit};
use crate::app::service::Service;

/// Concurrent health, readiness and metrics requests.
const MAX_OPERATIONS: usize = 32;
/// The burst of a caller, in seconds of its rate.
const BURST_SECONDS: u32 = 10;
/// Database readers that waiting requests may use at once: half of all.
const MAX_WAITING_READERS: usize = 2;
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);

/// Counts a request that exceeds a limit.
pub fn refuse(limit: Limit) -> ApiError {
    count_refusal(limit.into());
    ApiError::Overloaded(limit)
}

/// Counts a rejected request.
pub fn count_refusal(reason: &'static str) {
    metrics::counter!("slipway_http_rejected_total", "reason" => reason).increment(1);
}

/// Marks the requests of a connection beyond the limit. They are refused.
#[derive(Debug, Clone, Copy)]
pub struct QueueFull;

/// The limits and their permits.
pub struct Limits {
    /// Wakes waiting requests.
    pub watch: JobWatch,
    service: Arc<Service>,
    work: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    reading: Semaphore,
    known: KnownTokens,
}

impl Limits {
    /// The limits of a service's settings.
    pub fn new(service: &Arc<Service>) -> Arc<Self> {
        Arc::new(Self {
            watch: JobWatch::start(service),
            work: Arc::new(semaphore(service.settings.max_requests)),
            waiting: Arc::new(semaphore(service.settings.max_long_polls)),
            reading: Semaphore::new(MAX_WAITING_READERS),
            known: KnownTokens::default(),
            service: service.clone(),
        })
    }

    /// How long a request body may take to arrive.
    pub fn body_timeout(&self) -> Duration {
        self.service.settings.body_timeout
    }

    pub fn note_valid_token(&self, hash: &str) {
        self.known.add(hash);
    }

    pub fn note_invalid_token(&self, hash: &str) {
        self.known.remove(hash);
    }

    fn is_known(&self, hash: &str) -> bool {
        self.service.is_admin_token(hash) || self.known.contains(hash)
    }

    /// Waits for a database reader. Waiting requests share a few, so that others keep the rest.
    pub async fn reader_permit(&self) -> Option<SemaphorePermit<'_>> {
        self.reading.acquire().await.ok()
    }

    /// Updates the metrics.
    pub fn measure(&self) {
        let settings = &self.service.settings;
        let used = |limit: usize, semaphore: &Semaphore| {
            u32::try_from(limit.saturating_sub(semaphore.available_permits())).unwrap_or(u32::MAX)
        };
        metrics::gauge!("slipway_http_requests_at_work")
            .set(used(settings.max_requests, &self.work));
        metrics::gauge!("slipway_http_requests_waiting")
            .set(used(settings.max_long_polls, &self.waiting));
    }
}

/// A semaphore with this many permits, or as many as a semaphore can have.
pub fn semaphore(wanted: usize) -> Semaphore {
    Semaphore::new(wanted.min(Semaphore::MAX_PERMITS))
}

/// The permit of a request.
#[derive(Clone)]
pub struct RequestPermit {
    /// The limits that it belongs to.
    pub limits: Arc<Limits>,
    work: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
    deadline: Arc<Mutex<Instant>>,
}

impl RequestPermit {
    fn take(limits: &Arc<Limits>) -> Result<Self, ApiError> {
        let permit = limits
            .work
            .clone()
            .try_acquire_owned()
            .map_err(|_| refuse(Limit::Requests))?;
        let deadline = Instant::now() + limits.service.settings.request_timeout;
        Ok(Self {
            limits: limits.clone(),
            work: Arc::new(Mutex::new(Some(permit))),
            deadline: Arc::new(Mutex::new(deadline)),
        })
    }

    /// Exchanges the permit for one of a waiting request, and extends the request's deadline by this time.
    ///
    /// # Errors
    /// When too many requests wait.
    pub fn exchange_for_waiting(
        &self,
        at_most: Duration,
    ) -> Result<OwnedSemaphorePermit, ApiError> {
        let permit = self
            .limits
            .waiting
            .clone()
            .try_acquire_owned()
            .map_err(|_| refuse(Limit::LongPolls))?;
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) += at_most;
        drop(
            self.work
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        Ok(permit)
    }

    /// Gives up the permit while waiting for a future, for at most this time, and takes a permit again.
    ///
    /// # Errors
    /// When too many requests wait.
    pub async fn wait_without_permit<T>(
        &self,
        at_most: Duration,
        future: impl Future<Output = T>,
    ) -> Result<T, ApiError> {
        let waiting = self.exchange_for_waiting(at_most)?;
        let output = future.await;
        let permit = self
            .limits
            .work
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| ApiError::Defect)?;
        *self.work.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
        drop(waiting);
        Ok(output)
    }

    /// Returns when the request has exceeded its time. Waiting does not count.
    async fn expired(&self) {
        loop {
            let deadline = *self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
            if Instant::now() >= deadline {
                return;
            }
            tokio::time::sleep_until(deadline).await;
        }
    }
}

impl<S: Sync> FromRequestParts<S> for RequestPermit {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or(ApiError::Defect)
    }
}

/// Applies the limits to the API.
pub fn apply<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    limits: &Arc<Limits>,
) -> Router<S> {
    let router = router.layer(axum::middleware::from_fn_with_state(limits.clone(), admit));
    let Some(period) = Duration::from_secs(1).checked_div(limits.service.settings.rate_limit)
    else {
        return router;
    };
    let burst = limits
        .service
        .settings
        .rate_limit
        .saturating_mul(BURST_SECONDS);
    let config = GovernorConfigBuilder::default()
        .period(period)
        .burst_size(burst)
        .key_extractor(ByCaller(limits.clone()))
        .finish();
    let Some(config) = config.map(Arc::new) else {
        return router;
    };
    let (tasks, pruned) = (limits.service.tasks.clone(), config.clone());
    limits.service.tasks.spawn(async move {
        loop {
            tokio::select! {
                () = tasks.stopping() => return,
                () = tokio::time::sleep(PRUNE_INTERVAL) => pruned.limiter().retain_recent(),
            }
        }
    });
    let router = router.layer(GovernorLayer::new(config).error_handler(too_many));
    router.layer(axum::middleware::from_fn_with_state(
        limits.clone(),
        recognize,
    ))
}

/// Looks an unknown token up before the rate limit applies, so that a valid token has a rate of its own.
async fn recognize(State(limits): State<Arc<Limits>>, request: Request, next: Next) -> Response {
    if let Some(credential) = Credential::of(request.headers(), &limits.service)
        && !limits.is_known(credential.hash())
    {
        let store = &limits.service.store;
        limits.known.look_for(credential.hash(), store).await;
    }
    next.run(request).await
}

/// Applies the limit of the operators' endpoints.
pub fn apply_to_operations<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    let refused = HandleErrorLayer::new(async |_: BoxError| refuse(Limit::Operations));
    router.layer(
        ServiceBuilder::new()
            .layer(refused)
            .load_shed()
            .layer(GlobalConcurrencyLimitLayer::new(MAX_OPERATIONS)),
    )
}

/// Takes the permit of a request, or refuses the request before its body is read.
async fn admit(State(limits): State<Arc<Limits>>, mut request: Request, next: Next) -> Response {
    if request.extensions().get::<QueueFull>().is_some() {
        return refuse(Limit::Connections).into_response();
    }
    let permit = match RequestPermit::take(&limits) {
        Ok(permit) => permit,
        Err(refusal) => return refusal.into_response(),
    };
    request.extensions_mut().insert(permit.clone());
    let answer = async {
        if request.method().is_safe() {
            next.run(request).await
        } else {
            run_detached(permit.clone(), request, next).await
        }
    };
    tokio::select! {
        response = answer => response,
        () = permit.expired() => {
            count_refusal("timeout");
            ApiError::TimedOut.into_response()
        }
    }
}

/// Runs a request that may write to its end, even if its client disconnects.
async fn run_detached(permit: RequestPermit, request: Request, next: Next) -> Response {
    let (sender, receiver) = oneshot::channel();
    let tasks = permit.limits.service.tasks.clone();
    let work = async move {
        let response = next.run(request).await;
        drop(permit);
        // Fails if the client has disconnected.
        let _ = sender.send(response);
    };
    tasks.spawn(work.in_current_span());
    receiver
        .await
        .unwrap_or_else(|_| ApiError::Defect.into_response())
}

fn too_many(error: GovernorError) -> Response {
    let GovernorError::TooManyRequests { wait_time, .. } = error else {
        return ApiError::Defect.into_response();
    };
    count_refusal("rate");
    ApiError::TooManyRequests(
        u32::try_from(wait_time)
            .unwrap_or(u32::MAX)
            .saturating_add(1),
    )
    .into_response()
}

/// The caller, for the rate limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Caller {
    /// The hash of a valid token or session.
    Token(String),
    /// An IPv4 address, or the /64 prefix of an IPv6 address.
    Peer(IpAddr),
}

#[derive(Clone)]
struct ByCaller(Arc<Limits>);

impl KeyExtractor for ByCaller {
    type Key = Caller;

    fn extract<T>(&self, request: &axum::http::Request<T>) -> Result<Caller, GovernorError> {
        let token = Credential::of(request.headers(), &self.0.service)
            .map(|credential| credential.hash().to_owned())
            .filter(|hash| self.0.is_known(hash));
        let peer = || {
            request
                .extensions()
                .get::<ConnectInfo<SocketAddr>>()
                .map_or(Ipv6Addr::UNSPECIFIED.into(), |info| info.0.ip())
        };
        Ok(token.map_or_else(|| Caller::Peer(network_of(peer())), Caller::Token))
    }
}

/// One machine usually has a whole /64 of IPv6 addresses.
fn network_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_are_one_caller() {
        let of = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(
            of("::ffff:192.0.2.1"),
            of("192.0.2.1"),
            "an IPv4-mapped address"
        );
    }
}
