//! A request to the API.

use std::fmt::Write as _;

use clap::Args;
use hyper::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::clock::Clock;
use crate::outbound::form;

/// What stays as it is in a part of a URL: the unreserved characters of RFC 3986.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A text as one segment of a path.
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// How a pipeline repeats a command whose answer it has lost.
#[derive(Debug, Clone, Default, Args)]
pub struct IdempotencyArgs {
    /// Repeat a command whose result was lost: the same key and request give the same job.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl IdempotencyArgs {
    /// The given key, or a new one.
    pub fn key(&self) -> String {
        self.idempotency_key
            .clone()
            .unwrap_or_else(|| format!("slipway-{}", Clock::default().new_id()))
    }
}

/// The body of a request.
#[derive(Debug, Clone)]
pub enum Body {
    None,
    Json(Value),
    Form(String),
}

/// A request to the API.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: Method,
    /// With its query.
    pub path: String,
    pub accept: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Body,
    /// Whether the same request can be sent again when its answer is lost.
    pub repeatable: bool,
}

impl Request {
    fn new(method: Method, path: impl Into<String>, repeatable: bool) -> Self {
        Self {
            method,
            path: path.into(),
            accept: "application/json",
            headers: Vec::new(),
            body: Body::None,
            repeatable,
        }
    }

    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path, true)
    }

    pub fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path, false)
    }

    pub fn put(path: impl Into<String>) -> Self {
        Self::new(Method::PUT, path, false)
    }

    pub fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path, false)
    }

    /// Adds a query parameter, if it has a value.
    #[must_use]
    pub fn query(mut self, name: &str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            let separator = if self.path.contains('?') { '&' } else { '?' };
            let _ = write!(
                self.path,
                "{separator}{name}={}",
                segment(&value.to_string())
            );
        }
        self
    }

    /// Adds a query parameter, if it is true.
    #[must_use]
    pub fn flag(self, name: &str, is_set: bool) -> Self {
        self.query(name, is_set.then_some(true))
    }

    #[must_use]
    pub fn json(mut self, body: Value) -> Self {
        self.body = Body::Json(body);
        self
    }

    /// A form, as OAuth 2.0 wants it.
    #[must_use]
    pub fn form(mut self, fields: &[(&str, &str)]) -> Self {
        self.body = Body::Form(form(fields));
        self
    }

    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    #[must_use]
    pub fn accept(mut self, media_type: &'static str) -> Self {
        self.accept = media_type;
        self
    }

    /// Makes the request one that changes something once, however often it is sent.
    #[must_use]
    pub fn idempotent(mut self, key: &str) -> Self {
        self.repeatable = true;
        self.header("idempotency-key", key)
    }

    /// The same request as a question: what it would do. It changes nothing.
    #[must_use]
    pub fn dry_run(self) -> Self {
        self.flag("dry_run", true).harmless()
    }

    /// A request that changes nothing although its method could.
    #[must_use]
    pub fn harmless(mut self) -> Self {
        self.repeatable = true;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_and_segments_are_encoded() {
        let request = Request::get(format!("/v1/apps/{}", segment("a/b c")))
            .query("q", Some("x&y"))
            .query("state", None::<&str>)
            .flag("dry_run", true)
            .flag("force", false);
        assert_eq!(request.path, "/v1/apps/a%2Fb%20c?q=x%26y&dry_run=true");
    }
}
