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
