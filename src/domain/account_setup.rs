//! The set-up of an account: its alias, groups, people, password policy and access to billing.
//!
//! Invariants:
//! - A set-up is whole: nothing in it is decided later.
//! - A set-up written out as JSON parses back to itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::clock::Timestamp;
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

/// The policy of AWS that allows everything.
pub const ADMINISTRATOR_ACCESS: &str = "AdministratorAccess";
/// The policies of AWS that give access to billing.
pub const BILLING_POLICIES: [&str; 2] = ["job-function/Billing", "AWSBillingReadOnlyAccess"];

/// What an account should have for the people who work in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = AccountSetup)]
pub struct SetupSpec {
    /// The alias of the account, which names its sign-in page. If absent, the alias stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub alias: Option<AccountAlias>,
    /// The groups, with the managed policies that are attached to them.
    #[schema(max_items = 50)]
    pub groups: Vec<SetupGroup>,
    /// The people who sign in. Each is an IAM user named by the work e-mail address.
    #[schema(max_items = 200)]
    pub people: Vec<Person>,
    /// The password policy of the account. Fields that are absent stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub password_policy: Option<PasswordPolicy>,
    /// The access of IAM users to billing.
    pub billing: Billing,
    /// What to do if a group or a user already exists and was not created for this set-up.
    pub on_existing: OnExisting,
}

/// The request body of a set-up, as documented; parsed by [`SetupSpec::parse`].
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AccountSetupRequest)]
#[expect(dead_code, reason = "describes the body for the API's document")]
pub struct SetupRequestBody {
    /// The alias of the account, which names its sign-in page. If absent, the alias stays as it is.
    #[schema(nullable = false)]
    alias: Option<AccountAlias>,
    /// The groups, with the managed policies that are attached to them. Default: none.
    #[schema(max_items = 50, nullable = false)]
    groups: Option<Vec<SetupGroupRequest>>,
    /// The people who sign in. Each is an IAM user named by the work e-mail address. Default: none.
    #[schema(max_items = 200, nullable = false)]
    people: Option<Vec<PersonRequest>>,
    /// The password policy of the account. Fields that are absent stay as they are.
    #[schema(nullable = false)]
    password_policy: Option<PasswordPolicy>,
    /// The access of IAM users to billing.
    #[schema(nullable = false)]
    billing: Option<BillingRequest>,
    /// What to do if a group or a user already exists and was not created for this set-up.
    #[schema(nullable = false)]
    on_existing: Option<OnExisting>,
}

/// A group of people.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the body for the API's document")]
pub struct SetupGroupRequest {
    /// The name of the group, unique without regard to case.
    #[schema(example = "Leads")]
    name: GroupName,
    /// The managed policies: AWS's own by name, with their path if they have one, or the ARN of a policy. Default: none.
    #[schema(max_items = 10, nullable = false, example = json!(["AdministratorAccess", "job-function/Billing"]))]
    policies: Option<Vec<String>>,
}

/// A person.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the body for the API's document")]
pub struct PersonRequest {
    /// The work e-mail address, which is the name of the IAM user: at most 64 characters.
    #[schema(value_type = String, example = "ana@example.com", max_length = 64)]
    email: AppName,
    /// The groups of the set-up that the person is in. Default: none.
    #[schema(max_items = 10, nullable = false)]
    groups: Option<Vec<GroupName>>,
    /// Whether the person signs in to the console. The first password is claimed once.
    #[schema(default = true, nullable = false)]
    console: Option<bool>,
}

/// The access of IAM users to billing.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the body for the API's document")]
pub struct BillingRequest {
    /// Who attests that the root user has activated IAM access to billing. AWS offers no API for it.
    #[schema(example = "Ana Silva", min_length = 1, max_length = 128)]
    iam_access_attested_by: Option<String>,
}

/// A group of people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetupGroup {
    /// The name of the group, unique without regard to case.
    #[schema(example = "Leads")]
    pub name: GroupName,
    /// The managed policies: AWS's own by name, with their path if they have one, or the ARN of a policy.
    #[schema(max_items = 10, example = json!(["AdministratorAccess", "job-function/Billing"]))]
    pub policies: Vec<String>,
}

/// A person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Person {
    /// The work e-mail address, which is the name of the IAM user: at most 64 characters.
    #[schema(value_type = String, example = "ana@example.com", max_length = 64)]
    pub email: AppName,
    /// The groups of the set-up that the person is in.
    #[schema(max_items = 10)]
    pub groups: Vec<GroupName>,
    /// Whether the person signs in to the console. The first password is claimed once.
    pub console: bool,
}

/// The password policy of an account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct PasswordPolicy {
    /// The least number of characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 6, maximum = 128, nullable = false)]
    pub minimum_length: Option<u32>,
    /// Whether a symbol is required.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub require_symbols: Option<bool>,
    /// Whether a digit is required.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub require_numbers: Option<bool>,
    /// Whether an uppercase letter is required.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub require_uppercase: Option<bool>,
    /// Whether a lowercase letter is required.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub require_lowercase: Option<bool>,
    /// Whether all users can change their own passwords.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub allow_users_to_change: Option<bool>,
    /// The number of days after which a password expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1095, nullable = false)]
    pub max_age_days: Option<u32>,
    /// The number of earlier passwords that cannot be used again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 24, nullable = false)]
    pub reuse_prevention: Option<u32>,
    /// Whether a password that has expired can be reset by an administrator only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub hard_expiry: Option<bool>,
}

/// The access of IAM users to billing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Billing {
    /// Who attests that the root user has activated IAM access to billing. AWS offers no API for it.
    #[schema(example = "Ana Silva", min_length = 1, max_length = 128)]
    pub iam_access_attested_by: Option<String>,
}

/// Who attested the activation of IAM access to billing, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BillingAttestation {
    /// Who attested it.
    #[schema(example = "Ana Silva")]
    pub attested_by: String,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// The token that recorded it.
    pub recorded_by: String,
}

/// The set-up of an account, as it is recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccountSetup {
    #[serde(flatten)]
    pub spec: SetupSpec,
    #[serde(default)]
    pub attestation: Option<BillingAttestation>,
}

impl AccountSetup {
    /// A set-up that takes the place of an earlier one. An attestation counts from when it was first recorded.
    pub fn new(spec: SetupSpec, earlier: Option<&Self>, by: &str, now: Timestamp) -> Self {
        let attestation = spec.billing.iam_access_attested_by.as_ref().map(|name| {
            let known = earlier.and_then(|earlier| earlier.attestation.clone());
            let known = known.filter(|known| known.attested_by == *name);
            known.unwrap_or_else(|| BillingAttestation {
                attested_by: name.clone(),
                recorded_at: now,
                recorded_by: by.to_owned(),
            })
        });
        Self { spec, attestation }
    }

    /// The person whose IAM user has this name.
    pub fn person(&self, user: &str) -> Option<&Person> {
        let mut people = self.spec.people.iter();
        people.find(|person| person.email.as_str().eq_ignore_ascii_case(user))
    }

    /// The people who have `AdministratorAccess`.
    pub fn leads(&self) -> impl Iterator<Item = &Person> {
        let is_of_leads =
            |name: &GroupName| self.groups_of_leads().any(|group| group.name == *name);
        let people = self.spec.people.iter();
        people.filter(move |person| person.groups.iter().any(is_of_leads))
    }

    fn groups_of_leads(&self) -> impl Iterator<Item = &SetupGroup> {
        let groups = self.spec.groups.iter();
        groups.filter(|group| group.has_policy(ADMINISTRATOR_ACCESS))
    }

    /// Whether it gives `AdministratorAccess` to a person or a group that does not have it by `earlier`. A group may have
    /// members that no set-up names.
    pub fn gives_administrator_access(&self, earlier: Option<&Self>) -> bool {
        let had_it = |lead: &Person| {
            earlier.is_some_and(|earlier| {
                let mut leads = earlier.leads();
                leads.any(|before| before.email.key() == lead.email.key())
            })
        };
        let was_of_leads = |group: &SetupGroup| {
            earlier.is_some_and(|earlier| {
                let mut groups = earlier.groups_of_leads();
                groups.any(|before| before.name == group.name)
            })
        };
        self.leads().any(|lead| !had_it(lead))
            || self.groups_of_leads().any(|group| !was_of_leads(group))
    }

    /// Whether a group has access to billing.
    pub fn names_billing(&self) -> bool {
        let is_of_billing =
            |group: &SetupGroup| BILLING_POLICIES.iter().any(|policy| group.has_policy(policy));
        self.spec.groups.iter().any(is_of_billing)
    }
}

impl SetupGroup {
    fn has_policy(&self, name: &str) -> bool {
        let is_it = |policy: &String| {
            policy == name || policy.rsplit_once(":aws:policy/").is_some_and(|(_, it)| it == name)
        };
        self.policies.iter().any(is_it)
    }

    /// The ARNs of its policies.
    pub fn policy_arns(&self, partition: &str) -> Vec<String> {
        let arn = |policy: &String| match policy.starts_with("arn:") {
            true => policy.clone(),
            false => format!("arn:{partition}:iam::aws:policy/{policy}"),
        };
        self.policies.iter().map(arn).collect()
    }
}

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
        false => format!("must be one of the groups of this set-up: {}", known.join(", ")),
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
fn refuse_same_names<'n>(
    f: &mut Fields<'_>,
    field: &str,
    names: impl Iterator<Item = &'n str>,
) {
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

#[cfg(test)]
mod tests;
