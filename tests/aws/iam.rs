//! IAM, as far as Slipway and its tests call it.
//!
//! Invariants:
//! - Names are unique without regard to case, at once and everywhere: a create is refused by what is there, not by
//!   what is visible (aws.md A3, A4).
//! - A call on a thing needs it to be visible where the call is answered: right after its create it may be unknown
//!   (A1). What a call changes is the newest state.
//! - What hangs on a thing holds its deletion up, also when it is gone and that is not visible yet (A9).
//!
//! Source of codes and messages: IAM API Reference; quotas: IAM User Guide, "IAM and AWS STS quotas".

use std::sync::Arc;

use serde_json::{Value, json};

use super::policy::Context;
use super::protocol::{Refused, list, number, text, truth};
use super::state::{
    AccessKey, Account, Answer, Caller, Group, Policy, Request, Session, Tags, User, World, date,
    tag_list, tags_of,
};

/// Managed policies of AWS itself that tests attach.
const OF_AWS: &[&str] = &[
    "AWSBillingReadOnlyAccess",
    "AdministratorAccess",
    "AmazonEC2ContainerRegistryPowerUser",
    "AmazonEC2ContainerRegistryReadOnly",
    "AmazonS3FullAccess",
    "AmazonS3ReadOnlyAccess",
    "IAMUserChangePassword",
    "MediaManagement",
    "ReadOnlyAccess",
    "SecurityAudit",
    "job-function/Billing",
];

pub type Changed = Result<(), Refused>;

pub fn call(world: &mut World, r: &Request<'_>) -> Answer {
    if let Some(answer) = super::sign_in::call(world, r) {
        return answer;
    }
    let name = |member: &str| text(r.input, member).unwrap_or_default();
    let (user, group, arn) = (name("UserName"), name("GroupName"), name("PolicyArn"));
    match r.operation {
        "CreateUser" => create_user(world, r, user),
        "GetUser" => Ok(json!({"User": described(r, &*seen_user(world, r, user)?, true)})),
        "ListUsers" => {
            let users = world
                .accounts
                .entry(r.account.into())
                .or_default()
                .users
                .values()
                .filter_map(|cell| cell.at(r.look));
            let users = users.filter(|user| {
                user.path
                    .starts_with(text(r.input, "PathPrefix").unwrap_or("/"))
            });
            page(
                r,
                "Users",
                users.map(|user| described(r, user, false)).collect(),
            )
        }
        "DeleteUser" => delete_user(world, r, user),
        "TagUser" => {
            let tags = tags_of(&r.input["Tags"]);
            change_user(world, r, user, |user| add_tags(r, &mut user.tags, tags))
        }
        "UntagUser" => change_user(world, r, user, |user| {
            remove_tags(r, &mut user.tags);
            Ok(())
        }),
        "ListUserTags" => page(
            r,
            "Tags",
            tag_list(&seen_user(world, r, user)?.tags)
                .as_array()
                .cloned()
                .unwrap_or_default(),
        ),
        "CreateAccessKey" => create_access_key(world, r, user),
        "ListAccessKeys" => {
            let user = seen_user(world, r, user)?;
            let key = |key: &AccessKey| json!({"UserName": user.name, "AccessKeyId": key.id, "Status": status(key), "CreateDate": date(key.created)});
            page(r, "AccessKeyMetadata", user.keys.iter().map(key).collect())
        }
        "UpdateAccessKey" => change_user(world, r, user, |user| {
            find_key(user, name("AccessKeyId"))?.active = name("Status") == "Active";
            Ok(())
        }),
        "DeleteAccessKey" => change_user(world, r, user, |user| {
            find_key(user, name("AccessKeyId"))?;
            user.keys.retain(|key| key.id != name("AccessKeyId"));
            Ok(())
        }),
        "SimulatePrincipalPolicy" => simulate(world, r),
        "GetAccessKeyLastUsed" => last_used(world, r, name("AccessKeyId")),
        "CreateGroup" => create_group(world, r, group),
        "GetGroup" => get_group(world, r, group),
        "ListGroups" => {
            let groups = world
                .accounts
                .entry(r.account.into())
                .or_default()
                .groups
                .values()
                .filter_map(|cell| cell.at(r.look));
            page(
                r,
                "Groups",
                groups.map(|group| described_group(r, group)).collect(),
            )
        }
        "DeleteGroup" => delete_group(world, r, group),
        "AddUserToGroup" => {
            let found = seen_group(world, r, group)?;
            let most = r.limits().groups_a_user;
            change_user(world, r, user, |user| {
                user.groups.insert(found.name.to_lowercase());
                within(user.groups.len(), most, "GroupsPerUser")
            })
        }
        "RemoveUserFromGroup" => {
            let found = seen_group(world, r, group)?;
            change_user(world, r, user, |user| {
                let was_in = user.groups.remove(&found.name.to_lowercase());
                was_in.then_some(()).ok_or_else(|| {
                    no_such(format!(
                        "The user with name {} is not in the group {}.",
                        user.name, found.name
                    ))
                })
            })
        }
        "ListGroupsForUser" => {
            let names = seen_user(world, r, user)?.groups.clone();
            let groups = &account(world, r).groups;
            let groups = names.iter().filter_map(|name| groups.get(name)?.latest());
            page(
                r,
                "Groups",
                groups.map(|group| described_group(r, group)).collect(),
            )
        }
        "AttachGroupPolicy" => {
            attachable(world, r, arn)?;
            change_group(world, r, group, |group| {
                group.attached.insert(arn.to_owned());
                Ok(())
            })
        }
        "DetachGroupPolicy" => change_group(world, r, group, |group| {
            detached(group.attached.remove(arn), arn)
        }),
        "ListAttachedGroupPolicies" => {
            let attached = seen_group(world, r, group)?
                .attached
                .iter()
                .map(attachment)
                .collect();
            page(r, "AttachedPolicies", attached)
        }
        "AttachUserPolicy" => {
            attachable(world, r, arn)?;
            let most = r.limits().policies_a_user;
            change_user(world, r, user, |user| {
                user.attached.insert(arn.to_owned());
                within(user.attached.len(), most, "PoliciesPerUser")
            })
        }
        "DetachUserPolicy" => change_user(world, r, user, |user| {
            detached(user.attached.remove(arn), arn)
        }),
        "ListAttachedUserPolicies" => {
            let attached = seen_user(world, r, user)?
                .attached
                .iter()
                .map(attachment)
                .collect();
            page(r, "AttachedPolicies", attached)
        }
        operation
            if ["Role", "InstanceProfile", "OpenIDConnectProvider"]
                .iter()
                .any(|kind| operation.contains(kind)) =>
        {
            super::iam_roles::call(world, r)
        }
        operation if operation.contains("Policy") || operation.contains("Policies") => {
            policy_call(world, r, user, arn)
        }
        _ => belongings(world, r, user),
    }
}

pub fn no_such(message: impl Into<String>) -> Refused {
    Refused::new(404, "NoSuchEntity", message)
}

pub fn exists(message: String) -> Refused {
    Refused::new(409, "EntityAlreadyExists", message)
}

pub fn conflict(message: impl Into<String>) -> Refused {
    Refused::new(409, "DeleteConflict", message)
}

pub fn within(count: usize, most: usize, quota: &str) -> Changed {
    if count <= most {
        Ok(())
    } else {
        Err(Refused::new(
            409,
            "LimitExceeded",
            format!("Cannot exceed quota for {quota}: {most}"),
        ))
    }
}

pub fn malformed(message: impl Into<String>) -> Refused {
    Refused::new(400, "MalformedPolicyDocument", message)
}

pub fn account<'w>(world: &'w mut World, r: &Request<'_>) -> &'w mut Account {
    world.accounts.entry(r.account.to_owned()).or_default()
}

pub fn path(r: &Request<'_>) -> String {
    text(r.input, "Path").unwrap_or("/").to_owned()
}

pub fn iam_arn(r: &Request<'_>, rest: &str) -> String {
    format!("arn:aws:iam::{}:{rest}", r.account)
}

/// A page of a list (`MaxItems`, 100 by default, and `Marker`).
pub fn page(r: &Request<'_>, member: &str, items: Vec<Value>) -> Answer {
    let from = number(r.input, "Marker").unwrap_or(0).min(items.len());
    let to = (from + number(r.input, "MaxItems").unwrap_or(100)).min(items.len());
    let is_truncated = to < items.len();
    let mut output = json!({member: items[from..to], "IsTruncated": is_truncated});
    if is_truncated {
        output["Marker"] = json!(to.to_string());
    }
    Ok(output)
}

pub fn add_tags(r: &Request<'_>, tags: &mut Tags, more: Tags) -> Changed {
    tags.extend(more);
    if tags.len() <= r.limits().tags {
        return Ok(());
    }
    Err(Refused::new(
        409,
        "LimitExceeded",
        format!(
            "The number of tags has reached the maximum limit of {}.",
            r.limits().tags
        ),
    ))
}

pub fn remove_tags(r: &Request<'_>, tags: &mut Tags) {
    for key in list(r.input, "TagKeys").iter().filter_map(Value::as_str) {
        tags.remove(key);
    }
}

// Users

fn no_user(name: &str) -> Refused {
    no_such(format!("The user with name {name} cannot be found."))
}

/// The user as it is visible.
pub fn seen_user(world: &mut World, r: &Request<'_>, name: &str) -> Result<Arc<User>, Refused> {
    let cell = account(world, r).users.get(&name.to_lowercase());
    cell.and_then(|cell| cell.at(r.look))
        .cloned()
        .ok_or_else(|| no_user(name))
}

/// Changes a user that is there and visible.
pub fn change_user(
    world: &mut World,
    r: &Request<'_>,
    name: &str,
    change: impl FnOnce(&mut User) -> Changed,
) -> Answer {
    seen_user(world, r, name)?;
    let cell = account(world, r)
        .users
        .entry(name.to_lowercase())
        .or_default();
    let mut user = User::clone(cell.latest().ok_or_else(|| no_user(name))?);
    change(&mut user)?;
    cell.write(Some(user), r.times(&format!("user/{name}"), "iam"), r.now);
    Ok(json!({}))
}

fn described(r: &Request<'_>, user: &User, with_tags: bool) -> Value {
    let mut described = json!({
        "Path": user.path, "UserName": user.name, "UserId": user.id, "CreateDate": date(user.created),
        "Arn": iam_arn(r, &format!("user{}{}", user.path, user.name)),
    });
    if with_tags && !user.tags.is_empty() {
        described["Tags"] = tag_list(&user.tags);
    }
    if let Some(arn) = &user.boundary {
        described["PermissionsBoundary"] =
            json!({"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": arn});
    }
    described
}

fn create_user(world: &mut World, r: &Request<'_>, name: &str) -> Answer {
    let users = &mut account(world, r).users;
    if users
        .get(&name.to_lowercase())
        .is_some_and(|cell| cell.latest().is_some())
    {
        return Err(exists(format!("User with name {name} already exists.")));
    }
    within(
        users
            .values()
            .filter(|cell| cell.latest().is_some())
            .count()
            + 1,
        r.limits().users,
        "UsersPerAccount",
    )?;
    let mut user = User {
        name: name.into(),
        path: path(r),
        id: r.new_id("AIDA"),
        created: r.date,
        ..User::default()
    };
    user.boundary = text(r.input, "PermissionsBoundary").map(str::to_owned);
    add_tags(r, &mut user.tags, tags_of(&r.input["Tags"]))?;
    let output = json!({"User": described(r, &user, true)});
    users.entry(name.to_lowercase()).or_default().write(
        Some(user),
        r.times(&format!("user/{name}"), "iam"),
        r.now,
    );
    Ok(output)
}

fn delete_user(world: &mut World, r: &Request<'_>, name: &str) -> Answer {
    let seen = seen_user(world, r, name)?;
    let cell = account(world, r)
        .users
        .entry(name.to_lowercase())
        .or_default();
    let latest = cell.latest().cloned().ok_or_else(|| no_user(name))?;
    for user in [&latest, &seen] {
        if let Some(what) = holding(user) {
            return Err(conflict(format!(
                "Cannot delete entity, must {what} first."
            )));
        }
    }
    cell.write(None, r.times(&format!("user/{name}"), "iam"), r.now);
    Ok(json!({}))
}

/// What has to be done before a user can be deleted.
fn holding(user: &User) -> Option<&'static str> {
    [
        (!user.keys.is_empty(), "delete access keys"),
        (user.login_profile.is_some(), "delete login profile"),
        (!user.mfa_devices.is_empty(), "delete MFA device"),
        (!user.certificates.is_empty(), "delete signing certificates"),
        (!user.ssh_keys.is_empty(), "delete SSH public keys"),
        (
            !user.service_credentials.is_empty(),
            "delete service specific credentials",
        ),
        (!user.inline.is_empty(), "delete policies"),
        (!user.attached.is_empty(), "detach all policies"),
        (!user.groups.is_empty(), "remove users from group"),
    ]
    .into_iter()
    .find_map(|(holds, what)| holds.then_some(what))
}

// Access keys

fn status(key: &AccessKey) -> &'static str {
    if key.active { "Active" } else { "Inactive" }
}

fn find_key<'u>(user: &'u mut User, id: &str) -> Result<&'u mut AccessKey, Refused> {
    let found = user.keys.iter_mut().find(|key| key.id == id);
    found.ok_or_else(|| no_such(format!("The Access Key with id {id} cannot be found.")))
}

fn create_access_key(world: &mut World, r: &Request<'_>, name: &str) -> Answer {
    let (id, most) = (r.new_id("AKIA"), r.limits().keys_a_user);
    let key = AccessKey {
        id: id.clone(),
        active: true,
        created: r.date,
    };
    change_user(world, r, name, |user| {
        within(user.keys.len() + 1, most, "AccessKeysPerUser")?;
        user.keys.push(key);
        Ok(())
    })?;
    let secret = r.new_secret();
    world
        .key_owners
        .insert(id.clone(), (r.account.to_owned(), name.to_lowercase()));
    world.secrets.insert(id.clone(), secret.clone());
    let key = json!({
        "UserName": name, "AccessKeyId": id, "Status": "Active", "SecretAccessKey": secret, "CreateDate": date(r.date),
    });
    Ok(json!({"AccessKey": key}))
}

fn last_used(world: &World, r: &Request<'_>, id: &str) -> Answer {
    let owner = world
        .key_owners
        .get(id)
        .filter(|(account, _)| account == r.account);
    let user =
        owner.and_then(|(account, user)| world.accounts.get(account)?.users.get(user)?.at(r.look));
    let user = user.filter(|user| user.keys.iter().any(|key| key.id == id));
    // For a key that is not there (any more), IAM answers as to one that is not the caller's business.
    let user =
        user.ok_or_else(|| no_such(format!("The Access Key with id {id} cannot be found.")))?;
    let used = match world.key_uses.get(id) {
        Some(used) => {
            json!({"LastUsedDate": date(used.at), "ServiceName": used.service, "Region": used.region})
        }
        None => json!({"ServiceName": "N/A", "Region": "N/A"}),
    };
    Ok(json!({"UserName": user.name, "AccessKeyLastUsed": used}))
}

// Groups

fn seen_group(world: &mut World, r: &Request<'_>, name: &str) -> Result<Arc<Group>, Refused> {
    let cell = account(world, r).groups.get(&name.to_lowercase());
    let seen = cell
        .filter(|cell| cell.latest().is_some())
        .and_then(|cell| cell.at(r.look));
    seen.cloned()
        .ok_or_else(|| no_such(format!("The group with name {name} cannot be found.")))
}

fn change_group(
    world: &mut World,
    r: &Request<'_>,
    name: &str,
    change: impl FnOnce(&mut Group) -> Changed,
) -> Answer {
    seen_group(world, r, name)?;
    let cell = account(world, r)
        .groups
        .entry(name.to_lowercase())
        .or_default();
    let mut group = Group::clone(
        cell.latest()
            .ok_or_else(|| no_such(format!("The group with name {name} cannot be found.")))?,
    );
    change(&mut group)?;
    cell.write(Some(group), r.times(&format!("group/{name}"), "iam"), r.now);
    Ok(json!({}))
}

fn described_group(r: &Request<'_>, group: &Group) -> Value {
    json!({
        "Path": group.path, "GroupName": group.name, "GroupId": group.id, "CreateDate": date(group.created),
        "Arn": iam_arn(r, &format!("group{}{}", group.path, group.name)),
    })
}

fn create_group(world: &mut World, r: &Request<'_>, name: &str) -> Answer {
    let groups = &mut account(world, r).groups;
    if groups
        .get(&name.to_lowercase())
        .is_some_and(|cell| cell.latest().is_some())
    {
        return Err(exists(format!("Group with name {name} already exists.")));
    }
    within(
        groups
            .values()
            .filter(|cell| cell.latest().is_some())
            .count()
            + 1,
        r.limits().groups,
        "GroupsPerAccount",
    )?;
    let group = Group {
        name: name.into(),
        path: path(r),
        id: r.new_id("AGPA"),
        created: r.date,
        attached: Default::default(),
        inline: Default::default(),
    };
    let output = json!({"Group": described_group(r, &group)});
    groups.entry(name.to_lowercase()).or_default().write(
        Some(group),
        r.times(&format!("group/{name}"), "iam"),
        r.now,
    );
    Ok(output)
}

fn get_group(world: &mut World, r: &Request<'_>, name: &str) -> Answer {
    let group = seen_group(world, r, name)?;
    let members = account(world, r)
        .users
        .values()
        .filter_map(|cell| cell.at(r.look));
    let members = members.filter(|user| user.groups.contains(&name.to_lowercase()));
    let mut output = page(
        r,
        "Users",
        members.map(|user| described(r, user, false)).collect(),
    )?;
    output["Group"] = described_group(r, &group);
    Ok(output)
}

fn delete_group(world: &mut World, r: &Request<'_>, name: &str) -> Answer {
    let group = seen_group(world, r, name)?;
    let lower = name.to_lowercase();
    let account = account(world, r);
    if account
        .users
        .values()
        .filter_map(|cell| cell.latest())
        .any(|user| user.groups.contains(&lower))
    {
        return Err(conflict(
            "Cannot delete entity, must remove users from group first.",
        ));
    }
    if !group.attached.is_empty() || !group.inline.is_empty() {
        return Err(conflict(
            "Cannot delete entity, must detach all policies first.",
        ));
    }
    account.groups.entry(lower).or_default().write(
        None,
        r.times(&format!("group/{name}"), "iam"),
        r.now,
    );
    Ok(json!({}))
}

// Managed policies

pub fn attachment(arn: &String) -> Value {
    json!({"PolicyName": arn.rsplit('/').next(), "PolicyArn": arn})
}

pub fn detached(was_attached: bool, arn: &str) -> Changed {
    was_attached
        .then_some(())
        .ok_or_else(|| no_such(format!("Policy {arn} was not found.")))
}

fn is_of_aws(arn: &str) -> bool {
    arn.strip_prefix("arn:aws:iam::aws:policy/")
        .is_some_and(|name| OF_AWS.contains(&name))
}

fn seen_policy(world: &mut World, r: &Request<'_>, arn: &str) -> Result<Arc<Policy>, Refused> {
    let name = arn.rsplit('/').next().unwrap_or_default().to_lowercase();
    if is_of_aws(arn) {
        return Ok(Arc::new(policy_of_aws(arn)));
    }
    let cell = account(world, r)
        .policies
        .get(&name)
        .filter(|cell| cell.latest().is_some());
    let seen = cell
        .and_then(|cell| cell.at(r.look))
        .filter(|policy| policy.arn == arn);
    seen.cloned()
        .ok_or_else(|| no_such(format!("Policy {arn} was not found.")))
}

fn policy_of_aws(arn: &str) -> Policy {
    let name = arn.rsplit('/').next().unwrap_or_default();
    let document = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}]});
    Policy {
        name: name.into(),
        path: "/".into(),
        id: format!("ANPA{}", name.to_uppercase()),
        arn: arn.into(),
        description: None,
        created: 0,
        updated: 0,
        tags: Tags::new(),
        versions: vec![(1, document.to_string(), 0)],
        default: 1,
        next: 2,
    }
}

pub fn attachable(world: &mut World, r: &Request<'_>, arn: &str) -> Changed {
    let found = seen_policy(world, r, arn).map(|_| ());
    found.map_err(|_| no_such(format!("Policy {arn} does not exist or is not attachable.")))
}

fn change_policy(
    world: &mut World,
    r: &Request<'_>,
    arn: &str,
    change: impl FnOnce(&mut Policy) -> Changed,
) -> Answer {
    if is_of_aws(arn) {
        return Err(Refused::new(
            403,
            "AccessDenied",
            format!("The policy {arn} is managed by AWS."),
        ));
    }
    let seen = seen_policy(world, r, arn)?;
    let cell = account(world, r)
        .policies
        .entry(seen.name.to_lowercase())
        .or_default();
    let mut policy = Policy::clone(
        cell.latest()
            .ok_or_else(|| no_such(format!("Policy {arn} was not found.")))?,
    );
    change(&mut policy)?;
    policy.updated = r.date;
    cell.write(Some(policy), r.times(arn, "iam"), r.now);
    Ok(json!({}))
}

fn attached_to(world: &mut World, r: &Request<'_>, arn: &str) -> Vec<(&'static str, String)> {
    let account = account(world, r);
    let users = account
        .users
        .values()
        .filter_map(|cell| cell.latest())
        .filter(|user| user.attached.contains(arn));
    let groups = account
        .groups
        .values()
        .filter_map(|cell| cell.latest())
        .filter(|group| group.attached.contains(arn));
    users
        .map(|user| ("user", user.name.clone()))
        .chain(groups.map(|group| ("group", group.name.clone())))
        .collect()
}

fn described_policy(world: &mut World, r: &Request<'_>, policy: &Policy, with_tags: bool) -> Value {
    let mut described = json!({
        "PolicyName": policy.name, "PolicyId": policy.id, "Arn": policy.arn, "Path": policy.path,
        "DefaultVersionId": format!("v{}", policy.default), "AttachmentCount": attached_to(world, r, &policy.arn).len(),
        "PermissionsBoundaryUsageCount": 0, "IsAttachable": true,
        "CreateDate": date(policy.created), "UpdateDate": date(policy.updated),
    });
    if with_tags && !policy.tags.is_empty() {
        described["Tags"] = tag_list(&policy.tags);
    }
    if let Some(description) = policy.description.as_ref().filter(|_| with_tags) {
        described["Description"] = json!(description);
    }
    described
}

/// A document that IAM takes: JSON with statements that have an effect, actions and resources, short enough.
fn valid_document(r: &Request<'_>, document: &str) -> Changed {
    let parsed: Value =
        serde_json::from_str(document).map_err(|_| malformed("Syntax errors in policy."))?;
    let statements = match &parsed["Statement"] {
        Value::Array(statements) => statements.iter().collect(),
        Value::Object(_) => vec![&parsed["Statement"]],
        _ => return Err(malformed("Syntax errors in policy.")),
    };
    for statement in statements {
        let has = |element: &str| {
            !statement[element].is_null() || !statement[format!("Not{element}")].is_null()
        };
        if !["Allow", "Deny"].contains(&statement["Effect"].as_str().unwrap_or_default())
            || !has("Action")
        {
            return Err(malformed("Syntax errors in policy."));
        }
        if !has("Resource") {
            return Err(malformed("Policy statement must contain resources."));
        }
    }
    // White space does not count.
    let length = document.chars().filter(|c| !c.is_whitespace()).count();
    within(length, r.limits().policy_size, "PolicySize")
}

fn policy_call(world: &mut World, r: &Request<'_>, user: &str, arn: &str) -> Answer {
    let name = text(r.input, "PolicyName").unwrap_or_default();
    let document = text(r.input, "PolicyDocument").unwrap_or_default();
    match r.operation {
        "CreatePolicy" => create_policy(world, r, name, document),
        "GetPolicy" => {
            let policy = seen_policy(world, r, arn)?;
            Ok(json!({"Policy": described_policy(world, r, &policy, true)}))
        }
        "ListPolicies" => list_policies(world, r),
        "DeletePolicy" => delete_policy(world, r, arn),
        "CreatePolicyVersion" => create_version(world, r, arn, document),
        "GetPolicyVersion" => {
            let policy = seen_policy(world, r, arn)?;
            let id = text(r.input, "VersionId").unwrap_or_default();
            let version = policy
                .versions
                .iter()
                .find(|(number, ..)| format!("v{number}") == id);
            let version = version.ok_or_else(|| {
                no_such(format!(
                    "Policy {arn} version {id} does not exist or is not attachable."
                ))
            })?;
            let mut described = described_version(&policy, version);
            described["Document"] = json!(version.1);
            Ok(json!({"PolicyVersion": described}))
        }
        "ListPolicyVersions" => {
            let policy = seen_policy(world, r, arn)?;
            page(
                r,
                "Versions",
                policy
                    .versions
                    .iter()
                    .rev()
                    .map(|version| described_version(&policy, version))
                    .collect(),
            )
        }
        "DeletePolicyVersion" | "SetDefaultPolicyVersion" => {
            let id = text(r.input, "VersionId").unwrap_or_default();
            change_policy(world, r, arn, |policy| {
                let found = policy
                    .versions
                    .iter()
                    .position(|(number, ..)| format!("v{number}") == id);
                let found = found.ok_or_else(|| {
                    no_such(format!(
                        "Policy {arn} version {id} does not exist or is not attachable."
                    ))
                })?;
                if r.operation == "SetDefaultPolicyVersion" {
                    policy.default = policy.versions[found].0;
                } else if policy.versions[found].0 == policy.default {
                    return Err(conflict("Cannot delete the default version of a policy."));
                } else {
                    policy.versions.remove(found);
                }
                Ok(())
            })
        }
        "TagPolicy" => change_policy(world, r, arn, |policy| {
            add_tags(r, &mut policy.tags, tags_of(&r.input["Tags"]))
        }),
        "UntagPolicy" => change_policy(world, r, arn, |policy| {
            remove_tags(r, &mut policy.tags);
            Ok(())
        }),
        "ListPolicyTags" => page(
            r,
            "Tags",
            tag_list(&seen_policy(world, r, arn)?.tags)
                .as_array()
                .cloned()
                .unwrap_or_default(),
        ),
        "ListEntitiesForPolicy" => {
            seen_policy(world, r, arn)?;
            let all = attached_to(world, r, arn);
            let of = |kind: &str, member: &str| -> Value {
                all.iter()
                    .filter(|(k, _)| *k == kind)
                    .map(|(_, name)| json!({member: name}))
                    .collect()
            };
            Ok(
                json!({"PolicyUsers": of("user", "UserName"), "PolicyGroups": of("group", "GroupName"), "PolicyRoles": [], "IsTruncated": false}),
            )
        }
        "PutUserPolicy" => {
            valid_document(r, document)?;
            change_user(world, r, user, |user| {
                user.inline.insert(name.to_owned(), document.to_owned());
                Ok(())
            })
        }
        "GetUserPolicy" => {
            let user = seen_user(world, r, user)?;
            let document = user.inline.get(name).ok_or_else(|| {
                no_such(format!("The user policy with name {name} cannot be found."))
            })?;
            Ok(json!({"UserName": user.name, "PolicyName": name, "PolicyDocument": document}))
        }
        "DeleteUserPolicy" => change_user(world, r, user, |user| {
            let was_there = user.inline.remove(name).is_some();
            was_there.then_some(()).ok_or_else(|| {
                no_such(format!("The user policy with name {name} cannot be found."))
            })
        }),
        "ListUserPolicies" => page(
            r,
            "PolicyNames",
            seen_user(world, r, user)?
                .inline
                .keys()
                .map(|name| json!(name))
                .collect(),
        ),
        operation => Err(unknown(operation)),
    }
}

pub fn unknown(operation: &str) -> Refused {
    Refused::new(
        400,
        "InvalidAction",
        format!("The AWS in memory does not know the operation {operation}."),
    )
}

fn create_policy(world: &mut World, r: &Request<'_>, name: &str, document: &str) -> Answer {
    valid_document(r, document)?;
    let lower = name.to_lowercase();
    if account(world, r)
        .policies
        .get(&lower)
        .is_some_and(|cell| cell.latest().is_some())
    {
        return Err(exists(format!(
            "A policy called {name} already exists. Duplicate names are not allowed."
        )));
    }
    let path = path(r);
    let mut policy = Policy {
        arn: iam_arn(r, &format!("policy{path}{name}")),
        name: name.into(),
        path,
        id: r.new_id("ANPA"),
        description: text(r.input, "Description").map(str::to_owned),
        created: r.date,
        updated: r.date,
        tags: Tags::new(),
        versions: vec![(1, document.into(), r.date)],
        default: 1,
        next: 2,
    };
    add_tags(r, &mut policy.tags, tags_of(&r.input["Tags"]))?;
    let output = json!({"Policy": described_policy(world, r, &policy, true)});
    let times = r.times(&policy.arn, "iam");
    account(world, r)
        .policies
        .entry(lower)
        .or_default()
        .write(Some(policy), times, r.now);
    Ok(output)
}

fn list_policies(world: &mut World, r: &Request<'_>) -> Answer {
    let scope = text(r.input, "Scope").unwrap_or("All");
    let own: Vec<Arc<Policy>> = account(world, r)
        .policies
        .values()
        .filter_map(|cell| cell.at(r.look))
        .cloned()
        .collect();
    let of_aws = OF_AWS
        .iter()
        .map(|name| Arc::new(policy_of_aws(&format!("arn:aws:iam::aws:policy/{name}"))));
    let mut all = if scope == "AWS" { Vec::new() } else { own };
    if scope != "Local" {
        all.extend(of_aws);
    }
    let prefix = text(r.input, "PathPrefix").unwrap_or("/");
    let described: Vec<Value> = all
        .iter()
        .filter(|p| p.path.starts_with(prefix))
        .map(|p| described_policy(world, r, p, false))
        .collect();
    let only_attached = truth(r.input, "OnlyAttached");
    page(
        r,
        "Policies",
        described
            .into_iter()
            .filter(|policy| !only_attached || policy["AttachmentCount"] != 0)
            .collect(),
    )
}

fn delete_policy(world: &mut World, r: &Request<'_>, arn: &str) -> Answer {
    let seen = seen_policy(world, r, arn)?;
    if !attached_to(world, r, arn).is_empty() {
        return Err(conflict("Cannot delete a policy attached to entities."));
    }
    let cell = account(world, r)
        .policies
        .entry(seen.name.to_lowercase())
        .or_default();
    let latest = cell
        .latest()
        .cloned()
        .ok_or_else(|| no_such(format!("Policy {arn} was not found.")))?;
    if latest.versions.len() > 1 || seen.versions.len() > 1 {
        return Err(conflict(
            "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. \
             The default version is deleted with the policy.",
        ));
    }
    cell.write(None, r.times(arn, "iam"), r.now);
    Ok(json!({}))
}

fn described_version(policy: &Policy, (number, _, at): &(u32, String, i64)) -> Value {
    json!({"VersionId": format!("v{number}"), "IsDefaultVersion": *number == policy.default, "CreateDate": date(*at)})
}

fn create_version(world: &mut World, r: &Request<'_>, arn: &str, document: &str) -> Answer {
    valid_document(r, document)?;
    let mut version = Value::Null;
    change_policy(world, r, arn, |policy| {
        if policy.versions.len() >= r.limits().policy_versions {
            return Err(Refused::new(
                409,
                "LimitExceeded",
                "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version.",
            ));
        }
        policy
            .versions
            .push((policy.next, document.to_owned(), r.date));
        if truth(r.input, "SetAsDefault") {
            policy.default = policy.next;
        }
        policy.next += 1;
        version = described_version(policy, policy.versions.last().expect("the new one"));
        Ok(())
    })?;
    Ok(json!({"PolicyVersion": version}))
}

// Simulation

fn simulate(world: &World, r: &Request<'_>) -> Answer {
    let source = text(r.input, "PolicySourceArn").unwrap_or_default();
    let role = source.rsplit('/').next().unwrap_or_default();
    let of = Caller::Role(Session {
        account: r.account.into(),
        role: role.into(),
        name: "simulation".into(),
        policy: None,
    });
    let mut context = Context::default();
    for entry in list(r.input, "ContextEntries") {
        let values = list(entry, "ContextKeyValues").iter();
        context.set(
            text(entry, "ContextKeyName").unwrap_or_default(),
            values.filter_map(|value| Some(value.as_str()?.to_owned())),
        );
    }
    let resource = list(r.input, "ResourceArns").first();
    let resource = resource.and_then(Value::as_str).unwrap_or("*");
    let result = |action: &str| {
        let is_allowed = super::access::simulated(world, &of, action, resource, &context);
        let decision = if is_allowed {
            "allowed"
        } else {
            "implicitDeny"
        };
        json!({"EvalActionName": action, "EvalResourceName": resource, "EvalDecision": decision})
    };
    let actions = list(r.input, "ActionNames")
        .iter()
        .filter_map(Value::as_str);
    Ok(json!({"EvaluationResults": actions.map(result).collect::<Vec<_>>(), "IsTruncated": false}))
}

// What hangs on a user (aws.md A9)

fn belongings(world: &mut World, r: &Request<'_>, name: &str) -> Answer {
    let id_of = |member: &str| text(r.input, member).unwrap_or_default().to_owned();
    let gone = |was_there: bool, what: String| {
        was_there
            .then_some(())
            .ok_or_else(|| no_such(format!("{what} cannot be found.")))
    };
    match r.operation {
        "CreateVirtualMFADevice" => {
            let serial = iam_arn(
                r,
                &format!("mfa{}{}", path(r), id_of("VirtualMFADeviceName")),
            );
            if !account(world, r).mfa_devices.insert(serial.clone()) {
                return Err(exists(format!(
                    "MFADevice entity at the same path and name already exists: {serial}"
                )));
            }
            Ok(json!({"VirtualMFADevice": {"SerialNumber": serial}}))
        }
        "EnableMFADevice" => change_user(world, r, name, |user| {
            user.mfa_devices.insert(id_of("SerialNumber"), r.date);
            Ok(())
        }),
        "DeactivateMFADevice" => change_user(world, r, name, |user| {
            gone(
                user.mfa_devices.remove(&id_of("SerialNumber")).is_some(),
                format!("MFA Device invalid for user {name}: it"),
            )
        }),
        "ListMFADevices" => {
            let user = seen_user(world, r, name)?;
            let devices = user.mfa_devices.iter();
            page(
                r,
                "MFADevices",
                devices.map(|(serial, at)| json!({"UserName": user.name, "SerialNumber": serial, "EnableDate": date(*at)})).collect(),
            )
        }
        "UploadSigningCertificate" => {
            // 24 characters at least, as AWS's model of DeleteSigningCertificate has it.
            let id = format!("{}0000", r.new_id("CERT"));
            let certificate = json!({
                "UserName": name, "CertificateId": id, "CertificateBody": id_of("CertificateBody"), "Status": "Active",
                "UploadDate": date(r.date),
            });
            change_user(world, r, name, |user| {
                user.certificates.insert(id, certificate.clone());
                Ok(())
            })?;
            Ok(json!({"Certificate": certificate}))
        }
        "ListSigningCertificates" => page(
            r,
            "Certificates",
            seen_user(world, r, name)?
                .certificates
                .values()
                .cloned()
                .collect(),
        ),
        "DeleteSigningCertificate" => change_user(world, r, name, |user| {
            let id = id_of("CertificateId");
            gone(
                user.certificates.remove(&id).is_some(),
                format!("The Certificate with id {id}"),
            )
        }),
        "UploadSSHPublicKey" => {
            let id = r.new_id("APKA");
            let mut key = json!({"UserName": name, "SSHPublicKeyId": id, "Status": "Active", "UploadDate": date(r.date)});
            change_user(world, r, name, |user| {
                user.ssh_keys.insert(id, key.clone());
                Ok(())
            })?;
            key["SSHPublicKeyBody"] = json!(id_of("SSHPublicKeyBody"));
            key["Fingerprint"] = json!("e1:5b:19:6a:1b:a4:4f:1c:8b:6a:5c:d5:5d:6a:54:5d");
            Ok(json!({"SSHPublicKey": key}))
        }
        "ListSSHPublicKeys" => page(
            r,
            "SSHPublicKeys",
            seen_user(world, r, name)?
                .ssh_keys
                .values()
                .cloned()
                .collect(),
        ),
        "DeleteSSHPublicKey" => change_user(world, r, name, |user| {
            let id = id_of("SSHPublicKeyId");
            gone(
                user.ssh_keys.remove(&id).is_some(),
                format!("The Public Key with id {id}"),
            )
        }),
        "CreateServiceSpecificCredential" => {
            let id = r.new_id("ACCA");
            let mut credential = json!({
                "UserName": name, "Status": "Active", "ServiceUserName": format!("{name}-at-{}", r.account), "CreateDate": date(r.date),
                "ServiceSpecificCredentialId": id, "ServiceName": id_of("ServiceName"),
            });
            change_user(world, r, name, |user| {
                user.service_credentials.insert(id, credential.clone());
                Ok(())
            })?;
            credential["ServicePassword"] = json!(r.new_secret());
            Ok(json!({"ServiceSpecificCredential": credential}))
        }
        "ListServiceSpecificCredentials" => page(
            r,
            "ServiceSpecificCredentials",
            seen_user(world, r, name)?
                .service_credentials
                .values()
                .cloned()
                .collect(),
        ),
        "DeleteServiceSpecificCredential" => change_user(world, r, name, |user| {
            let id = id_of("ServiceSpecificCredentialId");
            gone(
                user.service_credentials.remove(&id).is_some(),
                format!("Service specific credential {id}"),
            )
        }),
        operation => Err(unknown(operation)),
    }
}
