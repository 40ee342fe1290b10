//! Lifecycle policies: the guide's, those that protect tags, and whole documents.

use serde::de;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use super::evaluate::{Evaluation, Outcome};
use super::image::Image;
use super::parse::{Draft, MAX_RULES, check_size, check_together, require};
use super::rule::{PROTECTED, Rule, guide_rules};
use crate::domain::validation::FieldError as DocumentError;
use crate::domain::validation::{FieldError, Fields};

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
    pub(super) rules: Vec<Rule>,
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
    pub fn evaluate(&self, images: &[Image], now_ms: i64) -> Vec<Evaluation> {
        let mut verdicts = vec![
            Evaluation {
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
