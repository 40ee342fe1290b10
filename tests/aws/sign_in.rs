//! How people sign in to an account: its alias, console passwords and their policy, and the summary of an account.
//!
//! Invariants:
//! - An account has one alias, which another create replaces; no two accounts have the same.
//! - A password has to fit the password policy, or AWS's default one where there is none.
//! - An update of the password policy resets what it does not name.
//!
//! Source: IAM API Reference; IAM User Guide, "Set an account password policy for IAM users".

use serde_json::{Value, json};

use super::iam::{account, change_user, exists, no_such, seen_user};
use super::protocol::{Refused, text};
use super::state::{Answer, Request, World, date};

/// The answer to a call of these, or `None` if it is another's.
pub fn call(world: &mut World, r: &Request<'_>) -> Option<Answer> {
    let name = |member: &str| text(r.input, member).unwrap_or_default();
    Some(match r.operation {
        "ListAccountAliases" => {
            let aliases: Vec<String> = account(world, r).alias.iter().cloned().collect();
            Ok(json!({"AccountAliases": aliases, "IsTruncated": false}))
        }
        "CreateAccountAlias" => create_alias(world, r, name("AccountAlias")),
        "DeleteAccountAlias" => {
            let alias = &mut account(world, r).alias;
            match alias.as_deref() == Some(name("AccountAlias")) {
                true => {
                    *alias = None;
                    Ok(json!({}))
                }
                false => Err(no_such(format!(
                    "The account alias {} cannot be found.",
                    name("AccountAlias")
                ))),
            }
        }
        "CreateLoginProfile" => create_profile(world, r, name("UserName")),
        "UpdateLoginProfile" => update_profile(world, r, name("UserName")),
        "GetLoginProfile" => seen_user(world, r, name("UserName")).and_then(|user| {
            let at = user.login_profile.ok_or_else(|| no_profile(&user.name))?;
            Ok(json!({"LoginProfile": {"UserName": user.name, "CreateDate": date(at), "PasswordResetRequired": user.resets_password}}))
        }),
        "DeleteLoginProfile" => change_user(world, r, name("UserName"), |user| {
            user.password = None;
            let was_there = user.login_profile.take().is_some();
            was_there.then_some(()).ok_or_else(|| no_profile(&user.name))
        }),
        "GetAccountPasswordPolicy" => match &account(world, r).password_policy {
            Some(policy) => Ok(json!({"PasswordPolicy": policy})),
            None => Err(no_password_policy(r)),
        },
        "UpdateAccountPasswordPolicy" => {
            account(world, r).password_policy = Some(password_policy(r.input));
            Ok(json!({}))
        }
        "DeleteAccountPasswordPolicy" => match account(world, r).password_policy.take() {
            Some(_) => Ok(json!({})),
            None => Err(no_password_policy(r)),
        },
        "GetAccountSummary" => Ok(summary(world, r)),
        _ => return None,
    })
}

fn create_alias(world: &mut World, r: &Request<'_>, alias: &str) -> Answer {
    // Also the account's own: IAM refuses it, as a retried create finds out.
    let has = |account: &super::state::Account| account.alias.as_deref() == Some(alias);
    if world.accounts.values().any(has) {
        return Err(exists(format!("The account alias {alias} already exists.")));
    }
    account(world, r).alias = Some(alias.to_owned());
    Ok(json!({}))
}

fn no_profile(user: &str) -> Refused {
    no_such(format!("Login Profile for User {user} cannot be found."))
}

fn no_password_policy(r: &Request<'_>) -> Refused {
    no_such(format!(
        "The Password Policy with domain name {} cannot be found.",
        r.account
    ))
}

fn create_profile(world: &mut World, r: &Request<'_>, name: &str) -> Answer {
    let password = text(r.input, "Password").unwrap_or_default().to_owned();
    check_password(world, r, &password)?;
    let resets =
        r.input["PasswordResetRequired"] == "true" || r.input["PasswordResetRequired"] == true;
    change_user(world, r, name, |user| {
        if user.login_profile.replace(r.date).is_some() {
            return Err(exists(format!(
                "Login Profile for user {} already exists.",
                user.name
            )));
        }
        (user.password, user.resets_password) = (Some(password), resets);
        Ok(())
    })?;
    Ok(
        json!({"LoginProfile": {"UserName": name, "CreateDate": date(r.date), "PasswordResetRequired": resets}}),
    )
}

fn update_profile(world: &mut World, r: &Request<'_>, name: &str) -> Answer {
    let password = text(r.input, "Password").unwrap_or_default().to_owned();
    check_password(world, r, &password)?;
    let resets =
        r.input["PasswordResetRequired"] == "true" || r.input["PasswordResetRequired"] == true;
    change_user(world, r, name, |user| {
        if user.login_profile.is_none() {
            return Err(no_profile(&user.name));
        }
        (user.password, user.resets_password) = (Some(password), resets);
        Ok(())
    })
}

/// A kind of character, and what is of it.
type Kind = (&'static str, fn(char) -> bool);

fn check_password(world: &mut World, r: &Request<'_>, password: &str) -> Result<(), Refused> {
    let policy = account(world, r).password_policy.clone();
    let policy = policy.unwrap_or_else(|| json!({"MinimumPasswordLength": 8}));
    let least = policy["MinimumPasswordLength"].as_u64().unwrap_or(6);
    let violates = |why: String| Err(Refused::new(400, "PasswordPolicyViolation", why));
    if (password.len() as u64) < least {
        return violates(format!("Password should have a minimum length of {least}"));
    }
    let kinds: [Kind; 4] = [
        ("RequireSymbols", |c| !c.is_ascii_alphanumeric()),
        ("RequireNumbers", |c| c.is_ascii_digit()),
        ("RequireUppercaseCharacters", |c| c.is_ascii_uppercase()),
        ("RequireLowercaseCharacters", |c| c.is_ascii_lowercase()),
    ];
    for (member, is_of_kind) in kinds {
        if policy[member] == true && !password.chars().any(is_of_kind) {
            return violates(format!("Password does not meet {member}"));
        }
    }
    Ok(())
}

/// The policy of a request: what it does not name has its default again.
fn password_policy(input: &Value) -> Value {
    let number = |member: &str| match &input[member] {
        Value::String(text) => text.parse::<u64>().ok(),
        value => value.as_u64(),
    };
    let flag = |member: &str| input[member] == true || input[member] == "true";
    let mut policy = json!({
        "MinimumPasswordLength": number("MinimumPasswordLength").unwrap_or(6),
        "RequireSymbols": flag("RequireSymbols"), "RequireNumbers": flag("RequireNumbers"),
        "RequireUppercaseCharacters": flag("RequireUppercaseCharacters"),
        "RequireLowercaseCharacters": flag("RequireLowercaseCharacters"),
        "AllowUsersToChangePassword": flag("AllowUsersToChangePassword"),
        "ExpirePasswords": number("MaxPasswordAge").is_some(), "HardExpiry": flag("HardExpiry"),
    });
    for member in ["MaxPasswordAge", "PasswordReusePrevention"] {
        if let Some(value) = number(member) {
            policy[member] = json!(value);
        }
    }
    policy
}

fn summary(world: &mut World, r: &Request<'_>) -> Value {
    let account = account(world, r);
    let users = account.users.values();
    let users = users.filter(|cell| cell.latest().is_some()).count();
    json!({"SummaryMap": {
        "AccountAccessKeysPresent": i32::from(account.root_has_keys),
        "AccountMFAEnabled": i32::from(account.root_has_mfa),
        "Users": users,
    }})
}
