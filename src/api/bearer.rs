//! The bearer token of a request.

use axum::http::{HeaderMap, header};

use crate::app::service::token_hash;

/// The hash of the request's bearer token, if it has one.
pub fn token_hash_of(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token_hash(token))
}
