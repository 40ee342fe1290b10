//! Reads a lifecycle policy document and tells every error in it.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use serde::Deserialize;
use serde::de::{self, DeserializeOwned, IntoDeserializer};
use serde_json::Value;

use super::image::Storage;
use super::rule::{Action, Count, Rule, Selection, Tags};
use crate::domain::validation;
use crate::domain::validation::{FieldError, Fields};

/// Characters of a document (Amazon ECR API Reference, `PutLifecyclePolicy`, `lifecyclePolicyText`).
const CHARACTERS: RangeInclusive<usize> = 100..=30_720;

/// Rules a policy may have (Amazon ECR User Guide, "Amazon ECR service quotas").
pub(super) const MAX_RULES: usize = 50;

/// Wildcards a pattern may have ("Lifecycle policy properties", `tagPatternList`).
const MAX_WILDCARDS: usize = 4;

/// ECR's integers have 32 bits (API Reference, `LifecyclePolicyPreviewResult`, `appliedRulePriority`).
const LARGEST_NUMBER: u32 = i32::MAX.unsigned_abs();

/// Days an image stays in the archive at least ("Examples of lifecycle policies", "Archive examples").
const SHORTEST_ARCHIVE_DAYS: u32 = 90;

/// A rule as far as it could be read, so that rules are compared even where some have errors.
pub(super) struct Draft {
    pub(super) at: String,
    pub(super) rule_priority: Option<u32>,
    pub(super) description: Option<String>,
    pub(super) tags: Option<Tags>,
    pub(super) count: Option<Count>,
    pub(super) action: Option<Action>,
}

impl Draft {
    pub(super) fn read(value: &Value, at: String, errors: &mut Vec<FieldError>) -> Self {
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

    pub(super) fn rule(self) -> Option<Rule> {
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

pub(super) fn check_size(document: &Value, errors: &mut Vec<FieldError>) {
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
pub(super) fn check_together(drafts: &[Draft], errors: &mut Vec<FieldError>) {
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

pub(super) fn require(f: &mut Fields<'_>, object: &Value, name: &'static str) {
    if object.is_object() && object.get(name).is_none() {
        f.error(name, "is required");
    }
}

pub(super) fn number(f: &mut Fields<'_>, object: &Value, name: &'static str) -> Option<u32> {
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
