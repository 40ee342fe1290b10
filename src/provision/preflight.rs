//! Finds out which actions the policy of a role does not allow, before a job fails for them.
//!
//! Invariants:
//! - Nothing is changed: IAM simulates the policies of the role (IAM API Reference, SimulatePrincipalPolicy).
//! - Each action is simulated on a resource that it is meant for, under the condition that it is allowed with.

use std::collections::BTreeSet;

use aws_sdk_iam::types::{ContextEntry, ContextKeyTypeEnum, PolicyEvaluationDecisionType};
use serde_json::Value;

use crate::aws::{Account, AwsError, Service};
use crate::provision::conventions::Conventions;
use crate::provision::permission::{Condition, Scope};
use crate::provision::permissions::groups;

/// Stands for the part of a resource's name that the policy leaves open.
const SAMPLE: &str = "slipway-check";

/// The actions that the policies of a role in `account` do not allow, of those that Slipway needs.
///
/// # Errors
/// When the role may not simulate its own policies, or IAM cannot be reached.
pub async fn missing_actions(
    account: &Account,
    role_arn: &str,
    conventions: &Conventions,
) -> Result<Vec<String>, AwsError> {
    let mut missing = BTreeSet::new();
    for (scope, condition, actions) in groups() {
        let decisions = simulate(account, role_arn, conventions, scope, condition, actions).await?;
        missing.extend(decisions);
    }
    Ok(missing.into_iter().collect())
}

async fn simulate(
    account: &Account,
    role_arn: &str,
    conventions: &Conventions,
    scope: Scope,
    condition: Condition,
    actions: BTreeSet<&'static str>,
) -> Result<Vec<String>, AwsError> {
    let call = account
        .iam()
        .simulate_principal_policy()
        .policy_source_arn(role_arn)
        .set_action_names(Some(actions.into_iter().map(str::to_owned).collect()))
        .set_resource_arns(sample_resource(scope, conventions).map(|arn| vec![arn]))
        .set_context_entries(context_of(condition, conventions).map(|entry| vec![entry]))
        .max_items(1000);
    let answer = account
        .call(Service::Iam, "SimulatePrincipalPolicy", call.send())
        .await?;
    let denied = answer
        .evaluation_results
        .unwrap_or_default()
        .into_iter()
        .filter(|result| result.eval_decision != PolicyEvaluationDecisionType::Allowed);
    Ok(denied.map(|result| result.eval_action_name).collect())
}

/// A resource of this scope. `None` stands for all resources.
fn sample_resource(scope: Scope, conventions: &Conventions) -> Option<String> {
    let resources = scope.resources(conventions);
    let first = match &resources {
        Value::Array(all) => all.first()?.as_str()?,
        one => one.as_str()?,
    };
    (first != "*").then(|| {
        first
            .replace(":ecr:*:", ":ecr:us-east-1:")
            .replace('*', SAMPLE)
    })
}

/// What a request under this condition brings.
fn context_of(condition: Condition, conventions: &Conventions) -> Option<ContextEntry> {
    let (key, value) = match condition {
        Condition::Always => return None,
        Condition::TaggedOnCreation => ("aws:RequestTag/slipway:app", SAMPLE.to_owned()),
        Condition::OnOurs => ("aws:ResourceTag/slipway:app", SAMPLE.to_owned()),
        Condition::PassedToEc2 => (
            "iam:PassedToService",
            Condition::ec2(conventions).to_owned(),
        ),
        Condition::MediaPoliciesOnly => (
            "iam:PolicyARN",
            sample_resource(Scope::Policies, conventions)?,
        ),
        Condition::PoliciesOfAwsOnly | Condition::ChangePasswordOnly => (
            "iam:PolicyARN",
            format!(
                "arn:{}:iam::aws:policy/IAMUserChangePassword",
                conventions.partition
            ),
        ),
    };
    Some(
        ContextEntry::builder()
            .context_key_name(key)
            .context_key_type(ContextKeyTypeEnum::String)
            .context_key_values(value)
            .build(),
    )
}
