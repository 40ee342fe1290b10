//! What a request authenticates by: a bearer token, or the session of a person who is signed in.
//!
//! Invariants:
//! - A request with an `Authorization` header is one by token, whatever cookies it has.
//! - Only hashes leave this file, and that of a session is never that of a token.

use axum::http::{HeaderMap, header};

use crate::api::sign_in::cookies::Cookies;
use crate::app::service::{Service, token_hash};
use crate::app::sign_in::session_hash;

/// What a request authenticates by, as a hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A bearer token.
    Token(String),
    /// The session of the browser's cookie.
    Session(String),
}

impl Credential {
    /// The credential of a request, if it has one.
    pub fn of(headers: &HeaderMap, service: &Service) -> Option<Self> {
        if headers.contains_key(header::AUTHORIZATION) {
            return bearer(headers).map(|token| Self::Token(token_hash(token)));
        }
        let cookies = Cookies::of(service)?;
        cookies
            .session(headers)
            .map(|key| Self::Session(session_hash(&key)))
    }

    /// The hash.
    pub fn hash(&self) -> &str {
        match self {
            Self::Token(hash) | Self::Session(hash) => hash,
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
