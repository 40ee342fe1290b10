//! Why a resource is not as wanted yet, and what follows from that.
//!
//! Invariant: every AWS error becomes a fault here, by its meaning alone.

use std::time::Duration;

use super::permission::{actions_of, is_limited};
use crate::aws::{AwsError, Meaning, Service};
use crate::domain::job::{Trouble, TroubleCode};

/// Why a resource is not as wanted yet.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// AWS is not ready yet: ask again after a while. Spends no attempt.
    Wait {
        /// What for.
        why: String,
        /// How long.
        after: Duration,
    },
    /// Failing or out of reach: try again with back-off.
    Retry(Trouble),
    /// Throttled, so that nothing was done: go on with the same call after a while.
    Throttled(Trouble),
    /// AWS does not allow it. It authorizes before it looks, so that may pass for what is too young, or is gone already.
    Denied {
        /// What people are told where it does not pass.
        trouble: Trouble,
        /// Whether the permission is limited by what AWS knows of the thing, such as its path or tags.
        limited: bool,
        /// Whether the same call may have taken effect before, unheard.
        in_doubt: bool,
    },
    /// A person has to do something first.
    Blocked(Trouble),
    /// It can never work as asked.
    Rejected(Trouble),
    /// Another worker has the job: stop, write nothing.
    LostLease,
    /// Somebody asked to end the job.
    Canceled,
    /// The process stops: hand the job back.
    Stopping,
}

impl Fault {
    /// What people are told; `None` where there is nothing to tell.
    pub fn trouble(&self) -> Option<&Trouble> {
        match self {
            Self::Retry(trouble) | Self::Throttled(trouble) | Self::Blocked(trouble) | Self::Rejected(trouble) => Some(trouble),
            Self::Denied { trouble, .. } => Some(trouble),
            Self::Wait { .. } | Self::LostLease | Self::Canceled | Self::Stopping => None,
        }
    }

    /// Whether something is there that is not this app's.
    pub fn is_conflict(&self) -> bool {
        self.trouble().is_some_and(|trouble| trouble.code == TroubleCode::Conflict)
    }

    /// Something by that name is there and is not this app's.
    pub fn conflict(id: &str, owner: Option<&str>) -> Self {
        let (detail, remedy) = match owner {
            Some(owner) => {
                let remedy = "Choose another name: Slipway does not take over what has an owner. If nobody manages it any more, take its \
                              slipway: tags off first.";
                (format!("{id} belongs to {owner}"), remedy.to_owned())
            }
            None => (
                format!("{id} is there already and was not made for this app"),
                "Ask again with \"on_existing\": \"adopt\" to take it over, choose another name, or remove it.".to_owned(),
            ),
        };
        Self::Rejected(Trouble { code: TroubleCode::Conflict, detail, remedy: Some(remedy), retryable: false, aws: None })
    }

    /// AWS does not delete a thing that something hangs on.
    pub fn held(error: &AwsError, remedy: &str) -> Self {
        Self::Blocked(Trouble {
            code: TroubleCode::Conflict,
            detail: error.to_string(),
            remedy: Some(format!("{remedy}, then retry the job.")),
            retryable: false,
            aws: Some(error.refusal()),
        })
    }

    /// What goes is not empty, and nobody has confirmed that its data goes too.
    pub fn would_delete_data(what: &str, holds: &str) -> Self {
        Self::Blocked(Trouble {
            code: TroubleCode::WouldDeleteData,
            detail: format!("the {what} holds {holds}"),
            remedy: Some("Empty it, or ask for the change again with confirm and the app's name: its data is deleted then.".into()),
            retryable: false,
            aws: None,
        })
    }

    /// A request could not even be built, which is a defect here.
    pub fn of_sdk(error: aws_smithy_types::error::operation::BuildError) -> Self {
        Self::Rejected(Trouble {
            code: TroubleCode::Internal,
            detail: format!("a request to AWS could not be built: {error}"),
            remedy: Some("This is a defect in Slipway: report it with the job's id.".into()),
            retryable: false,
            aws: None,
        })
    }

    /// An answer that lacks what it has to hold.
    pub fn unreadable(service: Service, operation: &str) -> Self {
        Self::Retry(Trouble {
            code: TroubleCode::Unavailable,
            detail: format!("{service}:{operation} got an answer without what was asked for"),
            remedy: None,
            retryable: true,
            aws: None,
        })
    }

    /// Our own record could not be read or written.
    pub fn of_store(error: &dyn std::error::Error) -> Self {
        Self::Retry(Trouble {
            code: TroubleCode::Unavailable,
            detail: format!("Slipway's database did not answer: {error}"),
            remedy: Some("Look at /readyz; the job goes on by itself when the database is back.".into()),
            retryable: true,
            aws: None,
        })
    }
}

impl From<AwsError> for Fault {
    fn from(error: AwsError) -> Self {
        let trouble = |code, remedy: Option<String>, retryable| Trouble {
            code,
            detail: error.to_string(),
            remedy,
            retryable,
            aws: Some(error.refusal()),
        };
        match error.meaning {
            Meaning::Settling => Self::Wait { why: error.to_string(), after: Duration::from_secs(1) },
            Meaning::InUse => Self::held(&error, "Take away what hangs on it"),
            Meaning::Throttled => Self::Throttled(trouble(TroubleCode::Unavailable, None, true)),
            Meaning::Transient | Meaning::NotFound | Meaning::AlreadyExists => Self::Retry(trouble(TroubleCode::Unavailable, None, true)),
            Meaning::Denied => {
                let trouble = trouble(TroubleCode::AccessDenied, Some(allow(&error)), false);
                let limited = is_limited(error.service, error.operation);
                Self::Denied { trouble, limited, in_doubt: error.in_doubt }
            }
            Meaning::BadCredentials => {
                let remedy =
                    "AWS does not take the service's credentials: look at its role and at the machine's clock, then retry the job.";
                Self::Blocked(trouble(TroubleCode::AccessDenied, Some(remedy.into()), false))
            }
            Meaning::Quota => {
                let remedy = "Ask AWS for a higher quota (Service Quotas console) or remove what is no longer used, then retry the job.";
                Self::Blocked(trouble(TroubleCode::QuotaExceeded, Some(remedy.into()), false))
            }
            Meaning::Taken => {
                let remedy = "Somebody else has a bucket by this name; bucket names are unique in the world. Choose another.";
                Self::Rejected(trouble(TroubleCode::Conflict, Some(remedy.into()), false))
            }
            Meaning::Rejected => Self::Rejected(trouble(TroubleCode::Rejected, None, false)),
            Meaning::LeaseOver => Self::LostLease,
        }
    }
}

/// What a look found; that it is not there is no error.
pub(super) fn found<T>(answer: Result<T, AwsError>) -> Result<Option<T>, Fault> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.meaning == Meaning::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn allow(error: &AwsError) -> String {
    let actions = actions_of(error.service, error.operation);
    let actions = if actions.is_empty() { format!("{}:{}", error.service, error.operation) } else { actions.join(" and ") };
    format!(
        "Allow the service's role {actions} (`slipway role-policy` prints the whole policy; with `--any-path` also \
         for users made by hand that are to be adopted), and look for a permissions \
         boundary or an organisation's policy that denies it; then retry the job."
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
            meaning: Meaning::Denied,
            in_doubt: false,
        };
        let remedy = |operation| Fault::from(error(operation)).trouble().unwrap().remedy.clone().unwrap();
        assert!(remedy("PutPublicAccessBlock").contains("s3:PutBucketPublicAccessBlock"));
        assert!(remedy("PutBucketCors").contains("s3:PutBucketCORS"));
        assert!(remedy("HeadBucket").contains("s3:ListBucket"));
    }
}
