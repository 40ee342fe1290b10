//! What a lifecycle policy does with images: the request, read field by field, and its answer.
//!
//! Invariants:
//! - A [`SimulationRequest`] that exists can be answered: images come with a policy, and a repository's
//!   images with its present one unless another is given.
//! - Nothing in it lies in the future.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::domain::ecr_lifecycle::{
    Evaluation, Finding, Image, Lifecycle, LifecyclePolicy, Outcome,
};
use crate::domain::names::{AccountName, Region, RepositoryName};
use crate::domain::spec::{LifecycleRequest, Place, default_account};
use crate::domain::validation;
use crate::domain::validation::{FieldError, Fields};

/// Images of one simulation. Every image is answered with a finding for every rule.
pub const MAX_IMAGES: usize = 5_000;
/// Images that a body lists: no more of them fit into it.
const MAX_LISTED: usize = 1_000;
/// Tags on one image (Amazon ECR User Guide, "Amazon ECR service quotas").
const MAX_TAGS: usize = 1_000;
/// The oldest that an image can be said to be, in days.
const OLDEST_DAYS: f64 = 36_500.0;
const DAY_SECONDS: f64 = 86_400.0;

/// What to simulate.
#[derive(Debug, PartialEq)]
pub enum SimulationRequest {
    /// A policy on images that the caller lists.
    Images {
        /// The policy.
        policy: LifecyclePolicy,
        /// The images.
        images: Vec<Image>,
    },
    /// A policy on the images of a repository.
    Repository {
        /// The policy; the repository's present one when absent.
        policy: Option<LifecyclePolicy>,
        /// The registered account of the repository.
        account: AccountName,
        /// Where it is.
        region: Region,
        /// Its name.
        name: RepositoryName,
    },
}

impl SimulationRequest {
    /// Reads a request's body at the moment `now`.
    ///
    /// # Errors
    /// Every field's error at once.
    pub fn parse(body: &Value, place: &Place<'_>, now: Timestamp) -> Result<Self, Vec<FieldError>> {
        let mut f = Fields::of(body, "");
        let mut errors = Vec::new();
        let policy = policy(&mut f, &mut errors);
        let images = f.list("images", MAX_LISTED, |item, at, errors| {
            image(item, at, now, errors)
        });
        let repository = f
            .get("repository")
            .and_then(|value| repository(value, f.at("repository"), place, &mut errors));
        let has = |name| body.get(name).is_some();
        match (has("images"), has("repository")) {
            (true, true) => f.error("repository", "cannot be combined with images"),
            (false, false) if body.is_object() => {
                f.error("images", "is required unless repository is set")
            }
            (true, false) if !has("policy") => f.error("policy", "is required with images"),
            _ => {}
        }
        errors.extend(f.finish());
        match (policy, images, repository) {
            _ if !errors.is_empty() => Err(errors),
            (Some(policy), Some(images), _) => Ok(Self::Images { policy, images }),
            (policy, _, Some((account, region, name))) => Ok(Self::Repository {
                policy,
                account,
                region,
                name,
            }),
            _ => Err(errors),
        }
    }
}

fn policy(f: &mut Fields<'_>, errors: &mut Vec<FieldError>) -> Option<LifecyclePolicy> {
    let at = f.at("policy");
    let lifecycle = f.get("policy").map(Lifecycle::parse)?;
    let told = |problems: Vec<FieldError>| {
        problems
            .into_iter()
            .map(|p| FieldError::new(format!("{at}{}", p.pointer), p.message))
    };
    lifecycle
        .map(|lifecycle| lifecycle.policy())
        .map_err(|problems| errors.extend(told(problems)))
        .ok()
}

fn repository(
    value: &Value,
    at: String,
    place: &Place<'_>,
    errors: &mut Vec<FieldError>,
) -> Option<(AccountName, Region, RepositoryName)> {
    let mut f = Fields::of(value, at);
    let name = f.required("name", RepositoryName::parse);
    let account = f.parsed("account", AccountName::parse);
    let region = f
        .parsed("region", |text| place.region_named(text))
        .or_else(|| place.region.cloned());
    if region.is_none() && value.get("region").is_none() {
        f.error(
            "region",
            "is required, because the service has no default region",
        );
    }
    errors.extend(f.finish());
    Some((account.unwrap_or_else(default_account), region?, name?))
}

fn image(value: &Value, at: String, now: Timestamp, errors: &mut Vec<FieldError>) -> Option<Image> {
    let mut f = Fields::of(value, at);
    let tags = f.list("tags", MAX_TAGS, |item, at, errors| {
        let text = validation::text(item, &at, errors)?;
        tag(text)
            .map_err(|why| errors.push(FieldError::new(at, why)))
            .ok()
    });
    let digest = f.parsed("digest", digest);
    let mut at = |name| {
        f.parsed(name, |text| moment(text, now))
            .map(Timestamp::millis)
    };
    let (pushed, pulled, activated, archived) = (
        at("pushed_at"),
        at("last_pulled_at"),
        at("last_activated_at"),
        at("archived_at"),
    );
    let aged = age(&mut f, now).map(Timestamp::millis);
    match (
        value.get("pushed_at").is_some(),
        value.get("age_days").is_some(),
    ) {
        (true, true) => f.error("age_days", "cannot be combined with pushed_at"),
        (false, false) if value.is_object() => {
            f.error("pushed_at", "is required unless age_days is set")
        }
        _ => {}
    }
    errors.extend(f.finish());
    Some(Image {
        digest: digest.unwrap_or_default(),
        tags: tags.unwrap_or_default(),
        pushed_at_ms: pushed.or(aged)?,
        last_pulled_at_ms: pulled,
        last_activated_at_ms: activated,
        archived_at_ms: archived,
    })
}

/// When an image of so many days was pushed.
fn age(f: &mut Fields<'_>, now: Timestamp) -> Option<Timestamp> {
    let days = f
        .get("age_days")?
        .as_f64()
        .filter(|days| (0.0..=OLDEST_DAYS).contains(days));
    let span = days.and_then(|days| Duration::try_from_secs_f64(days * DAY_SECONDS).ok());
    if span.is_none() {
        f.error(
            "age_days",
            format!("must be a number from 0 to {OLDEST_DAYS}"),
        );
    }
    span.map(|span| now.before(span))
}

/// What a tag may be (Amazon ECR API Reference, `ImageIdentifier`; OCI Distribution Specification, "Pulling manifests").
fn tag(text: &str) -> Result<String, &'static str> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let fits =
        (1..=128).contains(&text.len()) && text.chars().all(legal) && !text.starts_with(['.', '-']);
    if fits {
        Ok(text.to_owned())
    } else {
        Err(
            "must be 1 to 128 characters from letters, digits, _, . and -, and must not begin with . or -",
        )
    }
}

fn digest(text: &str) -> Result<String, &'static str> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_+.:-".contains(c);
    let fits = (1..=255).contains(&text.len()) && text.chars().all(legal);
    if fits {
        Ok(text.to_owned())
    } else {
        Err("must be a digest, such as sha256:0a1b2c…")
    }
}

fn moment(text: &str, now: Timestamp) -> Result<Timestamp, &'static str> {
    let moment: jiff::Timestamp = text
        .parse()
        .map_err(|_| "must be an RFC 3339 timestamp, such as 2025-01-31T12:00:00Z")?;
    let moment = Timestamp::from_millis(moment.as_millisecond());
    if moment > now {
        Err("must not be in the future")
    } else {
        Ok(moment)
    }
}

/// A policy to simulate, with either `images` or a `repository`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the body for the API's document")]
pub struct SimulateRequest {
    /// `guide`, `protected`, or an ECR lifecycle policy document. Default with `repository`: the current policy of
    /// the repository.
    #[schema(example = "protected", nullable = false)]
    policy: Option<LifecycleRequest>,
    /// The images to evaluate. Cannot be combined with `repository`.
    #[schema(max_items = 1000, nullable = false)]
    images: Option<Vec<ImageRequest>>,
    /// The repository whose images to evaluate. Cannot be combined with `images`.
    #[schema(nullable = false)]
    repository: Option<RepositoryToSimulate>,
}

/// An image, with either `pushed_at` or `age_days`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the body for the API's document")]
pub struct ImageRequest {
    /// The tags of the image. Absent or empty for an untagged image.
    #[schema(max_items = 1000, nullable = false, example = json!(["1.2.3", "latest"]))]
    tags: Option<Vec<ImageTag>>,
    /// The digest of the image manifest. It distinguishes images that were pushed at the same time.
    #[schema(
        min_length = 1,
        max_length = 255,
        pattern = "^[A-Za-z0-9_+.:-]*$",
        nullable = false
    )]
    digest: Option<String>,
    /// When the image was pushed. Must not be in the future.
    #[schema(nullable = false)]
    pushed_at: Option<Timestamp>,
    /// The time since the image was pushed, in days. Replaces `pushed_at`.
    #[schema(minimum = 0, maximum = 36500, nullable = false)]
    age_days: Option<f64>,
    /// When the image was last pulled. Absent if it was never pulled.
    #[schema(nullable = false)]
    last_pulled_at: Option<Timestamp>,
    /// When the image was last restored from archive storage. Absent if it was never restored.
    #[schema(nullable = false)]
    last_activated_at: Option<Timestamp>,
    /// When the image was archived. Absent if it is not in archive storage.
    #[schema(nullable = false)]
    archived_at: Option<Timestamp>,
}

/// A tag of an image.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(value_type = String, example = "1.2.3", min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
#[expect(dead_code, reason = "describes the text for the API's document")]
pub struct ImageTag(String);

/// An existing repository.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the body for the API's document")]
pub struct RepositoryToSimulate {
    /// The name of the repository.
    name: RepositoryName,
    /// The region of the repository. Default: the region of the service.
    #[schema(nullable = false)]
    region: Option<Region>,
    /// The name of a registered account.
    #[schema(default = "default", nullable = false)]
    account: Option<AccountName>,
}

/// The effect of a policy on images.
#[derive(Debug, Serialize, ToSchema)]
pub struct Simulation {
    /// The policy document as ECR receives it, with its rules ordered by priority.
    #[schema(value_type = Value)]
    pub policy: LifecyclePolicy,
    /// The time for which the policy was evaluated.
    pub evaluated_at: Timestamp,
    /// The result for each image, in the order of the request.
    pub images: Vec<SimulatedImage>,
    /// The number of images that expire.
    pub expiring: usize,
    /// The number of images that are kept, in standard or archive storage.
    pub kept: usize,
}

/// The result for an image, with its reasons.
#[derive(Debug, Serialize, ToSchema)]
pub struct SimulatedImage {
    /// The digest of the image manifest, if given.
    pub digest: Option<String>,
    /// The tags of the image.
    pub tags: Vec<String>,
    /// When the image was pushed.
    pub pushed_at: Timestamp,
    /// The time since the image was pushed, in days.
    #[schema(example = 4.5)]
    pub age_days: f64,
    /// The outcome for the image.
    pub outcome: SimulatedOutcome,
    /// Whether ECR deletes the image. ECR does so within 24 hours.
    pub expires: bool,
    /// The priority of the rule that decides the outcome. Absent if no rule selects the image.
    pub rule_priority: Option<u32>,
    /// Whether the image has a protected tag: `latest`, `main`, `master`, `release…`, `prod…`, `stable…` or a
    /// version.
    pub protected: bool,
    /// How each rule applies to the image, by priority.
    pub findings: Vec<SimulatedFinding>,
}

/// The outcome for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SimulatedOutcome {
    /// The rule expires the image.
    Expires,
    /// The rule moves the image to archive storage.
    Transitions,
    /// The rule selects the image and keeps it. No later rule applies to it.
    Kept,
    /// No rule selects the image, so it is kept.
    Unmatched,
}

impl From<Outcome> for SimulatedOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Expires { .. } => Self::Expires,
            Outcome::Transitions { .. } => Self::Transitions,
            Outcome::Kept { .. } => Self::Kept,
            Outcome::Unmatched => Self::Unmatched,
        }
    }
}

/// How a rule applies to an image.
#[derive(Debug, Serialize, ToSchema)]
pub struct SimulatedFinding {
    /// The rule and the reason.
    #[serde(flatten)]
    pub finding: Finding,
    /// The finding as text.
    #[schema(example = "rule 12 would apply, but rule 1 takes precedence")]
    pub text: String,
}

impl Simulation {
    /// What `policy` does with the images at the moment `now`.
    pub fn of(policy: LifecyclePolicy, images: Vec<Image>, now: Timestamp) -> Self {
        let verdicts = policy.evaluate(&images, now.millis());
        let expiring = verdicts.iter().filter(|outcome| outcome.expires()).count();
        let kept = verdicts.len() - expiring;
        let images = images
            .into_iter()
            .zip(verdicts)
            .map(|(image, outcome)| simulated(image, outcome, now))
            .collect();
        Self {
            policy,
            evaluated_at: now,
            images,
            expiring,
            kept,
        }
    }
}

fn simulated(image: Image, outcome: Evaluation, now: Timestamp) -> SimulatedImage {
    let pushed_at = Timestamp::from_millis(image.pushed_at_ms);
    SimulatedImage {
        protected: image.is_protected(),
        digest: Some(image.digest).filter(|digest| !digest.is_empty()),
        tags: image.tags,
        pushed_at,
        age_days: (now.since(pushed_at).as_secs_f64() / DAY_SECONDS * 100.0).round() / 100.0,
        outcome: outcome.outcome.into(),
        expires: outcome.expires(),
        rule_priority: outcome.outcome.rule_priority(),
        findings: outcome
            .findings
            .into_iter()
            .map(|finding| SimulatedFinding {
                finding,
                text: finding.to_string(),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn parse(body: &Value) -> Result<SimulationRequest, Vec<FieldError>> {
        let region = Region::parse("us-west-2").unwrap();
        SimulationRequest::parse(
            body,
            &Place {
                account_id: "123456789012",
                partition: "aws",
                region: Some(&region),
                regions: &[],
                lists: &[],
            },
            NOW,
        )
    }

    fn pointers(body: &Value) -> Vec<String> {
        parse(body)
            .unwrap_err()
            .into_iter()
            .map(|error| error.pointer)
            .collect()
    }

    #[test]
    fn images_are_read_with_a_time_or_an_age() {
        let days = Duration::from_secs(3 * 86_400 / 2);
        let images = json!([{"tags": ["v1", "latest"], "digest": "sha256:1", "age_days": 1.5}, {"pushed_at": NOW.before(days).to_string()}]);
        let Ok(SimulationRequest::Images { policy, images }) =
            parse(&json!({"policy": "guide", "images": images}))
        else {
            panic!()
        };
        assert_eq!(policy, LifecyclePolicy::guide());
        assert_eq!(
            (images[0].pushed_at_ms, &images[0].tags),
            (
                images[1].pushed_at_ms,
                &vec!["v1".to_owned(), "latest".to_owned()]
            )
        );
        assert_eq!(images[0].pushed_at_ms, NOW.before(days).millis());
    }

    #[test]
    fn a_repository_is_read_with_its_defaults() {
        let Ok(SimulationRequest::Repository {
            policy: None,
            account,
            region,
            name,
        }) = parse(&json!({"repository": {"name": "acme"}}))
        else {
            panic!()
        };
        assert_eq!(
            (account, region.as_str(), name.as_str()),
            (default_account(), "us-west-2", "acme")
        );
    }

    #[test]
    fn every_error_is_told_at_once() {
        assert_eq!(pointers(&json!([])), [""]);
        assert_eq!(pointers(&json!({})), ["/images"]);
        assert_eq!(pointers(&json!({"images": []})), ["/policy"]);
        assert_eq!(
            pointers(&json!({"policy": "guide", "images": [], "repository": {"name": "acme"}})),
            ["/repository"]
        );
        let images = json!([
            {"tags": ["ok", "sp ace", 1], "age_days": -1, "digest": ""},
            {"pushed_at": "yesterday", "last_pulled_at": "2999-01-01T00:00:00Z"},
            {"pushed_at": "2025-01-01T00:00:00Z", "age_days": 1, "pulled": 1},
            {},
            7,
        ]);
        let expected = [
            "/policy/rules/0/action",
            "/policy/rules/0/selection",
            "/policy",
            "/images/0/tags/1",
            "/images/0/tags/2",
            "/images/0/digest",
            "/images/0/age_days",
            "/images/1/pushed_at",
            "/images/1/last_pulled_at",
            "/images/2/age_days",
            "/images/2/pulled",
            "/images/3/pushed_at",
            "/images/4",
            "/x",
        ];
        let mut told = pointers(
            &json!({"policy": {"rules": [{"rulePriority": 1}]}, "images": images, "x": 1}),
        );
        let mut expected = expected.map(str::to_owned);
        told.sort();
        expected.sort();
        assert_eq!(told, expected);
        let repository = json!({"name": "A", "region": "cn-north-1", "account": "?", "x": 1});
        let told = [
            "/repository/name",
            "/repository/account",
            "/repository/region",
            "/repository/x",
        ];
        assert_eq!(pointers(&json!({"repository": repository})), told);
    }

    #[test]
    fn the_answer_counts_and_explains() {
        let images = json!([{"tags": ["0a1b2c3"], "age_days": 4}, {"tags": ["latest", "0a1b2c3"], "age_days": 4.006}, {"tags": ["x"], "age_days": 9}]);
        let Ok(SimulationRequest::Images { policy, images }) =
            parse(&json!({"policy": "protected", "images": images}))
        else {
            panic!()
        };
        let answer = json!(Simulation::of(policy, images, NOW));
        assert_eq!(
            (&answer["expiring"], &answer["kept"]),
            (&json!(1), &json!(2))
        );
        let shown = |n: usize| {
            let image = &answer["images"][n];
            [
                "outcome",
                "expires",
                "rule_priority",
                "protected",
                "age_days",
                "digest",
            ]
            .map(|field| image[field].clone())
        };
        assert_eq!(
            shown(0),
            [
                json!("expires"),
                json!(true),
                json!(12),
                json!(false),
                json!(4.0),
                json!(null)
            ]
        );
        assert_eq!(
            shown(1),
            [
                json!("kept"),
                json!(false),
                json!(1),
                json!(true),
                json!(4.01),
                json!(null)
            ]
        );
        assert_eq!(
            shown(2),
            [
                json!("unmatched"),
                json!(false),
                json!(null),
                json!(false),
                json!(9.0),
                json!(null)
            ]
        );
        let finding = json!({"rule_priority": 12, "reason": "claimed", "by": 1, "text": "rule 12 would apply, but rule 1 takes precedence"});
        assert_eq!(answer["images"][1]["findings"][11], finding);
    }

    proptest! {
        #[test]
        fn no_body_is_too_strange(days in any::<f64>(), text in ".{0,30}", number in any::<i64>()) {
            for image in [json!({"age_days": days}), json!({"pushed_at": text}), json!({"tags": [text], "age_days": number}), json!(text)] {
                match parse(&json!({"policy": "guide", "images": [image]})) {
                    Ok(SimulationRequest::Images { policy, images }) => prop_assert_eq!(Simulation::of(policy, images, NOW).images.len(), 1),
                    Ok(SimulationRequest::Repository { .. }) => prop_assert!(false, "there is none"),
                    Err(errors) => prop_assert!(!errors.is_empty()),
                }
            }
        }
    }
}
