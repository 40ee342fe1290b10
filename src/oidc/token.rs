//! The parts of an ID token: a JSON web signature in its compact form (RFC 7515, RFC 7519).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::clock::Timestamp;

/// How far the clocks of an issuer and of this service may be apart.
pub const LEEWAY: Duration = Duration::from_secs(60);

/// A longer text is no ID token.
const MAX_LENGTH: usize = 16 * 1024;

/// Why a token is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The text is no signed JSON web token.
    #[error("The token is not a signed JSON web token.")]
    Malformed,
    /// The token is signed by another method, or not at all.
    #[error("The token must be signed with RS256 or ES256.")]
    Algorithm,
    /// A claim is missing or of the wrong type.
    #[error("The token has no valid claim `{0}`.")]
    Claim(&'static str),
    /// The token has expired.
    #[error("The token has expired.")]
    Expired,
    /// The token is not valid yet, or issued in the future.
    #[error("The token is not valid yet.")]
    NotYet,
}

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that the reader must understand: none here.
    crit: Option<Value>,
}

/// A token that nobody has verified yet.
#[derive(Debug, Clone)]
pub struct IdToken {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<String>,
    pub(super) signature: Vec<u8>,
    /// What is signed: the header and the claims, as they came.
    signed: String,
    claims: Claims,
}

impl IdToken {
    /// Takes a token apart.
    ///
    /// # Errors
    /// When it is no token, or signed by another method.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        if text.len() > MAX_LENGTH {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let header: Header = decode_json(header)?;
        let algorithm = match header.alg.as_str() {
            "RS256" => Algorithm::Rs256,
            "ES256" => Algorithm::Es256,
            _ => return Err(TokenError::Algorithm),
        };
        if header.crit.is_some() {
            return Err(TokenError::Malformed);
        }
        Ok(Self {
            algorithm,
            key_id: header.kid,
            signature: decode(signature)?,
            signed: signed.to_owned(),
            claims: Claims(decode_json(claims)?),
        })
    }

    /// Who claims to have issued it. Nobody has verified that.
    pub fn unverified_issuer(&self) -> Option<&str> {
        self.claims.text("iss")
    }

    /// What is signed.
    pub fn signed(&self) -> &str {
        &self.signed
    }

    pub(super) fn into_claims(self) -> Claims {
        self.claims
    }
}

fn decode(text: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| TokenError::Malformed)
}

fn decode_json<T: for<'d> Deserialize<'d>>(text: &str) -> Result<T, TokenError> {
    serde_json::from_slice(&decode(text)?).map_err(|_| TokenError::Malformed)
}

/// The claims of a token.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Claims(Map<String, Value>);

impl Claims {
    /// A claim that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// A claim.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Whether the token is for this audience.
    pub fn is_for(&self, audience: &str) -> bool {
        match self.0.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(several)) => several.iter().any(|one| one == audience),
            _ => false,
        }
    }

    /// When the token expires.
    ///
    /// # Errors
    /// When it does not say so.
    pub fn expires_at(&self) -> Result<Timestamp, TokenError> {
        self.time("exp")?.ok_or(TokenError::Claim("exp"))
    }

    /// When the person last proved to the issuer who they are, if it tells.
    pub fn authenticated_at(&self) -> Option<Timestamp> {
        self.time("auth_time").ok().flatten()
    }

    /// Checks that the token has the claims that every ID token has, is of this issuer, and is valid now.
    ///
    /// # Errors
    /// When a claim is missing or malformed, or the time is not right.
    pub(super) fn validate(&self, issuer: &str, now: Timestamp) -> Result<(), TokenError> {
        if self.text("iss") != Some(issuer) {
            return Err(TokenError::Claim("iss"));
        }
        if self.text("sub").is_none_or(str::is_empty) {
            return Err(TokenError::Claim("sub"));
        }
        if !matches!(self.0.get("aud"), Some(Value::String(_) | Value::Array(_))) {
            return Err(TokenError::Claim("aud"));
        }
        if self.expires_at()?.after(LEEWAY) <= now {
            return Err(TokenError::Expired);
        }
        for name in ["nbf", "iat"] {
            if self.time(name)?.is_some_and(|at| at > now.after(LEEWAY)) {
                return Err(TokenError::NotYet);
            }
        }
        Ok(())
    }

    /// A claim that is a time in seconds (RFC 7519, NumericDate).
    fn time(&self, name: &'static str) -> Result<Option<Timestamp>, TokenError> {
        let Some(value) = self.0.get(name) else {
            return Ok(None);
        };
        let seconds = value
            .as_i64()
            .or_else(|| value.as_f64().map(|seconds| seconds as i64))
            .filter(|seconds| (0..=MAX_SECONDS).contains(seconds))
            .ok_or(TokenError::Claim(name))?;
        Ok(Some(Timestamp::from_millis(seconds * 1000)))
    }
}

/// The end of the year 9999.
const MAX_SECONDS: i64 = 253_402_300_799;
