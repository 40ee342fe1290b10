//! The request body of a set-up, as documented.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::domain::account_setup::spec::PasswordPolicy;
use crate::domain::names::{AccountAlias, AppName, GroupName};
use crate::domain::on_existing::OnExisting;

/// The request body of a set-up, as documented; parsed by `SetupSpec::parse`.
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
