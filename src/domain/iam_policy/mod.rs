//! IAM policy documents, compared by meaning.
//!
//! Invariants:
//! - A [`PolicyDocument`] that exists is an identity-based policy by IAM's grammar: each statement
//!   has one of `Action` and `NotAction`, one of `Resource` and `NotResource`, and no `Principal`.
//! - Documents that are [`same_meaning`](PolicyDocument::same_meaning) give the same permissions.
//!   The reverse is not promised: permissions split differently over statements count as different.
//! - [`difference`](PolicyDocument::difference) is empty exactly when the meaning is the same.
//!
//! The facts are those of the IAM User Guide: "Grammar of the IAM JSON policy language" and "IAM
//! JSON policy elements".

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::Utf8Error;

use percent_encoding::percent_decode_str;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

/// Characters that a managed policy may have, white space not counted (IAM User Guide, "IAM and
/// AWS STS quotas").
pub const MAX_CHARACTERS: usize = 6144;

/// The guide's MediaManagement actions, all of S3.
const MEDIA_ACTIONS: [&str; 20] = [
    "ListBucket",
    "DeleteObjectTagging",
    "GetBucketTagging",
    "DeleteObjectVersion",
    "GetObjectVersionTagging",
    "PutObjectVersionTagging",
    "DeleteObjectVersionTagging",
    "GetBucketVersioning",
    "GetBucketAcl",
    "PutObject",
    "GetObjectAcl",
    "GetObject",
    "GetBucketCORS",
    "GetObjectVersionAcl",
    "PutBucketAcl",
    "PutObjectTagging",
    "DeleteObject",
    "GetBucketLocation",
    "PutObjectAcl",
    "GetObjectVersion",
];
/// What the scoped policy leaves out: writing ACLs, which new buckets refuse.
const ACL_WRITES: [&str; 2] = ["PutBucketAcl", "PutObjectAcl"];
/// What the scoped policy has besides.
const MULTIPART_ACTIONS: [&str; 3] = [
    "AbortMultipartUpload",
    "ListMultipartUploadParts",
    "ListBucketMultipartUploads",
];

/// Why a text is not the document of an identity-based policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The text is percent-encoded, but not UTF-8 inside.
    #[error("the percent-decoded policy document is not valid UTF-8")]
    Encoding(#[from] Utf8Error),
    /// It is not JSON, has an element that IAM does not know here, or lacks one that it needs.
    #[error("the policy document does not follow the IAM policy grammar: {0}")]
    Grammar(#[from] serde_json::Error),
}

/// The document of an identity-based IAM policy.
///
/// Equality is that of the written form; [`same_meaning`](Self::same_meaning) asks what it permits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PolicyDocument {
    #[serde(default)]
    version: Version,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(deserialize_with = "statements")]
    statement: Vec<Statement>,
}

impl PolicyDocument {
    /// The guide's MediaManagement: 20 S3 actions on every bucket of the account and its objects.
    /// The partition is `aws`, `aws-cn` or the like, from the caller's own ARN.
    pub fn media_shared(partition: &str) -> Self {
        Self::allowing(
            MEDIA_ACTIONS.into_iter(),
            bucket_resources(partition, "*").into(),
        )
    }

    /// The same kind of access to these buckets alone, without writing ACLs, with the actions that
    /// multipart uploads need.
    ///
    /// `None` when there is nothing that could be granted safely: no bucket, for IAM refuses a
    /// statement without a resource; or a name with a character that no bucket's name has, for
    /// `*`, `?` and `$` would open other buckets.
    pub fn media_scoped(partition: &str, buckets: &[impl AsRef<str>]) -> Option<Self> {
        let buckets: BTreeSet<&str> = buckets.iter().map(AsRef::as_ref).collect();
        if buckets.is_empty() || !buckets.iter().all(|name| names_one_bucket(name)) {
            return None;
        }
        let actions = MEDIA_ACTIONS
            .into_iter()
            .filter(|action| !ACL_WRITES.contains(action))
            .chain(MULTIPART_ACTIONS);
        let resources = buckets
            .into_iter()
            .flat_map(|name| bucket_resources(partition, name))
            .collect();
        Some(Self::allowing(actions, resources))
    }

    fn allowing<'a>(s3_actions: impl Iterator<Item = &'a str>, resources: Vec<String>) -> Self {
        let statement = Statement {
            sid: None,
            effect: Effect::Allow,
            action: Texts(s3_actions.map(|action| format!("s3:{action}")).collect()),
            not_action: Texts::default(),
            resource: Texts(resources),
            not_resource: Texts::default(),
            condition: BTreeMap::new(),
        };
        Self {
            version: Version::V2012,
            id: None,
            statement: vec![statement],
        }
    }

    /// Reads a document as IAM returns it, percent-encoded by RFC 3986, or as plain JSON.
    ///
    /// # Errors
    /// When the text is not the document of an identity-based policy.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        // JSON never begins with a percent sign, and its encoding always does.
        if text.trim_start().starts_with('%') {
            return Ok(serde_json::from_str(
                &percent_decode_str(text.trim()).decode_utf8()?,
            )?);
        }
        Ok(serde_json::from_str(text)?)
    }

    /// The text to send to IAM: JSON without white space.
    pub fn to_document(&self) -> String {
        json!(self).to_string()
    }

    /// How many characters IAM counts against [`MAX_CHARACTERS`].
    pub fn characters(&self) -> usize {
        self.to_document()
            .chars()
            .filter(|c| !c.is_whitespace())
            .count()
    }

    /// Whether both permit the same.
    ///
    /// One string equals a list of it; order and repetition do not count, nor do `Id`, `Sid` and
    /// the case of actions and condition keys. An absent `Version` is 2008-10-17.
    pub fn same_meaning(&self, other: &Self) -> bool {
        self.version == other.version && self.normalized() == other.normalized()
    }

    /// What `other` lacks, has besides or has otherwise, one line each for people, when this is
    /// the document that is wanted. Empty exactly when the meaning is the same.
    pub fn difference(&self, other: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.version != other.version {
            lines.push(format!(
                "the policy language version is {}, not {}",
                other.version, self.version
            ));
        }
        let (wanted, found) = (self.normalized(), other.normalized());
        let mut added: Vec<&NormalizedStatement<'_>> = found.difference(&wanted).collect();
        for missing in wanted.difference(&found) {
            match missing.take_likest(&mut added) {
                Some(found) => lines.extend(missing.difference(found)),
                None => lines.push(format!("{missing} is missing")),
            }
        }
        lines.extend(
            added
                .iter()
                .map(|statement| format!("{statement} is added")),
        );
        lines
    }

    fn normalized(&self) -> BTreeSet<NormalizedStatement<'_>> {
        self.statement.iter().map(Statement::normalized).collect()
    }
}

fn bucket_resources(partition: &str, bucket: &str) -> [String; 2] {
    [
        format!("arn:{partition}:s3:::{bucket}"),
        format!("arn:{partition}:s3:::{bucket}/*"),
    ]
}

fn names_one_bucket(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Version {
    #[default]
    #[serde(rename = "2008-10-17")]
    V2008,
    #[serde(rename = "2012-10-17")]
    V2012,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V2008 => "2008-10-17",
            Self::V2012 => "2012-10-17",
        })
    }
}

/// A statement as it is written; `statements` lets only sound ones in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Statement {
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    effect: Effect,
    #[serde(default, skip_serializing_if = "Texts::is_empty")]
    action: Texts,
    #[serde(default, skip_serializing_if = "Texts::is_empty")]
    not_action: Texts,
    #[serde(default, skip_serializing_if = "Texts::is_empty")]
    resource: Texts,
    #[serde(default, skip_serializing_if = "Texts::is_empty")]
    not_resource: Texts,
    /// Values by context key by operator.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    condition: BTreeMap<String, BTreeMap<String, Texts>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Effect {
    Allow,
    Deny,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "Allow",
            Self::Deny => "Deny",
        })
    }
}

/// Texts, written as one string or a list of them; numbers and booleans need no quotes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Texts(Vec<String>);

impl Texts {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn set<'a, T: Ord>(&'a self, of: impl Fn(&'a str) -> T) -> BTreeSet<T> {
        self.0.iter().map(|text| of(text)).collect()
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = one_or_many(deserializer)?
            .into_iter()
            .map(|value| match value {
                Value::String(text) => Ok(text),
                Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
                _ => Err(D::Error::custom(format_args!(
                    "{value} is not a string, a number or a boolean"
                ))),
            });
        texts.collect::<Result<_, _>>().map(Self)
    }
}

#[derive(Debug, thiserror::Error)]
enum StatementError {
    #[error("statement {0} must have either Action or NotAction, with at least one value")]
    Action(usize),
    #[error("statement {0} must have either Resource or NotResource, with at least one value")]
    Resource(usize),
}

fn statements<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Statement>, D::Error> {
    let read = |(place, value): (usize, Value)| {
        let statement = Statement::deserialize(value)
            .map_err(|why| D::Error::custom(format_args!("statement {place}: {why}")))?;
        statement.check(place).map_err(D::Error::custom)?;
        Ok(statement)
    };
    (1..).zip(one_or_many(deserializer)?).map(read).collect()
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Value>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Array(many) => many,
        one => vec![one],
    })
}

impl Statement {
    fn check(&self, place: usize) -> Result<(), StatementError> {
        if self.action.is_empty() == self.not_action.is_empty() {
            return Err(StatementError::Action(place));
        }
        if self.resource.is_empty() == self.not_resource.is_empty() {
            return Err(StatementError::Resource(place));
        }
        Ok(())
    }

    fn normalized(&self) -> NormalizedStatement<'_> {
        NormalizedStatement {
            effect: self.effect,
            actions: self.action.set(Caseless),
            not_actions: self.not_action.set(Caseless),
            resources: self.resource.set(|resource| resource),
            not_resources: self.not_resource.set(|resource| resource),
            tests: self
                .condition
                .iter()
                .flat_map(|(operator, keys)| tests(operator, keys))
                .collect(),
        }
    }
}

fn tests<'a>(
    operator: &'a str,
    keys: &'a BTreeMap<String, Texts>,
) -> impl Iterator<Item = Test<'a>> {
    keys.iter().map(move |(key, values)| Test {
        operator,
        key: Caseless(key),
        values: values.set(|value| value),
    })
}

/// What a statement says, whichever way it is written. Of actions and `not_actions` one is empty,
/// and so of resources and `not_resources`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct NormalizedStatement<'a> {
    effect: Effect,
    actions: BTreeSet<Caseless<'a>>,
    not_actions: BTreeSet<Caseless<'a>>,
    resources: BTreeSet<&'a str>,
    not_resources: BTreeSet<&'a str>,
    tests: BTreeSet<Test<'a>>,
}

/// One test of a condition.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Test<'a> {
    operator: &'a str,
    key: Caseless<'a>,
    values: BTreeSet<&'a str>,
}

impl NormalizedStatement<'_> {
    /// Takes out the statement that has most in common with this one, if any has something.
    fn take_likest<'o>(&self, others: &mut Vec<&'o Self>) -> Option<&'o Self> {
        let scored = others
            .iter()
            .enumerate()
            .map(|(index, other)| (self.likeness(other), index));
        let (_, index) = scored.filter(|(likeness, _)| *likeness > 0).max()?;
        Some(others.remove(index))
    }

    fn likeness(&self, other: &Self) -> usize {
        shared(&self.actions, &other.actions)
            + shared(&self.not_actions, &other.not_actions)
            + shared(&self.resources, &other.resources)
            + shared(&self.not_resources, &other.not_resources)
    }

    fn difference(&self, other: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.effect != other.effect {
            lines.push(format!("effect is {}, not {}", other.effect, self.effect));
        }
        compare("action", &self.actions, &other.actions, &mut lines);
        compare(
            "excluded action",
            &self.not_actions,
            &other.not_actions,
            &mut lines,
        );
        compare("resource", &self.resources, &other.resources, &mut lines);
        compare(
            "excluded resource",
            &self.not_resources,
            &other.not_resources,
            &mut lines,
        );
        compare("condition", &self.tests, &other.tests, &mut lines);
        lines
    }
}

fn shared<T: Ord>(one: &BTreeSet<T>, other: &BTreeSet<T>) -> usize {
    one.intersection(other).count()
}

fn compare<T: Ord + fmt::Display>(
    kind: &str,
    wanted: &BTreeSet<T>,
    found: &BTreeSet<T>,
    lines: &mut Vec<String>,
) {
    lines.extend(
        wanted
            .difference(found)
            .map(|thing| format!("{kind} {thing} is missing")),
    );
    lines.extend(
        found
            .difference(wanted)
            .map(|thing| format!("{kind} {thing} is added")),
    );
}

impl fmt::Display for NormalizedStatement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let things = |only: String, but: String| {
            if but.is_empty() {
                only
            } else {
                format!("everything except {but}")
            }
        };
        let actions = things(listed(&self.actions), listed(&self.not_actions));
        let resources = things(listed(&self.resources), listed(&self.not_resources));
        write!(
            f,
            "a statement with {} of {actions} on {resources}",
            self.effect
        )?;
        if self.tests.is_empty() {
            Ok(())
        } else {
            write!(f, " where {}", listed(&self.tests))
        }
    }
}

impl fmt::Display for Test<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} = {}",
            self.operator,
            self.key,
            listed(&self.values)
        )
    }
}

fn listed<T: fmt::Display>(things: &BTreeSet<T>) -> String {
    things
        .iter()
        .map(T::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// A text that compares without regard to case, as actions and context keys do (IAM User Guide,
/// "IAM JSON policy elements: Action", "Condition").
#[derive(Clone, Copy, Debug)]
struct Caseless<'a>(&'a str);

impl Ord for Caseless<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let lower = |text: &Self| text.0.bytes().map(|byte| byte.to_ascii_lowercase());
        lower(self).cmp(lower(other))
    }
}

impl PartialOrd for Caseless<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Caseless<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(other.0)
    }
}

impl Eq for Caseless<'_> {}

impl fmt::Display for Caseless<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Whether an ARN is that of one of AWS's own policies, which can have the same names as an account's.
pub fn is_aws_managed(arn: &str) -> bool {
    arn.split(':').nth(4) == Some("aws")
}

#[cfg(test)]
mod tests;
