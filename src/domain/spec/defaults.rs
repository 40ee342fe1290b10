//! The defaults that complete a spec: the organisation's conventions, and the account and region.

use serde::Deserialize;

use super::app_spec::MediaAccess;
use super::lists::SpecList;
use crate::domain::ecr_lifecycle::Lifecycle;
use crate::domain::names::{GroupName, IamPath, NameError, PolicyName, Region};
use crate::domain::regions::{Extra, region_in};

/// The organisation's conventions, from the settings' `[defaults]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Defaults {
    /// The IAM group that marks app users.
    pub group: GroupName,
    /// The path that users are created under.
    pub iam_path: IamPath,
    /// The name of the shared media policy, and the prefix of scoped ones.
    pub policy: PolicyName,
    /// `shared` or `scoped`.
    pub media_access: MediaAccess,
    /// `guide`, `protected` or a whole document.
    pub lifecycle: Lifecycle,
    /// Template of a bucket's name: `{app}`, `{account_id}` and `{region}` are filled in.
    pub bucket: String,
    /// Template of a repository's name.
    pub repository: String,
    /// Template of the origin that may upload.
    pub upload_origin: String,
}

impl Default for Defaults {
    fn default() -> Self {
        let parsed = "the built-in default is a valid name";
        Self {
            group: GroupName::parse("Apps").expect(parsed),
            iam_path: IamPath::parse("/apps/").expect(parsed),
            policy: PolicyName::parse("MediaManagement").expect(parsed),
            media_access: MediaAccess::Shared,
            lifecycle: Lifecycle::Guide,
            bucket: "{app}-media-{account_id}".into(),
            repository: "{app}".into(),
            upload_origin: "https://{app}.herokuapp.com".into(),
        }
    }
}

impl Defaults {
    /// Whether the templates name nothing but what is filled in.
    ///
    /// # Errors
    /// Which template names what.
    pub fn check(&self) -> Result<(), String> {
        for (name, template) in [
            ("bucket", &self.bucket),
            ("repository", &self.repository),
            ("upload_origin", &self.upload_origin),
        ] {
            check_template(template)
                .map_err(|why| format!("defaults.{name} is {template}. {why}"))?;
        }
        Ok(())
    }
}

/// Whether a template names nothing but what is filled in.
///
/// # Errors
/// What it may name.
pub fn check_template(template: &str) -> Result<(), &'static str> {
    let filled = template
        .replace("{app}", "")
        .replace("{account_id}", "")
        .replace("{region}", "");
    match filled.contains(['{', '}']) {
        true => Err("The only allowed placeholders are {app}, {account_id} and {region}"),
        false => Ok(()),
    }
}

/// The account and region a spec is filled in for.
#[derive(Clone)]
pub struct Place<'a> {
    /// The account's 12 digits.
    pub account_id: &'a str,
    /// The ARN partition: `aws`, `aws-cn`, `aws-us-gov`.
    pub partition: &'a str,
    /// The service's own region, if it has one.
    pub region: Option<&'a Region>,
    /// Regions that the settings allow beyond those that AWS's partition has.
    pub regions: &'a [Region],
    /// The lists that kinds add to the spec.
    pub lists: &'a [SpecList],
}

impl Place<'_> {
    /// The region that a text names.
    ///
    /// # Errors
    /// When the account's partition has none by this name, and the settings allow none.
    pub fn region_named(&self, text: &str) -> Result<Region, NameError> {
        region_in(
            self.partition,
            &Extra {
                own: self.region,
                allowed: self.regions,
            },
            text,
        )
    }
}
