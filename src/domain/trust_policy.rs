//! Trust policies of roles, compared by meaning.
//!
//! Invariant: documents that are [`same_meaning`](TrustPolicy::same_meaning) let the same principals in. IAM returns a
//! document percent-encoded, with a list for one value or one value for a list, in another order, and with an account's
//! root ARN for its bare ID (IAM User Guide, "AWS JSON policy elements: Principal").

use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::domain::iam_policy::PolicyError;

/// The document that says who can assume a role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TrustPolicy(Value);

/// A value of an element, as two documents may write it differently.
type Part = (String, String);

/// What one statement says.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Meaning {
    effect: String,
    principals: BTreeSet<Part>,
    actions: BTreeSet<String>,
    conditions: BTreeSet<(String, String, BTreeSet<String>)>,
    /// Elements that no document of Slipway has.
    others: BTreeSet<Part>,
}

impl TrustPolicy {
    /// Lets one kind of principal do these actions under conditions, by operator, key and values.
    pub fn of(
        principal: (&str, &str),
        actions: &[&str],
        conditions: &[(&str, String, Vec<String>)],
    ) -> Self {
        let mut tests = Map::new();
        for (operator, key, values) in conditions {
            let value = match values.as_slice() {
                [one] => json!(one),
                many => json!(many),
            };
            tests
                .entry(*operator)
                .or_insert_with(|| json!({}))
                .as_object_mut()
                .into_iter()
                .for_each(|keys| _ = keys.insert(key.clone(), value.clone()));
        }
        let mut statement = json!({
            "Effect": "Allow", "Principal": {principal.0: principal.1}, "Action": actions,
        });
        if !tests.is_empty() {
            statement["Condition"] = Value::Object(tests);
        }
        Self(json!({"Version": "2012-10-17", "Statement": [statement]}))
    }

    /// Reads a document as IAM returns it, percent-encoded by RFC 3986, or as plain JSON.
    ///
    /// # Errors
    /// When the text is not JSON.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        // JSON never begins with a percent sign, and its encoding always does.
        if text.trim_start().starts_with('%') {
            let text = percent_decode_str(text.trim()).decode_utf8()?;
            return Ok(serde_json::from_str(&text)?);
        }
        Ok(serde_json::from_str(text)?)
    }

    /// The text to send to IAM: JSON without white space.
    pub fn to_document(&self) -> String {
        self.0.to_string()
    }

    /// Whether both let the same principals in.
    pub fn same_meaning(&self, other: &Self) -> bool {
        self.version() == other.version() && self.meaning() == other.meaning()
    }

    /// An absent version is the first one (IAM User Guide, "AWS JSON policy elements: Version").
    fn version(&self) -> &str {
        self.0["Version"].as_str().unwrap_or("2008-10-17")
    }

    fn meaning(&self) -> BTreeSet<Meaning> {
        items(&self.0["Statement"]).map(Meaning::of).collect()
    }
}

impl Meaning {
    fn of(statement: &Value) -> Self {
        let known = ["Sid", "Effect", "Principal", "Action", "Condition"];
        let others = statement.as_object().into_iter().flatten();
        let others = others.filter(|(name, _)| !known.contains(&name.as_str()));
        Self {
            effect: text(&statement["Effect"]),
            principals: principals(&statement["Principal"]),
            actions: items(&statement["Action"])
                .map(|action| text(action).to_ascii_lowercase())
                .collect(),
            conditions: conditions(&statement["Condition"]),
            others: others
                .map(|(name, value)| (name.clone(), value.to_string()))
                .collect(),
        }
    }
}

/// `"*"` stands for `{"AWS": "*"}`.
fn principals(element: &Value) -> BTreeSet<Part> {
    let Some(by_type) = element.as_object() else {
        return items(element)
            .map(|one| ("AWS".to_owned(), text(one)))
            .collect();
    };
    by_type
        .iter()
        .flat_map(|(kind, names)| items(names).map(|name| (kind.clone(), root_as_account(name))))
        .collect()
}

/// The bare ID of an account and the ARN of its root are the same principal.
fn root_as_account(name: &Value) -> String {
    let name = text(name);
    let account = name
        .strip_suffix(":root")
        .and_then(|rest| rest.split_once(":iam::"))
        .map(|(_, account)| account.to_owned());
    account.unwrap_or(name)
}

fn conditions(element: &Value) -> BTreeSet<(String, String, BTreeSet<String>)> {
    let operators = element.as_object().into_iter().flatten();
    operators
        .flat_map(|(operator, keys)| {
            keys.as_object().into_iter().flatten().map(|(key, values)| {
                let values = items(values).map(text).collect();
                // Context keys are not case-sensitive (IAM User Guide, "IAM JSON policy elements: Condition").
                (operator.clone(), key.to_ascii_lowercase(), values)
            })
        })
        .collect()
}

/// A list's items, or the one thing that stands for a list of one.
fn items(value: &Value) -> impl Iterator<Item = &Value> {
    let (list, one) = match value {
        Value::Array(list) => (list.as_slice(), None),
        Value::Null => (&[][..], None),
        one => (&[][..], Some(one)),
    };
    list.iter().chain(one)
}

/// Numbers and booleans need no quotes.
fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(document: &Value) -> TrustPolicy {
        TrustPolicy::parse(&document.to_string()).unwrap()
    }

    fn github() -> TrustPolicy {
        let claim = |name: &str| format!("token.actions.githubusercontent.com:{name}");
        TrustPolicy::of(
            (
                "Federated",
                "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com",
            ),
            &["sts:AssumeRoleWithWebIdentity"],
            &[
                (
                    "StringEquals",
                    claim("aud"),
                    vec!["sts.amazonaws.com".into()],
                ),
                ("StringEquals", claim("sub"), vec!["a".into(), "b".into()]),
            ],
        )
    }

    #[test]
    fn what_iam_returns_means_the_same() {
        let as_returned = json!({
            "Statement": {
                "Sid": "",
                "Action": "STS:AssumeRoleWithWebIdentity",
                "Condition": {"StringEquals": {
                    "token.actions.githubusercontent.com:Sub": ["b", "a"],
                    "token.actions.githubusercontent.com:aud": ["sts.amazonaws.com"],
                }},
                "Principal": {"Federated": ["arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"]},
                "Effect": "Allow",
            },
            "Version": "2012-10-17",
        });
        assert!(github().same_meaning(&parse(&as_returned)));
        let encoded: String = as_returned
            .to_string()
            .bytes()
            .map(|byte| format!("%{byte:02X}"))
            .collect();
        assert!(github().same_meaning(&TrustPolicy::parse(&encoded).unwrap()));
    }

    #[test]
    fn an_account_and_its_root_are_one_principal() {
        let of = |name: &str| {
            parse(
                &json!({"Statement": [{"Effect": "Allow", "Principal": {"AWS": name}, "Action": "sts:AssumeRole"}]}),
            )
        };
        assert!(of("123456789012").same_meaning(&of("arn:aws:iam::123456789012:root")));
        assert!(!of("123456789012").same_meaning(&of("arn:aws:iam::210987654321:root")));
        assert!(!of("123456789012").same_meaning(&of("arn:aws:iam::123456789012:user/ann")));
    }

    #[test]
    fn what_lets_others_in_is_different() {
        let wanted = github();
        for (at, value) in [
            (
                "/Statement/0/Condition/StringEquals/token.actions.githubusercontent.com:sub",
                json!(["a", "b", "c"]),
            ),
            (
                "/Statement/0/Condition/StringEquals/token.actions.githubusercontent.com:sub",
                json!("a"),
            ),
            ("/Statement/0/Condition", json!({})),
            (
                "/Statement/0/Action",
                json!(["sts:AssumeRoleWithWebIdentity", "sts:TagSession"]),
            ),
            ("/Statement/0/Effect", json!("Deny")),
            ("/Statement/0/Principal", json!("*")),
            ("/Version", json!("2008-10-17")),
        ] {
            let mut document = wanted.0.clone();
            *document.pointer_mut(at).unwrap() = value;
            assert!(!wanted.same_meaning(&TrustPolicy(document)), "{at}");
        }
        let mut document = wanted.0.clone();
        document["Statement"][0]["NotPrincipal"] = json!({"AWS": "*"});
        assert!(!wanted.same_meaning(&TrustPolicy(document)));
    }
}
