//! How an attempt ends that has to be made again later.

use std::time::Duration;

use crate::app::service::Service;
use crate::domain::job::{JobError, JobErrorCode};
use crate::provision::backoff::full_jitter;
use crate::store::{AttemptResult, Claimed, StoreError};

/// The wait of a job before its next attempt.
pub fn backoff(service: &Service, claimed: &Claimed) -> Duration {
    full_jitter(
        service.timing.backoff,
        service.timing.backoff_cap,
        claimed.job.attempt,
    )
}

/// The job waits for its next attempt, or fails if there is no time for one.
pub fn waiting(service: &Service, claimed: &Claimed, reason: String) -> AttemptResult {
    let at = service.clock.now().after(backoff(service, claimed));
    if at < claimed.deadline {
        return AttemptResult::Waiting { reason, at };
    }
    AttemptResult::Failed(JobError {
        code: JobErrorCode::DeadlineExceeded,
        detail: reason,
        remedy: None,
        retryable: true,
        aws: None,
    })
}

pub fn database_trouble(service: &Service, claimed: &Claimed, error: &StoreError) -> AttemptResult {
    match error {
        StoreError::Corrupt { .. } => AttemptResult::NeedsAttention(JobError {
            code: JobErrorCode::Internal,
            detail: error.to_string(),
            remedy: None,
            retryable: false,
            aws: None,
        }),
        _ => waiting(service, claimed, error.to_string()),
    }
}
