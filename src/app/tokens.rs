//! Creates API tokens. A token is shown once and stored as a hash.

use serde::Serialize;
use utoipa::ToSchema;

use crate::app::service::token_hash;
use crate::domain::role::Role;
use crate::store::{Store, StoreError, TokenRow};

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

/// Creates a token and stores its hash.
///
/// # Errors
/// When the database is not available, or the system's random number generator fails.
pub async fn create_token(
    store: &Store,
    name: &str,
    role: Role,
    by: &str,
) -> Result<NewToken, StoreError> {
    let token = format!("slipway_{}", random_hex::<32>()?);
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
/// When it is empty, longer than 64 characters, or has control characters.
pub fn parse_token_name(text: &str) -> Result<String, &'static str> {
    let fits = (1..=64).contains(&text.chars().count())
        && !text.chars().any(char::is_control)
        && !text.trim().is_empty();
    if fits {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 64 visible characters")
    }
}
