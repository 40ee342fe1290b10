//! How often the SDK repeats a call that failed, before the engine's own back-off takes over.
//!
//! Invariants:
//! - A throttled call is repeated for as long as its caller waits for a turn: what was done before it is not done again.
//! - Any other failure that passes is repeated a few times, and what AWS refuses is not repeated.
//! - A call that may have taken effect in an attempt that nobody heard of is known as that.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::retries::classifiers::{
    ClassifyRetry, RetryAction, RetryClassifierPriority,
};
use tokio::time::Instant;

use crate::aws::error::{ErrorKind, Service};
use crate::aws::throttle_interceptor::meaning_of_answer;

/// Attempts of a call that AWS does not throttle.
pub const ATTEMPTS: u32 = 3;
/// Attempts of a call that AWS throttles, at most; patience ends them before.
pub const MAX_ATTEMPTS: u32 = 12;

/// The attempts of one call.
#[derive(Debug)]
pub struct Attempts {
    /// How long throttling may hold it up.
    patience: Duration,
    began: Instant,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    /// Attempts that failed in another way than by a throttle.
    failed: u32,
    /// Whether an attempt may have taken effect without an answer.
    in_doubt: bool,
}

tokio::task_local! {
    static CALL: Attempts;
}

impl Attempts {
    /// Makes a call; whether an attempt before its last one may have taken effect unheard.
    pub async fn of<T>(patience: Duration, call: impl Future<Output = T>) -> (T, bool) {
        let attempts = Self {
            patience,
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

    /// Whether a throttled attempt is repeated.
    fn after_throttle(&self) -> RetryAction {
        if self.began.elapsed() < self.patience {
            RetryAction::throttling_error()
        } else {
            RetryAction::RetryForbidden
        }
    }

    /// Whether an attempt is repeated that failed in another way.
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

/// Decides after the SDK's own classifiers, whose word it changes.
#[derive(Debug)]
pub struct Patience {
    /// The service that is called.
    pub service: Service,
}

impl ClassifyRetry for Patience {
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
        "patience with throttles"
    }

    fn priority(&self) -> RetryClassifierPriority {
        // The last classifier's word counts.
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}
