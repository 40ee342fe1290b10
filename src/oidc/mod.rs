//! ID tokens of identity providers (OpenID Connect Core 1.0): whose they are, and that nobody has forged them.
//!
//! Invariants:
//! - A token is verified by a key that its issuer publishes, found by discovery, and by nothing that the token itself says.
//! - RS256 and ES256 alone are accepted.
//! - Only issuers that the caller of this module trusts are ever asked.
//!
//! Rejected: the crate `jsonwebtoken`. Its feature for aws-lc brings a second set of features of that library into every
//! build, and what is needed of it are two signatures (docs/decisions/0026-id-tokens-are-exchanged.md).

mod fetch;
mod keys;
mod provider;
mod token;

pub use fetch::FetchError;
pub use keys::{KeyCache, KeyCacheLimits, VerifyError};
pub use provider::{Client, DEVICE_GRANT, DeviceAuthorization, Endpoints, Provider, RedeemError};
pub use token::{Claims, IdToken, LEEWAY, TokenError};
