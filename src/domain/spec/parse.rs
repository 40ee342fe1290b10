//! Reads a spec from a request, with every default filled in and all errors at once.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::app_spec::{
    AppSpec, BucketSpec, DriftMode, MAX_PLACES, MAX_TAGS, MediaAccess, RepositorySpec, TAG_PREFIX,
    default_account,
};
use super::defaults::{Defaults, Place};
use super::lists::Lists;
use super::rotate_after::parse_age;
use crate::domain::ecr_lifecycle::Lifecycle;
use crate::domain::iam_policy;
use crate::domain::names::{
    AccountName, AppName, BucketName, NameError, Origin, Region, RepositoryName,
};
use crate::domain::on_existing::OnExisting;
use crate::domain::validation;
use crate::domain::validation::{FieldError, Fields};

/// Origins in one CORS rule; S3 takes 64 KB of configuration in all.
const MAX_ORIGINS: usize = 100;

/// What the defaults of buckets and repositories are filled from.
struct Fill<'a> {
    pub(super) app: Option<&'a AppName>,
    pub(super) region: Option<&'a Region>,
    pub(super) defaults: &'a Defaults,
    pub(super) place: &'a Place<'a>,
}

impl Fill<'_> {
    pub(super) fn bucket(
        &self,
        item: &Value,
        at: String,
        errors: &mut Vec<FieldError>,
    ) -> Option<BucketSpec> {
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

    pub(super) fn repository(
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

    pub(super) fn upload_origin(&self, f: &mut Fields<'_>, item: &Value) -> Option<Vec<Origin>> {
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

    pub(super) fn filled(&self, template: &str) -> Option<String> {
        let filled = template
            .replace("{app}", self.app?.as_str())
            .replace("{account_id}", self.place.account_id);
        if !filled.contains("{region}") {
            return Some(filled);
        }
        Some(filled.replace("{region}", self.region?.as_str()))
    }

    /// The one default place, when the request does not list any; nothing when the list was wrong.
    pub(super) fn one<T>(
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

/// The lists that kinds add. A list has no entries unless the request names some.
fn parse_lists(
    f: &mut Fields<'_>,
    app: Option<&AppName>,
    region: Option<&Region>,
    place: &Place<'_>,
) -> Lists {
    let mut lists = Lists::default();
    let region_of = |f: &mut Fields<'_>| {
        f.parsed("region", |text| place.region_named(text))
            .or_else(|| region.cloned())
    };
    for list in place.lists {
        let entries = f.list(list.field, MAX_PLACES, |item, at, errors| {
            list.entry(item, at, app, region_of, errors)
        });
        let entries = entries.unwrap_or_default();
        refuse_doubles(f, list.field, &entries, |it| match list.is_global {
            true => it.name.to_ascii_lowercase(),
            false => format!("{} in {}", it.name, it.region),
        });
        for entry in entries {
            lists.push(list.field, entry);
        }
    }
    lists
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
        let lists = parse_lists(&mut f, name.as_ref(), region.as_ref(), place);
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
                setup: None,
                lists,
            }),
            _ => Err(errors),
        }
    }
}
