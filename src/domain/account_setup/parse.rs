//! Reads the set-up that a request asks for.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::domain::account_setup::spec::{Billing, PasswordPolicy, Person, SetupGroup, SetupSpec};
use crate::domain::names::{AccountAlias, AppName, GroupName};
use crate::domain::on_existing::OnExisting;
use crate::domain::validation::{self, FieldError, Fields};

/// Groups that one set-up may have.
const MAX_GROUPS: usize = 50;
/// Managed policies that a group can have by default (IAM quotas).
const MAX_POLICIES: usize = 10;
/// People that one set-up may have.
const MAX_PEOPLE: usize = 200;
/// Groups that a user can be in (IAM quotas).
const MAX_GROUPS_OF_PERSON: usize = 10;

/// The account that a set-up is for, and what its names must not be.
pub struct SetupPlace<'a> {
    pub partition: &'a str,
    /// The account ID, 12 digits.
    pub account_id: &'a str,
    /// The group of the users of apps.
    pub app_group: &'a GroupName,
}

impl SetupSpec {
    /// The set-up that a request asks for.
    ///
    /// # Errors
    /// Every field's error, each with its JSON pointer.
    pub fn parse(body: &Value, place: &SetupPlace<'_>) -> Result<Self, Vec<FieldError>> {
        let mut f = Fields::of(body, "");
        let alias = f.parsed("alias", AccountAlias::parse);
        let groups = f.list("groups", MAX_GROUPS, |item, at, errors| {
            parse_group(item, at, place, errors)
        });
        let groups = groups.unwrap_or_default();
        refuse_same_names(&mut f, "groups", groups.iter().map(|it| it.name.as_str()));
        let people = f.list("people", MAX_PEOPLE, |item, at, errors| {
            parse_person(item, at, &groups, body, errors)
        });
        let people = people.unwrap_or_default();
        refuse_same_names(&mut f, "people", people.iter().map(|it| it.email.as_str()));
        let at = f.at("password_policy");
        let password_policy = match f.get("password_policy") {
            Some(value) => {
                let (policy, errors) = parse_password_policy(value, at);
                f.extend(errors);
                Some(policy)
            }
            None => None,
        };
        let at = f.at("billing");
        let billing = match f.get("billing") {
            Some(value) => {
                let (billing, errors) = parse_billing(value, at);
                f.extend(errors);
                billing
            }
            None => Billing::default(),
        };
        let on_existing = f.parsed("on_existing", |text| {
            text.parse().map_err(|_| "must be fail or adopt")
        });
        let errors = f.finish();
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self {
            alias,
            groups,
            people,
            password_policy,
            billing,
            on_existing: on_existing.unwrap_or(OnExisting::Fail),
        })
    }
}

fn parse_group(
    item: &Value,
    at: String,
    place: &SetupPlace<'_>,
    errors: &mut Vec<FieldError>,
) -> Option<SetupGroup> {
    let mut f = Fields::of(item, at);
    let name = f.required("name", |text| {
        let name = GroupName::parse(text).map_err(|error| error.to_string())?;
        match name.as_str().eq_ignore_ascii_case(place.app_group.as_str()) {
            true => Err("is the group of the users of apps. Choose another name".to_owned()),
            false => Ok(name),
        }
    });
    let policies = f.list("policies", MAX_POLICIES, |item, at, errors| {
        let text = validation::text(item, &at, errors)?;
        match check_policy(text, place) {
            Ok(()) => Some(text.to_owned()),
            Err(why) => {
                errors.push(FieldError::new(at, why));
                None
            }
        }
    });
    let policies = policies.unwrap_or_default();
    let arns = |policy: &String| match policy.starts_with("arn:") {
        true => policy.clone(),
        false => format!("arn:{}:iam::aws:policy/{policy}", place.partition),
    };
    let arns: Vec<String> = policies.iter().map(arns).collect();
    refuse_same_names(&mut f, "policies", arns.iter().map(String::as_str));
    errors.extend(f.finish());
    Some(SetupGroup {
        name: name?,
        policies,
    })
}

fn check_policy(text: &str, place: &SetupPlace<'_>) -> Result<(), String> {
    let is_name = |name: &str| {
        let is_segment = |part: &str| {
            (1..=128).contains(&part.len())
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c))
        };
        name.len() <= 512 && name.split('/').all(is_segment)
    };
    let Some(arn) = text.strip_prefix("arn:") else {
        return match is_name(text) {
            true => Ok(()),
            false => Err("must be the name of a policy of AWS, such as ReadOnlyAccess or job-function/Billing, or the ARN of a policy".into()),
        };
    };
    let parts: Vec<&str> = arn.splitn(5, ':').collect();
    let (owner, resource) = match parts[..] {
        [partition, "iam", "", owner, resource] if partition == place.partition => {
            (owner, resource)
        }
        _ => return Err(wrong_arn(place)),
    };
    let is_policy = resource.strip_prefix("policy/").is_some_and(is_name);
    match is_policy && (owner == "aws" || owner == place.account_id) {
        true => Ok(()),
        false => Err(wrong_arn(place)),
    }
}

fn wrong_arn(place: &SetupPlace<'_>) -> String {
    let SetupPlace {
        partition,
        account_id,
        ..
    } = place;
    format!(
        "must be the ARN of a policy of AWS or of this account, such as arn:{partition}:iam::aws:policy/ReadOnlyAccess or arn:{partition}:iam::{account_id}:policy/Deploy"
    )
}

fn parse_person(
    item: &Value,
    at: String,
    groups: &[SetupGroup],
    body: &Value,
    errors: &mut Vec<FieldError>,
) -> Option<Person> {
    let mut f = Fields::of(item, at);
    let email = f.required("email", parse_email);
    let of_person = f.list("groups", MAX_GROUPS_OF_PERSON, |item, at, errors| {
        let text = validation::text(item, &at, errors)?;
        match groups.iter().find(|group| group.name.as_str() == text) {
            Some(group) => Some(group.name.clone()),
            None => {
                // A group whose own fields are invalid is reported there.
                if !is_named_in(body, text) {
                    errors.push(FieldError::new(at, not_in_spec(text, groups)));
                }
                None
            }
        }
    });
    let of_person = of_person.unwrap_or_default();
    refuse_same_names(&mut f, "groups", of_person.iter().map(GroupName::as_str));
    let console = f.boolean("console").unwrap_or(true);
    errors.extend(f.finish());
    Some(Person {
        email: email?,
        groups: of_person,
        console,
    })
}

fn is_named_in(body: &Value, name: &str) -> bool {
    let groups = body.get("groups").and_then(Value::as_array);
    groups.is_some_and(|groups| groups.iter().any(|group| group["name"] == name))
}

fn not_in_spec(name: &str, groups: &[SetupGroup]) -> String {
    let known: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    match known.is_empty() {
        true => format!("names the group {name}, and `groups` has none"),
        false => format!(
            "must be one of the groups of this set-up: {}",
            known.join(", ")
        ),
    }
}

/// An e-mail address that can be the name of an IAM user.
fn parse_email(text: &str) -> Result<AppName, &'static str> {
    const OTHERWISE: &str = "must be an e-mail address of at most 64 letters, digits and any of _+=,.@-, such as ana@example.com";
    let Some((local, host)) = text.split_once('@') else {
        return Err(OTHERWISE);
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let is_host = host.contains('.') && host.split('.').all(is_label);
    let is_local = local.split('.').all(|part| !part.is_empty());
    match AppName::parse(text) {
        Ok(name) if is_host && is_local => Ok(name),
        _ => Err(OTHERWISE),
    }
}

fn parse_password_policy(value: &Value, at: String) -> (PasswordPolicy, Vec<FieldError>) {
    let mut f = Fields::of(value, at);
    // The ranges are those of AWS's model of UpdateAccountPasswordPolicy.
    let policy = PasswordPolicy {
        minimum_length: f.integer("minimum_length", 6..=128),
        require_symbols: f.boolean("require_symbols"),
        require_numbers: f.boolean("require_numbers"),
        require_uppercase: f.boolean("require_uppercase"),
        require_lowercase: f.boolean("require_lowercase"),
        allow_users_to_change: f.boolean("allow_users_to_change"),
        max_age_days: f.integer("max_age_days", 1..=1095),
        reuse_prevention: f.integer("reuse_prevention", 1..=24),
        hard_expiry: f.boolean("hard_expiry"),
    };
    (policy, f.finish())
}

fn parse_billing(value: &Value, at: String) -> (Billing, Vec<FieldError>) {
    let mut f = Fields::of(value, at);
    let is_null = value["iam_access_attested_by"].is_null();
    let iam_access_attested_by = match is_null {
        true => {
            f.allow_null("iam_access_attested_by");
            None
        }
        false => f.parsed("iam_access_attested_by", |text| {
            let fits = (1..=128).contains(&text.chars().count())
                && !text.trim().is_empty()
                && !text.chars().any(char::is_control);
            match fits {
                true => Ok(text.to_owned()),
                false => Err("must be the name of a person: 1 to 128 visible characters"),
            }
        }),
    };
    (
        Billing {
            iam_access_attested_by,
        },
        f.finish(),
    )
}

/// IAM names are unique without regard to case.
fn refuse_same_names<'n>(f: &mut Fields<'_>, field: &str, names: impl Iterator<Item = &'n str>) {
    let mut seen = BTreeMap::new();
    for name in names {
        match seen.insert(name.to_ascii_lowercase(), name) {
            Some(before) if before == name => {
                f.error(field, format!("contains {name} more than once"));
            }
            Some(before) => f.error(
                field,
                format!("contains {before} and {name}, which are the same name in IAM"),
            ),
            None => {}
        }
    }
}
