//! What passes between the SDK and AWS: each call by its name, and what can go wrong with it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use http::{Method, request};
use percent_encoding::percent_decode_str;

/// What can happen to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// AWS takes its time, and answers within the time-out.
    Delayed,
    /// Refused for too many requests, until the SDK gives up; no effect.
    Throttled,
    /// Answered 500, until the SDK gives up; no effect.
    ServerError,
    /// The connection is closed without an answer; no effect.
    Closed,
    /// The connection breaks before AWS acts.
    ResetBefore,
    /// AWS acts, and the connection breaks before the answer.
    ResetAfter,
    /// AWS acts, and the answer comes after the time-out.
    Late,
    /// The caller may not, until that is mended; no effect.
    Denied,
    /// The process is lost before AWS acts.
    LostBefore,
    /// AWS acts, and the process is lost before the answer.
    LostAfter,
    /// The process is lost, and AWS acts this long after.
    LostBetween(Duration),
    /// The caller's time-out passes, and AWS acts this long after the call.
    TooLate(Duration),
    /// AWS acts and answers 200, and half of the answer's body is missing.
    CutShort,
}

impl Fault {
    /// What every call meets.
    pub const ALL: [Self; 10] = [
        Self::Delayed,
        Self::Throttled,
        Self::ServerError,
        Self::Closed,
        Self::ResetBefore,
        Self::ResetAfter,
        Self::Late,
        Self::Denied,
        Self::LostBefore,
        Self::LostAfter,
    ];

    /// How many calls of an operation meet it, one after another.
    pub fn lasts(self) -> usize {
        match self {
            Self::Throttled | Self::ServerError => 3,
            Self::Denied => usize::MAX,
            _ => 1,
        }
    }

    pub fn loses_the_process(self) -> bool {
        matches!(
            self,
            Self::LostBefore | Self::LostAfter | Self::LostBetween(_)
        )
    }
}

/// A scripted answer.
#[derive(Debug, Clone)]
pub enum Answer {
    /// This status and body.
    Now(u16, String),
}

/// A call, named as AWS names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub service: &'static str,
    pub operation: String,
    pub uri: String,
    pub body: String,
    pub headers: BTreeMap<String, String>,
    /// How many calls of this operation came before.
    pub nth: usize,
    pub began: Instant,
    /// When its answer was passed on; `None` if none was.
    pub ended: Option<Instant>,
    /// The answer's status, once it was passed on.
    pub status: Option<u16>,
    /// The id that the answer gives the call.
    pub request_id: Option<String>,
}

impl Call {
    /// IAM and STS say their operation in the body, ECR in a header, S3 by method and query.
    pub fn of(head: &request::Parts, body: &[u8]) -> Self {
        let body = String::from_utf8_lossy(body).into_owned();
        let text =
            |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers: BTreeMap<String, String> = head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect();
        let uri = head
            .uri
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default();
        let target = headers
            .get("x-amz-target")
            .and_then(|target| target.rsplit('.').next());
        let action = body
            .split('&')
            .find_map(|pair| pair.strip_prefix("Action="));
        let (service, operation) = match (target, action) {
            (Some(target), _) => ("ecr", target.to_owned()),
            (None, Some(action)) => (
                if body.contains("Version=2011-06-15") {
                    "sts"
                } else {
                    "iam"
                },
                action.to_owned(),
            ),
            (None, None) => ("s3", s3_operation(&head.method, &uri)),
        };
        Self {
            service,
            operation,
            uri,
            body,
            headers,
            nth: 0,
            began: Instant::now(),
            ended: None,
            status: None,
            request_id: None,
        }
    }

    /// Whether it changes something in AWS.
    pub fn mutates(&self) -> bool {
        mutates(&self.name())
    }

    pub fn name(&self) -> String {
        format!("{}:{}", self.service, self.operation)
    }

    /// The id of the credentials that it is signed with.
    pub fn session(&self) -> Option<&str> {
        self.headers
            .get("authorization")?
            .split_once("Credential=")?
            .1
            .split('/')
            .next()
    }

    /// The names of the users, groups, policies, buckets and repositories that it is about.
    pub fn things(&self) -> Vec<String> {
        match self.service {
            "s3" => self
                .uri
                .split(['/', '?'])
                .nth(1)
                .map(str::to_owned)
                .into_iter()
                .collect(),
            "ecr" => {
                let body: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
                ["repositoryName", "resourceArn"]
                    .iter()
                    .filter_map(|field| Some(last_part(body[*field].as_str()?)))
                    .collect()
            }
            // An inline policy of a role is a part of the role.
            _ => self
                .body
                .split('&')
                .filter(|pair| !self.operation.contains("Role") || !pair.starts_with("PolicyName="))
                .filter_map(iam_thing)
                .collect(),
        }
    }
}

/// Whether a call by this name changes something in AWS.
pub fn mutates(name: &str) -> bool {
    let operation = name.split(':').next_back().unwrap_or_default();
    !["Get", "List", "Head", "Describe"]
        .iter()
        .any(|verb| operation.starts_with(verb))
}

/// The name in a field of an IAM request.
fn iam_thing(pair: &str) -> Option<String> {
    let (field, value) = pair.split_once('=')?;
    let named = [
        "UserName",
        "GroupName",
        "PolicyName",
        "PolicyArn",
        "RoleName",
        "InstanceProfileName",
        "OpenIDConnectProviderArn",
        "AccountAlias",
        "Url",
    ]
    .contains(&field);
    let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
    named.then(|| last_part(&value))
}

/// The name in an ARN, or the name itself.
fn last_part(text: &str) -> String {
    text.rsplit('/').next().unwrap_or_default().to_owned()
}

fn throttling_code(service: &str) -> &'static str {
    match service {
        "s3" => "SlowDown",
        "ecr" => "ThrottlingException",
        _ => "Throttling",
    }
}

/// A refusal in the protocol of the service.
pub fn refusal_body(service: &str, code: &str) -> String {
    match service {
        "ecr" => serde_json::json!({"__type": code, "message": "as scripted"}).to_string(),
        "s3" => format!(
            "<Error><Code>{code}</Code><Message>as scripted</Message><RequestId>r</RequestId></Error>"
        ),
        _ => format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>as scripted</Message></Error><RequestId>r</RequestId></ErrorResponse>"
        ),
    }
}

/// The answer of a service that refuses for the reason of a fault, if that is what the fault is.
pub fn refusal(service: &str, fault: Fault) -> Option<Answer> {
    let (status, code) = match fault {
        Fault::Throttled => (
            if service == "s3" { 503 } else { 400 },
            throttling_code(service),
        ),
        Fault::ServerError => (500, "InternalFailure"),
        Fault::Denied => (
            403,
            if service == "ecr" {
                "AccessDeniedException"
            } else {
                "AccessDenied"
            },
        ),
        _ => return None,
    };
    Some(Answer::Now(status, refusal_body(service, code)))
}

fn s3_operation(method: &Method, uri: &str) -> String {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let has = |name: &str| {
        query
            .split('&')
            .any(|pair| pair.split('=').next() == Some(name))
    };
    let thing = [
        ("tagging", "BucketTagging"),
        ("cors", "BucketCors"),
        ("publicAccessBlock", "PublicAccessBlock"),
        ("ownershipControls", "BucketOwnershipControls"),
    ]
    .iter()
    .find(|(name, _)| has(name));
    let contents = [
        (&Method::GET, "versions", "ListObjectVersions"),
        (&Method::GET, "uploads", "ListMultipartUploads"),
        (&Method::POST, "delete", "DeleteObjects"),
        (&Method::DELETE, "uploadId", "AbortMultipartUpload"),
        (&Method::POST, "uploads", "CreateMultipartUpload"),
        (&Method::PUT, "versioning", "PutBucketVersioning"),
        (&Method::GET, "location", "GetBucketLocation"),
    ];
    if let Some((.., operation)) = contents
        .iter()
        .find(|(verb, name, _)| *verb == method && has(name))
    {
        return (*operation).to_owned();
    }
    let is_object = path
        .trim_start_matches('/')
        .split_once('/')
        .is_some_and(|(_, key)| !key.is_empty());
    match (method.as_str(), thing) {
        ("PUT", None) if is_object => "PutObject".into(),
        ("DELETE", None) if is_object => "DeleteObject".into(),
        ("DELETE", None) => "DeleteBucket".into(),
        ("PUT", Some((_, thing))) => format!("Put{thing}"),
        ("GET", Some((_, thing))) => format!("Get{thing}"),
        ("PUT", None) => "CreateBucket".into(),
        ("HEAD", None) => "HeadBucket".into(),
        ("GET", None) if path == "/" => "ListBuckets".into(),
        (method, _) => format!("{method} {uri}"),
    }
}
