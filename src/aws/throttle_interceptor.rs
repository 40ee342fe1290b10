//! An SDK interceptor that reports every throttled attempt to the rate limiter, also those that the SDK retries by
//! itself, and that fails an attempt whose response body is truncated.
//!
//! Invariant: throttles are recognized by the same table as every other error.

use std::sync::Arc;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    AfterDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
    FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, Metadata};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use serde::de::IgnoredAny;
use tokio::time::Instant;

use crate::aws::error::{ErrorKind, Service, error_kind, request_id_in};
use crate::aws::rate_limiter::RateLimiter;
use crate::telemetry::spans::{self, AwsAnswer};

/// Reports each throttled attempt to the rate limiter of a service.
#[derive(Debug)]
pub struct ThrottleInterceptor {
    pub service: Service,
    pub limiter: Arc<RateLimiter>,
}

/// When an attempt began.
#[derive(Debug)]
struct Began(Instant);

impl Storable for Began {
    type Storer = StoreReplace<Self>;
}

#[dyn_dispatch_hint]
impl Intercept for ThrottleInterceptor {
    fn name(&self) -> &'static str {
        "slipway_throttle_interceptor"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        bag.interceptor_state().store_put(Began(Instant::now()));
        Ok(())
    }

    /// The SDK's parsers accept a truncated document and fill in missing values.
    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let operation = bag.load::<Metadata>().map_or("", Metadata::name);
        if context.response().status().is_success() && !is_whole(operation, context.response()) {
            return Err("the response body is truncated".into());
        }
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        let meaning = response
            .filter(|response| !response.status().is_success())
            .map(|response| meaning_of_answer(self.service, response));
        let has_no_answer = meaning.is_none() && matches!(context.output_or_error(), Some(Err(_)));
        if has_no_answer || matches!(meaning, Some(ErrorKind::Throttled | ErrorKind::Transient)) {
            spans::aws_attempt_failed(response.map(answer_of));
        }
        if let (Some(ErrorKind::Throttled), Some(Began(began))) = (meaning, bag.load::<Began>()) {
            self.limiter.on_throttle(*began);
        }
        Ok(())
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let region = bag.load::<aws_config::Region>().map(AsRef::as_ref);
        if let Some(response) = context.response() {
            spans::aws_answered(answer_of(response), region);
        }
        Ok(())
    }
}

fn answer_of(response: &HttpResponse) -> AwsAnswer<'_> {
    AwsAnswer {
        status: response.status().as_u16(),
        request_id: request_id_in(response),
    }
}

/// The kind of a response that is not a success. A response to HEAD has no body, so only its status is known.
pub fn meaning_of_answer(service: Service, response: &HttpResponse) -> ErrorKind {
    let status = response.status().as_u16();
    let body = String::from_utf8_lossy(response.body().bytes().unwrap_or_default());
    let code = code_in(&body).map_or_else(|| status.to_string(), str::to_owned);
    error_kind(service, "", &code, Some(status))
}

/// Whether a body is complete. Only responses to mutating calls, as of S3, and to HEAD may be empty.
fn is_whole(operation: &str, response: &HttpResponse) -> bool {
    let body = String::from_utf8_lossy(response.body().bytes().unwrap_or_default());
    match body.trim().as_bytes() {
        [] => !["Get", "List", "Describe"]
            .iter()
            .any(|verb| operation.starts_with(verb)),
        [b'<', ..] => is_whole_xml(body.trim()),
        [b'{' | b'[', ..] => serde_json::from_str::<IgnoredAny>(&body).is_ok(),
        // Not a document: its parser decides.
        _ => true,
    }
}

/// Whether the root element is closed.
fn is_whole_xml(document: &str) -> bool {
    let root = document
        .match_indices('<')
        .map(|(at, _)| &document[at + 1..])
        .find(|rest| !rest.starts_with(['?', '!']));
    let Some(root) = root else { return false };
    let name = root
        .split(|c: char| c.is_whitespace() || c == '>' || c == '/')
        .next()
        .unwrap_or_default();
    let is_empty = root.find('>') == root.len().checked_sub(1) && root.ends_with("/>");
    is_empty
        || root
            .strip_suffix('>')
            .map(str::trim_end)
            .and_then(|rest| rest.strip_suffix(name))
            .is_some_and(|rest| rest.ends_with("</"))
}

/// The code of an error in XML (IAM, S3, STS) or JSON (ECR, with or without a namespace).
fn code_in(body: &str) -> Option<&str> {
    let between = |before: &str, after: char| body.split_once(before)?.1.split(after).next();
    let json = || {
        between("\"__type\"", ',')?
            .split('"')
            .nth(1)?
            .rsplit('#')
            .next()
    };
    between("<Code>", '<').or_else(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_in_every_protocol() {
        for (body, code) in [
            (
                "<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code></Error></ErrorResponse>",
                Some("Throttling"),
            ),
            (
                "<Error><Code>SlowDown</Code><Message>Reduce your rate</Message></Error>",
                Some("SlowDown"),
            ),
            (
                r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#,
                Some("ThrottlingException"),
            ),
            (
                r#"{"message": "x", "__type" : "com.amazonaws.ecr#ThrottlingException"}"#,
                Some("ThrottlingException"),
            ),
            ("", None),
            ("<html>Bad gateway</html>", None),
            (r#"{"__type"}"#, None),
        ] {
            assert_eq!(code_in(body), code, "{body}");
        }
    }

    #[test]
    fn a_document_that_ends_early_is_told_from_a_whole_one() {
        let whole = r#"<?xml version="1.0"?>
            <ListUsersResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Users/></ListUsersResponse>"#;
        let is_whole = |operation: &str, body: &str| {
            let answer = http::Response::builder()
                .status(200)
                .body(aws_smithy_types::body::SdkBody::from(body))
                .unwrap();
            super::is_whole(operation, &HttpResponse::try_from(answer).unwrap())
        };
        assert!(is_whole("ListUsers", whole) && is_whole("ListUsers", &format!("{whole}\n")));
        assert!(
            is_whole("GetBucketCors", "<CORSConfiguration/>")
                && is_whole("ListImages", r#"{"imageIds":[]}"#)
        );
        assert!(
            is_whole("PutBucketCors", "")
                && is_whole("HeadBucket", "")
                && is_whole("DeleteBucket", "OK")
        );
        let start = whole.find("<List").unwrap();
        for end in start + 1..whole.len() {
            assert!(!is_whole("ListUsers", &whole[..end]), "{}", &whole[..end]);
        }
        assert!(!is_whole("GetBucketTagging", "") && !is_whole("ListImages", r#"{"imageIds":["#));
    }

    #[test]
    fn a_head_that_is_answered_503_is_a_throttle() {
        let answer = |status: u16| {
            let answer = http::Response::builder()
                .status(status)
                .body(aws_smithy_types::body::SdkBody::empty())
                .unwrap();
            HttpResponse::try_from(answer).unwrap()
        };
        assert_eq!(
            meaning_of_answer(Service::S3, &answer(503)),
            ErrorKind::Throttled
        );
        assert_eq!(
            meaning_of_answer(Service::S3, &answer(500)),
            ErrorKind::Transient
        );
        assert_eq!(
            meaning_of_answer(Service::S3, &answer(404)),
            ErrorKind::NotFound
        );
    }
}
