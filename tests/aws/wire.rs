//! Between the SDK and the AWS in memory: the connector, faults, the log, and who signed a call.
//!
//! Invariant: faults are what `tests/suite/support/proxy.rs` makes of them on real connections.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_async::time::{SharedTimeSource, TimeSource};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::ErrorKind;
use http_body_util::BodyExt as _;
use serde_json::Value;

use super::consistency::{Dice, Look, micros};
use super::protocol::{Refused, Reply, query_input, query_output};
use super::state::{Caller, World};
use super::{Aws, models, s3, signature};
use crate::support::wire::{Answer, Call, Fault, mutates, refusal};

/// How much longer a delayed call takes: well within every time-out.
const DELAY: Duration = Duration::from_millis(120);

/// The calls since it was last taken.
#[derive(Default)]
pub struct Log {
    calls: Vec<(u64, Call)>,
    counts: HashMap<String, usize>,
    next: u64,
}

impl Log {
    pub fn calls(&self) -> Vec<Call> {
        self.calls.iter().map(|(_, call)| call.clone()).collect()
    }

    pub fn take(&mut self) -> Vec<Call> {
        self.counts.clear();
        std::mem::take(&mut self.calls)
            .into_iter()
            .map(|(_, call)| call)
            .collect()
    }

    pub fn clear(&mut self) {
        self.counts.clear();
        self.calls.clear();
    }

    fn arrive(&mut self, call: &mut Call) -> u64 {
        let count = self.counts.entry(call.name()).or_default();
        call.nth = *count;
        *count += 1;
        self.next += 1;
        self.calls.push((self.next, call.clone()));
        self.next
    }

    fn answered(&mut self, id: u64, reply: &Reply) {
        if let Some((_, call)) = self
            .calls
            .iter_mut()
            .rev()
            .find(|(logged, _)| *logged == id)
        {
            call.ended = Some(std::time::Instant::now());
            call.status = Some(reply.status);
            let id = ["x-amzn-requestid", "x-amz-request-id"]
                .iter()
                .find_map(|name| reply.headers.get(*name));
            call.request_id = id.and_then(|id| Some(id.to_str().ok()?.to_owned()));
        }
    }
}

/// Who signed a call, and for which region.
pub struct Signed {
    pub key: String,
    pub region: String,
}

impl Signed {
    pub fn of(call: &Call) -> Self {
        let scope = call
            .headers
            .get("authorization")
            .and_then(|header| header.split("Credential=").nth(1)?.split(',').next());
        let mut parts = scope.unwrap_or_default().split('/');
        let key = parts.next().unwrap_or_default().to_owned();
        Self {
            key,
            region: parts.nth(1).unwrap_or("us-east-1").to_owned(),
        }
    }
}

/// Whose key that is. A new key is not known everywhere for a while (aws.md A1); one that is switched off is refused
/// as one that is not there.
pub fn caller(world: &World, service: &str, key: &str, look: Look) -> Result<Caller, Refused> {
    if let Some(session) = world.sessions.get(key) {
        return Ok(Caller::Role(session.clone()));
    }
    let owner = world.key_owners.get(key);
    let user =
        owner.and_then(|(account, user)| world.accounts.get(account)?.users.get(user)?.at(look));
    if let (Some((account, name)), true) = (
        owner,
        user.is_some_and(|user| user.keys.iter().any(|own| own.id == key && own.active)),
    ) {
        return Ok(Caller::User {
            account: account.clone(),
            name: name.clone(),
        });
    }
    Err(match service {
        "s3" => Refused::new(
            403,
            "InvalidAccessKeyId",
            "The AWS Access Key Id you provided does not exist in our records.",
        ),
        "ecr" => Refused::new(
            400,
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ),
        _ => Refused::new(
            403,
            "InvalidClientTokenId",
            "The security token included in the request is invalid.",
        ),
    })
}

/// The operation as AWS names it, also where the call's name is its method and address.
pub fn operation(call: &Call) -> String {
    match call.operation.split_once(' ') {
        Some(("DELETE", uri)) if uri.contains("?tagging") => "DeleteBucketTagging".into(),
        Some(("DELETE", uri)) if uri.contains("?cors") => "DeleteBucketCors".into(),
        Some(("DELETE", uri)) if uri.contains("?publicAccessBlock") => {
            "DeletePublicAccessBlock".into()
        }
        _ => call.operation.clone(),
    }
}

pub fn input(call: &Call) -> Value {
    match call.service {
        "s3" => s3::input(call),
        "ecr" => serde_json::from_str(&call.body).unwrap_or_default(),
        _ => query_input(&call.body),
    }
}

pub fn reply(service: &str, operation: &str, output: &Value, request_id: &str) -> Reply {
    let body = match service {
        "s3" => s3::output(operation, output),
        "ecr" => output.to_string(),
        _ => query_output(operation, output, request_id),
    };
    let is_empty = service == "s3" && body.is_empty() && operation.starts_with("Delete");
    let mut reply = Reply::new(service, if is_empty { 204 } else { 200 }, body, request_id);
    if let Some(region) = output["BucketRegion"].as_str() {
        reply.headers.insert(
            "x-amz-bucket-region",
            http::HeaderValue::from_str(region).expect("a region"),
        );
    }
    if let Some(location) = output["Location"].as_str() {
        reply.headers.insert(
            "location",
            http::HeaderValue::from_str(location).expect("a path"),
        );
    }
    reply
}

/// The clock, for signatures.
#[derive(Debug)]
struct Time(Aws);

impl TimeSource for Time {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
            + Duration::from_millis(u64::try_from(self.0.date()).expect("a time after 1970"))
    }
}

#[derive(Debug)]
struct Connector(Aws);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let aws = self.0.clone();
        HttpConnectorFuture::new(async move { aws.serve(request).await })
    }
}

impl Aws {
    /// The SDK's configuration for a session, in us-west-2.
    pub fn sdk(&self, session: &Credentials) -> SdkConfig {
        self.sdk_in("us-west-2", session)
    }

    pub fn sdk_in(&self, region: &'static str, session: &Credentials) -> SdkConfig {
        let connector = SharedHttpConnector::new(Connector(self.clone()));
        SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .region(aws_config::Region::new(region))
            .endpoint_url(format!("http://{}", signature::HOST))
            .credentials_provider(SharedCredentialsProvider::new(session.clone()))
            .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
            .time_source(SharedTimeSource::new(Time(self.clone())))
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .build()
    }

    async fn serve(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let call = call_of(request).await?;
        let (call, id) = {
            let mut call = call;
            let id = self.log_mut().arrive(&mut call);
            (call, id)
        };
        let reply = match (self.violation(&call), self.scripted(&call)) {
            (Some(refused), _) => Reply::refusal(
                call.service,
                &refused,
                "invalid",
                call.operation.starts_with("Head"),
            ),
            (None, Some(Answer::Now(status, body))) => {
                Reply::new(call.service, status, body, "scripted")
            }
            (None, None) => self.faulty(&call).await?,
        };
        self.log_mut().answered(id, &reply);
        response(reply)
    }

    /// AWS's refusal of a call whose form its API model forbids; it is kept for [`Aws::take_violations`].
    fn violation(&self, call: &Call) -> Option<Refused> {
        let known = operation(call);
        let violations = match known == call.operation {
            true => models::violations(call),
            false => models::violations(&Call {
                operation: known,
                ..call.clone()
            }),
        };
        let code = match call.service {
            "s3" => "InvalidArgument",
            "ecr" => "InvalidParameterException",
            _ => "ValidationError",
        };
        let refused =
            (!violations.is_empty()).then(|| Refused::new(400, code, violations.join("; ")))?;
        self.0
            .violations
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .extend(violations);
        Some(refused)
    }

    fn scripted(&self, call: &Call) -> Option<Answer> {
        let mut script = self
            .0
            .script
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        script.as_mut().and_then(|script| script(call))
    }

    fn fault(&self, call: &Call) -> Option<Fault> {
        let mut on_call = self
            .0
            .on_call
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        on_call.as_mut().and_then(|fault| fault(call))
    }

    async fn faulty(&self, call: &Call) -> Result<Reply, ConnectorError> {
        let Some(fault) = self.fault(call) else {
            return Ok(self.pass(call).await);
        };
        if let Some(Answer::Now(status, body)) = refusal(call.service, fault) {
            let body = if call.operation.starts_with("Head") {
                String::new()
            } else {
                body
            };
            return Ok(Reply::new(call.service, status, body, "on-demand"));
        }
        match fault {
            Fault::ResetAfter | Fault::Late | Fault::LostAfter => drop(self.pass(call).await),
            Fault::Delayed => {
                tokio::time::sleep(DELAY).await;
                return Ok(self.pass(call).await);
            }
            Fault::CutShort => {
                let reply = self.pass(call).await;
                return Ok(Reply {
                    body: half(&reply.body),
                    ..reply
                });
            }
            Fault::TooLate(after) | Fault::LostBetween(after) => {
                let at = self.now().saturating_add(micros(after));
                self.state().pending.push((at, call.clone()));
            }
            _ => {}
        }
        if fault.loses_the_process() {
            self.0.lost.add_permits(1);
        }
        match fault {
            // As the SDK's own client tells a connection that is closed before an answer, and one that is reset.
            Fault::Closed => Err(ConnectorError::other(
                "connection closed before message completed".into(),
                Some(ErrorKind::TransientError),
            )),
            Fault::ResetBefore | Fault::ResetAfter => Err(ConnectorError::io(
                io::Error::from(io::ErrorKind::ConnectionReset).into(),
            )),
            // Until the caller gives up.
            _ => match std::future::pending::<Infallible>().await {},
        }
    }

    /// AWS takes its time, acts and answers.
    pub async fn pass(&self, call: &Call) -> Reply {
        let latency = self.latency(call);
        if latency > Duration::ZERO {
            if let Err(refused) = self.begin_change(call, latency) {
                return Reply::refusal(call.service, &refused, "overlapping", false);
            }
            tokio::time::sleep(latency).await;
        }
        let mut state = self.state();
        self.catch_up(&mut state);
        let now = state.now;
        self.act(&mut state, call, now)
    }

    fn latency(&self, call: &Call) -> Duration {
        let dice = Dice::new(
            self.0.options.seed,
            &["latency", &call.name(), &call.things().join("/")],
            call.nth as u64,
        );
        Duration::from_micros(dice.within(0, &self.0.options.latency))
    }

    /// A change of a bucket, which no other change of it may overlap (aws.md A6).
    fn begin_change(&self, call: &Call, latency: Duration) -> Result<(), Refused> {
        if call.service != "s3"
            || !mutates(&call.name())
            || call.operation.ends_with("Objects")
            || call.operation.contains("Upload")
        {
            return Ok(());
        }
        let mut state = self.state();
        self.catch_up(&mut state);
        let (now, bucket) = (state.now, call.things().join("/"));
        let until = state.world.busy_buckets.entry(bucket).or_default();
        if *until > now {
            return Err(s3::aborted());
        }
        *until = now + micros(latency);
        Ok(())
    }
}

async fn call_of(request: HttpRequest) -> Result<Call, ConnectorError> {
    let request = request
        .try_into_http1x()
        .map_err(|error| ConnectorError::user(error.into()))?;
    let (head, body) = request.into_parts();
    match body.bytes() {
        Some(bytes) => Ok(Call::of(&head, bytes)),
        None => {
            let bytes = body
                .collect()
                .await
                .map_err(ConnectorError::user)?
                .to_bytes();
            Ok(Call::of(&head, &bytes))
        }
    }
}

fn response(reply: Reply) -> Result<HttpResponse, ConnectorError> {
    let mut response = http::Response::new(SdkBody::from(reply.body));
    *response.status_mut() = http::StatusCode::from_u16(reply.status).expect("a status");
    *response.headers_mut() = reply.headers;
    HttpResponse::try_from(response).map_err(|error| ConnectorError::user(error.into()))
}

/// The first half of an answer.
fn half(body: &str) -> String {
    body.chars().take(body.chars().count() / 2).collect()
}
