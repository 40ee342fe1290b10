//! What the set-up of an account consists of.
//!
//! Invariants:
//! - A set-up is whole: nothing in it is decided later.
//! - A set-up written out as JSON parses back to itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::domain::names::{AccountAlias, AppName, GroupName};
use crate::domain::on_existing::OnExisting;

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
        let is_of_billing = |group: &SetupGroup| {
            BILLING_POLICIES
                .iter()
                .any(|policy| group.has_policy(policy))
        };
        self.spec.groups.iter().any(is_of_billing)
    }
}

impl SetupGroup {
    fn has_policy(&self, name: &str) -> bool {
        let is_it = |policy: &String| {
            policy == name
                || policy
                    .rsplit_once(":aws:policy/")
                    .is_some_and(|(_, it)| it == name)
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
