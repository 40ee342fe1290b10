//! Whether policies allow a call.
//!
//! Invariants:
//! - A denial wins over every permission, and what nothing allows is denied.
//! - A session may do what both its role's policies and its session policy allow.
//! - A condition on a key that the call does not have does not hold, but for `Null`, `…IfExists` and negations.
//!
//! Source: IAM User Guide, "Policy evaluation logic", "IAM JSON policy elements: Condition operators".

use std::collections::BTreeMap;

use serde_json::Value;

/// What is known of a call by condition keys, which are told apart without regard to case.
#[derive(Debug, Clone, Default)]
pub struct Context(BTreeMap<String, Vec<String>>);

impl Context {
    pub fn set(&mut self, key: &str, values: impl IntoIterator<Item = String>) {
        self.0
            .insert(key.to_lowercase(), values.into_iter().collect());
    }

    fn get(&self, key: &str) -> Option<&Vec<String>> {
        self.0.get(&key.to_lowercase())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Allowed,
    /// A statement denies it.
    ExplicitlyDenied,
    /// No statement allows it.
    NotAllowed,
}

/// What the policies say together.
pub fn decide<'p>(
    policies: impl IntoIterator<Item = &'p Value>,
    action: &str,
    resource: &str,
    context: &Context,
) -> Decision {
    let mut decision = Decision::NotAllowed;
    for statement in policies
        .into_iter()
        .flat_map(|policy| items(&policy["Statement"]))
    {
        if !names(statement, "Action", |pattern| glob(pattern, action, true))
            || !names(statement, "Resource", |pattern| {
                glob(pattern, resource, false)
            })
            || !conditions_hold(&statement["Condition"], context)
        {
            continue;
        }
        if statement["Effect"] == "Deny" {
            return Decision::ExplicitlyDenied;
        }
        decision = Decision::Allowed;
    }
    decision
}

/// Whether a role's trust policy lets a principal in.
pub fn trusts(
    policy: &Value,
    action: &str,
    principal: &str,
    account: &str,
    context: &Context,
) -> bool {
    let mut trusted = false;
    for statement in items(&policy["Statement"]) {
        let named = items(&statement["Principal"]["AWS"])
            .chain(items(&statement["Principal"]).filter(|p| p.is_string()));
        let root = format!("arn:aws:iam::{account}:root");
        let is_named = named
            .filter_map(Value::as_str)
            .any(|name| name == "*" || name == principal || name == account || name == root);
        if !is_named || !names(statement, "Action", |pattern| glob(pattern, action, true)) {
            continue;
        }
        if !conditions_hold(&statement["Condition"], context) {
            continue;
        }
        if statement["Effect"] == "Deny" {
            return false;
        }
        trusted = true;
    }
    trusted
}

/// Whether `element` of a statement names what `fits`, or its `Not…` does not.
fn names(statement: &Value, element: &str, fits: impl Fn(&str) -> bool) -> bool {
    let any = |value: &Value| items(value).filter_map(Value::as_str).any(&fits);
    match (&statement[element], &statement[format!("Not{element}")]) {
        (Value::Null, Value::Null) => element == "Resource",
        (Value::Null, not) => !any(not),
        (value, _) => any(value),
    }
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

fn conditions_hold(conditions: &Value, context: &Context) -> bool {
    let Some(conditions) = conditions.as_object() else {
        return true;
    };
    conditions.iter().all(|(operator, keys)| {
        let keys = keys.as_object().into_iter().flatten();
        keys.into_iter()
            .all(|(key, wanted)| holds(operator, context.get(key), wanted))
    })
}

fn holds(operator: &str, actual: Option<&Vec<String>>, wanted: &Value) -> bool {
    let wanted: Vec<String> = items(wanted)
        .map(|value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        })
        .collect();
    if operator == "Null" {
        return wanted
            .iter()
            .any(|wanted| (wanted == "true") == actual.is_none());
    }
    let (set, operator) = operator
        .split_once(':')
        .map_or((None, operator), |(set, operator)| (Some(set), operator));
    let (operator, if_exists) = operator
        .strip_suffix("IfExists")
        .map_or((operator, false), |operator| (operator, true));
    let is_negated = operator.contains("Not");
    let Some(actual) = actual else {
        return if_exists || is_negated || set == Some("ForAllValues");
    };
    let matches = |value: &String| {
        let any = wanted.iter().any(|wanted| compare(operator, wanted, value));
        any != is_negated
    };
    match set {
        Some("ForAllValues") => actual.iter().all(matches),
        _ => actual.iter().any(matches),
    }
}

/// Whether one value fits, before a negation.
fn compare(operator: &str, wanted: &str, value: &str) -> bool {
    match operator {
        "StringEquals" | "StringNotEquals" => wanted == value,
        "StringEqualsIgnoreCase" | "StringNotEqualsIgnoreCase" | "Bool" => {
            wanted.eq_ignore_ascii_case(value)
        }
        "StringLike" | "StringNotLike" => glob(wanted, value, false),
        // `ArnEquals` and `ArnLike` behave alike: each of the six parts is compared, with wildcards.
        "ArnEquals" | "ArnLike" | "ArnNotEquals" | "ArnNotLike" => {
            let (wanted, value): (Vec<&str>, Vec<&str>) = (
                wanted.splitn(6, ':').collect(),
                value.splitn(6, ':').collect(),
            );
            wanted.len() == value.len()
                && wanted
                    .iter()
                    .zip(value)
                    .all(|(wanted, value)| glob(wanted, value, false))
        }
        _ => panic!("the AWS in memory does not know the condition operator {operator}"),
    }
}

/// Whether `text` fits a pattern with `*` and `?`.
pub fn glob(pattern: &str, text: &str, ignore_case: bool) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let same = |a: u8, b: u8| a == b || (ignore_case && a.eq_ignore_ascii_case(&b));
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p, t));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == b'?' || same(pattern[p], text[t])) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((at, from)) = star {
            (p, t) = (at + 1, from + 1);
            star = Some((at, from + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}
