//! How much is taken in at once, and how much from one caller.
//!
//! Invariants:
//! - A request at work holds one of `max_requests` seats from before its body is read until its work has
//!   ended. One that may write goes on to its end, in its permit, also when its client is gone: so the seats
//!   bound the database's queue of writes too.
//! - What only waits (a body on its way, a job's end, an event stream) holds one of `max_long_polls` seats
//!   instead, so waiting uses up no permit of work.
//! - Who finds no permit is refused at once. Only those queue who come back from waiting.
//! - `/healthz`, `/readyz` and `/metrics` have a bound of their own, so an overloaded service can be seen.
//! - Who calls is told by a valid token, or else by the connection's own address: tries of tokens are bounded, and no
//!   header can make up an address. What others do at an address takes nothing from the rate of a valid token.

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

use crate::api::bearer::token_hash_of;
use crate::api::job_watch::Followers;
use crate::api::known_tokens::KnownTokens;
use crate::api::problem::{ApiError, Limit};
use crate::app::service::Service;

/// Calls of health, readiness and metrics at once.
const OPERATIONS: usize = 32;
/// Seconds' worth of requests that a caller can make at once.
const BURST: u32 = 10;
/// Readers of the database that those who wait may use at once; half of what there is.
const READING: usize = 2;
/// Between two rounds of forgetting callers.
const TIDY: Duration = Duration::from_secs(60);

/// Counts a request that exceeds a limit.
pub fn refuse(limit: Limit) -> ApiError {
    count_refusal(limit.into());
    ApiError::Overloaded(limit)
}

/// Counts a request that was refused for what it would take.
pub fn count_refusal(why: &'static str) {
    metrics::counter!("slipway_http_rejected_total", "why" => why).increment(1);
}

/// The connection is one too many: whatever comes on it is refused.
#[derive(Debug, Clone, Copy)]
pub struct QueueFull;

/// The seats.
pub struct Limits {
    /// Who follows which job.
    pub followers: Followers,
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
            followers: Followers::start(service),
            work: Arc::new(seats(service.settings.max_requests)),
            waiting: Arc::new(seats(service.settings.max_long_polls)),
            reading: Semaphore::new(READING),
            known: KnownTokens::default(),
            service: service.clone(),
        })
    }

    /// How long a body may take.
    pub fn body_timeout(&self) -> Duration {
        self.service.settings.body_timeout
    }

    /// Takes note that a token is valid, or not.
    pub fn know(&self, hash: &str, valid: bool) {
        self.known.note(hash, valid);
    }

    fn knows(&self, hash: &str) -> bool {
        self.service.is_admin_token(hash) || self.known.contains(hash)
    }

    /// Those who wait read the database one after the other, and leave connections to those at work.
    pub async fn reading(&self) -> Option<SemaphorePermit<'_>> {
        self.reading.acquire().await.ok()
    }

    /// Writes the present use into the metrics.
    pub fn measure(&self) {
        let settings = &self.service.settings;
        let taken = |bound: usize, seats: &Semaphore| {
            u32::try_from(bound.saturating_sub(seats.available_permits())).unwrap_or(u32::MAX)
        };
        metrics::gauge!("slipway_http_requests_at_work")
            .set(taken(settings.max_requests, &self.work));
        metrics::gauge!("slipway_http_requests_waiting")
            .set(taken(settings.max_long_polls, &self.waiting));
    }
}

/// As many seats as a semaphore can have at most.
pub fn seats(wanted: usize) -> Semaphore {
    Semaphore::new(wanted.min(Semaphore::MAX_PERMITS))
}

/// A request's permit.
#[derive(Clone)]
pub struct RequestPermit {
    /// Where it is one of.
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

    /// Leaves the permit of work for one of those who wait, for at most this long; it is held by what comes back.
    ///
    /// # Errors
    /// When too many wait.
    pub fn leave(&self, at_most: Duration) -> Result<OwnedSemaphorePermit, ApiError> {
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

    /// Leaves the permit while waiting for something, for at most this long, and takes one again.
    ///
    /// # Errors
    /// When too many wait.
    pub async fn aside<T>(
        &self,
        at_most: Duration,
        something: impl Future<Output = T>,
    ) -> Result<T, ApiError> {
        let aside = self.leave(at_most)?;
        let came = something.await;
        let permit = self
            .limits
            .work
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| ApiError::Defect)?;
        *self.work.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
        drop(aside);
        Ok(came)
    }

    /// Returns when the request has taken longer than it may. Waiting does not count.
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

/// Puts the limits around the API's calls.
pub fn apply<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    limits: &Arc<Limits>,
) -> Router<S> {
    let router = router.layer(axum::middleware::from_fn_with_state(limits.clone(), admit));
    let Some(period) = Duration::from_secs(1).checked_div(limits.service.settings.rate_limit)
    else {
        return router;
    };
    let burst = limits.service.settings.rate_limit.saturating_mul(BURST);
    let config = GovernorConfigBuilder::default()
        .period(period)
        .burst_size(burst)
        .key_extractor(ByCaller(limits.clone()))
        .finish();
    let Some(config) = config.map(Arc::new) else {
        return router;
    };
    let (tasks, tidied) = (limits.service.tasks.clone(), config.clone());
    limits.service.tasks.spawn(async move {
        loop {
            tokio::select! {
                () = tasks.stopping() => return,
                () = tokio::time::sleep(TIDY) => tidied.limiter().retain_recent(),
            }
        }
    });
    let router = router.layer(GovernorLayer::new(config).error_handler(too_many));
    router.layer(axum::middleware::from_fn_with_state(
        limits.clone(),
        recognize,
    ))
}

/// Finds out whether a token is valid before its request counts against the rate of its address.
async fn recognize(State(limits): State<Arc<Limits>>, request: Request, next: Next) -> Response {
    if let Some(hash) = token_hash_of(request.headers()).filter(|hash| !limits.knows(hash)) {
        limits.known.look_for(&hash, &limits.service.store).await;
    }
    next.run(request).await
}

/// Puts a bound of their own around the calls of operators.
pub fn apply_to_operations<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    let refused = HandleErrorLayer::new(async |_: BoxError| refuse(Limit::Operations));
    router.layer(
        ServiceBuilder::new()
            .layer(refused)
            .load_shed()
            .layer(GlobalConcurrencyLimitLayer::new(OPERATIONS)),
    )
}

/// Gives a request its permit, or refuses it before its body is read.
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

/// What a request does that may write is not cut off when its client goes away.
async fn run_detached(permit: RequestPermit, request: Request, next: Next) -> Response {
    let (tell, told) = oneshot::channel();
    let tasks = permit.limits.service.tasks.clone();
    let work = async move {
        let response = next.run(request).await;
        drop(permit);
        // Nobody listens any more when the client is gone.
        let _ = tell.send(response);
    };
    tasks.spawn(work.in_current_span());
    told.await
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

/// Who calls, as far as it is known before the token is looked up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Caller {
    /// The hash of a token that was valid.
    Token(String),
    /// An address, or a network's prefix.
    Peer(IpAddr),
}

#[derive(Clone)]
struct ByCaller(Arc<Limits>);

impl KeyExtractor for ByCaller {
    type Key = Caller;

    fn extract<T>(&self, request: &axum::http::Request<T>) -> Result<Caller, GovernorError> {
        let token = token_hash_of(request.headers()).filter(|hash| self.0.knows(hash));
        let peer = || {
            request
                .extensions()
                .get::<ConnectInfo<SocketAddr>>()
                .map_or(Ipv6Addr::UNSPECIFIED.into(), |info| info.0.ip())
        };
        Ok(token.map_or_else(|| Caller::Peer(network_of(peer())), Caller::Token))
    }
}

/// One machine has a whole /64 of IPv6 addresses.
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
            "an IPv4 address in IPv6 clothes"
        );
    }
}
