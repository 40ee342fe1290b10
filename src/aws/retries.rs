//! How often the SDK retries a failed call before the backoff of the job takes over.
//!
//! Invariants:
//! - A throttled call is retried until its caller's maximum wait is over, so that a job does not repeat earlier calls.
//! - Other transient failures are retried a few times. Errors that AWS returns on purpose are not retried.
//! - A call that may have taken effect in an attempt whose response was lost is marked as in doubt.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::retries::classifiers::{
    ClassifyRetry, RetryAction, RetryClassifierPriority,
};
use tokio::time::Instant;

use crate::aws::error::{ErrorKind, Service};
use crate::aws::throttle_interceptor::meaning_of_answer;

/// The maximum delay by throttling for a call outside a job. A request may wait for the response.
pub const MAX_THROTTLE_WAIT: Duration = Duration::from_secs(5);
/// The maximum number of attempts of a call that AWS does not throttle.
pub const ATTEMPTS: u32 = 3;
/// The maximum number of attempts of a call that AWS throttles. The maximum wait usually ends them earlier.
pub const MAX_ATTEMPTS: u32 = 12;

/// The attempts of one call.
#[derive(Debug)]
pub struct Attempts {
    /// The maximum delay by throttling.
    max_throttle_wait: Duration,
    began: Instant,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    /// Failed attempts that were not throttled.
    failed: u32,
    /// Whether an attempt without a response may have taken effect.
    in_doubt: bool,
}

tokio::task_local! {
    static CALL: Attempts;
}

impl Attempts {
    /// Makes a call. Also returns whether an attempt before the last one may have taken effect.
    pub async fn of<T>(max_throttle_wait: Duration, call: impl Future<Output = T>) -> (T, bool) {
        let attempts = Self {
            max_throttle_wait,
            began: Instant::now(),
            seen: Mutex::default(),
        };
        // The SDK's futures are large, and each one around them would hold them by value.
        let call = Box::pin(call);
        let seen = async {
            let answer = call.await;
            (
                answer,
                CALL.try_with(|call| call.seen().in_doubt)
                    .unwrap_or_default(),
            )
        };
        CALL.scope(attempts, seen).await
    }

    fn seen(&self) -> Seen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether to retry a throttled attempt.
    fn after_throttle(&self) -> RetryAction {
        if self.began.elapsed() < self.max_throttle_wait {
            RetryAction::throttling_error()
        } else {
            RetryAction::RetryForbidden
        }
    }

    /// Whether to retry an attempt that failed otherwise.
    fn after_failure(&self) -> RetryAction {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.failed += 1;
        if seen.failed >= ATTEMPTS {
            return RetryAction::RetryForbidden;
        }
        seen.in_doubt = true;
        RetryAction::transient_error()
    }
}

/// Runs after the SDK's own classifiers and overrides them.
#[derive(Debug)]
pub struct RetryPolicy {
    pub service: Service,
}

impl ClassifyRetry for RetryPolicy {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let Some(Err(error)) = context.output_or_error() else {
            return RetryAction::NoActionIndicated;
        };
        let answered = context.response().filter(|_| error.is_operation_error());
        let kind = answered.map(|response| meaning_of_answer(self.service, response));
        let act = |call: &Attempts| match kind {
            Some(ErrorKind::Throttled) => call.after_throttle(),
            Some(ErrorKind::Transient) | None => call.after_failure(),
            // Our table decides, not the SDK's: it takes ECR's `LimitExceededException`, a quota, for a throttle.
            Some(_) => RetryAction::RetryForbidden,
        };
        CALL.try_with(act).unwrap_or(RetryAction::NoActionIndicated)
    }

    fn name(&self) -> &'static str {
        "slipway_retry_policy"
    }

    fn priority(&self) -> RetryClassifierPriority {
        // The last classifier's word counts.
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}
