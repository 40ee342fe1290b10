//! Where a trace continues: the header `traceparent` of W3C's Trace Context (<https://www.w3.org/TR/trace-context/>).

use std::collections::HashMap;
use std::fmt;

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use opentelemetry::{Context, TraceId};
use opentelemetry_sdk::propagation::TraceContextPropagator;

const HEADER: &str = "traceparent";

/// A span that others are linked to or continue, here or in another process.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceParent(SpanContext);

impl TraceParent {
    /// The span of what is being done.
    pub fn current() -> Option<Self> {
        Self::of(&Context::current())
    }

    pub(super) fn of(context: &Context) -> Option<Self> {
        let span = context.span().span_context().clone();
        span.is_valid().then_some(Self(span))
    }

    /// `None` for a text that is no `traceparent`.
    pub fn parse(text: &str) -> Option<Self> {
        let carrier = HashMap::from([(HEADER.to_owned(), text.to_owned())]);
        Self::of(&TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier))
    }

    pub(super) fn span_context(&self) -> SpanContext {
        self.0.clone()
    }

    /// The id of the trace.
    pub fn trace_id(&self) -> TraceId {
        self.0.trace_id()
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(span) = self;
        let (trace, id) = (span.trace_id(), span.span_id());
        write!(f, "00-{trace}-{id}-{:02x}", span.trace_flags().to_u8())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_and_written_as_w3c_has_it() {
        for text in [
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
        ] {
            let parent = TraceParent::parse(text).unwrap();
            assert_eq!(parent.to_string(), text);
            assert_eq!(
                parent.trace_id().to_string(),
                "0af7651916cd43dd8448eb211c80319c"
            );
        }
        for text in [
            "",
            "00",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceParent::parse(text), None, "{text}");
        }
    }
}
