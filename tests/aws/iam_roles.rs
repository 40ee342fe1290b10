//! IAM's roles, instance profiles and OIDC providers.
//!
//! Invariants: those of `iam.rs`. Documents come back in another form than they were sent in: one value for a list of one.
//!
//! Source of codes and messages: IAM API Reference; quotas: IAM User Guide, "IAM and AWS STS quotas".

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::iam::{
    account, add_tags, attachable, attachment, conflict, detached, exists, iam_arn, malformed,
    no_such, page, path, remove_tags, unknown, within,
};
use super::protocol::{Refused, list, text};
use super::state::{
    Answer, InstanceProfile, OidcProvider, Request, Role, Tags, World, date, tag_list, tags_of,
};

/// Characters of a trust policy, and of all inline policies of a role.
const MAX_TRUST: usize = 2048;
const MAX_INLINE: usize = 10_240;
/// Roles of an instance profile.
const MAX_ROLES: usize = 1;

type Changed = Result<(), Refused>;

pub fn call(world: &mut World, r: &Request<'_>) -> Answer {
    let named = |member: &str| text(r.input, member).unwrap_or_default();
    let (role, profile) = (named("RoleName"), named("InstanceProfileName"));
    match r.operation {
        "CreateRole" => create_role(world, r, role),
        "GetRole" => Ok(json!({"Role": described(r, &*seen_role(world, r, role)?, true)})),
        "ListRoles" => {
            let roles = account(world, r).roles.values();
            let roles = roles.filter_map(|cell| cell.at(r.look));
            page(
                r,
                "Roles",
                roles.map(|role| described(r, role, false)).collect(),
            )
        }
        "DeleteRole" => delete_role(world, r, role),
        "TagRole" => {
            let tags = tags_of(&r.input["Tags"]);
            change_role(world, r, role, |role| add_tags(r, &mut role.tags, tags))
        }
        "UntagRole" => change_role(world, r, role, |role| {
            remove_tags(r, &mut role.tags);
            Ok(())
        }),
        "UpdateAssumeRolePolicy" => {
            let trust = valid_trust(world, r, "PolicyDocument")?;
            change_role(world, r, role, |role| {
                role.trust = trust;
                Ok(())
            })
        }
        "CreateInstanceProfile" => create_profile(world, r, profile),
        "GetInstanceProfile" => {
            let seen = seen_profile(world, r, profile)?;
            Ok(json!({"InstanceProfile": described_profile(world, r, &seen)}))
        }
        "DeleteInstanceProfile" => delete_profile(world, r, profile),
        "TagInstanceProfile" => {
            let tags = tags_of(&r.input["Tags"]);
            change_profile(world, r, profile, |it| add_tags(r, &mut it.tags, tags))
        }
        "UntagInstanceProfile" => change_profile(world, r, profile, |it| {
            remove_tags(r, &mut it.tags);
            Ok(())
        }),
        "AddRoleToInstanceProfile" => {
            seen_role(world, r, role)?;
            change_profile(world, r, profile, |it| {
                within(
                    it.roles.len() + 1,
                    MAX_ROLES,
                    "InstanceSessionsPerInstanceProfile",
                )?;
                it.roles.insert(role.to_lowercase());
                Ok(())
            })
        }
        "RemoveRoleFromInstanceProfile" => {
            let removed = role.to_lowercase();
            change_profile(world, r, profile, |it| {
                let was_there = it.roles.remove(&removed);
                was_there.then_some(()).ok_or_else(|| no_role(role))
            })
        }
        operation if operation.ends_with("OpenIDConnectProvider") => provider_call(world, r),
        _ => policy_call(world, r, role),
    }
}

fn policy_call(world: &mut World, r: &Request<'_>, role: &str) -> Answer {
    let name = text(r.input, "PolicyName").unwrap_or_default();
    let arn = text(r.input, "PolicyArn").unwrap_or_default();
    let missing = || no_such(format!("The role policy with name {name} cannot be found."));
    match r.operation {
        "PutRolePolicy" => {
            let document = valid_policy(r)?;
            change_role(world, r, role, |role| {
                role.inline.insert(name.to_owned(), document);
                let length = role.inline.values().map(length).sum();
                within(length, MAX_INLINE, "ACLSizePerRole")
            })
        }
        "GetRolePolicy" => {
            let role = seen_role(world, r, role)?;
            let document = role.inline.get(name).ok_or_else(missing)?;
            Ok(json!({
                "RoleName": role.name, "PolicyName": name, "PolicyDocument": as_returned(document).to_string(),
            }))
        }
        "DeleteRolePolicy" => change_role(world, r, role, |role| {
            role.inline.remove(name).map(|_| ()).ok_or_else(missing)
        }),
        "ListRolePolicies" => {
            let role = seen_role(world, r, role)?;
            page(
                r,
                "PolicyNames",
                role.inline.keys().map(|name| json!(name)).collect(),
            )
        }
        "AttachRolePolicy" => {
            attachable(world, r, arn)?;
            let most = r.limits().policies_a_user;
            change_role(world, r, role, |role| {
                role.attached.insert(arn.to_owned());
                within(role.attached.len(), most, "PoliciesPerRole")
            })
        }
        "DetachRolePolicy" => change_role(world, r, role, |role| {
            detached(role.attached.remove(arn), arn)
        }),
        "ListAttachedRolePolicies" => {
            let role = seen_role(world, r, role)?;
            page(
                r,
                "AttachedPolicies",
                role.attached.iter().map(attachment).collect(),
            )
        }
        "ListInstanceProfilesForRole" => {
            seen_role(world, r, role)?;
            let lower = role.to_lowercase();
            let profiles = account(world, r).instance_profiles.values();
            let profiles: Vec<Arc<InstanceProfile>> = profiles
                .filter_map(|cell| cell.at(r.look))
                .filter(|profile| profile.roles.contains(&lower))
                .cloned()
                .collect();
            let described = profiles
                .iter()
                .map(|profile| described_profile(world, r, profile))
                .collect();
            page(r, "InstanceProfiles", described)
        }
        operation => Err(unknown(operation)),
    }
}

// Roles

fn no_role(name: &str) -> Refused {
    no_such(format!("The role with name {name} cannot be found."))
}

/// The role as it is visible.
fn seen_role(world: &mut World, r: &Request<'_>, name: &str) -> Result<Arc<Role>, Refused> {
    let cell = account(world, r).roles.get(&name.to_lowercase());
    cell.and_then(|cell| cell.at(r.look))
        .cloned()
        .ok_or_else(|| no_role(name))
}

fn change_role(
    world: &mut World,
    r: &Request<'_>,
    name: &str,
    change: impl FnOnce(&mut Role) -> Changed,
) -> Answer {
    seen_role(world, r, name)?;
    let cell = account(world, r)
        .roles
        .entry(name.to_lowercase())
        .or_default();
    let mut role = Role::clone(cell.latest().ok_or_else(|| no_role(name))?);
    change(&mut role)?;
    cell.write(Some(role), r.times(&format!("role/{name}"), "iam"), r.now);
    Ok(json!({}))
}

fn create_role(world: &mut World, r: &Request<'_>, name: &str) -> Answer {
    let trust = valid_trust(world, r, "AssumeRolePolicyDocument")?;
    let cell = account(world, r)
        .roles
        .entry(name.to_lowercase())
        .or_default();
    if cell.latest().is_some() {
        return Err(exists(format!("Role with name {name} already exists.")));
    }
    let mut role = Role {
        name: name.into(),
        path: path(r),
        id: r.new_id("AROA"),
        created: r.date,
        tags: Tags::new(),
        trust,
        inline: Default::default(),
        attached: Default::default(),
    };
    add_tags(r, &mut role.tags, tags_of(&r.input["Tags"]))?;
    let output = json!({"Role": described(r, &role, true)});
    cell.write(Some(role), r.times(&format!("role/{name}"), "iam"), r.now);
    Ok(output)
}

fn delete_role(world: &mut World, r: &Request<'_>, name: &str) -> Answer {
    let seen = seen_role(world, r, name)?;
    let lower = name.to_lowercase();
    let is_used = |profile: Option<&Arc<InstanceProfile>>| {
        profile.is_some_and(|profile| profile.roles.contains(&lower))
    };
    let mut profiles = account(world, r).instance_profiles.values();
    let in_profile = profiles.any(|cell| is_used(cell.latest()) || is_used(cell.at(r.look)));
    let cell = account(world, r).roles.entry(lower.clone()).or_default();
    let latest = cell.latest().cloned().ok_or_else(|| no_role(name))?;
    let holds = [
        (in_profile, "remove roles from instance profile"),
        (
            !latest.inline.is_empty() || !seen.inline.is_empty(),
            "delete policies",
        ),
        (
            !latest.attached.is_empty() || !seen.attached.is_empty(),
            "detach all policies",
        ),
    ];
    if let Some((_, what)) = holds.into_iter().find(|(holds, _)| *holds) {
        return Err(conflict(format!(
            "Cannot delete entity, must {what} first."
        )));
    }
    cell.write(None, r.times(&format!("role/{name}"), "iam"), r.now);
    Ok(json!({}))
}

fn described(r: &Request<'_>, role: &Role, with_tags: bool) -> Value {
    let mut described = json!({
        "Path": role.path, "RoleName": role.name, "RoleId": role.id, "CreateDate": date(role.created),
        "Arn": iam_arn(r, &format!("role{}{}", role.path, role.name)),
        "AssumeRolePolicyDocument": as_returned(&role.trust).to_string(),
    });
    if with_tags && !role.tags.is_empty() {
        described["Tags"] = tag_list(&role.tags);
    }
    described
}

// Documents

fn length(document: &Value) -> usize {
    let text = document.to_string();
    text.chars().filter(|c| !c.is_whitespace()).count()
}

fn statements(document: &Value) -> Result<Vec<&Value>, Refused> {
    match &document["Statement"] {
        Value::Array(statements) => Ok(statements.iter().collect()),
        one @ Value::Object(_) => Ok(vec![one]),
        _ => Err(malformed("Syntax errors in policy.")),
    }
}

fn document(r: &Request<'_>, member: &str) -> Result<Value, Refused> {
    serde_json::from_str(text(r.input, member).unwrap_or_default())
        .map_err(|_| malformed("Syntax errors in policy."))
}

fn valid_policy(r: &Request<'_>) -> Result<Value, Refused> {
    let document = document(r, "PolicyDocument")?;
    for statement in statements(&document)? {
        if !statement["Principal"].is_null() {
            return Err(malformed("Policy document should not specify a principal."));
        }
    }
    Ok(document)
}

/// A trust policy that IAM takes. Of a provider of this account, it has to know the provider.
fn valid_trust(world: &mut World, r: &Request<'_>, member: &str) -> Result<Value, Refused> {
    let document = document(r, member)?;
    for statement in statements(&document)? {
        if statement["Principal"].is_null() || statement["Action"].is_null() {
            return Err(malformed("Missing required field Principal"));
        }
        if !statement["Resource"].is_null() {
            return Err(malformed("Has prohibited field Resource"));
        }
        let federated = &statement["Principal"]["Federated"];
        let issuer = federated
            .as_str()
            .and_then(|arn| arn.split_once(":oidc-provider/"));
        if let Some((_, issuer)) = issuer {
            seen_provider(world, r, issuer).map_err(|_| {
                malformed(format!(
                    "Invalid principal in policy: \"FEDERATED\":{federated}"
                ))
            })?;
        }
    }
    within(length(&document), MAX_TRUST, "ACLSizePerRole")?;
    Ok(document)
}

/// A document as AWS returns it: one value for a list of one.
fn as_returned(document: &Value) -> Value {
    match document {
        Value::Array(items) if items.len() == 1 && items[0].is_string() => items[0].clone(),
        Value::Array(items) => items.iter().rev().map(as_returned).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), as_returned(value)))
            .collect(),
        other => other.clone(),
    }
}

// Instance profiles

fn no_profile(name: &str) -> Refused {
    no_such(format!("Instance Profile {name} cannot be found."))
}

fn seen_profile(
    world: &mut World,
    r: &Request<'_>,
    name: &str,
) -> Result<Arc<InstanceProfile>, Refused> {
    let cell = account(world, r)
        .instance_profiles
        .get(&name.to_lowercase());
    cell.and_then(|cell| cell.at(r.look))
        .cloned()
        .ok_or_else(|| no_profile(name))
}

fn change_profile(
    world: &mut World,
    r: &Request<'_>,
    name: &str,
    change: impl FnOnce(&mut InstanceProfile) -> Changed,
) -> Answer {
    seen_profile(world, r, name)?;
    let cell = account(world, r)
        .instance_profiles
        .entry(name.to_lowercase())
        .or_default();
    let mut profile = InstanceProfile::clone(cell.latest().ok_or_else(|| no_profile(name))?);
    change(&mut profile)?;
    let times = r.times(&format!("instance-profile/{name}"), "iam");
    cell.write(Some(profile), times, r.now);
    Ok(json!({}))
}

fn create_profile(world: &mut World, r: &Request<'_>, name: &str) -> Answer {
    let cell = account(world, r)
        .instance_profiles
        .entry(name.to_lowercase())
        .or_default();
    if cell.latest().is_some() {
        return Err(exists(format!("Instance Profile {name} already exists.")));
    }
    let mut profile = InstanceProfile {
        name: name.into(),
        path: path(r),
        id: r.new_id("AIPA"),
        created: r.date,
        tags: Tags::new(),
        roles: BTreeSet::new(),
    };
    add_tags(r, &mut profile.tags, tags_of(&r.input["Tags"]))?;
    let times = r.times(&format!("instance-profile/{name}"), "iam");
    cell.write(Some(profile.clone()), times, r.now);
    Ok(json!({"InstanceProfile": described_profile(world, r, &profile)}))
}

fn delete_profile(world: &mut World, r: &Request<'_>, name: &str) -> Answer {
    seen_profile(world, r, name)?;
    let cell = account(world, r)
        .instance_profiles
        .entry(name.to_lowercase())
        .or_default();
    let latest = cell.latest().ok_or_else(|| no_profile(name))?;
    if !latest.roles.is_empty() {
        return Err(conflict(
            "Cannot delete entity, must remove roles from instance profile first.",
        ));
    }
    let times = r.times(&format!("instance-profile/{name}"), "iam");
    cell.write(None, times, r.now);
    Ok(json!({}))
}

fn described_profile(world: &mut World, r: &Request<'_>, profile: &InstanceProfile) -> Value {
    let roles = &account(world, r).roles;
    let roles: Vec<Value> = profile
        .roles
        .iter()
        .filter_map(|name| roles.get(name)?.latest())
        .map(|role| described(r, role, false))
        .collect();
    let mut described = json!({
        "Path": profile.path, "InstanceProfileName": profile.name, "InstanceProfileId": profile.id,
        "Arn": iam_arn(r, &format!("instance-profile{}{}", profile.path, profile.name)),
        "CreateDate": date(profile.created), "Roles": roles,
    });
    if !profile.tags.is_empty() {
        described["Tags"] = tag_list(&profile.tags);
    }
    described
}

// OIDC providers

fn no_provider(arn: &str) -> Refused {
    no_such(format!("OpenIDConnect Provider not found for arn {arn}"))
}

fn seen_provider(
    world: &mut World,
    r: &Request<'_>,
    issuer: &str,
) -> Result<Arc<OidcProvider>, Refused> {
    let cell = account(world, r).oidc_providers.get(issuer);
    cell.and_then(|cell| cell.at(r.look))
        .cloned()
        .ok_or_else(|| no_provider(issuer))
}

fn provider_call(world: &mut World, r: &Request<'_>) -> Answer {
    let arn = text(r.input, "OpenIDConnectProviderArn").unwrap_or_default();
    let issuer = arn
        .split_once(":oidc-provider/")
        .map_or("", |(_, issuer)| issuer);
    match r.operation {
        "CreateOpenIDConnectProvider" => create_provider(world, r),
        "GetOpenIDConnectProvider" => {
            let seen = seen_provider(world, r, issuer)?;
            // AWS leaves out the scheme.
            Ok(json!({
                "Url": issuer, "ClientIDList": seen.audiences, "CreateDate": date(seen.created),
                "ThumbprintList": ["6938fd4d98bab03faadb97b34396831e3780aea1"],
            }))
        }
        "AddClientIDToOpenIDConnectProvider" => {
            seen_provider(world, r, issuer)?;
            let cell = account(world, r)
                .oidc_providers
                .entry(issuer.to_owned())
                .or_default();
            let latest = cell.latest().ok_or_else(|| no_provider(arn))?;
            let mut provider = OidcProvider::clone(latest);
            let audience = text(r.input, "ClientID").unwrap_or_default().to_owned();
            provider.audiences.insert(audience);
            cell.write(Some(provider), r.times(arn, "iam"), r.now);
            Ok(json!({}))
        }
        "DeleteOpenIDConnectProvider" => {
            let cell = account(world, r)
                .oidc_providers
                .entry(issuer.to_owned())
                .or_default();
            cell.write(None, r.times(arn, "iam"), r.now);
            Ok(json!({}))
        }
        operation => Err(unknown(operation)),
    }
}

fn create_provider(world: &mut World, r: &Request<'_>) -> Answer {
    let url = text(r.input, "Url").unwrap_or_default();
    let Some(issuer) = url.strip_prefix("https://") else {
        return Err(Refused::new(
            400,
            "ValidationError",
            "Invalid Open ID Connect Provider URL",
        ));
    };
    let arn = iam_arn(r, &format!("oidc-provider/{issuer}"));
    let cell = account(world, r)
        .oidc_providers
        .entry(issuer.to_owned())
        .or_default();
    if cell.latest().is_some() {
        return Err(exists(format!("Provider with url {url} already exists.")));
    }
    let audiences = list(r.input, "ClientIDList").iter();
    let provider = OidcProvider {
        audiences: audiences
            .filter_map(|it| it.as_str().map(str::to_owned))
            .collect(),
        created: r.date,
    };
    cell.write(Some(provider), r.times(&arn, "iam"), r.now);
    Ok(json!({"OpenIDConnectProviderArn": arn}))
}
