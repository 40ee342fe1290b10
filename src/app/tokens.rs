//! Creates API tokens. A token is shown once and stored as a hash.

use serde::Serialize;
use ulid::Ulid;
use utoipa::ToSchema;

use std::time::Duration;

use serde_json::Value;

use crate::app::error::UseCaseError;
use crate::app::service::{Service, token_hash};
use crate::domain::caller::Caller;
use crate::domain::hooks::event::Source;
use crate::domain::role::Role;
use crate::domain::scope::Scope;
use crate::domain::spec::parse_age;
use crate::domain::validation::Fields;
use crate::store::{NewTokenRow, Store, StoreError, TokenRow};

/// How the names of callers begin that an identity provider vouches for.
pub const VOUCHED_PREFIX: &str = "oidc:";

/// A new token. It is shown only once.
#[derive(Debug, Serialize, ToSchema)]
pub struct NewToken {
    /// The record of the token.
    #[serde(flatten)]
    pub row: TokenRow,
    /// The token, for `Authorization: Bearer`.
    #[schema(example = "slipway_5f1c0d6f0b7e4b0f9b8a7d6c5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c8d7e6f")]
    pub token: String,
}

/// What a token should be.
struct TokenSpec {
    name: String,
    role: Role,
    scope: Scope,
    expires_in: Option<Duration>,
}

/// Creates the token that `body` describes.
///
/// # Errors
/// When the body has invalid fields, or the token would allow more than the caller may.
pub async fn create_token_for(
    service: &Service,
    caller: &Caller,
    body: &Value,
) -> Result<NewToken, UseCaseError> {
    let spec = parse_token(body)?;
    let expires_at = spec.expires_in.map(|span| service.clock.now().after(span));
    require_within(caller, spec.role, &spec.scope)?;
    if let Some(end) = caller.expires_at
        && expires_at.is_none_or(|at| at > end)
    {
        return Err(UseCaseError::OutOfScope(format!(
            "Your token expires at {end}. A token that it creates must not outlive it."
        )));
    }
    let token = new_token()?;
    let row = service
        .store
        .add_token(NewTokenRow {
            name: spec.name,
            role: spec.role,
            scope: spec.scope,
            hash: token_hash(&token),
            created_by: caller.name.clone(),
            person: caller.person.clone(),
            identity: None,
            expires_at,
        })
        .await?;
    Ok(NewToken { row, token })
}

/// Fails if a token with this role and scope may do more than the caller.
///
/// # Errors
/// When it may.
pub fn require_within(caller: &Caller, role: Role, scope: &Scope) -> Result<(), UseCaseError> {
    if role > caller.role {
        return Err(UseCaseError::OutOfScope(format!(
            "Your role is {}. You cannot grant the role {role}.",
            caller.role
        )));
    }
    if !caller.scope.covers(scope) {
        return Err(UseCaseError::OutOfScope(format!(
            "Your scope is {}. You cannot grant {scope}.",
            caller.scope
        )));
    }
    Ok(())
}

/// The tokens that the caller could have created.
///
/// # Errors
/// When the database is not available.
pub async fn list_tokens(service: &Service, caller: &Caller) -> Result<Vec<TokenRow>, StoreError> {
    let mut tokens = service.store.tokens().await?;
    tokens.retain(|token| require_within(caller, token.role, &token.scope).is_ok());
    Ok(tokens)
}

/// Revokes a token that the caller could have created.
///
/// # Errors
/// When there is no such token.
pub async fn revoke_token(
    service: &Service,
    caller: &Caller,
    id: Ulid,
) -> Result<(), UseCaseError> {
    let token = service.store.token(id).await?;
    let is_visible =
        token.is_some_and(|token| require_within(caller, token.role, &token.scope).is_ok());
    if is_visible && service.store.delete_token(id, &caller.name).await? {
        Ok(())
    } else {
        Err(UseCaseError::NoSuch("token"))
    }
}

fn parse_token(body: &Value) -> Result<TokenSpec, UseCaseError> {
    let mut fields = Fields::of(body, "");
    let name = fields.required("name", parse_token_name);
    let role = fields.required("role", parse_role);
    let scope = Scope::of_field(&mut fields);
    let expires_in = fields.parsed("expires_in", parse_age);
    let errors = fields.finish();
    match (name, role) {
        (Some(name), Some(role)) if errors.is_empty() => Ok(TokenSpec {
            name,
            role,
            scope,
            expires_in,
        }),
        _ => Err(UseCaseError::Fields(errors)),
    }
}

/// Parses a role.
///
/// # Errors
/// When there is no such role.
pub fn parse_role(text: &str) -> Result<Role, &'static str> {
    text.parse()
        .map_err(|_| "must be viewer, operator, approver or admin")
}

/// A new token.
///
/// # Errors
/// When the system's random number generator fails.
pub fn new_token() -> Result<String, StoreError> {
    Ok(format!("slipway_{}", random_hex::<32>()?))
}

/// Creates a token for everything and stores its hash.
///
/// # Errors
/// When the database is not available, or the system's random number generator fails.
pub async fn create_token(
    store: &Store,
    name: &str,
    role: Role,
    by: &str,
) -> Result<NewToken, StoreError> {
    let token = new_token()?;
    let row = store
        .create_token(name, role, token_hash(&token), by)
        .await?;
    Ok(NewToken { row, token })
}

/// So many random bytes, in hexadecimal.
///
/// # Errors
/// When the system's random number generator fails.
pub fn random_hex<const BYTES: usize>() -> Result<String, StoreError> {
    let mut random = [0_u8; BYTES];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| {
        StoreError::Unavailable("the system's random number generator failed".into())
    })?;
    Ok(hex::encode(random))
}

/// Parses the name of a token.
///
/// # Errors
/// When it is empty, longer than 64 characters, has control characters, or begins as the names of those whom an identity
/// provider vouches for.
pub fn parse_token_name(text: &str) -> Result<String, &'static str> {
    let fits = (1..=64).contains(&text.chars().count())
        && !text.chars().any(char::is_control)
        && !text.trim().is_empty();
    if !fits {
        Err("must be 1 to 64 visible characters")
    } else if text.starts_with(VOUCHED_PREFIX) {
        Err(
            "must not begin with `oidc:`, which marks callers that an identity provider vouches for",
        )
    } else if Source::is_actor(text) {
        Err("must not begin with `github:`, `gitlab:` or `standard/`, which mark repositories")
    } else {
        Ok(text.to_owned())
    }
}
