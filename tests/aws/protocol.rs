//! Requests and answers on the wire: IAM's and STS's query protocol, ECR's JSON; S3's XML is in `s3.rs`.
//!
//! Invariants:
//! - Every operation takes and answers JSON with the members of AWS's API model, whatever its protocol.
//! - Every answer carries a request id, also one without a body (aws.md A20).

use http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value, json};

/// What RFC 3986 leaves unreserved stays as it is, as in the documents that IAM answers.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refused {
    pub status: u16,
    pub code: String,
    pub message: String,
    /// Where a bucket is that was looked for in another region.
    pub region: Option<String>,
}

impl Refused {
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            region: None,
        }
    }
}

/// An answer as it goes over the wire.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Reply {
    pub fn new(service: &str, status: u16, body: String, request_id: &str) -> Self {
        let mut headers = HeaderMap::new();
        let id = HeaderValue::from_str(request_id).expect("an id");
        if service == "s3" {
            headers.insert("x-amz-id-2", id.clone());
            headers.insert("x-amz-request-id", id);
        } else {
            headers.insert("x-amzn-requestid", id);
        }
        let kind = match service {
            "s3" => "application/xml",
            "ecr" => "application/x-amz-json-1.1",
            _ => "text/xml",
        };
        headers.insert("content-type", HeaderValue::from_static(kind));
        Self {
            status,
            headers,
            body,
        }
    }

    pub fn refusal(service: &str, refused: &Refused, request_id: &str, without_body: bool) -> Self {
        let Refused { code, message, .. } = refused;
        let (code, message) = (escaped(code), escaped(message));
        let body = match service {
            _ if without_body => String::new(),
            "ecr" => json!({"__type": refused.code, "message": refused.message}).to_string(),
            "s3" => {
                let region = refused
                    .region
                    .as_ref()
                    .map(|region| format!("<Region>{region}</Region>"))
                    .unwrap_or_default();
                format!(
                    "<Error><Code>{code}</Code><Message>{message}</Message>{region}<RequestId>{request_id}</RequestId></Error>"
                )
            }
            _ => {
                let kind = if refused.status < 500 {
                    "Sender"
                } else {
                    "Receiver"
                };
                format!(
                    "<ErrorResponse><Error><Type>{kind}</Type><Code>{code}</Code><Message>{message}</Message></Error>\
                     <RequestId>{request_id}</RequestId></ErrorResponse>"
                )
            }
        };
        let mut reply = Self::new(service, refused.status, body, request_id);
        if let Some(region) = &refused.region {
            reply.headers.insert(
                "x-amz-bucket-region",
                HeaderValue::from_str(region).expect("a region"),
            );
        }
        reply
    }
}

/// The members of a query request: `Tags.member.1.Key=a` is `{"Tags": [{"Key": "a"}]}`.
pub fn query_input(body: &str) -> Value {
    let mut input = Value::Object(Map::new());
    for (name, value) in body.split('&').filter_map(|pair| pair.split_once('=')) {
        if name == "Action" || name == "Version" {
            continue;
        }
        let name = decoded(name);
        let mut place = &mut input;
        for part in name.split('.').filter(|part| *part != "member") {
            place = match part.parse::<usize>() {
                Ok(index) => {
                    let list = if place.is_array() {
                        place
                    } else {
                        *place = json!([]);
                        place
                    }
                    .as_array_mut()
                    .expect("an array");
                    while list.len() < index {
                        list.push(Value::Null);
                    }
                    &mut list[index - 1]
                }
                Err(_) => &mut place[part],
            };
        }
        *place = Value::String(decoded(value));
    }
    input
}

pub fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

/// The answer of a query operation; lists have their items in `member`.
pub fn query_output(operation: &str, output: &Value, request_id: &str) -> String {
    let mut xml = format!("<{operation}Response>");
    if let Some(members) = output.as_object().filter(|members| !members.is_empty()) {
        xml += &format!("<{operation}Result>");
        for (name, value) in members {
            element(&mut xml, name, value);
        }
        xml += &format!("</{operation}Result>");
    }
    xml += &format!(
        "<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{operation}Response>"
    );
    xml
}

fn element(xml: &mut String, name: &str, value: &Value) {
    match value {
        Value::Null => {}
        Value::Array(items) => {
            *xml += &format!("<{name}>");
            items.iter().for_each(|item| element(xml, "member", item));
            *xml += &format!("</{name}>");
        }
        // A map, which no other operation here answers.
        Value::Object(members) if name == "SummaryMap" => {
            *xml += &format!("<{name}>");
            for (key, value) in members {
                *xml += &format!("<entry><key>{key}</key><value>{value}</value></entry>");
            }
            *xml += &format!("</{name}>");
        }
        Value::Object(members) => {
            *xml += &format!("<{name}>");
            members
                .iter()
                .for_each(|(name, value)| element(xml, name, value));
            *xml += &format!("</{name}>");
        }
        // A document comes back URL-encoded (aws.md A8).
        Value::String(text)
            if ["Document", "PolicyDocument", "AssumeRolePolicyDocument"].contains(&name) =>
        {
            *xml += &format!("<{name}>{}</{name}>", utf8_percent_encode(text, ENCODED));
        }
        Value::String(text) => *xml += &format!("<{name}>{}</{name}>", escaped(text)),
        other => *xml += &format!("<{name}>{other}</{name}>"),
    }
}

pub fn escaped(text: &str) -> String {
    if !text.contains(['&', '<', '>', '"']) {
        return text.to_owned();
    }
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// An element of XML; attributes are left out.
#[derive(Debug, Default)]
pub struct Element {
    pub name: String,
    pub text: String,
    pub children: Vec<Element>,
}

impl Element {
    /// The root of a document, or `None` where that is none.
    pub fn parse(xml: &str) -> Option<Self> {
        let mut open = vec![Self::default()];
        let mut rest = xml;
        while let Some(start) = rest.find('<') {
            open.last_mut()?.text += &unescaped(&rest[..start]);
            let end = start + rest[start..].find('>')?;
            let tag = &rest[start + 1..end];
            rest = &rest[end + 1..];
            if tag.starts_with(['?', '!']) {
                continue;
            }
            if let Some(name) = tag.strip_prefix('/') {
                let done = open.pop().filter(|element| element.name == name)?;
                open.last_mut()?.children.push(done);
                continue;
            }
            let name = tag
                .trim_end_matches('/')
                .split_whitespace()
                .next()?
                .to_owned();
            let element = Self {
                name,
                ..Self::default()
            };
            if tag.ends_with('/') {
                open.last_mut()?.children.push(element)
            } else {
                open.push(element)
            }
        }
        (open.len() == 1)
            .then(|| open.pop()?.children.pop())
            .flatten()
    }

    pub fn all<'e>(&'e self, name: &'e str) -> impl Iterator<Item = &'e Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    pub fn texts(&self, name: &str) -> Vec<String> {
        self.all(name).map(|child| child.text.clone()).collect()
    }

    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str())
    }
}

fn unescaped(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    let text = text
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'");
    text.replace("&#xD;", "\r")
        .replace("&#xA;", "\n")
        .replace("&amp;", "&")
}

/// A member that is a text, or a number or truth value in its place.
pub fn text<'v>(input: &'v Value, name: &str) -> Option<&'v str> {
    input[name].as_str()
}

pub fn number(input: &Value, name: &str) -> Option<usize> {
    let value = &input[name];
    value
        .as_u64()
        .and_then(|n| usize::try_from(n).ok())
        .or_else(|| value.as_str()?.parse().ok())
}

pub fn truth(input: &Value, name: &str) -> bool {
    input[name] == true || input[name] == "true"
}

pub fn list<'v>(input: &'v Value, name: &str) -> &'v [Value] {
    input[name]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
}
