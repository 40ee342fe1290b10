//! ECR lifecycle policies: parsed once, compared by meaning, evaluated.
//!
//! Invariants:
//! - A [`LifecyclePolicy`] that exists is one that ECR takes, as far as ECR's documents say.
//! - Its rules are sorted by priority; the prefixes or patterns of a rule are a set.
//! - About an image decides the first rule that selects it, and no other.
//!
//! The facts are those of the Amazon ECR User Guide: "Lifecycle policy properties", "Lifecycle
//! policy evaluation rules" and "Examples of lifecycle policies". The tests hold its examples.

pub mod protected_tag;
pub mod simulation;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;

use serde::de::{self, DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::domain::ecr_lifecycle::protected_tag::is_protected;
use crate::domain::validation;
use crate::domain::validation::{FieldError, Fields};

/// One problem in a caller's document, at a JSON pointer that begins at the document's root, as
/// `/rules/3/selection/countType`.
pub use crate::domain::validation::FieldError as DocumentError;

/// Characters of a document (Amazon ECR API Reference, `PutLifecyclePolicy`, `lifecyclePolicyText`).
const CHARACTERS: RangeInclusive<usize> = 100..=30_720;
/// Rules a policy may have (Amazon ECR User Guide, "Amazon ECR service quotas").
const MAX_RULES: usize = 50;
/// Wildcards a pattern may have ("Lifecycle policy properties", `tagPatternList`).
const MAX_WILDCARDS: usize = 4;
/// ECR's integers have 32 bits (API Reference, `LifecyclePolicyPreviewResult`, `appliedRulePriority`).
const LARGEST_NUMBER: u32 = i32::MAX.unsigned_abs();
/// Days an image stays in the archive at least ("Examples of lifecycle policies", "Archive examples").
const SHORTEST_ARCHIVE_DAYS: u32 = 90;
/// More images than a repository holds: 100,000 unless AWS raises it ("Amazon ECR service quotas").
const MORE_THAN_ALL: u32 = 999_999;
/// Days after its push that the guide keeps a tagged image.
const GUIDE_DAYS: u32 = 3;
/// The guide's prefixes beside the first characters of a Git short SHA.
const GUIDE_NAMES: [&str; 2] = ["testing", "builder"];
const SHA_DIGITS: &str = "0123456789abcdef";
/// What release tags look like: one rule each, because patterns in one list mean AND.
const PROTECTED: [&str; 8] = [
    "latest", "main", "master", "v*", "release*", "prod*", "stable*", "*.*.*",
];
const DAY_MS: i64 = 86_400_000;

/// Which images of a repository expire: one of the profiles, or the caller's own document.
#[derive(Clone, Debug, PartialEq)]
pub enum Lifecycle {
    /// The guide's 19 rules, [`LifecyclePolicy::guide`]; `"guide"` in JSON.
    Guide,
    /// Release tags kept, then the guide's rules, [`LifecyclePolicy::protected`]; `"protected"` in JSON.
    Protected,
    /// The caller's own policy; an ECR lifecycle policy document in JSON.
    Custom(LifecyclePolicy),
}

impl Lifecycle {
    /// Reads `"guide"`, `"protected"` or a policy document.
    ///
    /// # Errors
    /// Everything wrong with the document, or one error at its root when it is neither.
    pub fn parse(value: &Value) -> Result<Self, Vec<DocumentError>> {
        match (value.as_str(), value) {
            (Some("guide"), _) => Ok(Self::Guide),
            (Some("protected"), _) => Ok(Self::Protected),
            (_, Value::Object(_)) => LifecyclePolicy::parse(value).map(Self::Custom),
            _ => Err(vec![FieldError::new(
                "",
                "must be \"guide\", \"protected\" or an ECR lifecycle policy document",
            )]),
        }
    }

    /// The rules this stands for.
    pub fn policy(&self) -> LifecyclePolicy {
        match self {
            Self::Guide => LifecyclePolicy::guide(),
            Self::Protected => LifecyclePolicy::protected(),
            Self::Custom(policy) => policy.clone(),
        }
    }
}

impl Serialize for Lifecycle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Guide => serializer.serialize_str("guide"),
            Self::Protected => serializer.serialize_str("protected"),
            Self::Custom(policy) => policy.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Lifecycle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&Value::deserialize(deserializer)?).map_err(|errors| in_one(&errors))
    }
}

/// An ECR lifecycle policy: 1 to 50 rules, sorted by priority.
///
/// Equality includes the descriptions; [`same_meaning`](Self::same_meaning) does not.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LifecyclePolicy {
    rules: Vec<Rule>,
}

impl LifecyclePolicy {
    /// The guide's 19 rules: untagged images but the newest; images 3 days after their push whose
    /// tags begin with `testing`, `builder` or a character of a Git short SHA.
    ///
    /// A prefix matches more than it is meant for: `1` also `1.2.3`, `d` also `develop`; and an
    /// image expires with all of its tags. [`protected`](Self::protected) keeps releases from that.
    pub fn guide() -> Self {
        Self::numbered(guide_rules())
    }

    /// Eight rules that claim release tags and expire nothing, then the guide's 19.
    pub fn protected() -> Self {
        Self::numbered(
            PROTECTED
                .into_iter()
                .map(Rule::protecting)
                .chain(guide_rules()),
        )
    }

    fn numbered(rules: impl Iterator<Item = Rule>) -> Self {
        Self {
            rules: (1..)
                .zip(rules)
                .map(|(rule_priority, rule)| Rule {
                    rule_priority,
                    ..rule
                })
                .collect(),
        }
    }

    /// Reads a document as `PutLifecyclePolicy` takes it.
    ///
    /// # Errors
    /// Everything wrong with the document at once.
    pub fn parse(document: &Value) -> Result<Self, Vec<DocumentError>> {
        let mut errors = Vec::new();
        check_size(document, &mut errors);
        let mut f = Fields::of(document, "");
        require(&mut f, document, "rules");
        let drafts = f.list("rules", MAX_RULES, |rule, at, errors| {
            Some(Draft::read(rule, at, errors))
        });
        if drafts.as_ref().is_some_and(Vec::is_empty) {
            f.error("rules", "must have at least one rule");
        }
        errors.extend(f.finish());
        let drafts = drafts.unwrap_or_default();
        check_together(&drafts, &mut errors);
        let rules: Option<Vec<Rule>> = drafts.into_iter().map(Draft::rule).collect();
        match rules {
            Some(mut rules) if errors.is_empty() => {
                rules.sort_by_key(|rule| rule.rule_priority);
                Ok(Self { rules })
            }
            _ => Err(errors),
        }
    }

    /// The document in its canonical form, without nulls and defaults.
    pub fn to_value(&self) -> Value {
        json!(self)
    }

    /// The text to send to `PutLifecyclePolicy`: the canonical document without white space.
    pub fn to_document(&self) -> String {
        self.to_value().to_string()
    }

    /// Whether both do the same under the same priorities: descriptions do not count, nor does the
    /// order of rules in the document, or of prefixes and patterns in a rule.
    pub fn same_meaning(&self, other: &Self) -> bool {
        self.rules.len() == other.rules.len()
            && self
                .rules
                .iter()
                .zip(&other.rules)
                .all(|(a, b)| a.same_meaning(b))
    }

    /// What ECR will do with each image, in the order given, at `now_ms` (milliseconds since 1970,
    /// UTC), and what every rule has to do with it.
    ///
    /// All rules are evaluated at the same time and then applied by priority: a count includes
    /// images that another rule expires, and an image that a rule selects cannot be expired by a
    /// rule after it ("Lifecycle policy evaluation rules").
    ///
    /// What images refer to is not seen: ECR spares an image in a manifest list until the list is gone,
    /// and what refers to an image, as a signature does, goes with it.
    pub fn evaluate(&self, images: &[Image], now_ms: i64) -> Vec<AttemptOutcome> {
        let mut verdicts = vec![
            AttemptOutcome {
                outcome: Outcome::Unmatched,
                findings: Vec::new()
            };
            images.len()
        ];
        for rule in &self.rules {
            for (outcome, reason) in verdicts.iter_mut().zip(rule.judge(images, now_ms)) {
                outcome.add(rule, reason);
            }
        }
        verdicts
    }

    /// The images that ECR will delete, of those given, in their order.
    pub fn expiring<'a>(&self, images: &'a [Image], now_ms: i64) -> Vec<&'a Image> {
        images
            .iter()
            .zip(self.evaluate(images, now_ms))
            .filter(|(_, outcome)| outcome.expires())
            .map(|(image, _)| image)
            .collect()
    }
}

impl<'de> Deserialize<'de> for LifecyclePolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&Value::deserialize(deserializer)?).map_err(|errors| in_one(&errors))
    }
}

fn in_one<E: de::Error>(errors: &[DocumentError]) -> E {
    let lines: Vec<String> = errors
        .iter()
        .map(|error| format!("{} {}", error.pointer, error.message))
        .collect();
    E::custom(lines.join("; "))
}

/// An image as `DescribeImages` tells of it. Times are milliseconds since 1970, UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Digest of its manifest, `sha256:…`.
    pub digest: String,
    /// Its tags; none for an untagged image.
    pub tags: Vec<String>,
    /// When it was pushed (`imagePushedAt`).
    pub pushed_at_ms: i64,
    /// When it was last pulled (`lastRecordedPullTime`), if ever.
    pub last_pulled_at_ms: Option<i64>,
    /// When it was last restored from the archive (`lastActivatedAt`), if ever.
    pub last_activated_at_ms: Option<i64>,
    /// When it went to the archive (`lastArchivedAt`), if it is there now (`imageStatus`).
    pub archived_at_ms: Option<i64>,
}

impl Image {
    /// Whether one of its tags is protected.
    pub fn is_protected(&self) -> bool {
        self.tags.iter().any(|tag| is_protected(tag))
    }

    fn storage(&self) -> Storage {
        if self.archived_at_ms.is_some() {
            Storage::Archive
        } else {
            Storage::Standard
        }
    }

    /// A restored image counts as pushed when it was restored.
    fn pushed_ms(&self) -> i64 {
        self.last_activated_at_ms.unwrap_or(self.pushed_at_ms)
    }

    /// Never pulled counts as pulled by the push; not pulled since a restore, as pulled by that.
    fn pulled_ms(&self) -> i64 {
        let pulled = self.last_pulled_at_ms.unwrap_or(self.pushed_at_ms);
        self.last_activated_at_ms
            .map_or(pulled, |activated| activated.max(pulled))
    }
}

/// What a policy does with one image, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttemptOutcome {
    /// What happens to it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// What each rule has to do with it, in the order of priorities.
    pub findings: Vec<Finding>,
}

impl AttemptOutcome {
    /// Whether ECR will delete the image, which it does within 24 hours.
    pub fn expires(&self) -> bool {
        matches!(self.outcome, Outcome::Expires { .. })
    }

    fn add(&mut self, rule: &Rule, reason: Reason) {
        let rule_priority = rule.rule_priority;
        let reason = match (self.outcome.rule_priority(), reason) {
            (Some(by), Reason::Applies) => Reason::Claimed { by },
            (Some(_), reason) | (None, reason @ (Reason::TagsDiffer | Reason::StorageDiffers)) => {
                reason
            }
            (None, reason) => {
                self.outcome = match (reason, rule.action) {
                    (Reason::Applies, Action::Expire) => Outcome::Expires { rule_priority },
                    (Reason::Applies, Action::Transition { .. }) => {
                        Outcome::Transitions { rule_priority }
                    }
                    _ => Outcome::Kept { rule_priority },
                };
                reason
            }
        };
        self.findings.push(Finding {
            rule_priority,
            reason,
        });
    }
}

/// What happens to an image, by which rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The rule deletes it.
    Expires {
        /// The deciding rule's priority.
        rule_priority: u32,
    },
    /// The rule moves it to archive storage.
    Transitions {
        /// The deciding rule's priority.
        rule_priority: u32,
    },
    /// The rule selects it and leaves it, and no rule after it may touch it.
    Kept {
        /// The deciding rule's priority.
        rule_priority: u32,
    },
    /// No rule selects it: it stays.
    Unmatched,
}

impl Outcome {
    /// The priority of the rule that decided, if one did.
    pub fn rule_priority(self) -> Option<u32> {
        match self {
            Self::Expires { rule_priority }
            | Self::Transitions { rule_priority }
            | Self::Kept { rule_priority } => Some(rule_priority),
            Self::Unmatched => None,
        }
    }
}

/// How one rule applies to one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Finding {
    /// The priority of the rule.
    pub rule_priority: u32,
    /// Why the rule applies or does not apply.
    #[serde(flatten)]
    pub reason: Reason,
}

/// Why a rule applies to an image or does not apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// The rule applies to the image.
    Applies,
    /// The image does not match the tag status, prefixes or patterns of the rule.
    TagsDiffer,
    /// The rule applies to the other storage class.
    StorageDiffers,
    /// The image is not older than the rule requires.
    TooYoung {
        /// The age of the image as the rule counts it, in milliseconds.
        age_ms: i64,
        /// The age in days that the image must exceed.
        days: u32,
    },
    /// The image is among the newest images, which the rule keeps.
    WithinCount {
        /// The position of the image among those that the rule selects. 1 is the newest.
        position: usize,
        /// The number of images that the rule keeps.
        count: u32,
    },
    /// The rule would apply, but a rule with a higher precedence selected the image.
    Claimed {
        /// The priority of that rule.
        by: u32,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {} ", self.rule_priority)?;
        match self.reason {
            Reason::Applies => write!(f, "applies"),
            Reason::TagsDiffer => write!(f, "does not match the image's tags"),
            Reason::StorageDiffers => write!(f, "applies to the other storage class"),
            Reason::TooYoung { age_ms, days } => write!(
                f,
                "applies to images older than {days} days; this image is {} days old",
                age_ms / DAY_MS
            ),
            Reason::WithinCount { position, count } => {
                write!(
                    f,
                    "keeps the newest {count} images; this image is number {position}"
                )
            }
            Reason::Claimed { by } => write!(f, "would apply, but rule {by} takes precedence"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    rule_priority: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    selection: Selection,
    action: Action,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Selection {
    #[serde(flatten)]
    tags: Tags,
    #[serde(flatten)]
    count: Count,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "tagStatus", rename_all = "camelCase")]
enum Tags {
    Any,
    Untagged,
    #[serde(rename = "tagged")]
    Prefixes {
        #[serde(rename = "tagPrefixList")]
        prefixes: BTreeSet<String>,
    },
    #[serde(rename = "tagged")]
    Patterns {
        #[serde(rename = "tagPatternList")]
        patterns: BTreeSet<String>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(
    tag = "countType",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
enum Count {
    ImageCountMoreThan {
        count_number: u32,
    },
    SinceImagePushed {
        count_unit: CountUnit,
        count_number: u32,
    },
    SinceImagePulled {
        count_unit: CountUnit,
        count_number: u32,
    },
    SinceImageTransitioned {
        storage_class: Storage,
        count_unit: CountUnit,
        count_number: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
enum Action {
    Expire,
    Transition { target_storage_class: Storage },
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum CountUnit {
    Days,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Storage {
    Standard,
    Archive,
}

impl Rule {
    /// A rule of one of our profiles; the profile numbers it.
    fn expiring(description: String, tags: Tags, count: Count) -> Self {
        Self {
            rule_priority: 0,
            description: Some(description),
            selection: Selection { tags, count },
            action: Action::Expire,
        }
    }

    fn protecting(pattern: &str) -> Self {
        let tags = Tags::Patterns {
            patterns: BTreeSet::from([pattern.to_owned()]),
        };
        let count = Count::ImageCountMoreThan {
            count_number: MORE_THAN_ALL,
        };
        Self::expiring(format!("Keep images tagged {pattern}"), tags, count)
    }

    fn after_days(description: String, prefix: impl Into<String>) -> Self {
        let tags = Tags::Prefixes {
            prefixes: BTreeSet::from([prefix.into()]),
        };
        Self::expiring(
            description,
            tags,
            Count::SinceImagePushed {
                count_unit: CountUnit::Days,
                count_number: GUIDE_DAYS,
            },
        )
    }

    fn same_meaning(&self, other: &Self) -> bool {
        self.rule_priority == other.rule_priority
            && self.selection == other.selection
            && self.action == other.action
    }

    fn selects(&self, image: &Image) -> bool {
        self.selection.count.storage() == image.storage()
            && self.selection.tags.match_all(&image.tags)
    }

    /// Why the rule acts on each image or does not, other rules apart.
    fn judge(&self, images: &[Image], now_ms: i64) -> Vec<Reason> {
        let storage = self.selection.count.storage();
        let differs = |image: &Image| {
            if image.storage() == storage {
                Reason::TagsDiffer
            } else {
                Reason::StorageDiffers
            }
        };
        let mut reasons: Vec<Reason> = images.iter().map(differs).collect();
        let mut selected: Vec<(&Image, &mut Reason)> = images
            .iter()
            .zip(&mut reasons)
            .filter(|(image, _)| self.selects(image))
            .collect();
        // ECR does not say which of two images pushed at once is the newer; the digest makes it the same every time.
        selected.sort_by(|(a, _), (b, _)| {
            b.pushed_ms()
                .cmp(&a.pushed_ms())
                .then_with(|| a.digest.cmp(&b.digest))
        });
        for (position, (image, reason)) in (1..).zip(selected) {
            *reason = self.selection.count.reason(image, position, now_ms);
        }
        reasons
    }
}

impl Tags {
    /// Each prefix or pattern of a list has to match some tag.
    fn match_all(&self, tags: &[String]) -> bool {
        let some_tag = |matches: &dyn Fn(&str) -> bool| tags.iter().any(|tag| matches(tag));
        match self {
            Self::Any => true,
            Self::Untagged => tags.is_empty(),
            Self::Prefixes { prefixes } => prefixes
                .iter()
                .all(|prefix| some_tag(&|tag| tag.starts_with(prefix))),
            Self::Patterns { patterns } => patterns
                .iter()
                .all(|pattern| some_tag(&|tag| pattern_matches(pattern, tag))),
        }
    }
}

/// Whether the whole tag matches, where each `*` stands for any text or none.
fn pattern_matches(pattern: &str, tag: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == tag;
    };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    let between = tag
        .strip_prefix(head)
        .and_then(|tag| tag.strip_suffix(tail));
    between.is_some_and(|text| {
        middle
            .split('*')
            .try_fold(text, |text, piece| {
                text.split_once(piece).map(|(_, after)| after)
            })
            .is_some()
    })
}

impl Count {
    fn storage(self) -> Storage {
        match self {
            Self::SinceImageTransitioned { storage_class, .. } => storage_class,
            _ => Storage::Standard,
        }
    }

    /// Why a rule that selects the image, newest first at `position`, acts on it or does not.
    fn reason(self, image: &Image, position: usize, now_ms: i64) -> Reason {
        let (since_ms, days) = match self {
            Self::ImageCountMoreThan {
                count_number: count,
            } if u32::try_from(position).is_ok_and(|position| position <= count) => {
                return Reason::WithinCount { position, count };
            }
            Self::ImageCountMoreThan { .. } => return Reason::Applies,
            Self::SinceImagePushed { count_number, .. } => (image.pushed_ms(), count_number),
            Self::SinceImagePulled { count_number, .. } => (image.pulled_ms(), count_number),
            Self::SinceImageTransitioned { count_number, .. } => {
                (image.archived_at_ms.unwrap_or(now_ms), count_number)
            }
        };
        let age_ms = now_ms.saturating_sub(since_ms);
        if age_ms > i64::from(days) * DAY_MS {
            Reason::Applies
        } else {
            Reason::TooYoung { age_ms, days }
        }
    }
}

fn guide_rules() -> impl Iterator<Item = Rule> {
    let untagged = Rule::expiring(
        "Expire untagged images but the newest".to_owned(),
        Tags::Untagged,
        Count::ImageCountMoreThan { count_number: 1 },
    );
    let named = |name| {
        Rule::after_days(
            format!("Expire {name} images {GUIDE_DAYS} days after their push"),
            name,
        )
    };
    let built = |digit| {
        Rule::after_days(
            format!(
                "Expire images of commits that begin with {digit}, {GUIDE_DAYS} days after their push"
            ),
            digit,
        )
    };
    std::iter::once(untagged)
        .chain(GUIDE_NAMES.into_iter().map(named))
        .chain(SHA_DIGITS.chars().map(built))
}

/// A rule as far as it could be read, so that rules are compared even where some have errors.
struct Draft {
    at: String,
    rule_priority: Option<u32>,
    description: Option<String>,
    tags: Option<Tags>,
    count: Option<Count>,
    action: Option<Action>,
}

impl Draft {
    fn read(value: &Value, at: String, errors: &mut Vec<FieldError>) -> Self {
        let mut f = Fields::of(value, at.clone());
        let rule_priority = number(&mut f, value, "rulePriority");
        let description = f.parsed("description", |text| {
            if text.contains('\0') {
                Err("must not contain a null character")
            } else {
                Ok(text.to_owned())
            }
        });
        let (tags, count) = section(&mut f, value, "selection", errors, |f, selection| {
            (read_tags(f, selection), read_count(f, selection))
        })
        .unzip();
        let action = section(&mut f, value, "action", errors, read_action).flatten();
        errors.extend(f.finish());
        let draft = Self {
            at,
            rule_priority,
            description,
            tags: tags.flatten(),
            count: count.flatten(),
            action,
        };
        draft.check_action(errors);
        draft
    }

    fn check_action(&self, errors: &mut Vec<FieldError>) {
        let message = match (self.count, self.action) {
            (Some(Count::SinceImagePulled { .. }), Some(Action::Expire)) => {
                "must be \"transition\" with countType sinceImagePulled"
            }
            (Some(Count::SinceImageTransitioned { .. }), Some(Action::Transition { .. })) => {
                "must be \"expire\" with countType sinceImageTransitioned"
            }
            _ => return,
        };
        errors.push(FieldError::new(format!("{}/action/type", self.at), message));
    }

    fn rule(self) -> Option<Rule> {
        let selection = Selection {
            tags: self.tags?,
            count: self.count?,
        };
        Some(Rule {
            rule_priority: self.rule_priority?,
            description: self.description,
            selection,
            action: self.action?,
        })
    }

    fn is_any(&self) -> bool {
        self.tags == Some(Tags::Any)
    }

    fn shares_storage(&self, other: &Self) -> bool {
        self.count
            .zip(other.count)
            .is_some_and(|(one, two)| one.storage() == two.storage())
    }
}

fn check_size(document: &Value, errors: &mut Vec<FieldError>) {
    let size = document.to_string().chars().count();
    if !CHARACTERS.contains(&size) {
        let (least, most) = CHARACTERS.into_inner();
        errors.push(FieldError::new(
            "",
            format!("has {size} characters; ECR accepts {least} to {most}"),
        ));
    }
}

/// What ECR wants of the rules together.
fn check_together(drafts: &[Draft], errors: &mut Vec<FieldError>) {
    for (index, draft) in drafts.iter().enumerate() {
        for earlier in drafts.iter().take(index) {
            check_pair(earlier, draft, errors);
        }
        let is_before = |other: &Draft| {
            draft.shares_storage(other) && draft.rule_priority < other.rule_priority
        };
        if draft.is_any() && draft.rule_priority.is_some() && drafts.iter().any(is_before) {
            let message = "must be the highest of its storage class, because tagStatus is \"any\"";
            errors.push(FieldError::new(
                format!("{}/rulePriority", draft.at),
                message,
            ));
        }
    }
}

fn check_pair(earlier: &Draft, draft: &Draft, errors: &mut Vec<FieldError>) {
    let mut error = |field: &str, what: &str| {
        errors.push(FieldError::new(
            format!("{}/{field}", draft.at),
            format!("{what} {}", earlier.at),
        ));
    };
    if draft.rule_priority.is_some() && draft.rule_priority == earlier.rule_priority {
        error("rulePriority", "must be unique, but is the same as in");
    }
    if !draft.shares_storage(earlier) || draft.tags != earlier.tags {
        return;
    }
    match draft.tags {
        Some(Tags::Untagged | Tags::Any) => error(
            "selection/tagStatus",
            "is allowed in only one rule of a storage class, but is the same as in",
        ),
        Some(Tags::Prefixes { .. }) => error(
            "selection/tagPrefixList",
            "must be unique in its storage class, but has the same prefixes as in",
        ),
        Some(Tags::Patterns { .. }) | None => {}
    }
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum TagStatus {
    Tagged,
    Untagged,
    Any,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum CountType {
    ImageCountMoreThan,
    SinceImagePushed,
    SinceImagePulled,
    SinceImageTransitioned,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum ActionType {
    Expire,
    Transition,
}

fn read_tags(f: &mut Fields<'_>, selection: &Value) -> Option<Tags> {
    let status = f.required("tagStatus", word);
    let prefixes = tag_filters(f, selection, "tagPrefixList", 0);
    let patterns = tag_filters(f, selection, "tagPatternList", MAX_WILDCARDS);
    let has = |name| selection.get(name).is_some();
    match (status?, has("tagPrefixList"), has("tagPatternList")) {
        (TagStatus::Any, false, false) => Some(Tags::Any),
        (TagStatus::Untagged, false, false) => Some(Tags::Untagged),
        (TagStatus::Tagged, true, false) => prefixes.map(|prefixes| Tags::Prefixes { prefixes }),
        (TagStatus::Tagged, false, true) => patterns.map(|patterns| Tags::Patterns { patterns }),
        (TagStatus::Tagged, false, false) => refuse(
            f,
            "tagStatus",
            "requires tagPrefixList or tagPatternList when it is \"tagged\"",
        ),
        (TagStatus::Tagged, true, true) => {
            refuse(f, "tagPatternList", "cannot be combined with tagPrefixList")
        }
        (TagStatus::Any | TagStatus::Untagged, ..) => {
            for name in ["tagPrefixList", "tagPatternList"]
                .into_iter()
                .filter(|name| has(name))
            {
                f.error(name, "is allowed only with tagStatus \"tagged\"");
            }
            None
        }
    }
}

fn read_count(f: &mut Fields<'_>, selection: &Value) -> Option<Count> {
    let has = |name| selection.get(name).is_some();
    let count_type = f.required("countType", word);
    let count_unit = f.parsed("countUnit", word);
    let storage_class = f.parsed("storageClass", word);
    let count_number = number(f, selection, "countNumber");
    let count_type = count_type?;
    if (count_type == CountType::ImageCountMoreThan) == has("countUnit") {
        f.error(
            "countUnit",
            "must be \"days\" with countType sinceImagePushed, sinceImagePulled or sinceImageTransitioned, and omitted with imageCountMoreThan",
        );
    }
    let storage = if count_type == CountType::SinceImageTransitioned {
        Storage::Archive
    } else {
        Storage::Standard
    };
    if storage_class
        .or((!has("storageClass")).then_some(Storage::Standard))
        .is_some_and(|given| given != storage)
    {
        f.error("storageClass", "must be \"archive\" with countType sinceImageTransitioned, and otherwise \"standard\" or omitted");
    }
    if count_type == CountType::SinceImageTransitioned
        && count_number.is_some_and(|days| days < SHORTEST_ARCHIVE_DAYS)
    {
        f.error(
            "countNumber",
            format!(
                "must be at least {SHORTEST_ARCHIVE_DAYS}, the minimum storage duration of archived images in days"
            ),
        );
    }
    let count_number = count_number?;
    Some(match count_type {
        CountType::ImageCountMoreThan => Count::ImageCountMoreThan { count_number },
        CountType::SinceImagePushed => Count::SinceImagePushed {
            count_unit: count_unit?,
            count_number,
        },
        CountType::SinceImagePulled => Count::SinceImagePulled {
            count_unit: count_unit?,
            count_number,
        },
        CountType::SinceImageTransitioned => Count::SinceImageTransitioned {
            storage_class: storage,
            count_unit: count_unit?,
            count_number,
        },
    })
}

fn read_action(f: &mut Fields<'_>, action: &Value) -> Option<Action> {
    let kind = f.required("type", word);
    let target = f.parsed("targetStorageClass", word);
    let has_target = action.get("targetStorageClass").is_some();
    match (kind?, target) {
        (ActionType::Expire, _) if !has_target => Some(Action::Expire),
        (ActionType::Transition, Some(Storage::Archive)) => Some(Action::Transition {
            target_storage_class: Storage::Archive,
        }),
        (ActionType::Transition, None) if has_target => None,
        _ => refuse(
            f,
            "targetStorageClass",
            "must be \"archive\" with type transition, and omitted with expire",
        ),
    }
}

fn refuse<T>(f: &mut Fields<'_>, name: &str, message: &str) -> Option<T> {
    f.error(name, message);
    None
}

/// A word of ECR's vocabulary; the error names those it could be.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, de::value::Error> {
    T::deserialize(text.into_deserializer())
}

fn require(f: &mut Fields<'_>, object: &Value, name: &'static str) {
    if object.is_object() && object.get(name).is_none() {
        f.error(name, "is required");
    }
}

fn number(f: &mut Fields<'_>, object: &Value, name: &'static str) -> Option<u32> {
    require(f, object, name);
    let number = f
        .get(name)?
        .as_u64()
        .and_then(|number| u32::try_from(number).ok());
    let number = number.filter(|number| (1..=LARGEST_NUMBER).contains(number));
    if number.is_none() {
        f.error(
            name,
            format!("must be an integer from 1 to {LARGEST_NUMBER}"),
        );
    }
    number
}

/// What `read` makes of the object `name`, with its errors.
fn section<T>(
    f: &mut Fields<'_>,
    parent: &Value,
    name: &'static str,
    errors: &mut Vec<FieldError>,
    read: impl FnOnce(&mut Fields<'_>, &Value) -> T,
) -> Option<T> {
    require(f, parent, name);
    let value = f.get(name)?;
    let mut inner = Fields::of(value, f.at(name));
    let read = read(&mut inner, value);
    errors.extend(inner.finish());
    Some(read)
}

/// The prefixes or patterns of a rule, each with at most so many wildcards.
fn tag_filters(
    f: &mut Fields<'_>,
    selection: &Value,
    name: &'static str,
    wildcards: usize,
) -> Option<BTreeSet<String>> {
    let filters = f.list(name, usize::MAX, |item, at, errors| {
        let text = validation::text(item, &at, errors)?;
        check_filter(text, wildcards)
            .map_err(|why| errors.push(FieldError::new(at, why)))
            .ok()?;
        Some(text.to_owned())
    });
    if selection
        .get(name)
        .and_then(Value::as_array)
        .is_some_and(Vec::is_empty)
    {
        f.error(name, "must not be empty");
    }
    filters.map(BTreeSet::from_iter)
}

#[derive(Debug, thiserror::Error)]
enum FilterError {
    #[error("must not be empty")]
    Empty,
    #[error("contains {0:?}. Tags consist of letters, digits, `.`, `_` and `-`")]
    Character(char),
    #[error("has {0} wildcards; the maximum is {1}")]
    Wildcards(usize, usize),
}

fn check_filter(text: &str, most_wildcards: usize) -> Result<(), FilterError> {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '*');
    let wildcards = text.matches('*').count();
    match text.chars().find(|&c| !is_legal(c)) {
        Some(stranger) => Err(FilterError::Character(stranger)),
        None if text.is_empty() => Err(FilterError::Empty),
        None if wildcards > most_wildcards => {
            Err(FilterError::Wildcards(wildcards, most_wildcards))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: i64 = 1_800_000_000_000;

    fn image(digest: &str, tags: &[&str], days_old: i64) -> Image {
        let tags = tags.iter().map(ToString::to_string).collect();
        Image {
            digest: digest.to_owned(),
            tags,
            pushed_at_ms: NOW - days_old * DAY_MS,
            ..Image::default()
        }
    }

    fn tagged(priority: u32, list: &str, filters: &[&str], count: Value) -> Value {
        let mut selection = json!({"tagStatus": "tagged", list: filters});
        selection
            .as_object_mut()
            .unwrap()
            .extend(count.as_object().unwrap().clone());
        json!({"rulePriority": priority, "selection": selection, "action": {"type": "expire"}})
    }

    fn patterns(priority: u32, patterns: &[&str], count: Value) -> Value {
        tagged(priority, "tagPatternList", patterns, count)
    }

    fn status(priority: u32, status: &str, count: Value) -> Value {
        let mut rule = patterns(priority, &["x"], count);
        rule["selection"]["tagStatus"] = json!(status);
        rule["selection"]
            .as_object_mut()
            .unwrap()
            .remove("tagPatternList");
        rule
    }

    fn more_than(count: u32) -> Value {
        json!({"countType": "imageCountMoreThan", "countNumber": count})
    }

    fn pushed(days: u32) -> Value {
        json!({"countType": "sinceImagePushed", "countUnit": "days", "countNumber": days})
    }

    fn archived(days: u32) -> Value {
        json!({"countType": "sinceImageTransitioned", "storageClass": "archive", "countUnit": "days", "countNumber": days})
    }

    fn policy(rules: &[Value]) -> LifecyclePolicy {
        LifecyclePolicy::parse(&json!({"rules": rules})).unwrap()
    }

    fn errors(rules: &[Value]) -> Vec<String> {
        let mut pointers: Vec<String> = LifecyclePolicy::parse(&json!({"rules": rules}))
            .unwrap_err()
            .into_iter()
            .map(|e| e.pointer)
            .collect();
        pointers.sort();
        pointers
    }

    fn expired(policy: &LifecyclePolicy, images: &[Image]) -> Vec<String> {
        policy
            .expiring(images, NOW)
            .into_iter()
            .map(|image| image.digest.clone())
            .collect()
    }

    #[test]
    fn the_guide_has_its_nineteen_rules() {
        let document = LifecyclePolicy::guide().to_value();
        let rules = document["rules"].as_array().unwrap();
        assert_eq!(rules.len(), 19);
        assert!(
            rules
                .iter()
                .zip(1..)
                .all(|(rule, n)| rule["rulePriority"] == n
                    && rule["action"] == json!({"type": "expire"}))
        );
        assert_eq!(
            rules[0]["selection"],
            json!({"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 1})
        );
        let prefixes = ["testing", "builder"]
            .into_iter()
            .map(String::from)
            .chain("0123456789abcdef".chars().map(String::from));
        for (rule, prefix) in rules[1..].iter().zip(prefixes) {
            let wanted = json!({
                "tagStatus": "tagged", "tagPrefixList": [prefix],
                "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 3,
            });
            assert_eq!(rule["selection"], wanted);
        }
    }

    #[test]
    fn the_protected_profile_puts_release_tags_before_the_guide() {
        let document = LifecyclePolicy::protected().to_value();
        let rules = document["rules"].as_array().unwrap();
        let lists: Vec<&Value> = rules[..8]
            .iter()
            .map(|rule| &rule["selection"]["tagPatternList"])
            .collect();
        assert_eq!(
            lists,
            PROTECTED
                .map(|pattern| json!([pattern]))
                .iter()
                .collect::<Vec<_>>()
        );
        assert!(
            rules
                .iter()
                .zip(1..)
                .all(|(rule, n)| rule["rulePriority"] == n)
        );
        let guide = LifecyclePolicy::guide().to_value();
        let selections = |rules: &[Value]| {
            rules
                .iter()
                .map(|rule| rule["selection"].clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            selections(&rules[8..]),
            selections(guide["rules"].as_array().unwrap())
        );
    }

    #[test]
    fn the_profiles_are_documents_that_ecr_takes() {
        for policy in [LifecyclePolicy::guide(), LifecyclePolicy::protected()] {
            assert_eq!(
                LifecyclePolicy::parse(&policy.to_value()),
                Ok(policy.clone())
            );
            assert!(!policy.to_document().contains("null"));
        }
    }

    #[test]
    fn prefixes_of_the_guide_match_more_than_shas() {
        let names = [
            "1.2.3",
            "develop",
            "beta",
            "canary",
            "feature-x",
            "testing-1",
            "builder",
        ];
        for name in names {
            assert_eq!(
                expired(&LifecyclePolicy::guide(), &[image("i", &[name], 4)]),
                ["i"],
                "{name}"
            );
        }
        assert_eq!(
            expired(
                &LifecyclePolicy::guide(),
                &[image("i", &["v1.2.3"], 4), image("j", &["latest"], 4)]
            ),
            [""; 0]
        );
    }

    #[test]
    fn an_image_with_a_release_tag_and_a_sha_lives_under_protected_only() {
        for release in [
            "latest",
            "main",
            "master",
            "v1",
            "release-7",
            "production",
            "stable",
            "1.2.3",
        ] {
            let images = [image("i", &[release, "0a1b2c3"], 30)];
            assert_eq!(
                expired(&LifecyclePolicy::guide(), &images),
                ["i"],
                "{release}"
            );
            assert_eq!(
                expired(&LifecyclePolicy::protected(), &images),
                [""; 0],
                "{release}"
            );
        }
        let outcome = &LifecyclePolicy::protected()
            .evaluate(&[image("i", &["latest", "0a1b2c3"], 30)], NOW)[0];
        assert_eq!(outcome.outcome, Outcome::Kept { rule_priority: 1 });
        let claimed = Finding {
            rule_priority: 12,
            reason: Reason::Claimed { by: 1 },
        };
        assert!(outcome.findings.contains(&claimed));
        assert_eq!(
            claimed.to_string(),
            "rule 12 would apply, but rule 1 takes precedence"
        );
        assert_eq!(outcome.findings.len(), 27);
    }

    /// A rule, images by their tags and days, and which of them expire.
    type Example = (
        Value,
        &'static [(&'static str, i64)],
        &'static [&'static str],
    );

    /// The single filters of "Examples of lifecycle policies" and the wildcards of "Lifecycle policy evaluation rules".
    #[test]
    fn aws_examples_on_single_filters() {
        let table: [Example; 6] = [
            (
                patterns(1, &["prod*"], pushed(14)),
                &[
                    ("prod", 15),
                    ("prod1", 14),
                    ("production-team1", 30),
                    ("dev", 30),
                ],
                &["0", "2"],
            ),
            (
                tagged(1, "tagPrefixList", &["prod"], pushed(14)),
                &[("prod", 15), ("repo-production", 15)],
                &["0"],
            ),
            (
                status(1, "untagged", more_than(1)),
                &[("", 3), ("", 2), ("", 1), ("v1", 9)],
                &["0", "1"],
            ),
            (
                patterns(1, &["*prod*"], more_than(1)),
                &[
                    ("repo-production", 3),
                    ("prod-team", 2),
                    ("prod", 1),
                    ("pro", 9),
                ],
                &["0", "1"],
            ),
            (
                patterns(1, &["*test*1*2*3"], pushed(1)),
                &[
                    ("a-test-123", 2),
                    ("test1x2y3", 2),
                    ("test123z", 2),
                    ("test321", 2),
                ],
                &["0", "1"],
            ),
            (
                status(1, "any", pushed(1)),
                &[("prod", 2), ("", 2), ("prod", 1)],
                &["0", "1"],
            ),
        ];
        for (rule, given, expected) in table {
            let tags = |tag: &'static str| {
                Some(tag)
                    .filter(|tag| !tag.is_empty())
                    .into_iter()
                    .collect::<Vec<_>>()
            };
            let images: Vec<Image> = given
                .iter()
                .enumerate()
                .map(|(n, (tag, days))| image(&n.to_string(), &tags(tag), *days))
                .collect();
            assert_eq!(
                expired(&policy(std::slice::from_ref(&rule)), &images),
                expected,
                "{rule}"
            );
        }
    }

    #[test]
    fn aws_examples_on_multiple_rules() {
        let images = [
            image("A", &["beta-1", "prod-1"], 10),
            image("B", &["beta-2", "prod-2"], 9),
            image("C", &["beta-3"], 8),
        ];
        let a = policy(&[
            patterns(1, &["prod*"], more_than(1)),
            patterns(2, &["beta*"], more_than(1)),
        ]);
        assert_eq!(expired(&a, &images), ["A"]);
        let b = policy(&[
            patterns(1, &["beta*"], more_than(1)),
            patterns(2, &["prod*"], more_than(1)),
        ]);
        assert_eq!(expired(&b, &images), ["A", "B"]);
    }

    #[test]
    fn aws_examples_on_multiple_tags_in_one_rule() {
        let images = [
            image("A", &["alpha-1"], 12),
            image("B", &["beta-1"], 11),
            image("C", &["alpha-2", "beta-2"], 10),
            image("D", &["alpha-3"], 4),
            image("E", &["beta-3"], 3),
            image("F", &["alpha-4", "beta-4"], 2),
        ];
        assert_eq!(
            expired(
                &policy(&[patterns(1, &["alpha*", "beta*"], pushed(5))]),
                &images
            ),
            ["C"]
        );
        assert_eq!(
            expired(
                &policy(&[tagged(1, "tagPrefixList", &["alpha", "beta"], pushed(5))]),
                &images
            ),
            ["C"]
        );
        let images = [
            image("A", &["alpha-1", "beta-1", "gamma-1"], 10),
            image("B", &["alpha-2", "beta-2"], 9),
            image("C", &["alpha-3", "beta-3"], 8),
        ];
        assert_eq!(
            expired(
                &policy(&[patterns(1, &["alpha*", "beta*"], more_than(1))]),
                &images
            ),
            ["A", "B"]
        );
    }

    #[test]
    fn aws_examples_on_all_images() {
        let images = [
            image("A", &["alpha-1"], 4),
            image("B", &["beta-1"], 3),
            image("C", &[], 2),
            image("D", &["alpha-2"], 1),
        ];
        assert_eq!(
            expired(&policy(&[status(1, "any", more_than(1))]), &images),
            ["A", "B", "C"]
        );
        let images = [
            image("A", &["alpha-1", "beta-1"], 4),
            image("B", &[], 3),
            image("C", &["alpha-2"], 2),
            image("D", &["git hash"], 1),
            image("E", &[], 1),
        ];
        let rules = [
            patterns(1, &["alpha*"], more_than(1)),
            status(2, "untagged", pushed(1)),
            status(3, "any", more_than(1)),
        ];
        // The example expires D, though it was pushed when E was: which of two is newer is ECR's secret.
        let mut later = images.clone();
        later[3].pushed_at_ms -= 1;
        assert_eq!(expired(&policy(&rules), &later), ["A", "B", "D"]);
    }

    #[test]
    fn an_image_is_too_young_at_exactly_its_days() {
        let verdicts = policy(&[status(1, "any", pushed(3))]).evaluate(&[image("i", &[], 3)], NOW);
        assert_eq!(verdicts[0].outcome, Outcome::Kept { rule_priority: 1 });
        assert_eq!(
            verdicts[0].findings[0].reason,
            Reason::TooYoung {
                age_ms: 3 * DAY_MS,
                days: 3
            }
        );
        assert!(
            policy(&[status(1, "any", pushed(3))]).evaluate(&[image("i", &[], 3)], NOW + 1)[0]
                .expires()
        );
    }

    #[test]
    fn archive_rules_look_at_archived_images_alone() {
        let mut to_archive = status(
            1,
            "any",
            json!({"countType": "sinceImagePulled", "countUnit": "days", "countNumber": 30}),
        );
        to_archive["action"] = json!({"type": "transition", "targetStorageClass": "archive"});
        let policy = policy(&[to_archive, status(2, "any", archived(365))]);
        let unpulled = image("unpulled", &[], 31);
        let pulled = Image {
            last_pulled_at_ms: Some(NOW),
            ..unpulled.clone()
        };
        let restored = Image {
            last_activated_at_ms: Some(NOW),
            ..unpulled.clone()
        };
        let in_archive = Image {
            archived_at_ms: Some(NOW - 366 * DAY_MS),
            ..image("archived", &[], 500)
        };
        let outcomes: Vec<Outcome> = policy
            .evaluate(&[unpulled, pulled, restored, in_archive], NOW)
            .iter()
            .map(|v| v.outcome)
            .collect();
        let kept = Outcome::Kept { rule_priority: 1 };
        assert_eq!(
            outcomes,
            [
                Outcome::Transitions { rule_priority: 1 },
                kept,
                kept,
                Outcome::Expires { rule_priority: 2 }
            ]
        );
    }

    #[test]
    fn the_form_that_goes_to_ecr_is_its_own() {
        let rule = |mut rule: Value| {
            rule["description"] = json!("why");
            rule
        };
        let rules = [
            rule(patterns(1, &["a*", "b*"], more_than(2))),
            rule(status(2, "any", archived(90))),
        ];
        assert_eq!(policy(&rules).to_value(), json!({"rules": rules}));
        let mut explicit = rules.clone();
        explicit[0]["selection"]["storageClass"] = json!("standard");
        assert_eq!(policy(&explicit), policy(&rules));
    }

    #[test]
    fn every_error_is_told_at_once() {
        let mut count = patterns(
            1,
            &["a*b*c*d*e*", "sp ace", ""],
            json!({"countType": "never", "countNumber": 0}),
        );
        count["action"] = json!({"type": "transition"});
        count["colour"] = json!("red");
        count["description"] = json!(null);
        let both = json!({
            "rulePriority": 1, "action": {"type": "expire", "targetStorageClass": "archive"},
            "selection": {"tagStatus": "tagged", "tagPrefixList": ["x*"], "tagPatternList": [], "countType": "sinceImagePushed", "countNumber": 1.5},
        });
        let expected = [
            "/rules/0/action/targetStorageClass",
            "/rules/0/colour",
            "/rules/0/description",
            "/rules/0/selection/countNumber",
            "/rules/0/selection/countType",
            "/rules/0/selection/tagPatternList/0",
            "/rules/0/selection/tagPatternList/1",
            "/rules/0/selection/tagPatternList/2",
            "/rules/1/action/targetStorageClass",
            "/rules/1/rulePriority",
            "/rules/1/selection/countNumber",
            "/rules/1/selection/countUnit",
            "/rules/1/selection/tagPatternList",
            "/rules/1/selection/tagPatternList",
            "/rules/1/selection/tagPrefixList/0",
        ];
        assert_eq!(errors(&[count, both]), expected);
    }

    #[test]
    fn rules_must_agree_with_each_other() {
        let prefix = |priority| tagged(priority, "tagPrefixList", &["a", "b"], pushed(1));
        assert_eq!(
            errors(&[
                status(1, "any", pushed(1)),
                status(2, "untagged", pushed(1))
            ]),
            ["/rules/0/rulePriority"]
        );
        assert_eq!(
            errors(&[
                status(1, "untagged", pushed(1)),
                status(2, "untagged", more_than(1))
            ]),
            ["/rules/1/selection/tagStatus"]
        );
        assert_eq!(
            errors(&[prefix(1), prefix(2)]),
            ["/rules/1/selection/tagPrefixList"]
        );
        assert_eq!(
            errors(&[status(1, "untagged", archived(89))]),
            ["/rules/0/selection/countNumber"]
        );
        let mut pulled = status(
            1,
            "any",
            json!({"countType": "sinceImagePulled", "countUnit": "days", "countNumber": 1}),
        );
        pulled["selection"]["storageClass"] = json!("archive");
        assert_eq!(
            errors(&[pulled]),
            ["/rules/0/action/type", "/rules/0/selection/storageClass"]
        );
    }

    #[test]
    fn a_document_has_its_bounds() {
        let rules = |n: u32| {
            (1..=n)
                .map(|i| patterns(i, &[&format!("p{i}")], more_than(1)))
                .collect::<Vec<_>>()
        };
        assert!(LifecyclePolicy::parse(&json!({"rules": rules(50)})).is_ok());
        assert_eq!(errors(&rules(51)), ["/rules"]);
        assert_eq!(errors(&[]), ["", "/rules"]);
        let mut long = rules(1);
        long[0]["description"] = json!("ü".repeat(30_720));
        assert_eq!(errors(&long), [""]);
        for not_a_policy in [
            json!(null),
            json!([]),
            json!(3),
            json!("guide"),
            json!({"rules": null}),
            json!({"rules": [1]}),
            json!({}),
        ] {
            assert!(
                !LifecyclePolicy::parse(&not_a_policy)
                    .unwrap_err()
                    .is_empty(),
                "{not_a_policy}"
            );
        }
    }

    #[test]
    fn a_lifecycle_is_a_word_or_a_document() {
        let custom = Lifecycle::Custom(LifecyclePolicy::guide());
        for lifecycle in [Lifecycle::Guide, Lifecycle::Protected, custom.clone()] {
            let text = serde_json::to_string(&lifecycle).unwrap();
            assert_eq!(serde_json::from_str::<Lifecycle>(&text).unwrap(), lifecycle);
        }
        assert_eq!(
            serde_json::to_string(&Lifecycle::Guide).unwrap(),
            "\"guide\""
        );
        assert_eq!(custom.policy(), Lifecycle::Guide.policy());
        for neither in [json!("guid"), json!(null), json!(["guide"]), json!(1)] {
            let errors = Lifecycle::parse(&neither).unwrap_err();
            assert_eq!(errors.len(), 1);
            assert_eq!(errors[0].pointer, "");
        }
        assert!(
            serde_json::from_str::<LifecyclePolicy>("{}")
                .unwrap_err()
                .to_string()
                .contains("/rules is required")
        );
    }

    #[test]
    fn a_verdict_reads_well_as_json() {
        let outcome = &LifecyclePolicy::guide().evaluate(&[image("i", &["develop"], 1)], NOW)[0];
        let value = serde_json::to_value(outcome).unwrap();
        assert_eq!(value["outcome"], "kept");
        assert_eq!(
            value["findings"][16],
            json!({"rule_priority": 17, "reason": "too_young", "age_ms": DAY_MS, "days": 3})
        );
    }

    /// The definition of a pattern, one character at a time.
    fn matches_slowly(pattern: &[u8], tag: &[u8]) -> bool {
        match (pattern.split_first(), tag.split_first()) {
            (Some((b'*', rest)), _) => {
                matches_slowly(rest, tag) || (!tag.is_empty() && matches_slowly(pattern, &tag[1..]))
            }
            (Some((p, pattern)), Some((t, tag))) => p == t && matches_slowly(pattern, tag),
            (pattern, tag) => pattern.is_none() && tag.is_none(),
        }
    }

    fn any_count() -> impl Strategy<Value = Value> {
        prop_oneof![(1..5u32).prop_map(more_than), (1..9u32).prop_map(pushed)]
    }

    /// A rule for standard storage with whatever priority; the policy gives it its own.
    fn any_tagged_rule() -> impl Strategy<Value = Value> {
        let filters = prop::collection::btree_set("[ab*]{1,4}", 1..4);
        (filters, any_count(), any::<bool>()).prop_map(|(filters, count, prefixes)| {
            let filters: BTreeSet<String> = if prefixes {
                filters
                    .into_iter()
                    .map(|filter| filter.replace('*', "c"))
                    .collect()
            } else {
                filters
            };
            let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
            tagged(
                1,
                if prefixes {
                    "tagPrefixList"
                } else {
                    "tagPatternList"
                },
                &filters,
                count,
            )
        })
    }

    prop_compose! {
        fn any_rules()(
            mut rules in prop::collection::vec(any_tagged_rule(), 1..6),
            untagged in prop::option::of(any_count()),
            any in prop::option::of(any_count()),
            mut priorities in prop::collection::btree_set(1..1000u32, 8),
        ) -> Vec<Value> {
            let mut seen = BTreeSet::new();
            rules.retain(|rule| seen.insert(rule["selection"]["tagPrefixList"].to_string()) || rule["selection"]["tagPatternList"].is_array());
            rules.extend(untagged.map(|count| status(1, "untagged", count)));
            rules.extend(any.map(|count| status(1, "any", count)));
            for rule in &mut rules {
                rule["rulePriority"] = json!(priorities.pop_first());
            }
            rules
        }
    }

    fn any_images() -> impl Strategy<Value = Vec<Image>> {
        let tags_and_age = (prop::collection::btree_set("[abc]{1,4}", 0..3), 0..12i64);
        prop::collection::vec(tags_and_age, 0..12).prop_map(|images| {
            let images = images.into_iter().enumerate();
            images
                .map(|(n, (tags, days))| Image {
                    tags: tags.into_iter().collect(),
                    ..image(&format!("{n}"), &[], days)
                })
                .collect()
        })
    }

    /// Rules for both storage classes, images in both, at times of which some are the same.
    fn any_archive_rules() -> impl Strategy<Value = Vec<Value>> {
        let pulled = (1..9u32).prop_map(|days| {
            let mut rule = patterns(
                1,
                &["*"],
                json!({"countType": "sinceImagePulled", "countUnit": "days", "countNumber": days}),
            );
            rule["action"] = json!({"type": "transition", "targetStorageClass": "archive"});
            rule
        });
        let archive = (90..95u32).prop_map(|days| status(1, "any", archived(days)));
        (
            any_rules(),
            prop::option::of(pulled),
            prop::option::of(archive),
        )
            .prop_map(|(mut rules, pulled, archive)| {
                rules.splice(0..0, pulled.into_iter().chain(archive));
                (1..)
                    .zip(&mut rules)
                    .for_each(|(priority, rule)| rule["rulePriority"] = json!(priority));
                rules
            })
    }

    fn any_stored_images() -> impl Strategy<Value = Vec<Image>> {
        let days = || prop::option::of(0..12i64);
        let times = (days(), days(), prop::option::weighted(0.3, 88..97i64));
        (any_images(), prop::collection::vec(times, 12)).prop_map(|(mut images, times)| {
            let ago = |days: i64| NOW - days * DAY_MS;
            for (image, (pulled, activated, archived)) in images.iter_mut().zip(times) {
                image.last_pulled_at_ms = pulled.map(ago);
                image.last_activated_at_ms = activated.map(ago);
                image.archived_at_ms = archived.map(ago);
            }
            images
        })
    }

    /// What ECR's guide says of one image, read from the document, one sentence after another: the first
    /// rule by priority that is for the image's storage and tags decides. Says whether that rule acts.
    fn modelled(rules: &[Value], images: &[Image], image: &Image) -> Option<(u64, bool)> {
        let priority = |rule: &Value| rule["rulePriority"].as_u64().unwrap();
        let mut deciding: Vec<&Value> = rules
            .iter()
            .filter(|rule| is_for(&rule["selection"], image))
            .collect();
        deciding.sort_by_key(|rule| priority(rule));
        let rule = deciding.first()?;
        let selection = &rule["selection"];
        let number = selection["countNumber"].as_i64().unwrap();
        let pushed = |image: &Image| image.last_activated_at_ms.unwrap_or(image.pushed_at_ms);
        let age = |since: i64| NOW - since > number * DAY_MS;
        let acts = match selection["countType"].as_str().unwrap() {
            "imageCountMoreThan" => {
                let newer = |other: &&Image| {
                    (std::cmp::Reverse(pushed(other)), &other.digest)
                        < (std::cmp::Reverse(pushed(image)), &image.digest)
                };
                images
                    .iter()
                    .filter(|other| is_for(selection, other))
                    .filter(newer)
                    .count()
                    >= usize::try_from(number).unwrap()
            }
            "sinceImagePushed" => age(pushed(image)),
            "sinceImagePulled" => {
                let pulled = image.last_pulled_at_ms.unwrap_or(image.pushed_at_ms);
                age(image
                    .last_activated_at_ms
                    .map_or(pulled, |restored| restored.max(pulled)))
            }
            _ => age(image.archived_at_ms.unwrap()),
        };
        Some((priority(rule), acts))
    }

    fn is_for(selection: &Value, image: &Image) -> bool {
        let each = |list: &str, fits: &dyn Fn(&str, &str) -> bool| {
            let mut filters = selection[list]
                .as_array()
                .into_iter()
                .flatten()
                .map(|filter| filter.as_str().unwrap());
            filters.all(|filter| image.tags.iter().any(|tag| fits(filter, tag)))
        };
        let tagged = || {
            each("tagPrefixList", &|prefix, tag| tag.starts_with(prefix))
                && each("tagPatternList", &|pattern, tag| {
                    matches_slowly(pattern.as_bytes(), tag.as_bytes())
                })
        };
        (selection["storageClass"] == "archive") == image.archived_at_ms.is_some()
            && match selection["tagStatus"].as_str().unwrap() {
                "any" => true,
                "untagged" => image.tags.is_empty(),
                _ => tagged(),
            }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let keys = prop::sample::select(vec![
            "rules",
            "selection",
            "rulePriority",
            "tagStatus",
            "tagPrefixList",
            "action",
            "type",
            "countType",
        ]);
        let words = prop::sample::select(vec![
            "any",
            "tagged",
            "expire",
            "transition",
            "sinceImagePushed",
            "days",
            "*",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            words.prop_map(Value::from),
            any::<bool>().prop_map(Value::from)
        ];
        leaf.prop_recursive(5, 60, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(keys.clone(), inner, 0..5).prop_map(|map| map
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn patterns_match_as_defined(pattern in "[ab*]{0,7}", tag in "[ab]{0,8}") {
            prop_assert_eq!(pattern_matches(&pattern, &tag), matches_slowly(pattern.as_bytes(), tag.as_bytes()));
        }

        #[test]
        fn a_policy_survives_its_document(rules in any_rules()) {
            let policy = policy(&rules);
            prop_assert_eq!(policy.rules.len(), rules.len());
            prop_assert_eq!(LifecyclePolicy::parse(&policy.to_value()), Ok(policy.clone()));
            prop_assert_eq!(serde_json::from_str::<LifecyclePolicy>(&policy.to_document()).unwrap(), policy);
        }

        #[test]
        fn meaning_does_not_depend_on_order_or_description(rules in any_rules(), shuffle in any::<prop::sample::Index>(), text in "[a-z]{0,9}") {
            let one = policy(&rules);
            let mut other = rules.clone();
            other.rotate_left(shuffle.index(rules.len()));
            for rule in &mut other {
                rule["description"] = json!(text);
                for list in ["tagPrefixList", "tagPatternList"] {
                    if let Some(items) = rule["selection"].get_mut(list).and_then(Value::as_array_mut) {
                        items.reverse();
                    }
                }
            }
            let other = policy(&other);
            prop_assert!(one.same_meaning(&one) && one.same_meaning(&other) && other.same_meaning(&one));
        }

        #[test]
        fn another_count_is_another_meaning(rules in any_rules(), at in any::<prop::sample::Index>()) {
            let mut other = rules.clone();
            let count = &mut other[at.index(rules.len())]["selection"]["countNumber"];
            *count = json!(count.as_u64().unwrap() + 1);
            prop_assert!(!policy(&rules).same_meaning(&policy(&other)) && !policy(&other).same_meaning(&policy(&rules)));
        }

        #[test]
        fn the_first_rule_that_selects_an_image_alone_decides(rules in any_rules(), images in any_images()) {
            let policy = policy(&rules);
            let verdicts = policy.evaluate(&images, NOW);
            prop_assert_eq!(verdicts.len(), images.len());
            for (image, outcome) in images.iter().zip(&verdicts) {
                let first = policy.rules.iter().find(|rule| rule.selects(image)).map(|rule| rule.rule_priority);
                prop_assert_eq!(outcome.outcome.rule_priority(), first);
                let acting = outcome.findings.iter().filter(|finding| finding.reason == Reason::Applies);
                prop_assert_eq!(acting.map(|finding| finding.rule_priority).collect::<Vec<_>>(), first.filter(|_| outcome.expires()).into_iter().collect::<Vec<_>>());
            }
        }

        #[test]
        fn images_fare_as_the_model_says(rules in any_archive_rules(), images in any_stored_images()) {
            let verdicts = policy(&rules).evaluate(&images, NOW);
            for (image, outcome) in images.iter().zip(&verdicts) {
                let acts = matches!(outcome.outcome, Outcome::Expires { .. } | Outcome::Transitions { .. });
                let outcome = outcome.outcome.rule_priority().map(|priority| (u64::from(priority), acts));
                prop_assert_eq!(outcome, modelled(&rules, &images, image), "{:?} under {:#}", image, json!(rules));
            }
        }

        #[test]
        fn the_order_that_images_are_given_in_does_not_matter(rules in any_archive_rules(), images in any_stored_images(), turn in 0..12usize) {
            let policy = policy(&rules);
            let mut turned = images.clone();
            turned.reverse();
            let turns = turn.min(turned.len());
            turned.rotate_left(turns);
            let by_digest = |images: &[Image]| -> std::collections::BTreeMap<String, AttemptOutcome> {
                images.iter().map(|image| image.digest.clone()).zip(policy.evaluate(images, NOW)).collect()
            };
            prop_assert_eq!(by_digest(&images), by_digest(&turned));
        }

        #[test]
        fn a_count_keeps_exactly_the_newest(count in 1..8u32, images in any_images()) {
            let kept = expired(&policy(&[status(1, "any", more_than(count))]), &images);
            prop_assert_eq!(kept.len(), images.len().saturating_sub(count as usize));
            let gone: Vec<&Image> = images.iter().filter(|image| kept.contains(&image.digest)).collect();
            let stays = images.iter().filter(|image| !kept.contains(&image.digest));
            prop_assert!(stays.clone().all(|stays| gone.iter().all(|gone| gone.pushed_at_ms <= stays.pushed_at_ms)));
        }

        #[test]
        fn a_rule_after_the_others_changes_nothing_that_they_decided(rules in any_archive_rules(), last in any_tagged_rule(), images in any_stored_images()) {
            let before: Vec<Value> = rules.iter().filter(|rule| rule["selection"]["tagStatus"] != "any").cloned().collect();
            prop_assume!(!before.is_empty());
            let mut after = before.clone();
            after.push(last);
            after.last_mut().unwrap()["rulePriority"] = json!(1000);
            let Ok(after) = LifecyclePolicy::parse(&json!({"rules": after})) else { return Err(TestCaseError::reject("the same prefixes twice")) };
            let verdicts = policy(&before).evaluate(&images, NOW);
            for (before, after) in verdicts.iter().zip(after.evaluate(&images, NOW)) {
                prop_assert!(before.outcome == Outcome::Unmatched || before.outcome == after.outcome);
            }
        }

        #[test]
        fn a_release_never_expires_under_protected(
            release in "(latest|main|master|(release|prod|stable|v[0-9]|[0-9]{1,4}[.][0-9]{1,2}[.][0-9])[a-z0-9._-]{0,9})",
            images in any_images(),
        ) {
            let mut images = images;
            prop_assert!(is_protected(&release));
            images.iter_mut().for_each(|image| image.tags.push(release.to_owned()));
            prop_assert_eq!(expired(&LifecyclePolicy::protected(), &images), [""; 0]);
        }

        #[test]
        fn what_is_protected_is_kept_by_the_profile(tag in "[a-z0-9.]{1,3}[a-z0-9._-]{0,12}") {
            let images = [image("i", &[&tag, "0a1b2c3"], 30)];
            prop_assert!(!images[0].is_protected() || expired(&LifecyclePolicy::protected(), &images).is_empty());
        }

        #[test]
        fn another_filter_in_a_list_never_selects_more(list in prop::collection::btree_set("[ab]{1,2}", 1..4), more in "[ab]{1,2}", images in any_images()) {
            let short: Vec<&str> = list.iter().map(String::as_str).collect();
            let long: Vec<&str> = short.iter().copied().chain([more.as_str()]).collect();
            let (wide, narrow) = (policy(&[tagged(1, "tagPrefixList", &short, pushed(1))]), policy(&[tagged(1, "tagPrefixList", &long, pushed(1))]));
            let wide = expired(&wide, &images);
            prop_assert!(expired(&narrow, &images).iter().all(|digest| wide.contains(digest)));
        }

        #[test]
        fn no_document_is_too_strange(value in any_json(), times in any::<(i64, i64)>()) {
            if let Err(errors) = Lifecycle::parse(&value) {
                prop_assert!(!errors.is_empty());
            }
            let image = Image { pushed_at_ms: times.0, last_pulled_at_ms: Some(times.1), ..Image::default() };
            prop_assert_eq!(LifecyclePolicy::protected().evaluate(&[image], times.1).len(), 1);
        }
    }
}
