//! What a lifecycle policy does with images.
//!
//! Invariant: an image is expired by exactly the first rule by priority that selects it (Amazon ECR User Guide, "Lifecycle policies").

use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;

use super::image::DAY_MS;
use super::rule::{Action, Reason, Rule};

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

/// What a policy does with one image, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evaluation {
    /// What happens to it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// What each rule has to do with it, in the order of priorities.
    pub findings: Vec<Finding>,
}

impl Evaluation {
    /// Whether ECR will delete the image, which it does within 24 hours.
    pub fn expires(&self) -> bool {
        matches!(self.outcome, Outcome::Expires { .. })
    }

    pub(super) fn add(&mut self, rule: &Rule, reason: Reason) {
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
