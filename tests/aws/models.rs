//! AWS's own API models: every request is held against the `service-2.json` that botocore ships for its service.
//!
//! Invariants:
//! - The models decide: a rule that they state (required members, lengths, ranges, patterns, enums, unknown
//!   parameters, required checksums) is checked, and no rule is added.
//! - A model is read once and a pattern compiled once, so that every call of every test can be checked.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use regex::Regex;
use serde_json::{Map, Value, json};

use super::xml::Element;
use crate::support::wire::Call;

/// Headers of S3 requests that the SDK's signer, retries and checksums add, and no model names.
const SDK_HEADERS: [&str; 7] = [
    "x-amz-date",
    "x-amz-content-sha256",
    "x-amz-security-token",
    "x-amz-user-agent",
    "x-amz-trailer",
    "x-amz-decoded-content-length",
    "x-amz-sdk-checksum-algorithm",
];

/// What AWS's model of the service forbids about a call, in words; nothing when AWS would accept its form.
pub fn violations(call: &Call) -> Vec<String> {
    let Some(model) = model(call.service) else {
        return vec![format!("{}: no model of this service", call.name())];
    };
    let mut found = Findings::default();
    model.check(call, &mut found);
    found
        .0
        .into_iter()
        .map(|what| format!("{}: {what}", call.name()))
        .collect()
}

/// Reads every model, so that the first call of a test does not have to wait for it.
pub fn load() {
    for service in ["iam", "sts", "s3", "ecr"] {
        model(service);
    }
}

/// Where botocore keeps its models: the suite's virtual environment, or the one whose Python runs the suite.
fn models_folder() -> PathBuf {
    let by_suite = std::env::var_os("SLIPWAY_TEST_PYTHON")
        .and_then(|python| Some(PathBuf::from(python).parent()?.parent()?.to_owned()));
    let own = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.venv"));
    let data = [own].into_iter().chain(by_suite).find_map(|venv| {
        let versions = std::fs::read_dir(venv.join("lib"))
            .ok()?
            .filter_map(Result::ok);
        versions
            .map(|version| version.path().join("site-packages/botocore/data"))
            .find(|data| data.is_dir())
    });
    data.expect("botocore, whose API models requests are checked against: run `make venv`")
}

/// The model of a service by the name that calls have it under.
fn model(service: &str) -> Option<&'static Model> {
    static MODELS: [(&str, OnceLock<Model>); 4] = [
        ("iam", OnceLock::new()),
        ("sts", OnceLock::new()),
        ("s3", OnceLock::new()),
        ("ecr", OnceLock::new()),
    ];
    let (name, model) = MODELS.iter().find(|(name, _)| *name == service)?;
    Some(model.get_or_init(|| Model::read(name)))
}

/// What is wrong with a request.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn add(&mut self, at: &str, what: impl AsRef<str>) {
        self.0.push(if at.is_empty() {
            what.as_ref().to_owned()
        } else {
            format!("{at} {}", what.as_ref())
        });
    }
}

/// How a service's requests are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Query,
    Json,
    RestXml,
}

struct Model {
    protocol: Protocol,
    metadata: Value,
    operations: Value,
    shapes: Value,
}

impl Model {
    fn read(service: &str) -> Self {
        let folder = models_folder().join(service);
        let newest = std::fs::read_dir(&folder)
            .expect("the service's models")
            .filter_map(Result::ok)
            .map(|version| version.path())
            .max();
        let file = newest.expect("a version").join("service-2.json.gz");
        let mut text = String::new();
        let packed = std::fs::File::open(&file)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        flate2::read::GzDecoder::new(packed)
            .read_to_string(&mut text)
            .expect("gzip");
        let mut model: Value = serde_json::from_str(&text).expect("JSON");
        let protocol = match model["metadata"]["protocol"].as_str() {
            Some("query") => Protocol::Query,
            Some("json") => Protocol::Json,
            Some("rest-xml") => Protocol::RestXml,
            other => panic!("the protocol {other:?} of {service} is not known here"),
        };
        let mut take = |name: &str| model[name].take();
        Self {
            protocol,
            metadata: take("metadata"),
            operations: take("operations"),
            shapes: take("shapes"),
        }
    }

    fn shape(&self, name: &str) -> &Value {
        let shape = &self.shapes[name];
        assert!(shape.is_object(), "the model has no shape {name}");
        shape
    }

    fn check(&self, call: &Call, found: &mut Findings) {
        let Some(operation) = self.operations.get(&call.operation) else {
            return found.add("", "no such operation");
        };
        let input = text(&operation["input"]["shape"]);
        let sent = match self.protocol {
            Protocol::Query => self.of_form(call, input, found),
            Protocol::Json => self.of_json(call, found),
            Protocol::RestXml => self.of_rest(call, operation, input, found),
        };
        if let Some(input) = input {
            self.hold(input, &sent, "", found);
        }
    }

    // What was sent, by the names of the model's members.

    fn of_form(&self, call: &Call, input: Option<&str>, found: &mut Findings) -> Value {
        let mut form = pairs(&call.body);
        form.remove("Action");
        let version = form.remove("Version");
        if version.as_deref() != text(&self.metadata["apiVersion"]) {
            found.add(
                "Version",
                format!("is {version:?}, not {}", self.metadata["apiVersion"]),
            );
        }
        let mut form = Form {
            left: form.keys().cloned().collect(),
            given: form,
        };
        let sent = input.and_then(|input| self.of_form_part(input, "", &mut form));
        for name in &form.left {
            found.add(name, "is no parameter of the operation");
        }
        sent.unwrap_or_else(|| json!({}))
    }

    fn of_form_part(&self, shape: &str, at: &str, form: &mut Form) -> Option<Value> {
        let shape = self.shape(shape);
        match kind(shape) {
            "structure" => {
                let members = members(shape).filter_map(|(name, member)| {
                    let inner = text(&member["locationName"]).unwrap_or(name);
                    let at = if at.is_empty() {
                        inner.to_owned()
                    } else {
                        format!("{at}.{inner}")
                    };
                    Some((
                        name.to_owned(),
                        self.of_form_part(text(&member["shape"])?, &at, form)?,
                    ))
                });
                let members: Map<String, Value> = members.collect();
                (!members.is_empty()).then_some(Value::Object(members))
            }
            "list" => {
                if form.given.get(at).is_some_and(String::is_empty) {
                    form.left.remove(at);
                    return Some(json!([]));
                }
                let inner = if is_true(&shape["flattened"]) {
                    at.to_owned()
                } else {
                    format!("{at}.{}", wire_name(&shape["member"], "member"))
                };
                let of_item = text(&shape["member"]["shape"])?;
                let items: Vec<Value> = (1..)
                    .map_while(|n| self.of_form_part(of_item, &format!("{inner}.{n}"), form))
                    .collect();
                (!items.is_empty()).then_some(Value::Array(items))
            }
            "map" => {
                let inner = if is_true(&shape["flattened"]) {
                    at.to_owned()
                } else {
                    format!("{at}.entry")
                };
                let (of_key, of_value) = (
                    text(&shape["key"]["shape"])?,
                    text(&shape["value"]["shape"])?,
                );
                let entries = (1..).map_while(|n| {
                    let key = self.of_form_part(of_key, &format!("{inner}.{n}.key"), form)?;
                    Some((
                        key.as_str()?.to_owned(),
                        self.of_form_part(of_value, &format!("{inner}.{n}.value"), form)?,
                    ))
                });
                let entries: Map<String, Value> = entries.collect();
                (!entries.is_empty()).then_some(Value::Object(entries))
            }
            _ => {
                let value = form.given.get(at)?.clone();
                form.left.remove(at);
                Some(Value::String(value))
            }
        }
    }

    fn of_json(&self, call: &Call, found: &mut Findings) -> Value {
        let target = format!(
            "{}.{}",
            text(&self.metadata["targetPrefix"]).unwrap_or_default(),
            call.operation
        );
        if call.headers.get("x-amz-target") != Some(&target) {
            found.add(
                "X-Amz-Target",
                format!("is {:?}, not {target}", call.headers.get("x-amz-target")),
            );
        }
        let wanted = format!(
            "application/x-amz-json-{}",
            text(&self.metadata["jsonVersion"]).unwrap_or_default()
        );
        if call.headers.get("content-type") != Some(&wanted) {
            found.add(
                "Content-Type",
                format!("is {:?}, not {wanted}", call.headers.get("content-type")),
            );
        }
        serde_json::from_str(&call.body).unwrap_or_else(|error| {
            found.add("the body", format!("is not JSON: {error}"));
            json!({})
        })
    }

    fn of_rest(
        &self,
        call: &Call,
        operation: &Value,
        input: Option<&str>,
        found: &mut Findings,
    ) -> Value {
        let mut sent = Map::new();
        let none = json!({});
        let shape = input.map_or(&none, |input| self.shape(input));
        let (path, query) = call.uri.split_once('?').unwrap_or((&call.uri, ""));
        let template = text(&operation["http"]["requestUri"]).unwrap_or("/");
        let (template, fixed) = template.split_once('?').unwrap_or((template, ""));
        of_path(template, path, &mut sent, found);
        let mut query = pairs(query);
        for (name, value) in pairs(fixed) {
            match query.remove(&name) {
                None => found.add(&format!("?{name}"), "is missing"),
                Some(given) if given != value => {
                    found.add(&format!("?{name}"), format!("is {given:?}, not {value:?}"))
                }
                Some(_) => {}
            }
        }
        let mut headers = call.headers.clone();
        for (name, member) in members(shape) {
            let wire = text(&member["locationName"]).unwrap_or(name);
            let given = match text(&member["location"]) {
                Some("querystring") => query.remove(wire),
                Some("header") => headers.remove(&wire.to_lowercase()),
                _ => continue,
            };
            sent.extend(given.map(|given| (name.to_owned(), Value::String(given))));
        }
        // The SDK writes the operation's name there where the URI does not tell it.
        query.remove("x-id");
        query
            .keys()
            .for_each(|name| found.add(&format!("?{name}"), "is no parameter of the operation"));
        let is_unknown = |name: &&String| {
            name.starts_with("x-amz-")
                && !name.starts_with("x-amz-checksum-")
                && !SDK_HEADERS.contains(&name.as_str())
        };
        headers
            .keys()
            .filter(is_unknown)
            .for_each(|name| found.add(name, "is no header of the operation"));
        self.of_body(call, operation, shape, &mut sent, found);
        Value::Object(sent)
    }

    fn of_body(
        &self,
        call: &Call,
        operation: &Value,
        shape: &Value,
        sent: &mut Map<String, Value>,
        found: &mut Findings,
    ) {
        let has_checksum = call
            .headers
            .keys()
            .any(|name| name == "content-md5" || name.starts_with("x-amz-checksum-"));
        if is_true(&operation["httpChecksum"]["requestChecksumRequired"]) && !has_checksum {
            found.add("Content-MD5 or x-amz-checksum-*", "is required");
        }
        let Some(payload) = text(&shape["payload"]) else {
            let in_body = |(_, member): &(&str, &Value)| text(&member["location"]).is_none();
            assert!(
                !members(shape).any(|member| in_body(&member)),
                "{}: bodies without a payload member are not read here",
                call.operation
            );
            if !call.body.is_empty() {
                found.add("the body", "must be empty");
            }
            return;
        };
        if call.body.is_empty() {
            return;
        }
        let member = &shape["members"][payload];
        let of = text(&member["shape"]).unwrap_or_default();
        if kind(self.shape(of)) != "structure" {
            sent.insert(payload.to_owned(), Value::String(call.body.clone()));
            return;
        }
        let root = match Element::parse(&call.body) {
            Ok(root) => root,
            Err(why) => return found.add("the body", format!("is not XML: {why}")),
        };
        let (name, space) = (wire_name(member, of), text(&member["xmlNamespace"]["uri"]));
        if root.name != name || root.attributes.get("xmlns").map(String::as_str) != space {
            found.add(
                "the body",
                format!(
                    "is <{} xmlns={:?}>, not <{name} xmlns={space:?}>",
                    root.name,
                    root.attributes.get("xmlns")
                ),
            );
        }
        sent.insert(payload.to_owned(), self.of_xml(of, &root, name, found));
    }

    fn of_xml(&self, shape: &str, element: &Element, at: &str, found: &mut Findings) -> Value {
        let shape = self.shape(shape);
        match kind(shape) {
            "structure" => {
                let mut known = BTreeSet::new();
                let mut sent = Map::new();
                for (name, member) in members(shape) {
                    let of = text(&member["shape"]).unwrap_or_default();
                    let wire = self.wire_name_in_xml(name, member);
                    known.insert(wire);
                    if is_true(&member["xmlAttribute"]) {
                        sent.extend(
                            element
                                .attributes
                                .get(wire)
                                .map(|value| (name.to_owned(), Value::String(value.clone()))),
                        );
                        continue;
                    }
                    let given: Vec<&Element> = element
                        .children
                        .iter()
                        .filter(|child| child.name == wire)
                        .collect();
                    let at = format!("{at}.{wire}");
                    if self.is_flattened(member) {
                        let of = text(&self.shape(of)["member"]["shape"]).unwrap_or_default();
                        let items: Vec<Value> = given
                            .iter()
                            .map(|item| self.of_xml(of, item, &at, found))
                            .collect();
                        sent.extend(
                            (!items.is_empty()).then(|| (name.to_owned(), Value::Array(items))),
                        );
                    } else if let Some(first) = given.first() {
                        if given.len() > 1 {
                            found.add(&at, "is given more than once");
                        }
                        sent.insert(name.to_owned(), self.of_xml(of, first, &at, found));
                    }
                }
                for child in element
                    .children
                    .iter()
                    .filter(|child| !known.contains(child.name.as_str()))
                {
                    found.add(&format!("{at}.{}", child.name), "is no member");
                }
                Value::Object(sent)
            }
            "list" => {
                let (wire, of) = (
                    wire_name(&shape["member"], "member"),
                    text(&shape["member"]["shape"]).unwrap_or_default(),
                );
                for child in element.children.iter().filter(|child| child.name != wire) {
                    found.add(&format!("{at}.{}", child.name), "is no member");
                }
                let items = element.children.iter().filter(|child| child.name == wire);
                Value::Array(
                    items
                        .map(|item| self.of_xml(of, item, &format!("{at}.{wire}"), found))
                        .collect(),
                )
            }
            "map" => panic!("maps in XML are not read here: {at}"),
            _ => Value::String(element.text.clone()),
        }
    }

    fn is_flattened(&self, member: &Value) -> bool {
        let shape = self.shape(text(&member["shape"]).unwrap_or_default());
        kind(shape) == "list" && (is_true(&shape["flattened"]) || is_true(&member["flattened"]))
    }

    fn wire_name_in_xml<'m>(&'m self, name: &'m str, member: &'m Value) -> &'m str {
        let of_list = || {
            text(&self.shape(text(&member["shape"])?)["member"]["locationName"])
                .filter(|_| self.is_flattened(member))
        };
        text(&member["locationName"])
            .or_else(of_list)
            .unwrap_or(name)
    }

    // The rules.

    fn hold(&self, shape: &str, sent: &Value, at: &str, found: &mut Findings) {
        let shape = self.shape(shape);
        match (kind(shape), sent) {
            ("structure", Value::Object(sent)) => self.hold_structure(shape, sent, at, found),
            ("list", Value::Array(items)) => {
                within(shape, items.len(), "items", at, found);
                let of = text(&shape["member"]["shape"]).unwrap_or_default();
                items
                    .iter()
                    .enumerate()
                    .for_each(|(n, item)| self.hold(of, item, &format!("{at}[{n}]"), found));
            }
            ("map", Value::Object(entries)) => {
                within(shape, entries.len(), "entries", at, found);
                let (of_key, of_value) = (
                    text(&shape["key"]["shape"]).unwrap_or_default(),
                    text(&shape["value"]["shape"]).unwrap_or_default(),
                );
                for (key, value) in entries {
                    self.hold(
                        of_key,
                        &Value::String(key.clone()),
                        &format!("{at} key"),
                        found,
                    );
                    self.hold(of_value, value, &format!("{at}.{key}"), found);
                }
            }
            ("string", Value::String(sent)) => hold_string(shape, sent, at, found),
            ("integer" | "long" | "float" | "double", sent) => {
                self.hold_number(shape, sent, at, found)
            }
            ("boolean", Value::Bool(_)) if self.protocol == Protocol::Json => {}
            ("boolean", Value::String(sent)) if self.protocol != Protocol::Json => {
                if !["true", "false"].contains(&sent.as_str()) {
                    found.add(at, format!("is {sent:?}, not true or false"));
                }
            }
            ("timestamp", Value::Number(_)) if self.protocol == Protocol::Json => {}
            ("timestamp", Value::String(sent)) if self.protocol != Protocol::Json => {
                let is_http_date = at.contains("If") && sent.ends_with("GMT");
                if sent.parse::<jiff::Timestamp>().is_err() && !is_http_date {
                    found.add(at, format!("is {sent:?}, which is no time"));
                }
            }
            // The body of a REST request is the bytes themselves.
            ("blob", Value::String(_)) if self.protocol == Protocol::RestXml => {}
            ("blob", Value::String(sent)) => match STANDARD.decode(sent) {
                Ok(bytes) => within(shape, bytes.len(), "bytes", at, found),
                Err(_) => found.add(at, "is not base64"),
            },
            (kind, sent) => found.add(at, format!("is {sent}, not a {kind}")),
        }
    }

    fn hold_structure(
        &self,
        shape: &Value,
        sent: &Map<String, Value>,
        at: &str,
        found: &mut Findings,
    ) {
        let path = |name: &str| {
            if at.is_empty() {
                name.to_owned()
            } else {
                format!("{at}.{name}")
            }
        };
        let required = shape["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        required
            .filter(|name| !sent.contains_key(*name))
            .for_each(|name| found.add(&path(name), "is required"));
        if is_true(&shape["union"]) && sent.len() != 1 {
            found.add(
                at,
                format!("must have exactly one member, not {}", sent.len()),
            );
        }
        for (name, value) in sent {
            match text(&shape["members"][name]["shape"]) {
                Some(of) => self.hold(of, value, &path(name), found),
                None => found.add(&path(name), "is no member"),
            }
        }
    }

    fn hold_number(&self, shape: &Value, sent: &Value, at: &str, found: &mut Findings) {
        let is_whole = matches!(kind(shape), "integer" | "long");
        let number = match sent {
            Value::Number(number)
                if self.protocol == Protocol::Json && (!is_whole || number.is_i64()) =>
            {
                number.as_f64()
            }
            Value::String(sent) if self.protocol != Protocol::Json && is_whole => {
                sent.parse::<i64>().ok().map(|number| number as f64)
            }
            Value::String(sent) if self.protocol != Protocol::Json => sent.parse().ok(),
            _ => None,
        };
        let Some(number) = number else {
            return found.add(at, format!("is {sent}, not a {}", kind(shape)));
        };
        if shape["min"].as_f64().is_some_and(|least| number < least)
            || shape["max"].as_f64().is_some_and(|most| number > most)
        {
            found.add(
                at,
                format!("is {sent}, not within {} to {}", shape["min"], shape["max"]),
            );
        }
    }
}

/// The parameters of a query request, and those that no member has taken.
struct Form {
    given: BTreeMap<String, String>,
    left: BTreeSet<String>,
}

fn text(value: &Value) -> Option<&str> {
    value.as_str()
}

fn is_true(value: &Value) -> bool {
    value.as_bool() == Some(true)
}

fn kind(shape: &Value) -> &str {
    text(&shape["type"]).unwrap_or_default()
}

fn members(shape: &Value) -> impl Iterator<Item = (&str, &Value)> {
    shape["members"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, member)| (name.as_str(), member))
}

fn wire_name<'m>(member: &'m Value, otherwise: &'m str) -> &'m str {
    text(&member["locationName"]).unwrap_or(otherwise)
}

fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " "))
        .decode_utf8_lossy()
        .into_owned()
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

/// The members in a path: `/{Bucket}/{Key+}`, whose last one takes the rest.
fn of_path(template: &str, path: &str, sent: &mut Map<String, Value>, found: &mut Findings) {
    let mut rest = path.trim_start_matches('/');
    for part in template
        .trim_start_matches('/')
        .split('/')
        .filter(|part| !part.is_empty())
    {
        let name = part.trim_matches(['{', '}']);
        let value = match name.strip_suffix('+') {
            Some(_) => std::mem::take(&mut rest),
            None => {
                let (first, others) = rest.split_once('/').unwrap_or((rest, ""));
                rest = others;
                first
            }
        };
        if !value.is_empty() {
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            sent.insert(name.trim_end_matches('+').to_owned(), Value::String(value));
        }
    }
    if !rest.is_empty() {
        found.add("the path", format!("is {path}, not {template}"));
    }
}

fn within(shape: &Value, count: usize, of: &str, at: &str, found: &mut Findings) {
    let count = count as u64;
    if shape["min"].as_u64().is_some_and(|least| count < least)
        || shape["max"].as_u64().is_some_and(|most| count > most)
    {
        found.add(
            at,
            format!("has {count} {of}, not {} to {}", shape["min"], shape["max"]),
        );
    }
}

fn hold_string(shape: &Value, sent: &str, at: &str, found: &mut Findings) {
    within(shape, sent.chars().count(), "characters", at, found);
    let allowed = shape["enum"].as_array();
    if allowed.is_some_and(|allowed| !allowed.iter().any(|value| value == sent)) {
        found.add(at, format!("is {sent:?}, which is none of its values"));
    }
    if let Some(pattern) = text(&shape["pattern"])
        && !fits(pattern, sent)
    {
        found.add(at, format!("is {sent:?}, which does not match {pattern}"));
    }
}

/// Patterns with look-ahead, which the `regex` crate does not have: none is on a member that Slipway sends.
const UNSUPPORTED: [&str; 1] = ["^[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]$"];

/// Whether the whole text matches a pattern, as AWS means it.
fn fits(pattern: &str, text: &str) -> bool {
    static COMPILED: LazyLock<Mutex<HashMap<String, Option<Regex>>>> =
        LazyLock::new(Mutex::default);
    let mut compiled = COMPILED.lock().unwrap();
    if !compiled.contains_key(pattern) {
        compiled.insert(pattern.to_owned(), compile(pattern));
    }
    compiled[pattern]
        .as_ref()
        .is_none_or(|regex| regex.is_match(text))
}

fn compile(pattern: &str) -> Option<Regex> {
    if UNSUPPORTED.contains(&pattern) {
        return None;
    }
    Some(
        Regex::new(&format!("^(?:{})$", of_java(pattern)))
            .unwrap_or_else(|error| panic!("{pattern}: {error}")),
    )
}

/// A Java pattern as the `regex` crate reads it: Java's `\w`, `\d` and `\s` are of ASCII alone.
fn of_java(pattern: &str) -> String {
    let mut translated = String::new();
    let (mut in_class, mut characters) = (false, pattern.chars());
    while let Some(character) = characters.next() {
        let part: Cow<'_, str> = match character {
            '\\' => {
                let escaped = characters
                    .next()
                    .expect("a pattern does not end with a backslash");
                let ascii = match escaped {
                    'w' => "a-zA-Z0-9_",
                    'd' => "0-9",
                    's' => r" \t\n\x0B\f\r",
                    _ => "",
                };
                match (ascii, in_class) {
                    ("", _) => format!("\\{escaped}").into(),
                    (ascii, true) => ascii.into(),
                    (ascii, false) => format!("[{ascii}]").into(),
                }
            }
            '[' if !in_class => {
                in_class = true;
                "[".into()
            }
            // Java takes a bracket within a class for a class of its own; AWS's patterns have none.
            '[' => r"\[".into(),
            ']' => {
                in_class = false;
                "]".into()
            }
            other => other.to_string().into(),
        };
        translated.push_str(&part);
    }
    translated
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &str, uri: &str, headers: &[(&str, &str)], body: &str) -> Call {
        let request = headers.iter().fold(
            http::Request::builder().method(method).uri(uri),
            |request, (name, value)| request.header(*name, *value),
        );
        let (head, ()) = request.body(()).unwrap().into_parts();
        Call::of(&head, body.as_bytes())
    }

    fn iam(parameters: &str) -> Call {
        call(
            "POST",
            "/",
            &[],
            &format!("Version=2010-05-08&Action={parameters}"),
        )
    }

    fn sts(parameters: &str) -> Call {
        call(
            "POST",
            "/",
            &[],
            &format!("Version=2011-06-15&Action={parameters}"),
        )
    }

    fn ecr(operation: &str, body: Value) -> Call {
        let target = format!("AmazonEC2ContainerRegistry_V20150921.{operation}");
        call(
            "POST",
            "/",
            &[
                ("content-type", "application/x-amz-json-1.1"),
                ("x-amz-target", &target),
            ],
            &body.to_string(),
        )
    }

    fn s3(method: &str, uri: &str, body: &str) -> Call {
        call(
            method,
            uri,
            &[
                ("x-amz-checksum-crc32", "AAAAAA=="),
                ("x-amz-expected-bucket-owner", "123456789012"),
            ],
            body,
        )
    }

    fn tagging(tags: &str) -> Call {
        s3(
            "PUT",
            "/media?tagging",
            &format!(
                "<Tagging xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><TagSet>{tags}</TagSet></Tagging>"
            ),
        )
    }

    fn tags(count: usize) -> String {
        (1..=count)
            .map(|n| format!("&Tags.member.{n}.Key=k{n}&Tags.member.{n}.Value=v"))
            .collect()
    }

    fn images(count: usize) -> Value {
        json!({"repositoryName": "acme", "imageIds": vec![json!({"imageTag": "1"}); count]})
    }

    /// Each rule with a request that keeps it, one that breaks it, and what is said of that.
    fn rules() -> Vec<(Call, Call, &'static str)> {
        let preview = |most: Value| {
            ecr(
                "GetLifecyclePolicyPreview",
                json!({"repositoryName": "acme", "maxResults": most}),
            )
        };
        let name = |name: &str| iam(&format!("CreateUser&UserName={name}"));
        let status = |status: &str| {
            iam(&format!(
                "UpdateAccessKey&UserName=a&AccessKeyId=AKIAIOSFODNN7EXAMPLE&Status={status}"
            ))
        };
        let create_in = |region: &str| {
            let space = "http://s3.amazonaws.com/doc/2006-03-01/";
            let body = format!(
                "<CreateBucketConfiguration xmlns=\"{space}\"><LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
            );
            call("PUT", "/media", &[], &body)
        };
        let without_checksum = || Call {
            headers: BTreeMap::new(),
            ..tagging("<Tag><Key>a</Key><Value>b</Value></Tag>")
        };
        let good_tag = || tagging("<Tag><Key>a</Key><Value>b &amp; c</Value></Tag>");
        let abort = |query: &str| s3("DELETE", &format!("/media/a/b.png?{query}"), "");
        let assume = |seconds: &str| {
            sts(&format!(
                "AssumeRole&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fa&RoleSessionName=session&DurationSeconds={seconds}"
            ))
        };
        vec![
            (
                name("acme"),
                iam("CreateUser&Path=%2F"),
                "UserName is required",
            ),
            (
                name(&"a".repeat(64)),
                name(&"a".repeat(65)),
                "UserName has 65 characters",
            ),
            (
                name("a.b%40c"),
                name("a%20b"),
                "UserName is \"a b\", which does not match",
            ),
            (
                name("acme"),
                name("%C3%A9"),
                "UserName is \"é\", which does not match",
            ),
            (
                name("acme&Path=%2Fapps%2F"),
                name("acme&Path=%2Fapps"),
                "Path is \"/apps\", which does not match",
            ),
            (
                name(&format!("a{}", tags(50))),
                name(&format!("a{}", tags(51))),
                "Tags has 51 items",
            ),
            (
                name("a&Tags.member.1.Key=k&Tags.member.1.Value="),
                name("a&Tags.member.1.Key=k"),
                "Tags[0].Value is required",
            ),
            (
                name("acme"),
                name("a&Tags.member.2.Key=k&Tags.member.2.Value=v"),
                "Tags.member.2.Key is no parameter",
            ),
            (
                name("acme"),
                name("acme&Nickname=a"),
                "Nickname is no parameter",
            ),
            (
                name("acme"),
                call(
                    "POST",
                    "/",
                    &[],
                    "Version=2010-05-09&Action=CreateUser&UserName=a",
                ),
                "Version is",
            ),
            (
                status("Inactive"),
                status("Off"),
                "Status is \"Off\", which is none of its values",
            ),
            (
                iam("ListUsers&MaxItems=1000"),
                iam("ListUsers&MaxItems=1001"),
                "MaxItems is \"1001\", not within 1 to 1000",
            ),
            (
                iam("ListUsers"),
                iam("ListUsers&MaxItems=some"),
                "MaxItems is \"some\", not a integer",
            ),
            (
                iam("ListPolicies&OnlyAttached=true"),
                iam("ListPolicies&OnlyAttached=yes"),
                "OnlyAttached is \"yes\", not true or false",
            ),
            (
                iam("ListUsers"),
                iam("ListPeople"),
                "iam:ListPeople: no such operation",
            ),
            (
                assume("900"),
                assume("899"),
                "DurationSeconds is \"899\", not within 900",
            ),
            (
                sts("GetCallerIdentity"),
                sts("GetCallerIdentity&Who=me"),
                "Who is no parameter",
            ),
            (
                preview(json!(100)),
                preview(json!(1000)),
                "maxResults is 1000, not within 1 to 100",
            ),
            (
                preview(json!(1)),
                preview(json!("1")),
                "maxResults is \"1\", not a integer",
            ),
            (
                preview(json!(1)),
                preview(Value::Null),
                "maxResults is null, not a integer",
            ),
            (
                ecr("BatchDeleteImage", images(100)),
                ecr("BatchDeleteImage", images(101)),
                "imageIds has 101 items",
            ),
            (
                ecr(
                    "DescribeRepositories",
                    json!({"repositoryNames": ["a/b-c"]}),
                ),
                ecr("DescribeRepositories", json!({"repositoryNames": ["A"]})),
                "repositoryNames[0] has 1 characters, not 2 to 256",
            ),
            (
                ecr(
                    "ListImages",
                    json!({"repositoryName": "acme", "filter": {"imageStatus": "ANY"}}),
                ),
                ecr(
                    "ListImages",
                    json!({"repositoryName": "acme", "filter": {"imageStatus": "ALL"}}),
                ),
                "filter.imageStatus is \"ALL\", which is none of its values",
            ),
            (
                ecr(
                    "DeleteRepository",
                    json!({"repositoryName": "acme", "force": true}),
                ),
                ecr(
                    "DeleteRepository",
                    json!({"repositoryName": "acme", "force": "true"}),
                ),
                "force is \"true\", not a boolean",
            ),
            (
                ecr("DescribeRepositories", json!({})),
                Call {
                    headers: BTreeMap::from([(
                        "x-amz-target".to_owned(),
                        "Other.DescribeRepositories".to_owned(),
                    )]),
                    ..ecr("DescribeRepositories", json!({}))
                },
                "X-Amz-Target is",
            ),
            (
                ecr("DescribeRepositories", json!({})),
                ecr("DescribeRepositories", json!({"names": []})),
                "names is no member",
            ),
            (
                create_in("us-west-2"),
                create_in("us-east-1"),
                "CreateBucketConfiguration.LocationConstraint is \"us-east-1\", which is none",
            ),
            (
                good_tag(),
                without_checksum(),
                "Content-MD5 or x-amz-checksum-* is required",
            ),
            (
                good_tag(),
                tagging("<Tag><Key>a</Key></Tag>"),
                "Tagging.TagSet[0].Value is required",
            ),
            (
                good_tag(),
                tagging("<Tag><Key></Key><Value>b</Value></Tag>"),
                "Tagging.TagSet[0].Key has 0 characters",
            ),
            (
                good_tag(),
                tagging("<Tag><Key>a</Key><Value>b</Value><Note>c</Note></Tag>"),
                "Tagging.TagSet.Tag.Note is no member",
            ),
            (
                good_tag(),
                tagging("<Tag><Key>a</Key><Key>b</Key><Value>b</Value></Tag>"),
                "Tagging.TagSet.Tag.Key is given more than once",
            ),
            (
                good_tag(),
                s3("PUT", "/media?tagging", "<Tagging><TagSet/></Tagging>"),
                "the body is <Tagging xmlns=None>",
            ),
            (
                good_tag(),
                s3("PUT", "/media?tagging", ""),
                "Tagging is required",
            ),
            (
                good_tag(),
                s3("PUT", "/media?tagging", "<Tagging"),
                "the body is not XML",
            ),
            (
                s3("GET", "/media?tagging", ""),
                s3("GET", "/media?tagging&of=me", ""),
                "?of is no parameter",
            ),
            (
                s3("GET", "/media?tagging", ""),
                s3("GET", "/media?tagging", "x"),
                "the body must be empty",
            ),
            (
                s3("GET", "/media?versions&max-keys=1000", ""),
                s3("GET", "/media?versions&max-keys=all", ""),
                "MaxKeys is \"all\", not a integer",
            ),
            (
                s3("HEAD", "/media", ""),
                s3("HEAD", "/media/a", ""),
                "the path is /media/a",
            ),
            (
                abort("uploadId=1&x-id=AbortMultipartUpload"),
                s3("DELETE", "/media?uploadId=1", ""),
                "Key is required",
            ),
            (
                s3("HEAD", "/media", ""),
                call("HEAD", "/media", &[("x-amz-owner", "me")], ""),
                "x-amz-owner is no header",
            ),
        ]
    }

    #[test]
    fn every_rule_of_the_models_is_kept_and_broken() {
        for (good, bad, said) in rules() {
            assert_eq!(violations(&good), Vec::<String>::new(), "{}", good.uri);
            let found = violations(&bad);
            assert!(
                found.iter().any(|violation| violation.contains(said)),
                "{said}: {found:?}"
            );
        }
    }

    #[test]
    fn every_pattern_of_the_models_is_read_but_for_those_that_are_listed() {
        let mut unsupported = BTreeSet::new();
        for service in ["iam", "sts", "s3", "ecr"] {
            let shapes = model(service).unwrap().shapes.as_object().unwrap();
            let patterns: BTreeSet<&str> = shapes
                .values()
                .filter_map(|shape| shape["pattern"].as_str())
                .collect();
            assert!(!patterns.is_empty(), "{service}");
            unsupported.extend(
                patterns
                    .into_iter()
                    .filter(|pattern| Regex::new(&format!("^(?:{})$", of_java(pattern))).is_err()),
            );
        }
        assert_eq!(unsupported.into_iter().collect::<Vec<_>>(), UNSUPPORTED);
    }

    /// Slipway's own table of regions is kept by hand.
    #[test]
    fn every_region_of_botocore_s_partitions_is_known() {
        let partitions = std::fs::read_to_string(models_folder().join("partitions.json")).unwrap();
        let partitions: Value = serde_json::from_str(&partitions).unwrap();
        let mut known = 0;
        for partition in partitions["partitions"].as_array().unwrap() {
            let name = partition["id"].as_str().unwrap();
            for region in partition["regions"]
                .as_object()
                .unwrap()
                .keys()
                .filter(|region| !region.ends_with("-global"))
            {
                let found = slipway::domain::regions::region_in(
                    name,
                    &slipway::domain::regions::Extra::default(),
                    region,
                );
                assert!(found.is_ok(), "{name} {region}: {found:?}");
                known += 1;
            }
        }
        assert!(known > 40, "{known}");
    }
}
