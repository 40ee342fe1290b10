//! Registered accounts: AWS accounts in which apps live, reached by assuming a role.
//!
//! Invariants:
//! - The external ID is made by Slipway, unique for each account, and never chosen by a caller (IAM User Guide, "The
//!   confused deputy problem").
//! - An AWS account is registered once.
//! - The role is in the registered AWS account and in the partition of the service.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use strum::{Display, EnumIter, EnumString};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::domain::ecr_lifecycle::Lifecycle;
use crate::domain::names::{
    AccountId, AccountName, GroupName, IamPath, PolicyName, Region, RoleArn,
};
use crate::domain::spec::{
    Defaults, LifecycleRequest, MediaAccess, Place, check_template, default_account,
};
use crate::domain::validation::{FieldError, Fields};

/// Whether the service can use an account.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    Display,
    EnumIter,
    EnumString,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum AccountState {
    /// The account was not verified since it was registered or its role was changed.
    Pending,
    /// The role can be assumed.
    Ready,
    /// The role can be assumed without the external ID, so anybody who can make Slipway assume roles could use it. No
    /// app is onboarded until the trust policy is corrected and the account is verified.
    Blocked,
    /// The role cannot be assumed. `reason` tells why. No app is onboarded, and jobs in the account end as
    /// `needs_attention`.
    Unreachable,
}

impl AccountState {
    /// Whether apps can be onboarded.
    pub fn takes_apps(self) -> bool {
        self == Self::Ready
    }
}

/// Defaults of an account, over those of the settings.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the body for the API's document")]
pub struct AccountDefaults {
    /// The IAM group of the users of apps.
    #[schema(nullable = false, example = "Apps")]
    group: Option<GroupName>,
    /// The IAM path of the users of apps.
    #[schema(nullable = false, example = "/apps/")]
    iam_path: Option<IamPath>,
    /// The name of the shared media policy, and the prefix of scoped ones.
    #[schema(nullable = false, example = "MediaManagement")]
    policy: Option<PolicyName>,
    /// The buckets that apps can access.
    #[schema(nullable = false)]
    media_access: Option<MediaAccess>,
    /// `guide`, `protected`, or an ECR lifecycle policy document.
    #[schema(nullable = false, example = "guide")]
    lifecycle: Option<LifecycleRequest>,
    /// The template of bucket names, with the placeholders `{app}`, `{account_id}` and `{region}`.
    #[schema(nullable = false, example = "{app}-media-{account_id}")]
    bucket: Option<String>,
    /// The template of repository names.
    #[schema(nullable = false, example = "{app}")]
    repository: Option<String>,
    /// The template of the origins that can upload.
    #[schema(nullable = false, example = "https://{app}.example.com")]
    upload_origin: Option<String>,
}

/// An account to register.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the body for the API's document")]
pub struct AccountRequest {
    /// The name by which specs refer to the account. `default` is the account of the service itself.
    #[schema(example = "acme")]
    name: AccountName,
    /// The AWS account ID, 12 digits. An AWS account can be registered once.
    account_id: AccountId,
    /// The role in the account that Slipway assumes.
    role_arn: RoleArn,
    /// The region of apps that name none. Default: the region of the service.
    #[schema(nullable = false)]
    region: Option<Region>,
    /// Defaults of the account, over those of the settings.
    #[schema(nullable = false)]
    defaults: Option<AccountDefaults>,
}

/// A change of a registered account. Absent fields get their defaults.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the body for the API's document")]
pub struct AccountUpdate {
    /// The role in the account that Slipway assumes. A changed role has to be verified again.
    role_arn: RoleArn,
    /// The region of apps that name none. Default: the region of the service.
    #[schema(nullable = false)]
    region: Option<Region>,
    /// Defaults of the account, over those of the settings.
    #[schema(nullable = false)]
    defaults: Option<AccountDefaults>,
}

/// What can be changed in a registered account.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountSettings {
    /// The role that the service assumes.
    pub role_arn: RoleArn,
    /// The region of apps that name none.
    pub region: Region,
    /// Defaults over those of the settings, as the request gave them.
    pub defaults: Map<String, Value>,
}

/// A registered account.
#[derive(Debug, Clone, PartialEq)]
pub struct RegisteredAccount {
    pub name: AccountName,
    pub account_id: AccountId,
    pub settings: AccountSettings,
    /// What the role's trust policy requires of every AssumeRole.
    pub external_id: String,
    pub state: AccountState,
    /// Why the account is blocked or unreachable.
    pub reason: Option<String>,
    /// The account alias, as last seen.
    pub alias: Option<String>,
    pub checked_at: Option<Timestamp>,
    pub created_by: String,
    pub created_at: Timestamp,
    /// Rises with every change.
    pub version: i64,
}

impl RegisteredAccount {
    /// The settings' defaults with those of the account over them.
    pub fn defaults_over(&self, settings: &Defaults) -> Defaults {
        // They were valid when they were stored; a name that a later version refuses leaves the settings' default.
        read_defaults(&self.settings.defaults, settings, "").0
    }
}

impl AccountSettings {
    /// Reads the fields that a registration and a change have in common.
    fn read(
        fields: &mut Fields<'_>,
        body: &Value,
        settings: &Defaults,
        place: &Place<'_>,
    ) -> Option<Self> {
        let role_arn = fields.required("role_arn", |text| {
            let arn = RoleArn::parse(text).map_err(|why| why.to_string())?;
            match arn.partition() == place.partition {
                true => Ok(arn),
                false => Err(format!(
                    "must be in the partition of the service, {}",
                    place.partition
                )),
            }
        });
        let region = fields
            .parsed("region", |text| place.region_named(text))
            .or_else(|| place.region.cloned());
        if region.is_none() && body.get("region").is_none() {
            fields.error(
                "region",
                "is required, because the service has no default region (AWS_REGION)",
            );
        }
        let empty = Map::new();
        let defaults = match fields.get("defaults") {
            None => empty,
            Some(Value::Object(defaults)) => {
                let at = fields.at("defaults");
                fields.extend(read_defaults(defaults, settings, &at).1);
                defaults.clone()
            }
            Some(_) => {
                fields.error("defaults", "must be an object");
                empty
            }
        };
        Some(Self {
            role_arn: role_arn?,
            region: region?,
            defaults,
        })
    }
}

/// Reads overrides of the settings' defaults, which are at this JSON pointer. Where one is wrong, the settings' stands.
fn read_defaults(
    overrides: &Map<String, Value>,
    settings: &Defaults,
    at: &str,
) -> (Defaults, Vec<FieldError>) {
    let body = Value::Object(overrides.clone());
    let mut f = Fields::of(&body, at);
    let mut all = settings.clone();
    let template = |text: &str| Ok::<_, String>(text.to_owned());
    if let Some(group) = f.parsed("group", GroupName::parse) {
        all.group = group;
    }
    if let Some(path) = f.parsed("iam_path", IamPath::parse) {
        all.iam_path = path;
    }
    if let Some(policy) = f.parsed("policy", PolicyName::parse) {
        all.policy = policy;
    }
    let access = |text: &str| {
        text.parse::<MediaAccess>()
            .map_err(|_| "must be shared or scoped")
    };
    if let Some(access) = f.parsed("media_access", access) {
        all.media_access = access;
    }
    match f.get("lifecycle").map(Lifecycle::parse) {
        Some(Ok(lifecycle)) => all.lifecycle = lifecycle,
        Some(Err(problems)) => {
            for problem in problems {
                f.error_at(&format!("lifecycle{}", problem.pointer), problem.message);
            }
        }
        None => {}
    }
    for (name, place) in [
        ("bucket", &mut all.bucket),
        ("repository", &mut all.repository),
        ("upload_origin", &mut all.upload_origin),
    ] {
        if let Some(text) = f.parsed(name, template) {
            if let Err(why) = check_template(&text) {
                f.error(name, why);
            }
            *place = text;
        }
    }
    (all, f.finish())
}

/// Reads a registration.
///
/// # Errors
/// Every field's error, each with its JSON pointer.
pub fn parse_registration(
    body: &Value,
    settings: &Defaults,
    place: &Place<'_>,
) -> Result<(AccountName, AccountId, AccountSettings), Vec<FieldError>> {
    let mut f = Fields::of(body, "");
    let name = f.required("name", |text| {
        let name = AccountName::parse(text).map_err(|why| why.to_string())?;
        match name == default_account() {
            true => {
                Err("must not be default, which is the account of the service itself".to_owned())
            }
            false => Ok(name),
        }
    });
    let account_id = f.required("account_id", |text| {
        let id = AccountId::parse(text).map_err(|why| why.to_string())?;
        match id.as_str() == place.account_id {
            true => {
                Err("must not be the account of the service itself, which is default".to_owned())
            }
            false => Ok(id),
        }
    });
    let settings = AccountSettings::read(&mut f, body, settings, place);
    if let (Some(id), Some(settings)) = (&account_id, &settings)
        && settings.role_arn.account_id() != id.as_str()
    {
        f.error("role_arn", format!("must be a role in the account {id}"));
    }
    let errors = f.finish();
    match (name, account_id, settings) {
        (Some(name), Some(id), Some(settings)) if errors.is_empty() => Ok((name, id, settings)),
        _ => Err(errors),
    }
}

/// Reads a change of a registered account.
///
/// # Errors
/// Every field's error, each with its JSON pointer.
pub fn parse_update(
    body: &Value,
    of: &RegisteredAccount,
    settings: &Defaults,
    place: &Place<'_>,
) -> Result<AccountSettings, Vec<FieldError>> {
    let mut f = Fields::of(body, "");
    let settings = AccountSettings::read(&mut f, body, settings, place);
    if let Some(settings) = &settings
        && settings.role_arn.account_id() != of.account_id.as_str()
    {
        f.error(
            "role_arn",
            format!("must be a role in the account {}", of.account_id),
        );
    }
    let errors = f.finish();
    settings.filter(|_| errors.is_empty()).ok_or(errors)
}

/// What one check of an account found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Display, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum CheckOutcome {
    /// As it has to be.
    Passed,
    /// Not as it has to be.
    Failed,
    /// Not checked. `detail` tells why.
    Skipped,
}

/// One check of an account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AccountCheck {
    /// What was checked: `assume_role`, `account_id`, `without_external_id`, `wrong_external_id` or `role_policy`.
    #[schema(example = "without_external_id")]
    pub check: String,
    /// What was found.
    pub outcome: CheckOutcome,
    /// What was found, in words.
    #[schema(example = "AWS refused to assume the role without an external ID.")]
    pub detail: String,
    /// What to do, if the check failed.
    pub remedy: Option<String>,
}

/// What a verification of an account found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VerificationReport {
    /// The state of the account after the verification.
    pub state: AccountState,
    /// The checks, in the order in which they were made.
    pub checks: Vec<AccountCheck>,
    /// The IAM actions that the policy of the role does not allow and Slipway needs. Empty if none is missing, or if
    /// they could not be checked.
    #[schema(example = json!([]))]
    pub missing_actions: Vec<String>,
    /// When the account was verified.
    pub checked_at: Timestamp,
}

impl VerificationReport {
    pub fn passed(&mut self, check: &str, detail: String) {
        self.add(check, CheckOutcome::Passed, detail, None);
    }

    pub fn skipped(&mut self, check: &str, detail: String) {
        self.add(check, CheckOutcome::Skipped, detail, None);
    }

    /// Adds a failed check, which puts the account in a state.
    pub fn failed(&mut self, check: &str, detail: String, remedy: String, state: AccountState) {
        self.state = state;
        self.add(check, CheckOutcome::Failed, detail, Some(remedy));
    }

    fn add(&mut self, check: &str, outcome: CheckOutcome, detail: String, remedy: Option<String>) {
        self.checks.push(AccountCheck {
            check: check.to_owned(),
            outcome,
            detail,
            remedy,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn place() -> Place<'static> {
        static REGION: std::sync::OnceLock<Region> = std::sync::OnceLock::new();
        Place {
            account_id: "111111111111",
            partition: "aws",
            region: Some(REGION.get_or_init(|| Region::parse("us-west-2").unwrap())),
            regions: &[],
            lists: &[],
        }
    }

    fn pointers(body: Value) -> Vec<String> {
        parse_registration(&body, &Defaults::default(), &place())
            .unwrap_err()
            .into_iter()
            .map(|error| error.pointer)
            .collect()
    }

    fn role(arn: &str) -> Value {
        json!({"name": "acme", "account_id": "222222222222", "role_arn": arn})
    }

    #[test]
    fn a_role_is_in_the_account_and_the_partition() {
        let good = role("arn:aws:iam::222222222222:role/teams/Slipway");
        let (name, id, settings) =
            parse_registration(&good, &Defaults::default(), &place()).unwrap();
        assert_eq!((name.as_str(), id.as_str()), ("acme", "222222222222"));
        assert_eq!(settings.region.as_str(), "us-west-2");
        for arn in [
            "arn:aws:iam::333333333333:role/Slipway",
            "arn:aws-cn:iam::222222222222:role/Slipway",
            "arn:aws:iam::222222222222:user/Slipway",
            "arn:aws:iam::222222222222:role/",
            "arn:aws:iam::222222222222:role/a b",
            "arn:aws:iam:us-west-2:222222222222:role/Slipway",
            "arn:aws:sts::222222222222:assumed-role/Slipway/x",
            "arn:aws:iam::222222222222:role/Slipway*",
            "arn:aws:iam::222222222222:role//Slipway",
            "Slipway",
        ] {
            assert_eq!(pointers(role(arn)), ["/role_arn"], "{arn}");
        }
    }

    #[test]
    fn every_wrong_field_is_told_and_an_external_id_is_not_chosen() {
        let body = json!({
            "name": "default", "account_id": "111111111111", "role_arn": 1, "external_id": "mine",
            "region": "nowhere", "defaults": {"group": "", "bucket": "{user}", "colour": "red"},
        });
        assert_eq!(
            pointers(body),
            [
                "/name",
                "/account_id",
                "/role_arn",
                "/region",
                "/defaults/group",
                "/defaults/bucket",
                "/defaults/colour",
                "/external_id"
            ]
        );
    }

    #[test]
    fn defaults_of_an_account_go_over_those_of_the_settings() {
        let mut body = role("arn:aws:iam::222222222222:role/Slipway");
        body["defaults"] = json!({"group": "Guests", "lifecycle": "protected"});
        let (name, account_id, settings) =
            parse_registration(&body, &Defaults::default(), &place()).unwrap();
        let account = RegisteredAccount {
            name,
            account_id,
            settings,
            external_id: String::new(),
            state: AccountState::Pending,
            reason: None,
            alias: None,
            checked_at: None,
            created_by: "ann".into(),
            created_at: Timestamp::from_millis(0),
            version: 1,
        };
        let all = account.defaults_over(&Defaults::default());
        assert_eq!(all.group.as_str(), "Guests");
        assert_eq!(all.lifecycle, Lifecycle::Protected);
        assert_eq!(all.policy, Defaults::default().policy);
    }
}
