//! The policy that the service's role needs, collected from the kinds.
//!
//! Invariant: the policy allows exactly the operations that the kinds declare, and the remedy of a denied call names
//! the actions of its operation.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::aws::{RequiredAccess, Service};
use crate::domain::names::RoleArn;
use crate::provision::conventions::Conventions;
use crate::provision::kinds::PERMISSIONS;
use crate::provision::permission::{Condition, Permission, Scope};

/// Every operation of every kind.
pub fn all() -> impl Iterator<Item = &'static Permission> {
    PERMISSIONS.iter().copied().flatten()
}

/// What the service's role needs to call an operation.
pub fn required_access(service: Service, operation: &str) -> RequiredAccess {
    let declared = all().filter(|p| p.service == service && p.operation == operation);
    let mut required = RequiredAccess {
        // The role's policy limits IAM actions by the path of users and groups.
        depends_on_resource: service == Service::Iam,
        ..RequiredAccess::default()
    };
    for permission in declared {
        if required.actions.is_empty() {
            required.actions = permission.actions;
        }
        required.effect = permission.effect;
        required.depends_on_resource |= permission.condition == Condition::OnOurs;
    }
    required
}

/// The actions by the resources that they are allowed on and the condition, each action once and in order.
pub fn groups() -> Vec<(Scope, Condition, BTreeSet<&'static str>)> {
    let mut groups: Vec<(Scope, Condition, BTreeSet<&str>)> = Vec::new();
    for permission in all() {
        let place = (permission.scope, permission.condition);
        let known = groups
            .iter_mut()
            .find(|(scope, condition, _)| (*scope, *condition) == place);
        match known {
            Some((_, _, actions)) => actions.extend(permission.actions),
            None => groups.push((
                place.0,
                place.1,
                permission.actions.iter().copied().collect(),
            )),
        }
    }
    groups
}

/// The policy that the service's role needs, scoped to path and tags where AWS allows it.
pub fn role_policy(conventions: &Conventions) -> Value {
    let statements = groups().into_iter().map(|(scope, condition, actions)| {
        let mut statement = Map::new();
        statement.insert("Effect".into(), json!("Allow"));
        statement.insert("Action".into(), json!(actions));
        statement.insert("Resource".into(), scope.resources(conventions));
        if let Some(condition) = condition.document(conventions) {
            statement.insert("Condition".into(), condition);
        }
        Value::Object(statement)
    });
    json!({"Version": "2012-10-17", "Statement": statements.collect::<Vec<_>>()})
}

/// The policy of the role that the service itself has: also what checks that policy, and assumes the roles of other
/// accounts.
pub fn own_role_policy(
    conventions: &Conventions,
    role_arn: Option<&RoleArn>,
    assumed: &[RoleArn],
) -> Value {
    let mut policy = role_policy(conventions);
    if let Some(statements) = policy["Statement"].as_array_mut() {
        statements.push(simulate_own(role_arn, conventions));
        if !assumed.is_empty() {
            statements.push(assume_roles(assumed));
        }
    }
    policy
}

/// The statement that lets the service check its own policy. A role that is not known is any role of
/// the account.
fn simulate_own(role_arn: Option<&RoleArn>, conventions: &Conventions) -> Value {
    let resource = match role_arn {
        Some(arn) => arn.to_string(),
        None => format!(
            "arn:{}:iam::{}:role/*",
            conventions.partition, conventions.account_id
        ),
    };
    json!({"Effect": "Allow", "Action": ["iam:SimulatePrincipalPolicy"], "Resource": resource})
}

/// The statement that lets the service's own role assume roles in registered accounts.
fn assume_roles(role_arns: &[RoleArn]) -> Value {
    json!({
        "Effect": "Allow",
        "Action": ["sts:AssumeRole", "sts:SetSourceIdentity", "sts:TagSession"],
        "Resource": role_arns,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::Effect;

    /// Operations whose actions have the access level List or Read in AWS's Service Authorization Reference.
    const READS: &str = "
        DescribeImages DescribeRepositories GetAccessKeyLastUsed GetAccountPasswordPolicy GetAccountSummary
        GetBucketCors GetBucketOwnershipControls GetBucketTagging GetGroup GetInstanceProfile GetLifecyclePolicy
        GetLifecyclePolicyPreview GetLoginProfile GetOpenIDConnectProvider GetPolicy GetPolicyVersion
        GetPublicAccessBlock GetRole GetRolePolicy GetUser HeadBucket ListAccessKeys ListAccountAliases
        ListAttachedGroupPolicies ListAttachedRolePolicies ListAttachedUserPolicies ListBuckets ListGroupsForUser
        ListImages ListMFADevices ListMultipartUploads ListObjectVersions ListPolicies ListPolicyVersions
        ListRolePolicies ListSSHPublicKeys ListServiceSpecificCredentials ListSigningCertificates ListTagsForResource
        ListUserPolicies";

    #[test]
    fn exactly_the_reads_of_aws_are_declared_as_reads() {
        let reads: BTreeSet<_> = READS.split_whitespace().collect();
        let declared: BTreeSet<_> = all()
            .filter(|permission| permission.effect == Effect::Read)
            .map(|permission| permission.operation)
            .collect();
        assert_eq!(declared, reads);
        for permission in all() {
            let required = required_access(permission.service, permission.operation);
            assert_eq!(required.effect, permission.effect, "{permission:?}");
        }
    }

    #[test]
    fn an_operation_that_nobody_declared_counts_as_a_change() {
        let required = required_access(Service::Iam, "GetSomethingNew");
        assert_eq!(required.effect, Effect::Change);
    }
}
