//! STS: who somebody is, and sessions of roles.
//!
//! Invariants:
//! - GetCallerIdentity needs no permission (aws.md A19), and counts as a use of the key.
//! - AssumeRole needs the role's trust; a session policy narrows the role's permissions.
//!
//! Source: STS API Reference, AssumeRole, GetCallerIdentity.

use serde_json::{Value, json};

use super::policy::{Context, trusts};
use super::protocol::{Refused, list, number, text};
use super::state::{Answer, Caller, Request, Session, World, date, tags_of};

pub fn call(world: &mut World, r: &Request<'_>) -> Answer {
    match r.operation {
        "GetCallerIdentity" => Ok(json!({
            "Arn": principal_arn(world, r.caller), "UserId": user_id(world, r.caller), "Account": r.caller.account(),
        })),
        "AssumeRole" => assume_role(world, r),
        operation => Err(Refused::new(
            400,
            "InvalidAction",
            format!("The AWS in memory does not know the operation {operation}."),
        )),
    }
}

/// The ARN of who calls.
pub fn principal_arn(world: &World, caller: &Caller) -> String {
    match caller {
        Caller::Role(session) => format!(
            "arn:aws:sts::{}:assumed-role/{}/{}",
            session.account, session.role, session.name
        ),
        Caller::User { account, name } => {
            let user = world
                .accounts
                .get(account)
                .and_then(|account| account.users.get(name)?.latest());
            user.map_or_else(String::new, |user| {
                format!("arn:aws:iam::{account}:user{}{}", user.path, user.name)
            })
        }
        Caller::Owner { account } => format!("arn:aws:iam::{account}:root"),
    }
}

fn user_id(world: &World, caller: &Caller) -> String {
    let of = |account: &str| world.accounts.get(account);
    match caller {
        Caller::Role(session) => {
            let role = of(&session.account)
                .and_then(|account| account.roles.get(&session.role.to_lowercase())?.latest());
            format!("{}:{}", role.map_or("AROA", |role| &role.id), session.name)
        }
        Caller::User { account, name } => of(account)
            .and_then(|account| account.users.get(name)?.latest())
            .map_or_else(String::new, |user| user.id.clone()),
        Caller::Owner { account } => account.clone(),
    }
}

/// The actions that an AssumeRole needs, of the caller and of the role's trust (IAM User Guide, "Pass session tags in
/// AWS STS", "Monitor and control actions taken with assumed roles").
pub fn assume_role_actions(r: &Request<'_>) -> impl Iterator<Item = &'static str> {
    let tags = !list(r.input, "Tags").is_empty();
    let identity = text(r.input, "SourceIdentity").is_some();
    [
        ("sts:AssumeRole", true),
        ("sts:TagSession", tags),
        ("sts:SetSourceIdentity", identity),
    ]
    .into_iter()
    .filter_map(|(action, is_needed)| is_needed.then_some(action))
}

fn assume_role(world: &mut World, r: &Request<'_>) -> Answer {
    let arn = text(r.input, "RoleArn").unwrap_or_default();
    let name = text(r.input, "RoleSessionName").unwrap_or_default();
    let principal = principal_arn(world, r.caller);
    let refused = || {
        let message = format!(
            "User: {principal} is not authorized to perform: sts:AssumeRole on resource: {arn}"
        );
        Refused::new(403, "AccessDenied", message)
    };
    let account = arn.split(':').nth(4).unwrap_or_default().to_owned();
    let role = arn.rsplit('/').next().unwrap_or_default().to_lowercase();
    let look = if r.caller.is_owner() {
        super::consistency::Look::Latest
    } else {
        r.look
    };
    let role = world
        .accounts
        .get(&account)
        .and_then(|account| account.roles.get(&role)?.at(look))
        .cloned();
    // A role that is not there is refused in the same words.
    let role = role.ok_or_else(refused)?;
    let mut context = Context::default();
    if let Some(id) = text(r.input, "ExternalId") {
        context.set("sts:ExternalId", [id.to_owned()]);
    }
    for (key, value) in tags_of(&r.input["Tags"]) {
        context.set(&format!("aws:RequestTag/{key}"), [value]);
    }
    let caller_role = match r.caller {
        Caller::Role(session) => format!("arn:aws:iam::{}:role/{}", session.account, session.role),
        _ => principal.clone(),
    };
    let is_trusted = assume_role_actions(r).all(|action| {
        [&principal, &caller_role]
            .iter()
            .any(|principal| trusts(&role.trust, action, principal, r.account, &context))
    });
    if !(is_trusted || r.caller.is_owner() && account == r.account) {
        return Err(refused());
    }
    let mut policy = text(r.input, "Policy")
        .map(serde_json::from_str::<Value>)
        .transpose()
        .map_err(|_| Refused::new(400, "MalformedPolicyDocument", "Syntax errors in policy."))?;
    if !list(r.input, "PolicyArns").is_empty() && policy.is_none() {
        policy = Some(json!({"Statement": []}));
    }
    let id = r.new_id("ASIA");
    let session = Session {
        account: account.clone(),
        role: role.name.clone(),
        name: name.to_owned(),
        policy,
    };
    let lasts = i64::try_from(number(r.input, "DurationSeconds").unwrap_or(3600)).unwrap_or(3600);
    let secret = r.new_secret();
    world.sessions.insert(id.clone(), session);
    world.secrets.insert(id.clone(), secret.clone());
    Ok(json!({
        "Credentials": {
            "AccessKeyId": id, "SecretAccessKey": secret, "SessionToken": format!("session-{id}"),
            "Expiration": date(r.date + lasts * 1000),
        },
        "AssumedRoleUser": {
            "AssumedRoleId": format!("{}:{name}", role.id), "Arn": format!("arn:aws:sts::{account}:assumed-role/{}/{name}", role.name),
        },
    }))
}
