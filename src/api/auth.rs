//! Authentication and authorization.
//!
//! Invariants:
//! - A handler that takes [`Viewer`], [`Operator`], [`Approver`] or [`Admin`] is called only for a caller with that role or
//!   a higher one.
//! - A person who is signed in is a caller as the bearer of a token is: no handler tells them apart.
//! - The extractors of paths (`api::path`) let nobody reach what is outside the caller's scope.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::api::credential::Credential;
use crate::api::limits::RequestPermit;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::app::sessions::{caller_by_session, idle_timeout};
use crate::domain::caller::Caller;
use crate::domain::role::Role;

/// The caller name of the bootstrap token.
const BOOTSTRAP: &str = "admin";

/// A caller who may read.
pub struct Viewer(pub Caller);
/// A caller who may also request jobs and claim secrets.
pub struct Operator(pub Caller);
/// A caller who may also approve what others request.
pub struct Approver(pub Caller);
/// A caller who may also manage tokens.
pub struct Admin(pub Caller);

impl Viewer {
    /// The caller, if it may request jobs.
    pub fn operator(self) -> Result<Caller, ApiError> {
        with_role(self.0, Role::Operator)
    }

    /// The caller, if it may manage accounts.
    pub fn admin(self) -> Result<Caller, ApiError> {
        with_role(self.0, Role::Admin)
    }
}

/// Each role's extractor accepts the callers that have that role or a higher one.
macro_rules! extract_callers {
    ($($role:ident),+) => {
        $(impl FromRequestParts<Arc<Service>> for $role {
            type Rejection = ApiError;
            async fn from_request_parts(
                parts: &mut Parts,
                service: &Arc<Service>,
            ) -> Result<Self, ApiError> {
                caller(parts, service)
                    .await
                    .and_then(|caller| with_role(caller, Role::$role))
                    .map(Self)
            }
        })+
    };
}

extract_callers!(Viewer, Operator, Approver, Admin);

/// The token or session of a request, to check later whether it is still valid.
pub struct Token(Credential);

impl Token {
    /// Whether the token is revoked, or the session has ended. False while the database is not available.
    pub async fn is_revoked(&self, service: &Service) -> bool {
        match &self.0 {
            Credential::Token(hash) => {
                let caller = service.store.caller_by_token_hash(hash);
                !service.is_admin_token(hash) && matches!(caller.await, Ok(None))
            }
            // An open page is no use of a session.
            Credential::Session(hash) => {
                let alive = service.store.has_session(hash, idle_timeout(service));
                matches!(alive.await, Ok(false))
            }
        }
    }
}

impl FromRequestParts<Arc<Service>> for Token {
    type Rejection = ApiError;
    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<Service>,
    ) -> Result<Self, ApiError> {
        Credential::of(&parts.headers, service)
            .map(Self)
            .ok_or(ApiError::Unauthorized)
    }
}

/// The caller of a request. Looked up once for a request.
pub(super) async fn caller(parts: &mut Parts, service: &Service) -> Result<Caller, ApiError> {
    if let Some(caller) = parts.extensions.get::<Caller>() {
        return Ok(caller.clone());
    }
    let caller = caller_by_credential(parts, service).await?;
    parts.extensions.insert(caller.clone());
    Ok(caller)
}

async fn caller_by_credential(parts: &Parts, service: &Service) -> Result<Caller, ApiError> {
    let credential = Credential::of(&parts.headers, service).ok_or(ApiError::Unauthorized)?;
    let caller = match &credential {
        Credential::Token(hash) if service.is_admin_token(hash) => {
            return Ok(Caller::bootstrap(BOOTSTRAP));
        }
        Credential::Token(hash) => service.store.caller_by_token_hash(hash).await?,
        Credential::Session(hash) => caller_by_session(service, hash).await?,
    };
    if let Some(permit) = parts.extensions.get::<RequestPermit>() {
        match caller {
            Some(_) => permit.limits.note_valid_token(credential.hash()),
            None => permit.limits.note_invalid_token(credential.hash()),
        }
    }
    caller.ok_or(ApiError::Unauthorized)
}

fn with_role(caller: Caller, needed: Role) -> Result<Caller, ApiError> {
    if caller.role < needed {
        return Err(ApiError::Forbidden {
            needed,
            has: caller.role,
        });
    }
    Ok(caller)
}
