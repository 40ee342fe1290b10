//! The rules of a lifecycle policy.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::image::{DAY_MS, Image, Storage};

/// More images than a repository holds: 100,000 unless AWS raises it ("Amazon ECR service quotas").
const MORE_THAN_ALL: u32 = 999_999;

const SHA_DIGITS: &str = "0123456789abcdef";

/// What release tags look like: one rule each, because patterns in one list mean AND.
pub(super) const PROTECTED: [&str; 8] = [
    "latest", "main", "master", "v*", "release*", "prod*", "stable*", "*.*.*",
];

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rule {
    pub(super) rule_priority: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    pub(super) selection: Selection,
    pub(super) action: Action,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Selection {
    #[serde(flatten)]
    pub(super) tags: Tags,
    #[serde(flatten)]
    pub(super) count: Count,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "tagStatus", rename_all = "camelCase")]
pub(super) enum Tags {
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
pub(super) enum Count {
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
pub(super) enum Action {
    Expire,
    Transition { target_storage_class: Storage },
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum CountUnit {
    Days,
}

impl Rule {
    /// A rule of one of our profiles; the profile numbers it.
    pub(super) fn expiring(description: String, tags: Tags, count: Count) -> Self {
        Self {
            rule_priority: 0,
            description: Some(description),
            selection: Selection { tags, count },
            action: Action::Expire,
        }
    }

    pub(super) fn protecting(pattern: &str) -> Self {
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

    pub(super) fn same_meaning(&self, other: &Self) -> bool {
        self.rule_priority == other.rule_priority
            && self.selection == other.selection
            && self.action == other.action
    }

    pub(super) fn selects(&self, image: &Image) -> bool {
        self.selection.count.storage() == image.storage()
            && self.selection.tags.match_all(&image.tags)
    }

    /// Why the rule acts on each image or does not, other rules apart.
    pub(super) fn judge(&self, images: &[Image], now_ms: i64) -> Vec<Reason> {
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
pub(super) fn pattern_matches(pattern: &str, tag: &str) -> bool {
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
    pub(super) fn storage(self) -> Storage {
        match self {
            Self::SinceImageTransitioned { storage_class, .. } => storage_class,
            _ => Storage::Standard,
        }
    }

    /// Why a rule that selects the image, newest first at `position`, acts on it or does not.
    pub(super) fn reason(self, image: &Image, position: usize, now_ms: i64) -> Reason {
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

/// Days after its push that the guide keeps a tagged image.
const GUIDE_DAYS: u32 = 3;

/// The guide's prefixes beside the first characters of a Git short SHA.
const GUIDE_NAMES: [&str; 2] = ["testing", "builder"];

pub(super) fn guide_rules() -> impl Iterator<Item = Rule> {
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
