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
        self.version == other.version && self.meaning() == other.meaning()
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
        let (wanted, found) = (self.meaning(), other.meaning());
        let mut added: Vec<&ErrorKind<'_>> = found.difference(&wanted).collect();
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

    fn meaning(&self) -> BTreeSet<ErrorKind<'_>> {
        self.statement.iter().map(Statement::meaning).collect()
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

    fn meaning(&self) -> ErrorKind<'_> {
        ErrorKind {
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
struct ErrorKind<'a> {
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

impl ErrorKind<'_> {
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

impl fmt::Display for ErrorKind<'_> {
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
mod tests {
    use super::*;
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    fn parse(value: &Value) -> PolicyDocument {
        PolicyDocument::parse(&value.to_string()).unwrap()
    }

    fn allow(actions: &Value, resources: &Value) -> Value {
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": resources}]})
    }

    fn refused(value: &Value) -> String {
        PolicyDocument::parse(&value.to_string())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn media_shared_is_the_guides() {
        let document = json!(PolicyDocument::media_shared("aws-cn"));
        assert_eq!(document["Version"], "2012-10-17");
        let statements = document["Statement"].as_array().unwrap();
        assert_eq!(statements.len(), 1);
        assert_eq!(statements[0]["Effect"], "Allow");
        assert_eq!(
            statements[0]["Resource"],
            json!(["arn:aws-cn:s3:::*", "arn:aws-cn:s3:::*/*"])
        );
        let actions: BTreeSet<&str> = statements[0]["Action"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(actions.len(), 20);
        assert!(actions.contains("s3:GetBucketCORS") && actions.contains("s3:PutObjectAcl"));
        assert_eq!(statements[0].as_object().unwrap().len(), 3);
    }

    #[test]
    fn media_scoped_opens_its_buckets_alone() {
        let document = json!(PolicyDocument::media_scoped("aws", &["b", "a", "b"]).unwrap());
        let statement = &document["Statement"][0];
        assert_eq!(
            statement["Resource"],
            json!([
                "arn:aws:s3:::a",
                "arn:aws:s3:::a/*",
                "arn:aws:s3:::b",
                "arn:aws:s3:::b/*"
            ])
        );
        let actions: BTreeSet<&str> = statement["Action"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(actions.len(), 21);
        assert!(!actions.contains("s3:PutBucketAcl") && !actions.contains("s3:PutObjectAcl"));
        assert!(
            MULTIPART_ACTIONS
                .iter()
                .all(|action| actions.contains(format!("s3:{action}").as_str()))
        );
    }

    #[test]
    fn media_scoped_never_grants_by_accident() {
        assert_eq!(PolicyDocument::media_scoped("aws", &[""; 0]), None);
        for name in ["", "*", "a*", "a?", "${aws:username}", "a/b"] {
            assert_eq!(
                PolicyDocument::media_scoped("aws", &["fine", name]),
                None,
                "{name}"
            );
        }
    }

    #[test]
    fn sizes_do_not_count_white_space() {
        assert!(PolicyDocument::media_shared("aws").characters() < MAX_CHARACTERS);
        let spaced = parse(&allow(&json!("s3:*"), &json!("arn:aws:s3:::a b")));
        assert_eq!(spaced.characters() + 1, spaced.to_document().len());
    }

    #[test]
    fn both_forms_of_text_are_read() {
        let policy = PolicyDocument::media_shared("aws");
        let encoded = utf8_percent_encode(&policy.to_document(), NON_ALPHANUMERIC).to_string();
        assert_eq!(PolicyDocument::parse(&encoded).unwrap(), policy);
        let with_percent = parse(&allow(&json!("s3:GetObject"), &json!("arn:aws:s3:::a/%2A")));
        assert_eq!(
            PolicyDocument::parse(&with_percent.to_document()).unwrap(),
            with_percent
        );
        assert!(matches!(
            PolicyDocument::parse("%7B%FF"),
            Err(PolicyError::Encoding(_))
        ));
    }

    #[test]
    fn ways_of_writing_do_not_matter() {
        let one = parse(&json!({
            "Version": "2012-10-17", "Id": "x",
            "Statement": {
                "Sid": "One", "Effect": "Allow", "Action": "s3:getobject", "Resource": ["b", "a", "a"],
                "Condition": {"Bool": {"AWS:SecureTransport": true}, "StringEquals": {"aws:x": ["1", "2"]}},
            },
        }));
        let other = parse(&json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow", "Action": ["S3:GetObject"], "Resource": ["a", "b"],
                "Condition": {"StringEquals": {"aws:x": [2, "1"]}, "Bool": {"aws:SecureTransport": "true"}},
            }],
        }));
        assert!(one.same_meaning(&other) && other.same_meaning(&one));
        assert_eq!(one.difference(&other), [""; 0]);
    }

    #[test]
    fn an_absent_version_is_the_old_one() {
        let statement = json!({"Effect": "Deny", "NotAction": "iam:*", "NotResource": "*"});
        let absent = parse(&json!({"Statement": statement}));
        assert!(absent.same_meaning(&parse(
            &json!({"Version": "2008-10-17", "Statement": statement})
        )));
        let new = parse(&json!({"Version": "2012-10-17", "Statement": statement}));
        assert_eq!(
            new.difference(&absent),
            ["the policy language version is 2008-10-17, not 2012-10-17"]
        );
        assert!(!new.same_meaning(&absent));
    }

    #[test]
    fn a_difference_is_told_in_words() {
        let wanted = PolicyDocument::media_shared("aws");
        let mut found = json!(wanted);
        found["Statement"][0]["Action"]
            .as_array_mut()
            .unwrap()
            .retain(|action| action != "s3:DeleteObject");
        found["Statement"][0]["Resource"][1] = json!("arn:aws:s3:::b/*");
        found["Statement"][0]["Condition"] = json!({"Bool": {"aws:SecureTransport": true}});
        found["Statement"]
            .as_array_mut()
            .unwrap()
            .push(json!({"Effect": "Deny", "NotAction": "iam:Get*", "Resource": "*"}));
        let expected = [
            "action s3:DeleteObject is missing",
            "resource arn:aws:s3:::*/* is missing",
            "resource arn:aws:s3:::b/* is added",
            "condition Bool aws:SecureTransport = true is added",
            "a statement with Deny of everything except iam:Get* on * is added",
        ];
        assert_eq!(wanted.difference(&parse(&found)), expected);
        let mut denied = json!(wanted);
        denied["Statement"][0]["Effect"] = json!("Deny");
        assert_eq!(
            wanted.difference(&parse(&denied)),
            ["effect is Deny, not Allow"]
        );
    }

    #[test]
    fn action_and_not_action_are_opposites() {
        let document = |element: &str| {
            parse(&json!({"Statement": {"Effect": "Allow", element: "s3:*", "Resource": "*"}}))
        };
        let lines = document("Action").difference(&document("NotAction"));
        assert_eq!(
            lines,
            ["action s3:* is missing", "excluded action s3:* is added"]
        );
    }

    #[test]
    fn what_iam_refuses_is_refused() {
        assert!(
            refused(&allow(&json!([]), &json!("*")))
                .contains("statement 1 must have either Action or NotAction")
        );
        assert!(
            refused(&allow(&json!("a"), &json!([])))
                .contains("statement 1 must have either Resource or NotResource")
        );
        let mut public = allow(&json!("s3:*"), &json!("*"));
        public["Statement"][0]["Principal"] = json!("*");
        assert!(refused(&public).contains("statement 1: unknown field `Principal`"));
        assert!(
            refused(&json!({"Statement": {"Effect": "Perhaps", "Action": "a", "Resource": "*"}}))
                .contains("unknown variant `Perhaps`")
        );
        assert!(refused(&json!({"Version": "2026-01-01", "Statement": []})).contains("2026-01-01"));
        assert!(refused(&allow(&json!({"a": 1}), &json!("*"))).contains("is not a string"));
        for strange in [json!(null), json!([]), json!({}), json!("text"), json!(1)] {
            refused(&strange);
        }
    }

    fn some_of(texts: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec(prop::sample::select(texts).prop_map(String::from), 1..5)
    }

    prop_compose! {
        fn any_statement()(
            effect in prop::sample::select(vec!["Allow", "Deny"]),
            actions in some_of(&["s3:GetObject", "s3:PutObject", "iam:*", "*"]),
            resources in some_of(&["*", "arn:aws:s3:::a", "arn:aws:s3:::A", "arn:aws:s3:::a/*"]),
            values in prop::option::of(some_of(&["x", "true", "é %"])),
            (not_action, not_resource) in any::<(bool, bool)>(),
        ) -> Value {
            let action = if not_action { "NotAction" } else { "Action" };
            let resource = if not_resource { "NotResource" } else { "Resource" };
            let mut statement = json!({"Effect": effect, action: actions, resource: resources});
            if let Some(values) = values {
                statement["Condition"] = json!({"StringLike": {"aws:PrincipalTag/Team": values}});
            }
            statement
        }
    }

    fn any_statements() -> impl Strategy<Value = Vec<Value>> {
        prop::collection::vec(any_statement(), 1..4)
    }

    fn document(statements: &[Value]) -> Value {
        json!({"Version": "2012-10-17", "Statement": statements})
    }

    /// The same written otherwise: lists turned, repeated or made a string, actions in upper case.
    fn rewritten(statement: &Value, turn: usize) -> Value {
        let mut statement = statement.clone();
        statement["Sid"] = json!(format!("Statement{turn}"));
        for element in ["Action", "NotAction", "Resource", "NotResource"] {
            let Some(Value::Array(list)) = statement.get(element).cloned() else {
                continue;
            };
            let mut list: Vec<String> = list
                .iter()
                .filter_map(Value::as_str)
                .map(String::from)
                .collect();
            if element.ends_with("Action") {
                list = list.iter().map(|action| action.to_uppercase()).collect();
            }
            let turns = turn % list.len();
            list.rotate_left(turns);
            list.dedup();
            statement[element] = match list.as_slice() {
                [one] => json!(one),
                [first, ..] => json!([list.as_slice(), std::slice::from_ref(first)].concat()),
                [] => continue,
            };
        }
        statement
    }

    proptest! {
        #[test]
        fn meaning_does_not_depend_on_the_writing(statements in any_statements(), turn in 0..9usize) {
            let one = parse(&document(&statements));
            let mut others: Vec<Value> = statements.iter().map(|statement| rewritten(statement, turn)).collect();
            others.push(others[0].clone());
            let turns = turn % others.len();
            others.rotate_left(turns);
            let encoded = utf8_percent_encode(&document(&others).to_string(), NON_ALPHANUMERIC).to_string();
            let other = PolicyDocument::parse(&encoded).unwrap();
            prop_assert!(one.same_meaning(&other) && other.same_meaning(&one));
            prop_assert!(one.difference(&other).is_empty());
        }

        #[test]
        fn a_policy_survives_its_document(statements in any_statements()) {
            let policy = parse(&document(&statements));
            prop_assert_eq!(PolicyDocument::parse(&policy.to_document()).unwrap(), policy);
        }

        #[test]
        fn a_difference_is_empty_exactly_for_the_same_meaning(one in any_statements(), other in any_statements()) {
            let (one, other) = (parse(&document(&one)), parse(&document(&other)));
            prop_assert_eq!(one.difference(&other).is_empty(), one.same_meaning(&other));
            prop_assert_eq!(one.same_meaning(&other), other.same_meaning(&one));
        }

        #[test]
        fn another_effect_or_resource_is_noticed(statement in any_statement(), effect in any::<bool>()) {
            let mut changed = statement.clone();
            if effect {
                changed["Effect"] = if statement["Effect"] == "Allow" { json!("Deny") } else { json!("Allow") };
            } else {
                let element = if statement.get("Resource").is_some() { "Resource" } else { "NotResource" };
                changed[element].as_array_mut().unwrap().push(json!("arn:aws:s3:::other"));
            }
            let (one, other) = (parse(&document(&[statement])), parse(&document(&[changed])));
            prop_assert!(!one.same_meaning(&other));
            prop_assert_eq!(one.difference(&other).len(), 1);
        }

        #[test]
        fn another_action_or_condition_is_noticed(statement in any_statement(), at in any::<prop::sample::Index>(), change in 0..5u8) {
            let mut changed = statement.clone();
            let element = if statement.get("Action").is_some() { "Action" } else { "NotAction" };
            let condition = &mut changed["Condition"];
            match change {
                0 => changed[element].as_array_mut().unwrap().push(json!("ec2:RunInstances")),
                1 => {
                    let actions = changed[element].as_array_mut().unwrap();
                    let at = at.index(actions.len());
                    actions[at] = json!("ec2:RunInstances");
                }
                2 => {
                    let actions = changed.as_object_mut().unwrap().remove(element).unwrap();
                    changed[if element == "Action" { "NotAction" } else { "Action" }] = actions;
                }
                3 => condition["StringLike"]["aws:PrincipalTag/Team"] = json!("another"),
                _ => condition["StringNotLike"]["aws:PrincipalTag/Team"] = json!("x"),
            }
            // Looking at a condition that there is none of leaves a null behind.
            changed.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            let (one, other) = (parse(&document(&[statement])), parse(&document(&[changed])));
            prop_assert!(!one.same_meaning(&other) && !other.same_meaning(&one));
            prop_assert!(!one.difference(&other).is_empty());
        }

        #[test]
        fn white_space_and_one_string_for_a_list_do_not_matter(statements in any_statements(), lone in any_statement()) {
            let one = parse(&document(&statements));
            let spaced = PolicyDocument::parse(&format!("\n {:#}\t", document(&statements))).unwrap();
            prop_assert!(one.same_meaning(&one) && one.same_meaning(&spaced));
            prop_assert_eq!(one.characters(), spaced.characters());
            let mut bare = lone.clone();
            for list in bare.as_object_mut().unwrap().values_mut() {
                if let Some([text]) = list.as_array().map(Vec::as_slice) {
                    *list = text.clone();
                }
            }
            let bare = json!({"Version": "2012-10-17", "Statement": bare});
            prop_assert!(parse(&document(&[lone])).same_meaning(&parse(&bare)));
        }

        #[test]
        fn no_text_is_too_strange(text in any::<String>(), encoded in "(%[0-9A-F]{2}){0,20}") {
            let _ = PolicyDocument::parse(&text);
            let _ = PolicyDocument::parse(&encoded);
            let _ = PolicyDocument::parse(&utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string());
            let _ = PolicyDocument::parse(&json!({"Version": "2012-10-17", "Statement": text}).to_string());
        }
    }
}
