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
mod tests {
    use serde_json::{Value, json};
    use strum::IntoEnumIterator as _;

    use super::*;

    fn call(operation: &str, request_id: &str) -> AwsCall {
        AwsCall {
            service: "iam".into(),
            operation: operation.into(),
            request_id: Some(request_id.into()),
        }
    }

    fn one_of_each() -> Vec<AuditEvent> {
        let account_id = AccountId::parse("222222222222").unwrap();
        let plan_digest = PlanDigest::parse(&"0".repeat(64)).unwrap();
        let role_arn = RoleArn::parse("arn:aws:iam::222222222222:role/Slipway").unwrap();
        let refused = Some(AwsRefusal {
            service: "iam".into(),
            operation: "CreateUser".into(),
            code: "AccessDenied".into(),
            request_id: None,
        });
        vec![
            AuditEvent::JobRequested {
                task: Task::Onboard {
                    accept_expiry: true,
                },
            },
            AuditEvent::CancelRequested,
            AuditEvent::RetryRequested,
            AuditEvent::JobApproved {
                plan_digest: plan_digest.clone(),
                comment: None,
                break_glass: true,
            },
            AuditEvent::JobRejected {
                plan_digest,
                comment: Some("Not now.".into()),
            },
            AuditEvent::ChangeApplied {
                resource: ResourceId::new("iam:user", "a"),
                change: "create user a".into(),
                calls: vec![call("CreateUser", "r-1")],
            },
            AuditEvent::StepFailed {
                resource: ResourceId::new("iam:user", "a"),
                reason: "denied".into(),
                refused: refused.clone(),
            },
            AuditEvent::JobEnded {
                state: JobState::Failed,
                reason: Some("denied".into()),
                refused,
            },
            AuditEvent::SecretClaimed {
                access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
                again: false,
            },
            AuditEvent::PasswordClaimed {
                person: "ana@example.com".into(),
                again: false,
            },
            AuditEvent::TokenCreated {
                token_id: Ulid::nil(),
                name: "bot".into(),
                role: Role::Viewer,
                scope: Scope::default(),
            },
            AuditEvent::TokenRevoked {
                token_id: Ulid::nil(),
                name: "bot".into(),
                role: Role::Viewer,
            },
            AuditEvent::AccountRegistered {
                account_id: account_id.clone(),
                role_arn: role_arn.clone(),
            },
            AuditEvent::AccountUpdated { role_arn },
            AuditEvent::AccountVerified {
                state: AccountState::Ready,
            },
            AuditEvent::AccountDeleted { account_id },
            AuditEvent::TokenExchanged {
                token_id: Ulid::nil(),
                rule: "shop".into(),
                role: Role::Operator,
                scope: Scope::default(),
            },
            AuditEvent::TrustRuleCreated {
                rule_id: Ulid::nil(),
                name: "shop".into(),
                issuer: "https://gitlab.com".into(),
                role: Role::Operator,
                scope: Scope::default(),
            },
            AuditEvent::TrustRuleDeleted {
                rule_id: Ulid::nil(),
                name: "shop".into(),
            },
            AuditEvent::SessionStarted {
                session_id: Ulid::nil(),
                role: Role::Operator,
                scope: Scope::default(),
            },
            AuditEvent::SessionEnded {
                session_id: Ulid::nil(),
                name: "oidc:ana#5f1c0d6f0b".into(),
                cause: SessionEnd::SignedOut,
            },
            AuditEvent::WebhookCreated {
                webhook_id: Ulid::nil(),
                host: "hooks.example.com".into(),
                scope: Scope::default(),
            },
            AuditEvent::WebhookUpdated {
                webhook_id: Ulid::nil(),
                host: "hooks.example.com".into(),
                state: WebhookState::Active,
                scope: Scope::default(),
            },
            AuditEvent::WebhookDeleted {
                webhook_id: Ulid::nil(),
                host: "hooks.example.com".into(),
            },
            AuditEvent::WebhookSecretRotated {
                webhook_id: Ulid::nil(),
                host: "hooks.example.com".into(),
            },
            AuditEvent::WebhookReplayed {
                webhook_id: Ulid::nil(),
                host: "hooks.example.com".into(),
                deliveries: 2,
            },
            AuditEvent::WebhookDisabled {
                webhook_id: Ulid::nil(),
                host: "hooks.example.com".into(),
                reason: "gone".into(),
            },
            AuditEvent::ChatUserLinked {
                platform: Platform::Slack,
                team: "T1".into(),
                user: "U1".into(),
                name: "oidc:ana#5f1c0d6f0b".into(),
            },
            AuditEvent::ChatUserUnlinked {
                platform: Platform::Slack,
                team: "T1".into(),
                user: "U1".into(),
                name: "oidc:ana#5f1c0d6f0b".into(),
            },
        ]
    }

    #[test]
    fn every_deed_is_written_under_its_name_and_read_back() {
        let events = one_of_each();
        assert_eq!(
            events.iter().map(AuditEvent::action).collect::<Vec<_>>(),
            Action::iter().collect::<Vec<_>>()
        );
        for (seq, event) in (0..).zip(events) {
            let action = event.action();
            let entry = AuditEntry {
                seq,
                at: Timestamp::from_millis(1),
                actor: "ann".into(),
                identity: None,
                app: None,
                account: None,
                job: Some(Ulid::nil()),
                event,
            };
            let written = serde_json::to_value(&entry).unwrap();
            assert_eq!(written["action"], action.to_string());
            assert_eq!(
                written["action"]
                    .as_str()
                    .unwrap()
                    .parse::<Action>()
                    .unwrap(),
                action
            );
            assert_eq!(
                serde_json::from_value::<AuditEntry>(written).unwrap(),
                entry
            );
        }
    }

    #[test]
    fn what_every_deed_tells_is_this_and_no_secret() {
        let fields = |event: &AuditEvent| {
            let Value::Object(fields) = serde_json::to_value(event).unwrap() else {
                panic!("{event:?} is no object")
            };
            format!(
                "{}: {}",
                event.action(),
                fields
                    .keys()
                    .filter(|key| *key != "action")
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(" ")
            )
        };
        insta::assert_snapshot!(one_of_each().iter().map(fields).collect::<Vec<_>>().join("\n"), @r"
        job_requested: task
        cancel_requested: 
        retry_requested: 
        job_approved: break_glass comment plan_digest
        job_rejected: comment plan_digest
        change_applied: calls change resource
        step_failed: reason refused resource
        job_ended: reason refused state
        secret_claimed: access_key_id again
        password_claimed: again person
        token_created: name role token_id
        token_revoked: name role token_id
        account_registered: account_id role_arn
        account_updated: role_arn
        account_verified: state
        account_deleted: account_id
        token_exchanged: role rule token_id
        trust_rule_created: issuer name role rule_id
        trust_rule_deleted: name rule_id
        session_started: role session_id
        session_ended: cause name session_id
        webhook_created: host webhook_id
        webhook_updated: host state webhook_id
        webhook_deleted: host webhook_id
        webhook_secret_rotated: host webhook_id
        webhook_replayed: deliveries host webhook_id
        webhook_disabled: host reason webhook_id
        chat_user_linked: name platform team user
        chat_user_unlinked: name platform team user
        ");
    }

    #[test]
    fn a_change_by_several_operations_is_an_entry_for_each() {
        let calls = vec![
            call("DeletePolicyVersion", "r-1"),
            call("CreatePolicyVersion", "r-2"),
            call("DeletePolicyVersion", "r-3"),
        ];
        let resource = ResourceId::new("iam:policy", "P");
        let change = "put a new version".to_owned();
        let told = EventPayload::ChangeApplied {
            resource: resource.clone(),
            change: change.clone(),
            calls: calls.clone(),
        };
        let events = AuditEvent::of(&told);
        let noted: Vec<_> = events
            .iter()
            .map(|event| {
                (
                    event.operation().unwrap().1,
                    serde_json::to_value(event).unwrap()["calls"].clone(),
                )
            })
            .collect();
        let ids = |ids: &[&str], operation: &str| {
            json!(
                ids.iter()
                    .map(|id| json!({"service": "iam", "operation": operation, "request_id": id}))
                    .collect::<Vec<_>>()
            )
        };
        let expected = [
            (
                "DeletePolicyVersion",
                ids(&["r-1", "r-3"], "DeletePolicyVersion"),
            ),
            ("CreatePolicyVersion", ids(&["r-2"], "CreatePolicyVersion")),
        ];
        assert_eq!(noted, expected);
        let without = AuditEvent::of(&EventPayload::ChangeApplied {
            resource: resource.clone(),
            change: change.clone(),
            calls: Vec::new(),
        });
        assert_eq!(
            without,
            [AuditEvent::ChangeApplied {
                resource: resource.clone(),
                change,
                calls: Vec::new()
            }],
            "a change is told of also without its calls"
        );
    }
}
