//! What an app should have in AWS: the spec, parsed from a request with every default filled in.
//!
//! Invariants:
//! - A spec is whole: nothing in it is decided later, so the plan a person read is the plan a job follows.
//! - A spec written out as JSON parses back to itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};
use strum::{Display, EnumString};
use utoipa::ToSchema;

use crate::domain::ecr_lifecycle::Lifecycle;
use crate::domain::iam_policy;
use crate::domain::names::{
    AccountName, AppName, BucketName, GroupName, IamPath, NameError, Origin, PolicyName, Region,
    RepositoryName,
};
use crate::domain::regions::{Extra, region_in};
use crate::domain::validation;
use crate::domain::validation::{FieldError, Fields};

/// Buckets, or repositories, one app may have.
pub const MAX_PLACES: usize = 25;
/// Tags a caller may set: AWS allows 50 on a resource (AWS General Reference), three are ours.
pub const MAX_TAGS: usize = 47;
/// Origins in one CORS rule; S3 takes 64 KB of configuration in all.
const MAX_ORIGINS: usize = 100;
/// Prefix of the tags by which Slipway knows its own things again.
pub const TAG_PREFIX: &str = "slipway:";

/// The buckets that the app can access.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum MediaAccess {
    /// The shared `MediaManagement` policy of the account, which grants access to every bucket in the account.
    Shared,
    /// A policy for the app, which grants access to its own buckets only.
    Scoped,
}

impl MediaAccess {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Shared => Self::Scoped,
            Self::Scoped => Self::Shared,
        }
    }
}

/// What to do if a resource already exists and does not belong to the app.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum OnExisting {
    /// Fail with a conflict.
    Fail,
    /// Adopt the resource, unless another app owns it.
    Adopt,
}

/// What is done about drift that a scheduled look finds.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum DriftMode {
    /// Drift is reported.
    #[default]
    Report,
    /// A job repairs drift. Resources that the spec does not include are only reported.
    Repair,
}

/// A bucket for the app's media.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketSpec {
    /// Its name, unique in the world.
    pub name: BucketName,
    /// Where it is.
    pub region: Region,
    /// Origins whose pages may upload to it from a browser.
    pub upload_origins: Vec<Origin>,
}

/// A repository for the app's images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RepositorySpec {
    /// Its name, unique in the account and region.
    pub name: RepositoryName,
    /// Where it is.
    pub region: Region,
    /// When its images expire.
    pub lifecycle: Lifecycle,
}

impl RepositorySpec {
    /// Where it is: `region/name`, which is unique in an account.
    pub fn place(&self) -> String {
        format!("{}/{}", self.region, self.name)
    }
}

/// What an app should have in AWS.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppSpec {
    /// The app's and its IAM user's name.
    pub name: AppName,
    /// The registered account it lives in.
    pub account: AccountName,
    /// The region of what has none of its own, and the app's `AWS_REGION`.
    pub region: Region,
    /// How wide its access to media is.
    pub media_access: MediaAccess,
    /// Its buckets.
    pub buckets: Vec<BucketSpec>,
    /// Its image repositories.
    pub repositories: Vec<RepositorySpec>,
    /// Whether it gets an access key.
    pub access_key: bool,
    /// What to do about things that are there already.
    pub on_existing: OnExisting,
    /// Tags for everything of the app's that can be tagged.
    pub tags: BTreeMap<String, String>,
    /// Whether its removal is refused.
    #[serde(default)]
    pub protected: bool,
    /// What is done about drift.
    #[serde(default)]
    pub drift: DriftMode,
    /// The age at which its access key is rotated by itself.
    #[serde(
        default,
        serialize_with = "write_age",
        deserialize_with = "humantime_serde::deserialize",
        skip_serializing_if = "Option::is_none"
    )]
    pub rotate_after: Option<Duration>,
}

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

/// The account and region a spec is filled in for.
#[derive(Debug, Clone)]
pub struct Place<'a> {
    /// The account's 12 digits.
    pub account_id: &'a str,
    /// The ARN partition: `aws`, `aws-cn`, `aws-us-gov`.
    pub partition: &'a str,
    /// The service's own region, if it has one.
    pub region: Option<&'a Region>,
    /// Regions that the settings allow beyond those that AWS's partition has.
    pub regions: &'a [Region],
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

/// The request body of an onboarding, as documented; parsed by [`AppSpec::parse`].
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the body for the API's document")]
pub struct AppRequest {
    /// The name of the app and of its IAM user: letters, digits and `_+=,.@-`, unique without regard to case.
    name: AppName,
    /// The name of a registered account.
    #[schema(default = "default", nullable = false)]
    account: Option<AccountName>,
    /// The region of the app. Default: the region of the service.
    #[schema(nullable = false)]
    region: Option<Region>,
    /// The buckets that the app can access.
    #[schema(nullable = false)]
    media_access: Option<MediaAccess>,
    /// The buckets of the app. Default: one bucket with the default name. An empty array means none.
    #[schema(max_items = 25, nullable = false)]
    buckets: Option<Vec<BucketRequest>>,
    /// The repositories of the app. Default: one repository with the default name. An empty array means none.
    #[schema(max_items = 25, nullable = false)]
    repositories: Option<Vec<RepositoryRequest>>,
    /// Whether the app has an access key.
    #[schema(default = true, nullable = false)]
    access_key: Option<bool>,
    /// What to do if a resource already exists and does not belong to the app.
    #[schema(nullable = false)]
    on_existing: Option<OnExisting>,
    /// Tags for all resources that support tags.
    #[schema(nullable = false)]
    tags: Option<BTreeMap<String, String>>,
    /// Whether requests to remove the app are rejected.
    #[schema(default = false, nullable = false)]
    protected: Option<bool>,
    /// What to do about drift that a scheduled check finds.
    #[schema(nullable = false)]
    drift: Option<DriftMode>,
    /// The age at which the access key is rotated automatically. Absent if it is not.
    #[schema(nullable = false)]
    rotate_after: Option<RotateAfter>,
}

/// A duration in hours, days or weeks, such as `90d`: from `1h` to `3650d`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(
    value_type = String,
    example = "90d",
    pattern = "^(([1-9][0-9]{0,3}|[1-7][0-9]{4}|8[0-6][0-9]{3}|87[0-5][0-9]{2}|87600)h|([1-9][0-9]{0,2}|[12][0-9]{3}|3[0-5][0-9]{2}|36[0-4][0-9]|3650)d|([1-9][0-9]?|[1-4][0-9]{2}|5[01][0-9]|52[01])w)$"
)]
#[expect(dead_code, reason = "describes the text for the API's document")]
pub struct RotateAfter(String);

/// `guide`, `protected`, or an ECR lifecycle policy document.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum LifecycleRequest {
    /// The name of a lifecycle profile.
    Named(LifecycleName),
    /// An ECR lifecycle policy document.
    #[schema(value_type = Object)]
    Document(serde_json::Map<String, Value>),
}

/// The name of a lifecycle profile.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LifecycleName {
    /// The rules of the guide.
    Guide,
    /// Keeps release tags, then applies the rules of the guide.
    Protected,
}

/// A bucket. Absent fields have defaults.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the body for the API's document")]
pub struct BucketRequest {
    /// The name of the bucket: 3 to 63 lowercase letters, digits and hyphens.
    #[schema(nullable = false)]
    name: Option<BucketName>,
    /// The region of the bucket. Default: the region of the app.
    #[schema(nullable = false)]
    region: Option<Region>,
    /// Origins whose pages may upload from a browser. An empty array means none.
    #[schema(max_items = 100, nullable = false)]
    upload_origins: Option<Vec<Origin>>,
}

/// A repository. Absent fields have defaults.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the body for the API's document")]
pub struct RepositoryRequest {
    /// The name of the repository: 2 to 256 lowercase letters and digits, separated by single `.`, `_`, `-` or `/`
    /// characters.
    #[schema(nullable = false)]
    name: Option<RepositoryName>,
    /// The region of the repository. Default: the region of the app.
    #[schema(nullable = false)]
    region: Option<Region>,
    /// `guide`, `protected`, or an ECR lifecycle policy document.
    #[schema(example = "guide", nullable = false)]
    lifecycle: Option<LifecycleRequest>,
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
            let filled = template
                .replace("{app}", "")
                .replace("{account_id}", "")
                .replace("{region}", "");
            if filled.contains(['{', '}']) {
                return Err(format!(
                    "defaults.{name} is {template}. The only allowed placeholders are {{app}}, {{account_id}} and {{region}}"
                ));
            }
        }
        Ok(())
    }
}

impl AppSpec {
    /// The spec that a request asks for, with defaults filled in.
    ///
    /// # Errors
    /// Every field's error, each with its JSON pointer.
    pub fn parse(
        body: &Value,
        defaults: &Defaults,
        place: &Place<'_>,
    ) -> Result<Self, Vec<FieldError>> {
        let mut f = Fields::of(body, "");
        let name = f.required("name", AppName::parse);
        let account = f.parsed("account", AccountName::parse);
        let region = f
            .parsed("region", |text| place.region_named(text))
            .or_else(|| place.region.cloned());
        if region.is_none() && body.get("region").is_none() {
            f.error(
                "region",
                "is required, because the service has no default region (AWS_REGION)",
            );
        }
        let media_access = f.parsed("media_access", one_of::<MediaAccess>("shared or scoped"));
        let access_key = f.boolean("access_key");
        let on_existing = f.parsed("on_existing", one_of::<OnExisting>("fail or adopt"));
        let tags = f
            .get("tags")
            .map(|value| parse_tags(value, &mut f))
            .unwrap_or_default();
        let protected = f.boolean("protected");
        let drift = f.parsed("drift", one_of::<DriftMode>("report or repair"));
        let rotate_after = f.parsed("rotate_after", parse_age);

        let fill = Fill {
            app: name.as_ref(),
            region: region.as_ref(),
            defaults,
            place,
        };
        let buckets = f.list("buckets", MAX_PLACES, |item, at, errors| {
            fill.bucket(item, at, errors)
        });
        let buckets = buckets.unwrap_or_else(|| fill.one(body, "buckets", &mut f, Fill::bucket));
        let repositories = f.list("repositories", MAX_PLACES, |item, at, errors| {
            fill.repository(item, at, errors)
        });
        let repositories = repositories
            .unwrap_or_else(|| fill.one(body, "repositories", &mut f, Fill::repository));
        refuse_doubles(&mut f, "buckets", &buckets, |b| b.name.to_string());
        refuse_doubles(&mut f, "repositories", &repositories, |r| {
            format!("{} in {}", r.name, r.region)
        });
        let media_access = media_access.unwrap_or(defaults.media_access);
        refuse_a_long_policy(&mut f, media_access, &buckets, place);

        let errors = f.finish();
        match (name, region) {
            (Some(name), Some(region)) if errors.is_empty() => Ok(Self {
                name,
                account: account.unwrap_or_else(default_account),
                region,
                media_access,
                buckets,
                repositories,
                access_key: access_key.unwrap_or(true),
                on_existing: on_existing.unwrap_or(OnExisting::Fail),
                tags,
                protected: protected.unwrap_or(false),
                drift: drift.unwrap_or_default(),
                rotate_after,
            }),
            _ => Err(errors),
        }
    }
}

/// The account that the service itself runs in.
pub fn default_account() -> AccountName {
    AccountName::parse("default").expect("the built-in default is a valid name")
}

/// What the defaults of buckets and repositories are filled from.
struct Fill<'a> {
    app: Option<&'a AppName>,
    region: Option<&'a Region>,
    defaults: &'a Defaults,
    place: &'a Place<'a>,
}

impl Fill<'_> {
    fn bucket(&self, item: &Value, at: String, errors: &mut Vec<FieldError>) -> Option<BucketSpec> {
        let mut f = Fields::of(item, at);
        let name = self.named(&mut f, item, &self.defaults.bucket, BucketName::parse);
        let region = f
            .parsed("region", |text| self.place.region_named(text))
            .or_else(|| self.region.cloned());
        let origins = f.list("upload_origins", MAX_ORIGINS, |item, at, errors| {
            let text = validation::text(item, &at, errors)?;
            Origin::parse(text)
                .map_err(|why| errors.push(FieldError::new(at, why)))
                .ok()
        });
        let origins = origins.or_else(|| self.upload_origin(&mut f, item));
        errors.extend(f.finish());
        Some(BucketSpec {
            name: name?,
            region: region?,
            upload_origins: origins?,
        })
    }

    fn repository(
        &self,
        item: &Value,
        at: String,
        errors: &mut Vec<FieldError>,
    ) -> Option<RepositorySpec> {
        let mut f = Fields::of(item, at);
        let name = self.named(
            &mut f,
            item,
            &self.defaults.repository,
            RepositoryName::parse,
        );
        let region = f
            .parsed("region", |text| self.place.region_named(text))
            .or_else(|| self.region.cloned());
        let at = f.at("lifecycle");
        let lifecycle = match f.get("lifecycle").map(Lifecycle::parse) {
            None => Some(self.defaults.lifecycle.clone()),
            Some(Ok(lifecycle)) => Some(lifecycle),
            Some(Err(problems)) => {
                errors.extend(
                    problems
                        .into_iter()
                        .map(|p| FieldError::new(format!("{at}{}", p.pointer), p.message)),
                );
                None
            }
        };
        errors.extend(f.finish());
        Some(RepositorySpec {
            name: name?,
            region: region?,
            lifecycle: lifecycle?,
        })
    }

    /// The name given, or the default one; where the default does not do, the message says to name it.
    fn named<T>(
        &self,
        f: &mut Fields<'_>,
        item: &Value,
        template: &str,
        parse: impl Fn(&str) -> Result<T, NameError>,
    ) -> Option<T> {
        if item.get("name").is_some() || !item.is_object() {
            return f.parsed("name", parse);
        }
        f.get("name");
        let name = self.filled(template)?;
        let why = |error| {
            f.error(
                "name",
                format!("The default name {name} is invalid: it {error}. Specify a name"),
            )
        };
        parse(&name).map_err(why).ok()
    }

    fn upload_origin(&self, f: &mut Fields<'_>, item: &Value) -> Option<Vec<Origin>> {
        if item.get("upload_origins").is_some() {
            return None;
        }
        let origin = self.filled(&self.defaults.upload_origin)?;
        let why = |error| {
            f.error(
                "upload_origins",
                format!("The default origin {origin} is invalid: it {error}. Specify the origins"),
            )
        };
        Origin::parse(&origin)
            .map(|origin| vec![origin])
            .map_err(why)
            .ok()
    }

    fn filled(&self, template: &str) -> Option<String> {
        let filled = template
            .replace("{app}", self.app?.as_str())
            .replace("{account_id}", self.place.account_id);
        if !filled.contains("{region}") {
            return Some(filled);
        }
        Some(filled.replace("{region}", self.region?.as_str()))
    }

    /// The one default place, when the request does not list any; nothing when the list was wrong.
    fn one<T>(
        &self,
        body: &Value,
        name: &str,
        f: &mut Fields<'_>,
        read: impl Fn(&Self, &Value, String, &mut Vec<FieldError>) -> Option<T>,
    ) -> Vec<T> {
        if body.get(name).is_some() {
            return Vec::new();
        }
        let mut errors = Vec::new();
        let place = read(self, &json!({}), String::new(), &mut errors);
        for error in errors {
            f.error(name, error.message);
        }
        place.into_iter().collect()
    }
}

fn one_of<T: std::str::FromStr>(choices: &'static str) -> impl Fn(&str) -> Result<T, String> {
    move |text| text.parse().map_err(|_| format!("must be {choices}"))
}

/// The units of an age, in hours.
const UNITS: [(&str, u64); 3] = [("w", 7 * 24), ("d", 24), ("h", 1)];
/// The longest age, in hours.
const MAX_AGE: u64 = 3650 * 24;

/// An age such as `90d`, from an hour to some years; what [`RotateAfter`] documents.
///
/// # Errors
/// When it is not written so, or not within that.
pub fn parse_age(text: &str) -> Result<Duration, &'static str> {
    let number = |digits: &str| {
        if digits.starts_with(|c: char| matches!(c, '1'..='9')) {
            digits.parse::<u64>().ok()
        } else {
            None
        }
    };
    let hours = UNITS
        .iter()
        .find_map(|(unit, hours)| number(text.strip_suffix(unit)?)?.checked_mul(*hours));
    let hours = hours
        .filter(|hours| *hours <= MAX_AGE)
        .ok_or("must be a duration from 1h to 3650d, such as 90d")?;
    Ok(Duration::from_secs(hours * 3600))
}

/// Writes an age as [`parse_age`] reads it.
#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn write_age<S: Serializer>(age: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    let text = age.map(|age| match age.as_secs() / 3600 {
        hours if hours % 24 == 0 => format!("{}d", hours / 24),
        hours => format!("{hours}h"),
    });
    text.serialize(serializer)
}

fn parse_tags(value: &Value, f: &mut Fields<'_>) -> BTreeMap<String, String> {
    let Some(object) = value.as_object() else {
        f.error("tags", "must be an object of strings");
        return BTreeMap::new();
    };
    if object.len() > MAX_TAGS {
        f.error(
            "tags",
            format!("must have at most {MAX_TAGS} tags, not {}", object.len()),
        );
    }
    let mut tags = BTreeMap::new();
    let mut keys = BTreeSet::new();
    for (key, value) in object {
        let at = format!("tags/{}", key.replace('~', "~0").replace('/', "~1"));
        let problem = tag_problem(key, value).or_else(|| {
            let double = !keys.insert(key.to_lowercase());
            double.then_some(
                "differs from another tag only in case, but IAM tag keys are not case-sensitive",
            )
        });
        match (problem, value.as_str()) {
            (Some(problem), _) => f.error_at(&at, problem),
            (None, text) => {
                tags.insert(key.clone(), text.unwrap_or_default().to_owned());
            }
        }
    }
    tags
}

/// What is wrong with a tag by the rules that IAM, S3 and ECR share (IAM User Guide, "Tags for IAM resources").
fn tag_problem(key: &str, value: &Value) -> Option<&'static str> {
    let legal = |text: &str| {
        text.chars()
            .all(|c| c.is_alphanumeric() || " _.:/=+-@".contains(c))
    };
    let Some(value) = value.as_str() else {
        return Some("must be a string");
    };
    let lower = key.to_lowercase();
    if lower.starts_with("aws:") || lower.starts_with(TAG_PREFIX) {
        return Some("must not begin with aws: or slipway:, which are reserved");
    }
    if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
        return Some("must have a key of 1 to 128 characters and a value of at most 256");
    }
    if !legal(key) || !legal(value) {
        return Some("must contain only letters, digits, spaces and _.:/=+-@");
    }
    None
}

fn refuse_doubles<T>(f: &mut Fields<'_>, field: &str, items: &[T], name: impl Fn(&T) -> String) {
    let mut seen = BTreeSet::new();
    for item in items {
        let name = name(item);
        if !seen.insert(name.clone()) {
            f.error(field, format!("contains {name} more than once"));
        }
    }
}

fn refuse_a_long_policy(
    f: &mut Fields<'_>,
    access: MediaAccess,
    buckets: &[BucketSpec],
    place: &Place<'_>,
) {
    if access != MediaAccess::Scoped {
        return;
    }
    let names: Vec<&BucketName> = buckets.iter().map(|b| &b.name).collect();
    let length = iam_policy::PolicyDocument::media_scoped(place.partition, &names)
        .map_or(0, |document| document.to_document().len());
    if length > iam_policy::MAX_CHARACTERS {
        f.error(
            "buckets",
            format!(
                "result in a scoped policy of {length} characters; IAM accepts {}",
                iam_policy::MAX_CHARACTERS
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(body: Value) -> Result<AppSpec, Vec<FieldError>> {
        let region = Region::parse("us-west-2").unwrap();
        let place = Place {
            account_id: "123456789012",
            partition: "aws",
            region: Some(&region),
            regions: &[],
        };
        AppSpec::parse(&body, &Defaults::default(), &place)
    }

    fn pointers(body: Value) -> Vec<String> {
        parse(body)
            .unwrap_err()
            .into_iter()
            .map(|e| e.pointer)
            .collect()
    }

    #[test]
    fn the_least_body_has_every_default() {
        let spec = parse(json!({"name": "acme-shop"})).unwrap();
        assert_eq!(
            serde_json::to_value(&spec).unwrap(),
            json!({
                "name": "acme-shop", "account": "default", "region": "us-west-2", "media_access": "shared",
                "buckets": [{"name": "acme-shop-media-123456789012", "region": "us-west-2",
                             "upload_origins": ["https://acme-shop.herokuapp.com"]}],
                "repositories": [{"name": "acme-shop", "region": "us-west-2", "lifecycle": "guide"}],
                "access_key": true, "on_existing": "fail", "tags": {}, "protected": false, "drift": "report"
            })
        );
    }

    #[test]
    fn a_spec_written_out_parses_back() {
        let spec = parse(json!({"name": "a1", "media_access": "scoped", "tags": {"team": "shop"}, "access_key": false,
            "on_existing": "adopt", "protected": true, "drift": "repair", "rotate_after": "90d",
            "repositories": [{"region": "eu-west-1", "lifecycle": "protected"}],
            "buckets": [{"name": "one-bucket", "upload_origins": []}, {"name": "two-bucket", "region": "us-east-1"}]}))
        .unwrap();
        assert_eq!(parse(serde_json::to_value(&spec).unwrap()).unwrap(), spec);
    }

    #[test]
    fn an_age_is_taken_as_documented_and_written_so() {
        let age = |text: &str| parse(json!({"name": "a1", "rotate_after": text}));
        for text in ["1h", "23h", "25h", "87599h", "1d", "90d", "3649d", "3650d"] {
            let spec = age(text).unwrap();
            let written = serde_json::to_value(&spec).unwrap();
            assert_eq!(written["rotate_after"], text);
            assert_eq!(serde_json::from_value::<AppSpec>(written).unwrap(), spec);
        }
        let same = [
            ("24h", "1d"),
            ("87600h", "3650d"),
            ("1w", "7d"),
            ("521w", "3647d"),
        ];
        assert!(
            same.into_iter()
                .all(|(one, other)| age(one).unwrap() == age(other).unwrap())
        );
        for text in [
            "",
            "h",
            "1",
            "0h",
            "01h",
            "+1h",
            "1 h",
            "1h 1h",
            "1H",
            "90m",
            "87601h",
            "3651d",
            "522w",
            "99999999999999999999w",
        ] {
            assert_eq!(
                pointers(json!({"name": "a1", "rotate_after": text})),
                ["/rotate_after"],
                "{text}"
            );
        }
    }

    #[test]
    fn every_error_is_told_at_once() {
        let got = pointers(json!({
            "name": "no spaces", "region": "moon", "buckets": [{"name": "A"}, {"upload_origins": [1, "x"], "size": 3}],
            "repositories": [{"name": "x", "lifecycle": "whatever"}], "access_key": "yes", "media": 1,
            "tags": {"aws:x": "y", "ok": 5}, "on_existing": "replace", "media_access": null
        }));
        for pointer in [
            "/name",
            "/region",
            "/buckets/0/name",
            "/buckets/1/upload_origins/0",
            "/buckets/1/upload_origins/1",
            "/buckets/1/size",
            "/repositories/0/name",
            "/repositories/0/lifecycle",
            "/access_key",
            "/media",
            "/tags/aws:x",
            "/tags/ok",
            "/on_existing",
            "/media_access",
        ] {
            assert!(
                got.iter().any(|p| p == pointer),
                "{pointer} is missing from {got:?}"
            );
        }
    }

    #[test]
    fn what_is_empty_is_none_and_what_is_absent_is_one() {
        let spec = parse(json!({"name": "a", "buckets": [], "repositories": []})).unwrap();
        assert!(spec.buckets.is_empty() && spec.repositories.is_empty());
    }

    #[test]
    fn a_default_that_will_not_do_says_to_name_it() {
        let errors = parse(json!({"name": "Acme_Shop"})).unwrap_err();
        let at: Vec<&str> = errors.iter().map(|e| e.pointer.as_str()).collect();
        assert!(
            at.contains(&"/buckets") && at.contains(&"/repositories"),
            "{errors:?}"
        );
        assert!(parse(json!({"name": "Acme_Shop", "buckets": [], "repositories": []})).is_ok());
    }

    #[test]
    fn doubles_and_foreign_partitions_are_refused() {
        let body =
            json!({"name": "a", "repositories": [], "buckets": [{"name": "abc"}, {"name": "abc"}]});
        assert_eq!(pointers(body), ["/buckets"]);
        assert_eq!(
            pointers(json!({"name": "acme", "region": "cn-north-1"})),
            ["/region"]
        );
    }

    #[test]
    fn anything_but_an_object_is_one_error() {
        for body in [json!(null), json!([]), json!("x"), json!(1)] {
            assert_eq!(parse(body).unwrap_err()[0].pointer, "");
        }
    }

    /// The fields that there are, and names that need escaping in a pointer.
    const KEYS: [&str; 17] = [
        "name",
        "account",
        "region",
        "media_access",
        "buckets",
        "repositories",
        "access_key",
        "on_existing",
        "tags",
        "upload_origins",
        "lifecycle",
        "rules",
        "selection",
        "a/b",
        "~1",
        "",
        "\0",
    ];

    fn any_leaf() -> impl Strategy<Value = Value> {
        let words = [
            "acme-shop",
            "Acme_Shop",
            "us-west-2",
            "cn-north-1",
            "moon",
            "scoped",
            "adopt",
            "guide",
            "protected",
            "https://a.example",
            "*",
            "",
            "\0",
            "default",
            "aws:x",
            "é",
        ];
        prop_oneof![
            4 => prop::sample::select(words.to_vec()).prop_map(Value::from),
            1 => "\\PC{0,70}".prop_map(Value::from),
            1 => any::<i64>().prop_map(Value::from),
            1 => any::<bool>().prop_map(Value::from),
            1 => Just(Value::Null),
        ]
    }

    fn any_json() -> impl Strategy<Value = Value> {
        any_leaf().prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(prop::sample::select(KEYS.to_vec()), inner, 0..6)
                    .prop_map(|members| members
                        .into_iter()
                        .map(|(key, value)| (key.to_owned(), value))
                        .collect()),
            ]
        })
    }

    prop_compose! {
        /// A body that parses.
        fn any_request()(
            name in "[a-z][a-z0-9]{2,9}(-[a-z0-9]{1,9})?",
            buckets in prop::option::of(prop::collection::btree_set("[a-z0-9]{3,20}", 0..3)),
            origins in prop::option::of(Just(json!(["*", "http://localhost:3000"]))),
            repositories in prop::option::of(prop::collection::btree_map("[a-z0-9]{2,9}(/[a-z0-9]{1,9})?", 0..3u8, 0..3)),
            region in prop::option::of(prop::sample::select(vec!["us-east-1", "eu-west-1"])),
            (scoped, access_key, adopt) in any::<(Option<bool>, Option<bool>, Option<bool>)>(),
            tags in prop::option::of(prop::collection::btree_map("[a-z]{1,4}", "[A-Za-z0-9 _.:/=+@-]{0,8}", 0..4)),
        ) -> Value {
            let mut body = json!({"name": name});
            let lifecycle = |profile: u8| match profile {
                0 => json!("guide"),
                1 => json!("protected"),
                _ => Lifecycle::Guide.policy().to_value(),
            };
            let buckets = buckets.map(|names| names.into_iter().map(|name| {
                let mut bucket = json!({"name": name});
                origins.iter().for_each(|origins| bucket["upload_origins"] = origins.clone());
                bucket
            }).collect());
            let repositories = repositories.map(|repositories| repositories.into_iter().map(|(name, profile)| json!({"name": name, "lifecycle": lifecycle(profile)})).collect());
            let fields = [
                ("buckets", buckets),
                ("repositories", repositories),
                ("region", region.map(Value::from)),
                ("media_access", scoped.map(|scoped| json!(if scoped { "scoped" } else { "shared" }))),
                ("access_key", access_key.map(Value::from)),
                ("on_existing", adopt.map(|adopt| json!(if adopt { "adopt" } else { "fail" }))),
                ("tags", tags.map(|tags| json!(tags))),
            ];
            for (field, value) in fields {
                value.into_iter().for_each(|value| body[field] = value);
            }
            body
        }
    }

    /// Every place in a document, by its pointer.
    fn places(value: &Value, at: &str, found: &mut Vec<String>) {
        found.push(at.to_owned());
        for (key, member) in value.as_object().into_iter().flatten() {
            places(
                member,
                &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")),
                found,
            );
        }
        for (i, item) in value.as_array().into_iter().flatten().enumerate() {
            places(item, &format!("{at}/{i}"), found);
        }
    }

    /// A request with one thing put in the place of another, or in addition.
    fn any_nearly_right() -> impl Strategy<Value = Value> {
        let change = (
            any::<prop::sample::Index>(),
            any_json(),
            prop::option::of(prop::sample::select(KEYS.to_vec())),
        );
        (any_request(), change).prop_map(|(mut body, (at, value, key))| {
            let mut found = Vec::new();
            places(&body, "", &mut found);
            let place = body
                .pointer_mut(found[at.index(found.len())].as_str())
                .unwrap();
            match (place, key) {
                (Value::Object(members), Some(key)) => drop(members.insert(key.to_owned(), value)),
                (place, _) => *place = value,
            }
            body
        })
    }

    /// Whether a pointer leads to something in the document, or to a member or item that it lacks.
    fn leads_into(document: &Value, pointer: &str) -> bool {
        let parent = pointer.rsplit_once('/').map(|(parent, _)| parent);
        document.pointer(pointer).is_some()
            || parent.is_some_and(|parent| document.pointer(parent).is_some_and(Value::is_object))
    }

    /// Whether everything that was asked for is in the spec as it was asked for.
    fn is_kept(asked: &Value, spec: &Value) -> bool {
        match (asked, spec) {
            (Value::Object(asked), Value::Object(spec)) => asked
                .iter()
                .all(|(key, value)| spec.get(key).is_some_and(|spec| is_kept(value, spec))),
            (Value::Array(asked), Value::Array(spec)) => {
                asked.len() == spec.len()
                    && asked
                        .iter()
                        .zip(spec)
                        .all(|(asked, spec)| is_kept(asked, spec))
            }
            (asked, spec) => asked == spec,
        }
    }

    /// What has to hold of whatever comes in.
    fn check(body: Value) -> Result<(), TestCaseError> {
        match parse(body.clone()) {
            Ok(spec) => prop_assert_eq!(
                parse(serde_json::to_value(&spec).unwrap()),
                Ok(spec),
                "of {}",
                body
            ),
            Err(errors) => {
                prop_assert!(!errors.is_empty());
                for error in errors {
                    prop_assert!(
                        leads_into(&body, &error.pointer),
                        "{} leads nowhere in {}",
                        error.pointer,
                        body
                    );
                    prop_assert!(!error.message.is_empty());
                }
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn any_json_is_a_spec_or_has_errors_in_their_places(body in any_json()) {
            check(body)?;
        }

        #[test]
        fn what_is_nearly_right_is_a_spec_or_has_errors_in_their_places(body in any_nearly_right()) {
            check(body)?;
        }

        #[test]
        fn what_is_right_parses_and_survives_its_json(body in any_request()) {
            let spec = parse(body.clone()).map_err(|errors| TestCaseError::fail(format!("{errors:?}")))?;
            let text = serde_json::to_string(&spec).unwrap();
            prop_assert!(is_kept(&body, &serde_json::from_str(&text).unwrap()), "{} became {}", body, text);
            prop_assert_eq!(&parse(serde_json::from_str(&text).unwrap()).unwrap(), &spec);
            prop_assert_eq!(serde_json::from_str::<AppSpec>(&text).unwrap(), spec, "as the database reads it");
        }

        #[test]
        fn an_unknown_field_is_told_wherever_it_is(body in any_request(), at in any::<prop::sample::Index>()) {
            let mut found = Vec::new();
            places(&body, "", &mut found);
            found.retain(|at| body.pointer(at).is_some_and(Value::is_object) && at != "/tags");
            let at = found[at.index(found.len())].as_str();
            let mut body = body.clone();
            body.pointer_mut(at).unwrap()["a/b~c"] = json!(1);
            let pointers = pointers(body);
            prop_assert!(pointers.contains(&format!("{at}/a~1b~0c")), "{pointers:?}");
        }
    }
}
