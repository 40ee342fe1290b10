//! Who did what: the entries of the audit.
//!
//! Invariants:
//! - An entry is written in the same commit as what it tells of, and is never changed.
//! - An entry tells of calls of one AWS operation at most, so that an operation finds all of its calls.
//! - No entry carries a secret, a token or a claim's Idempotency-Key.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString};
use ulid::Ulid;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::domain::account::AccountState;
use crate::domain::approval::PlanDigest;
use crate::domain::caller::CallerIdentity;
use crate::domain::chat::Platform;
use crate::domain::event::{AwsCall, EventPayload};
use crate::domain::job::{AwsRefusal, JobError, JobState};
use crate::domain::names::{AccountId, RoleArn};
use crate::domain::resource_id::ResourceId;
use crate::domain::role::Role;
use crate::domain::scope::Scope;
use crate::domain::task::Task;
use crate::domain::webhook::WebhookState;

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum AuditEvent {
    /// A job was requested.
    JobRequested {
        /// The task of the job.
        task: Task,
    },
    /// The cancellation of a job was requested.
    CancelRequested,
    /// The retry of a job was requested.
    RetryRequested,
    /// The plan of a job was approved.
    JobApproved {
        /// The digest of the plan.
        plan_digest: PlanDigest,
        /// What was said with it.
        comment: Option<String>,
        /// Whether an admin approved without a second person.
        break_glass: bool,
    },
    /// The plan of a job was rejected.
    JobRejected {
        /// The digest of the plan.
        plan_digest: PlanDigest,
        /// What was said with it.
        comment: Option<String>,
    },
    /// A job changed something in AWS.
    ChangeApplied {
        /// The resource ID.
        #[schema(value_type = String, example = "iam:user/acme-shop")]
        resource: ResourceId,
        /// The change, such as `create user acme-shop`.
        change: String,
        /// The AWS calls that made the change, all of one operation.
        calls: Vec<AwsCall>,
    },
    /// A step of a job failed.
    StepFailed {
        /// The resource ID.
        #[schema(value_type = String)]
        resource: ResourceId,
        /// Why the step failed.
        reason: String,
        /// The AWS call that failed, if any.
        refused: Option<AwsRefusal>,
    },
    /// A job ended.
    JobEnded {
        /// The final state of the job.
        state: JobState,
        /// Why the job did not succeed.
        reason: Option<String>,
        /// The AWS call that failed, if any.
        refused: Option<AwsRefusal>,
    },
    /// The secret of an access key was claimed.
    SecretClaimed {
        /// The access key ID.
        #[schema(example = "AKIAIOSFODNN7EXAMPLE")]
        access_key_id: String,
        /// Whether the same claim was repeated within ten minutes.
        again: bool,
    },
    /// The first console password of a person was claimed.
    PasswordClaimed {
        /// The e-mail address of the person.
        #[schema(example = "ana@example.com")]
        person: String,
        /// Whether the same claim was repeated within ten minutes.
        again: bool,
    },
    /// An API token was created.
    TokenCreated {
        /// The ID of the token.
        #[schema(value_type = String)]
        token_id: Ulid,
        /// The name of the token.
        name: String,
        /// The role of the token.
        role: Role,
        /// The apps and accounts that the token is for. Absent for all.
        #[serde(default, skip_serializing_if = "Scope::is_all")]
        #[schema(required = false)]
        scope: Scope,
    },
    /// An API token was revoked.
    TokenRevoked {
        /// The ID of the token.
        #[schema(value_type = String)]
        token_id: Ulid,
        /// The name of the token.
        name: String,
        /// The role of the token.
        role: Role,
    },
    /// An account was registered.
    AccountRegistered {
        /// The AWS account ID.
        #[schema(example = "222222222222")]
        account_id: AccountId,
        /// The role that Slipway assumes.
        role_arn: RoleArn,
    },
    /// The role, region or defaults of an account were changed.
    AccountUpdated {
        /// The role that Slipway assumes.
        role_arn: RoleArn,
    },
    /// An account was verified by request.
    AccountVerified {
        /// The state of the account after the verification.
        state: AccountState,
    },
    /// The registration of an account was deleted.
    AccountDeleted {
        /// The AWS account ID.
        #[schema(example = "222222222222")]
        account_id: AccountId,
    },
    /// A pipeline exchanged its ID token for an API token.
    TokenExchanged {
        /// The ID of the API token.
        #[schema(value_type = String)]
        token_id: Ulid,
        /// The name of the trust rule that allows it.
        #[schema(example = "shop-production")]
        rule: String,
        /// The role of the token.
        role: Role,
        /// The apps and accounts that the token is for. Absent for all.
        #[serde(default, skip_serializing_if = "Scope::is_all")]
        #[schema(required = false)]
        scope: Scope,
    },
    /// A trust rule was created.
    TrustRuleCreated {
        /// The ID of the rule.
        #[schema(value_type = String)]
        rule_id: Ulid,
        /// The name of the rule.
        name: String,
        /// The issuer whose ID tokens it accepts.
        issuer: String,
        /// The role of the tokens.
        role: Role,
        /// The apps and accounts that the tokens are for. Absent for all.
        #[serde(default, skip_serializing_if = "Scope::is_all")]
        #[schema(required = false)]
        scope: Scope,
    },
    /// A trust rule was deleted.
    TrustRuleDeleted {
        /// The ID of the rule.
        #[schema(value_type = String)]
        rule_id: Ulid,
        /// The name of the rule.
        name: String,
    },
    /// A person signed in.
    SessionStarted {
        /// The ID of the session.
        #[schema(value_type = String)]
        session_id: Ulid,
        /// The role of the person.
        role: Role,
        /// The apps and accounts that the role is for. Absent for all.
        #[serde(default, skip_serializing_if = "Scope::is_all")]
        #[schema(required = false)]
        scope: Scope,
    },
    /// A session was ended before its time.
    SessionEnded {
        /// The ID of the session.
        #[schema(value_type = String)]
        session_id: Ulid,
        /// The name of the caller whose session it was.
        #[schema(example = "oidc:ana@example.com#5f1c0d6f0b")]
        name: String,
        /// Why it ended.
        cause: SessionEnd,
    },
    /// A webhook was created.
    WebhookCreated {
        /// The ID of the webhook.
        #[schema(value_type = String)]
        webhook_id: Ulid,
        /// The host of its URL.
        #[schema(example = "hooks.example.com")]
        host: String,
        /// The apps and accounts whose events it gets. Absent for all.
        #[serde(default, skip_serializing_if = "Scope::is_all")]
        #[schema(required = false)]
        scope: Scope,
    },
    /// A webhook was changed.
    WebhookUpdated {
        /// The ID of the webhook.
        #[schema(value_type = String)]
        webhook_id: Ulid,
        /// The host of its URL.
        host: String,
        /// Whether it is sent anything.
        state: WebhookState,
        /// The apps and accounts whose events it gets. Absent for all.
        #[serde(default, skip_serializing_if = "Scope::is_all")]
        #[schema(required = false)]
        scope: Scope,
    },
    /// A webhook was deleted.
    WebhookDeleted {
        /// The ID of the webhook.
        #[schema(value_type = String)]
        webhook_id: Ulid,
        /// The host of its URL.
        host: String,
    },
    /// The signing secret of a webhook was replaced.
    WebhookSecretRotated {
        /// The ID of the webhook.
        #[schema(value_type = String)]
        webhook_id: Ulid,
        /// The host of its URL.
        host: String,
    },
    /// Deliveries of a webhook are made again.
    WebhookReplayed {
        /// The ID of the webhook.
        #[schema(value_type = String)]
        webhook_id: Ulid,
        /// The host of its URL.
        host: String,
        /// The number of deliveries.
        deliveries: u64,
    },
    /// A webhook was disabled, because its receiver is gone or keeps failing.
    WebhookDisabled {
        /// The ID of the webhook.
        #[schema(value_type = String)]
        webhook_id: Ulid,
        /// The host of its URL.
        host: String,
        /// Why.
        reason: String,
    },
    /// A chat user was linked to the person who is signed in.
    ChatUserLinked {
        /// The chat platform.
        platform: Platform,
        /// The ID of the workspace or team.
        #[schema(example = "T0123ABCD")]
        team: String,
        /// The ID of the chat user.
        #[schema(example = "U0123ABCD")]
        user: String,
        /// The name of the caller that the chat user acts as.
        #[schema(example = "oidc:ana@example.com#5f1c0d6f0b")]
        name: String,
    },
    /// A chat user was untied.
    ChatUserUnlinked {
        /// The chat platform.
        platform: Platform,
        /// The ID of the workspace or team.
        team: String,
        /// The ID of the chat user.
        user: String,
        /// The name of the caller that the chat user acted as.
        name: String,
    },
}

/// Why a session was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionEnd {
    /// The person signed out.
    SignedOut,
    /// The person or an admin revoked it.
    Revoked,
    /// The same browser signed in again.
    Replaced,
}

/// What was done, by its name alone.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    EnumIter,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[schema(as = AuditAction)]
pub enum Action {
    /// A job was requested.
    JobRequested,
    /// The cancellation of a job was requested.
    CancelRequested,
    /// The retry of a job was requested.
    RetryRequested,
    /// The plan of a job was approved.
    JobApproved,
    /// The plan of a job was rejected.
    JobRejected,
    /// A job changed something in AWS.
    ChangeApplied,
    /// A step of a job failed.
    StepFailed,
    /// A job ended.
    JobEnded,
    /// The secret of an access key was claimed.
    SecretClaimed,
    /// The first console password of a person was claimed.
    PasswordClaimed,
    /// An API token was created.
    TokenCreated,
    /// An API token was revoked.
    TokenRevoked,
    /// An account was registered.
    AccountRegistered,
    /// The role, region or defaults of an account were changed.
    AccountUpdated,
    /// An account was verified by request.
    AccountVerified,
    /// The registration of an account was deleted.
    AccountDeleted,
    /// A pipeline exchanged its ID token for an API token.
    TokenExchanged,
    /// A trust rule was created.
    TrustRuleCreated,
    /// A trust rule was deleted.
    TrustRuleDeleted,
    /// A person signed in.
    SessionStarted,
    /// A session was ended before its time.
    SessionEnded,
    /// A webhook was created.
    WebhookCreated,
    /// A webhook was changed.
    WebhookUpdated,
    /// A webhook was deleted.
    WebhookDeleted,
    /// The signing secret of a webhook was replaced.
    WebhookSecretRotated,
    /// Deliveries of a webhook are made again.
    WebhookReplayed,
    /// A webhook was disabled, because its receiver is gone or keeps failing.
    WebhookDisabled,
    /// A chat user was linked to the person who is signed in.
    ChatUserLinked,
    /// A chat user was untied.
    ChatUserUnlinked,
}

impl AuditEvent {
    /// What of a job's happenings is kept: changes in AWS, one entry for each operation; failures; the end.
    pub fn of(payload: &EventPayload) -> Vec<Self> {
        match payload {
            EventPayload::ChangeApplied {
                resource,
                change: text,
                calls,
            }
            | EventPayload::StepProgress {
                resource,
                message: text,
                calls,
            } => {
                let entry = |calls: Vec<AwsCall>| Self::ChangeApplied {
                    resource: resource.clone(),
                    change: text.clone(),
                    calls,
                };
                by_operation(calls).into_iter().map(entry).collect()
            }
            EventPayload::StepFailed { resource, error } => {
                let (reason, refused) = (error.detail.clone(), error.aws.clone());
                vec![Self::StepFailed {
                    resource: resource.clone(),
                    reason,
                    refused,
                }]
            }
            EventPayload::JobSucceeded => vec![Self::ended(JobState::Succeeded, None)],
            EventPayload::JobFailed { error } => vec![Self::ended(JobState::Failed, Some(error))],
            EventPayload::JobNeedsAttention { error } => {
                vec![Self::ended(JobState::NeedsAttention, Some(error))]
            }
            EventPayload::JobCanceled => vec![Self::ended(JobState::Canceled, None)],
            // Requests are noted with who asked; the others change nothing.
            EventPayload::JobQueued { .. }
            | EventPayload::CancelRequested { .. }
            | EventPayload::RetryRequested { .. }
            | EventPayload::JobAwaitingApproval { .. }
            | EventPayload::JobApproved { .. }
            | EventPayload::JobRejected { .. }
            | EventPayload::JobStarted { .. }
            | EventPayload::StepStarted { .. }
            | EventPayload::StepGone { .. }
            | EventPayload::StepWaiting { .. }
            | EventPayload::StepDone { .. }
            | EventPayload::StepSkipped { .. }
            | EventPayload::Warning { .. }
            | EventPayload::JobWaiting { .. }
            | EventPayload::JobReleased { .. } => Vec::new(),
        }
    }

    fn ended(state: JobState, error: Option<&JobError>) -> Self {
        let refused = error.and_then(|error| error.aws.clone());
        Self::JobEnded {
            state,
            reason: error.map(|error| error.detail.clone()),
            refused,
        }
    }

    /// Its name.
    pub fn action(&self) -> Action {
        match self {
            Self::JobRequested { .. } => Action::JobRequested,
            Self::CancelRequested => Action::CancelRequested,
            Self::RetryRequested => Action::RetryRequested,
            Self::JobApproved { .. } => Action::JobApproved,
            Self::JobRejected { .. } => Action::JobRejected,
            Self::ChangeApplied { .. } => Action::ChangeApplied,
            Self::StepFailed { .. } => Action::StepFailed,
            Self::JobEnded { .. } => Action::JobEnded,
            Self::SecretClaimed { .. } => Action::SecretClaimed,
            Self::PasswordClaimed { .. } => Action::PasswordClaimed,
            Self::TokenCreated { .. } => Action::TokenCreated,
            Self::TokenRevoked { .. } => Action::TokenRevoked,
            Self::AccountRegistered { .. } => Action::AccountRegistered,
            Self::AccountUpdated { .. } => Action::AccountUpdated,
            Self::AccountVerified { .. } => Action::AccountVerified,
            Self::AccountDeleted { .. } => Action::AccountDeleted,
            Self::TokenExchanged { .. } => Action::TokenExchanged,
            Self::TrustRuleCreated { .. } => Action::TrustRuleCreated,
            Self::TrustRuleDeleted { .. } => Action::TrustRuleDeleted,
            Self::SessionStarted { .. } => Action::SessionStarted,
            Self::SessionEnded { .. } => Action::SessionEnded,
            Self::WebhookCreated { .. } => Action::WebhookCreated,
            Self::WebhookUpdated { .. } => Action::WebhookUpdated,
            Self::WebhookDeleted { .. } => Action::WebhookDeleted,
            Self::WebhookSecretRotated { .. } => Action::WebhookSecretRotated,
            Self::WebhookReplayed { .. } => Action::WebhookReplayed,
            Self::WebhookDisabled { .. } => Action::WebhookDisabled,
            Self::ChatUserLinked { .. } => Action::ChatUserLinked,
            Self::ChatUserUnlinked { .. } => Action::ChatUserUnlinked,
        }
    }

    /// The resource that it is about.
    pub fn resource(&self) -> Option<&str> {
        match self {
            Self::ChangeApplied { resource, .. } | Self::StepFailed { resource, .. } => {
                Some(resource.as_str())
            }
            _ => None,
        }
    }

    /// The AWS operation that it is about: service and name.
    pub fn operation(&self) -> Option<(&str, &str)> {
        match self {
            Self::ChangeApplied { calls, .. } => calls
                .first()
                .map(|call| (call.service.as_str(), call.operation.as_str())),
            Self::StepFailed { refused, .. } => refused
                .as_ref()
                .map(|call| (call.service.as_str(), call.operation.as_str())),
            _ => None,
        }
    }
}

/// Calls by their operation, in the order of each one's first; one empty list where there are no calls.
fn by_operation(calls: &[AwsCall]) -> Vec<Vec<AwsCall>> {
    let mut groups: Vec<Vec<AwsCall>> = Vec::new();
    for call in calls {
        let same = |group: &&mut Vec<AwsCall>| {
            group
                .iter()
                .any(|of| (&of.service, &of.operation) == (&call.service, &call.operation))
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(call.clone()),
            None => groups.push(vec![call.clone()]),
        }
    }
    if groups.is_empty() {
        vec![Vec::new()]
    } else {
        groups
    }
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// The sequence number of the entry. It is unique.
    pub seq: i64,
    /// When the event happened.
    pub at: Timestamp,
    /// The name of the token that made the request. For the work of a job, the token that requested the job.
    #[schema(example = "deploy-bot")]
    pub actor: String,
    /// The person or pipeline behind the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<CallerIdentity>,
    /// The name of the app at that time.
    #[schema(example = "acme-shop")]
    pub app: Option<String>,
    /// The account of the app, or the account that was registered, changed, verified or deleted.
    #[schema(example = "default")]
    pub account: Option<String>,
    /// The job. The job itself may have been deleted: jobs are retained as long as audit entries, counted from their
    /// end.
    #[schema(value_type = Option<String>)]
    pub job: Option<Ulid>,
    /// What happened.
    #[serde(flatten)]
    pub event: AuditEvent,
}

#[cfg(test)]
mod tests;
