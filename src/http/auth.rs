//! Who calls, and whether they may.
//!
//! Invariant: a handler that takes [`Viewer`], [`Operator`] or [`Admin`] is reached by a token of that
//! role or a higher one, and by nobody else.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;

use super::problem::ApiError;
use crate::domain::role::{Caller, Role};
use crate::service::{Service, token_hash};

/// The name under which the bootstrap token asks for things.
const BOOTSTRAP: &str = "admin";

/// A caller who may read.
pub struct Viewer(pub Caller);
/// A caller who may ask for jobs and claim credentials.
pub struct Operator(pub Caller);
/// A caller who may manage tokens.
pub struct Admin(pub Caller);

impl Viewer {
    /// The caller, if it may ask for jobs.
    pub fn operator(self) -> Result<Caller, ApiError> {
        with_role(self.0, Role::Operator)
    }
}

impl FromRequestParts<Arc<Service>> for Viewer {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, ApiError> {
        caller(parts, service).await.and_then(|caller| with_role(caller, Role::Viewer)).map(Self)
    }
}

impl FromRequestParts<Arc<Service>> for Operator {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, ApiError> {
        caller(parts, service).await.and_then(|caller| with_role(caller, Role::Operator)).map(Self)
    }
}

impl FromRequestParts<Arc<Service>> for Admin {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, ApiError> {
        caller(parts, service).await.and_then(|caller| with_role(caller, Role::Admin)).map(Self)
    }
}

async fn caller(parts: &Parts, service: &Service) -> Result<Caller, ApiError> {
    let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, token) = header.and_then(|value| value.split_once(' ')).ok_or(ApiError::Unauthorized)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(ApiError::Unauthorized);
    }
    let hash = token_hash(token);
    if service.is_admin_token(&hash) {
        return Ok(Caller { id: BOOTSTRAP.into(), name: BOOTSTRAP.into(), role: Role::Admin });
    }
    service.store.caller_by_token_hash(&hash).await?.ok_or(ApiError::Unauthorized)
}

fn with_role(caller: Caller, needed: Role) -> Result<Caller, ApiError> {
    if caller.role < needed {
        return Err(ApiError::Forbidden { needed, has: caller.role });
    }
    Ok(caller)
}
