//! Every throttle reaches the pace, also of an attempt that the SDK makes up for by another.
//!
//! Invariant: a throttle is told apart by the same table as every other refusal.

use std::sync::Arc;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use tokio::time::Instant;

use super::pace::Pace;
use super::refusal::{Meaning, Service, meaning};

/// Tells the pace of a service about each throttled attempt.
#[derive(Debug)]
pub struct TellPace {
    /// The service.
    pub service: Service,
    /// Its pace.
    pub pace: Arc<Pace>,
}

/// When an attempt began.
#[derive(Debug)]
struct Began(Instant);

impl Storable for Began {
    type Storer = StoreReplace<Self>;
}

#[dyn_dispatch_hint]
impl Intercept for TellPace {
    fn name(&self) -> &'static str {
        "tell the pace"
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

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let (Some(response), Some(Began(began))) = (context.response(), bag.load::<Began>()) else { return Ok(()) };
        let status = response.status();
        let body = String::from_utf8_lossy(response.body().bytes().unwrap_or_default());
        let code = code_in(&body).unwrap_or_default();
        if !status.is_success() && meaning(self.service, "", code, Some(status.as_u16())) == Meaning::Throttled {
            self.pace.throttled(*began);
        }
        Ok(())
    }
}

/// The code of an error in XML (IAM, S3, STS) or JSON (ECR, with or without a namespace).
fn code_in(body: &str) -> Option<&str> {
    let between = |before: &str, after: char| body.split_once(before)?.1.split(after).next();
    let json = || between("\"__type\"", ',')?.split('"').nth(1)?.rsplit('#').next();
    between("<Code>", '<').or_else(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_in_every_protocol() {
        for (body, code) in [
            ("<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code></Error></ErrorResponse>", Some("Throttling")),
            ("<Error><Code>SlowDown</Code><Message>Reduce your rate</Message></Error>", Some("SlowDown")),
            (r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#, Some("ThrottlingException")),
            (r#"{"message": "x", "__type" : "com.amazonaws.ecr#ThrottlingException"}"#, Some("ThrottlingException")),
            ("", None),
            ("<html>Bad gateway</html>", None),
            (r#"{"__type"}"#, None),
        ] {
            assert_eq!(code_in(body), code, "{body}");
        }
    }
}
