//! Why a resource is not as wanted yet, and what follows from that.
//!
//! Invariant: every AWS error becomes a fault here, by its meaning alone.

use std::time::Duration;

use crate::aws::{AwsError, ErrorKind, Service};
use crate::domain::job::{JobError, JobErrorCode};
use crate::domain::resource_id::ResourceId;

/// Why a resource does not match its target yet.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// AWS is not ready yet. The resource is tried again later, which does not count as an attempt.
    Wait {
        /// The reason.
        why: String,
        /// The delay.
        after: Duration,
    },
    /// A transient failure. The resource is tried again with backoff.
    Retry(JobError),
    /// AWS throttled the call, so it had no effect. The same call is repeated later.
    Throttled(JobError),
    /// AWS denies the call. AWS authorizes a call before it looks the resource up, so the denial can be temporary for
    /// a resource that was just created or deleted.
    Denied {
        /// The error that is reported if the denial is not temporary.
        job_error: JobError,
        /// Whether the permission depends on the resource's path or tags.
        depends_on_resource: bool,
        /// Whether the same call may have taken effect in an attempt whose response was lost.
        in_doubt: bool,
    },
    /// A person has to act first.
    Blocked(JobError),
    /// The resource can never reach its target as requested.
    Rejected(JobError),
    /// Another worker has the job. The attempt stops and writes nothing.
    LostLease,
    /// The job was canceled.
    Canceled,
    /// The process is shutting down and releases the job.
    Stopping,
}

impl Fault {
    /// The error to report. `None` if there is none.
    pub fn job_error(&self) -> Option<&JobError> {
        match self {
            Self::Retry(job_error)
            | Self::Throttled(job_error)
            | Self::Blocked(job_error)
            | Self::Rejected(job_error) => Some(job_error),
            Self::Denied { job_error, .. } => Some(job_error),
            Self::Wait { .. } | Self::LostLease | Self::Canceled | Self::Stopping => None,
        }
    }

    /// Whether a resource with this name exists and does not belong to the app.
    pub fn is_conflict(&self) -> bool {
        self.job_error()
            .is_some_and(|job_error| job_error.code == JobErrorCode::Conflict)
    }

    /// A resource with this name exists and does not belong to the app.
    pub fn conflict(id: &ResourceId, owner: Option<&str>) -> Self {
        let (detail, remedy) = match owner {
            Some(owner) => {
                let remedy = "Choose another name. Slipway does not adopt a resource that has an owner. If the owner no longer manages it, remove its `slipway:` tags first.";
                (format!("{id} already exists and belongs to {owner}."), remedy.to_owned())
            }
            None => (
                format!("{id} already exists and was not created for this app."),
                "To adopt it, repeat the request with \"on_existing\": \"adopt\". Otherwise, choose another name or delete it.".to_owned(),
            ),
        };
        Self::Rejected(JobError::new(JobErrorCode::Conflict, detail, remedy))
    }

    /// IAM has the name already, in another case.
    pub fn same_in_other_case(noun: &str, wanted: &str, seen: &str) -> Self {
        Self::Rejected(JobError::new(
            JobErrorCode::Conflict,
            format!(
                "{noun} {seen} already exists. IAM {} names are not case-sensitive, so {wanted} is the same name.",
                noun.to_lowercase()
            ),
            "Choose a name that differs in more than case.",
        ))
    }

    /// AWS does not delete a resource that other resources depend on.
    pub fn in_use(error: &AwsError, remedy: &str) -> Self {
        Self::Blocked(JobError {
            code: JobErrorCode::Conflict,
            detail: error.to_string(),
            remedy: Some(format!("{remedy}, then retry the job.")),
            retryable: false,
            aws: Some(error.refusal()),
        })
    }

    /// The resource is not empty, and the deletion of its data was not confirmed.
    pub fn would_delete_data(what: &str, holds: &str) -> Self {
        Self::Blocked(JobError::new(
            JobErrorCode::WouldDeleteData,
            format!("The {what} contains {holds}."),
            "To delete its data, repeat the request with `confirm=<app name>`. Otherwise, empty it, then retry the job.",
        ))
    }

    /// The SDK could not build a request, which is a bug in Slipway.
    pub fn of_sdk(error: aws_smithy_types::error::operation::BuildError) -> Self {
        Self::Rejected(JobError::new(
            JobErrorCode::Internal,
            format!("An AWS request could not be built: {error}"),
            "This is a bug in Slipway. Report it with the job ID.",
        ))
    }

    /// A response that lacks required data.
    pub fn unreadable(service: Service, operation: &str) -> Self {
        Self::Retry(JobError {
            code: JobErrorCode::Unavailable,
            detail: format!("{service}:{operation} returned an incomplete response."),
            remedy: None,
            retryable: true,
            aws: None,
        })
    }

    /// The database could not be read or written.
    pub fn of_store(error: &dyn std::error::Error) -> Self {
        Self::Retry(JobError {
            code: JobErrorCode::Unavailable,
            detail: format!("The database of Slipway is not available: {error}"),
            remedy: Some(
                "Check /readyz. The job continues when the database is available again.".into(),
            ),
            retryable: true,
            aws: None,
        })
    }
}

impl From<AwsError> for Fault {
    fn from(error: AwsError) -> Self {
        let job_error = |code, remedy: Option<String>, retryable| JobError {
            code,
            detail: error.to_string(),
            remedy,
            retryable,
            aws: Some(error.refusal()),
        };
        match error.kind {
            ErrorKind::Settling => Self::Wait {
                why: error.to_string(),
                after: Duration::from_secs(1),
            },
            ErrorKind::InUse => Self::in_use(&error, "Remove the resources that depend on it"),
            ErrorKind::Throttled => {
                Self::Throttled(job_error(JobErrorCode::Unavailable, None, true))
            }
            ErrorKind::Transient | ErrorKind::NotFound | ErrorKind::AlreadyExists => {
                Self::Retry(job_error(JobErrorCode::Unavailable, None, true))
            }
            ErrorKind::Denied => {
                let job_error = job_error(JobErrorCode::AccessDenied, Some(allow(&error)), false);
                Self::Denied {
                    job_error,
                    depends_on_resource: error.access.depends_on_resource,
                    in_doubt: error.in_doubt,
                }
            }
            ErrorKind::BadCredentials => {
                let remedy = "AWS rejects the service's credentials. Check the service's role and the clock of its machine, then retry the job.";
                Self::Blocked(job_error(
                    JobErrorCode::AccessDenied,
                    Some(remedy.into()),
                    false,
                ))
            }
            ErrorKind::AccountRefused => {
                let remedy = "Verify the account (POST /v1/accounts/{account}/verify), correct what it reports, then retry the job.";
                Self::Blocked(job_error(
                    JobErrorCode::AccessDenied,
                    Some(remedy.into()),
                    false,
                ))
            }
            ErrorKind::Quota => {
                let remedy = "Request a quota increase from AWS (Service Quotas console) or remove unused resources, then retry the job.";
                Self::Blocked(job_error(
                    JobErrorCode::QuotaExceeded,
                    Some(remedy.into()),
                    false,
                ))
            }
            ErrorKind::Taken => {
                let remedy = "Another AWS account owns a bucket with this name. Bucket names are globally unique. Choose another name.";
                Self::Rejected(job_error(
                    JobErrorCode::Conflict,
                    Some(remedy.into()),
                    false,
                ))
            }
            ErrorKind::Rejected => Self::Rejected(job_error(JobErrorCode::Rejected, None, false)),
            ErrorKind::LeaseOver => Self::LostLease,
        }
    }
}

/// The result of a read. A resource that does not exist is not an error.
pub(crate) fn found<T>(answer: Result<T, AwsError>) -> Result<Option<T>, Fault> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn allow(error: &AwsError) -> String {
    let actions = error.access.actions;
    let actions = if actions.is_empty() {
        format!("{}:{}", error.service, error.operation)
    } else {
        actions.join(" and ")
    };
    format!(
        "Allow {actions} in the policy of the service's role. `slipway role-policy` prints the complete policy; add `--any-path` if the app adopts a manually created user. Also check for a permissions boundary or an AWS Organizations policy that denies the call, then retry the job."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_call_names_the_action_to_allow() {
        let error = |operation| AwsError {
            service: Service::S3,
            operation,
            code: "AccessDenied".into(),
            message: String::new(),
            request_id: None,
            status: Some(403),
            kind: ErrorKind::Denied,
            in_doubt: false,
            access: crate::provision::permissions::required_access(Service::S3, operation),
        };
        let remedy = |operation| {
            Fault::from(error(operation))
                .job_error()
                .unwrap()
                .remedy
                .clone()
                .unwrap()
        };
        assert!(remedy("PutPublicAccessBlock").contains("s3:PutBucketPublicAccessBlock"));
        assert!(remedy("PutBucketCors").contains("s3:PutBucketCORS"));
        assert!(remedy("HeadBucket").contains("s3:ListBucket"));
    }
}
