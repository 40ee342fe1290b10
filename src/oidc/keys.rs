//! The keys of issuers, cached.
//!
//! Invariants:
//! - No lock is held while an issuer is asked. Whoever needs its keys meanwhile waits for the same answer.
//! - An issuer is asked at most once per interval, also after a failure, whatever the tokens say.
//! - A key that cannot be read is left out and disturbs no other.
//! - Keys are used for a bounded time after their issuer last answered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use serde_json::Value;
use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::oidc::fetch::{FetchError, Fetcher};
use crate::oidc::token::{Algorithm, Claims, IdToken, TokenError};

/// Keys of one issuer.
const MAX_KEYS: usize = 100;

/// How long keys are used, and how often they are fetched.
#[derive(Debug, Clone, Copy)]
pub struct KeyCacheLimits {
    /// The time between two fetches from one issuer.
    pub interval: Duration,
    /// The age at which keys are fetched again.
    pub fresh_for: Duration,
    /// The age at which keys are not used any more.
    pub usable_for: Duration,
}

impl Default for KeyCacheLimits {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60),
            fresh_for: Duration::from_secs(3600),
            usable_for: Duration::from_secs(24 * 3600),
        }
    }
}

/// Why a token is not verified.
#[derive(Debug, Clone, thiserror::Error)]
pub enum VerifyError {
    /// The token is not valid.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// No key of the issuer has made the signature.
    #[error("The token's signature is not one of its issuer.")]
    Signature,
    /// The issuer does not give its keys.
    #[error("The issuer's keys cannot be fetched now.")]
    Unavailable,
}

/// A public key of an issuer.
#[derive(Debug, Clone)]
struct Key {
    id: Option<String>,
    material: Material,
}

#[derive(Debug, Clone)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point.
    P256(Vec<u8>),
}

impl Key {
    /// Reads a JSON web key; `None` if it is of another kind or use, or malformed.
    fn read(key: &Value) -> Option<Self> {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        if text("use").is_some_and(|used| used != "sig") {
            return None;
        }
        let is_of = |algorithm| text("alg").is_none_or(|named| named == algorithm);
        let material = match (text("kty")?, text("crv")) {
            ("RSA", _) if is_of("RS256") => Material::Rsa {
                n: bytes("n")?,
                e: bytes("e")?,
            },
            ("EC", Some("P-256")) if is_of("ES256") => {
                let (x, y) = (bytes("x")?, bytes("y")?);
                if x.len() != 32 || y.len() != 32 {
                    return None;
                }
                Material::P256([vec![4], x, y].concat())
            }
            _ => return None,
        };
        Some(Self {
            id: text("kid").map(str::to_owned),
            material,
        })
    }

    fn is_for(&self, token: &IdToken) -> bool {
        let fits = matches!(
            (&self.material, token.algorithm),
            (Material::Rsa { .. }, Algorithm::Rs256) | (Material::P256(_), Algorithm::Es256)
        );
        fits && (token.key_id.is_none() || self.id == token.key_id)
    }

    fn has_signed(&self, token: &IdToken) -> bool {
        let signed = token.signed().as_bytes();
        match &self.material {
            Material::Rsa { n, e } => RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA256, signed, &token.signature)
                .is_ok(),
            Material::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .verify(signed, &token.signature)
                .is_ok(),
        }
    }
}

/// What an issuer last published.
#[derive(Clone)]
struct KeySet {
    keys: Arc<[Key]>,
    fetched_at: Instant,
}

type Fetch = Shared<BoxFuture<'static, Result<KeySet, FetchError>>>;

#[derive(Default)]
struct Issuer {
    published: Option<KeySet>,
    tried_at: Option<Instant>,
    /// The fetch under way, with its number.
    under_way: Option<(u64, Fetch)>,
    fetches: u64,
}

/// The keys of all issuers that were asked.
pub struct KeyCache {
    fetcher: Fetcher,
    limits: KeyCacheLimits,
    issuers: Mutex<HashMap<String, Issuer>>,
}

impl KeyCache {
    /// An empty cache. `allow_http` accepts issuers at http on this machine, for tests.
    pub fn new(limits: KeyCacheLimits, allow_http: bool) -> Self {
        Self {
            fetcher: Fetcher::new(allow_http),
            limits,
            issuers: Mutex::default(),
        }
    }

    /// The claims of a token of this issuer, which the caller trusts.
    ///
    /// # Errors
    /// When the token is not one of the issuer, is not valid now, or the issuer's keys cannot be fetched.
    pub async fn verify(
        &self,
        issuer: &str,
        token: IdToken,
        now: Timestamp,
    ) -> Result<Claims, VerifyError> {
        if token.unverified_issuer() != Some(issuer) {
            return Err(TokenError::Claim("iss").into());
        }
        let keys = self.keys_for(issuer, &token).await?;
        let is_signed = keys
            .iter()
            .any(|key| key.is_for(&token) && key.has_signed(&token));
        if !is_signed {
            return Err(VerifyError::Signature);
        }
        let claims = token.into_claims();
        claims.validate(issuer, now)?;
        Ok(claims)
    }

    /// The keys to verify a token with: the cached ones, or if they are old or do not have the token's key, newer ones.
    async fn keys_for(&self, issuer: &str, token: &IdToken) -> Result<Arc<[Key]>, VerifyError> {
        let cached = self.usable(issuer);
        let will_do = cached.as_ref().is_some_and(|set| {
            set.fetched_at.elapsed() < self.limits.fresh_for
                && set.keys.iter().any(|key| key.is_for(token))
        });
        let fetched = match will_do {
            true => None,
            false => self.fetch(issuer).await,
        };
        fetched
            .or(cached)
            .map(|set| set.keys)
            .ok_or(VerifyError::Unavailable)
    }

    fn usable(&self, issuer: &str) -> Option<KeySet> {
        self.lock()
            .get(issuer)?
            .published
            .clone()
            .filter(|set| set.fetched_at.elapsed() < self.limits.usable_for)
    }

    /// Fetches the keys, or waits for whoever is fetching them. `None` if that failed, or they were asked for just now.
    async fn fetch(&self, issuer: &str) -> Option<KeySet> {
        let (number, fetch) = self.start(issuer)?;
        let fetched = fetch.await;
        let mut issuers = self.lock();
        let entry = issuers.get_mut(issuer)?;
        if entry
            .under_way
            .as_ref()
            .is_some_and(|(under_way, _)| *under_way == number)
        {
            entry.under_way = None;
            match &fetched {
                Ok(set) => entry.published = Some(set.clone()),
                Err(error) => tracing::warn!(issuer, %error, "the issuer's keys were not fetched"),
            }
        }
        fetched.ok()
    }

    fn start(&self, issuer: &str) -> Option<(u64, Fetch)> {
        let mut issuers = self.lock();
        let entry = issuers.entry(issuer.to_owned()).or_default();
        if let Some(under_way) = &entry.under_way {
            return Some(under_way.clone());
        }
        if entry
            .tried_at
            .is_some_and(|at| at.elapsed() < self.limits.interval)
        {
            return None;
        }
        entry.tried_at = Some(Instant::now());
        entry.fetches += 1;
        let fetch = fetch(self.fetcher.clone(), issuer.to_owned())
            .boxed()
            .shared();
        entry.under_way = Some((entry.fetches, fetch.clone()));
        Some((entry.fetches, fetch))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Issuer>> {
        self.issuers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn fetch(fetcher: Fetcher, issuer: String) -> Result<KeySet, FetchError> {
    let keys = fetcher.keys(&issuer).await?;
    let keys: Vec<Key> = keys.iter().filter_map(Key::read).take(MAX_KEYS).collect();
    if keys.is_empty() {
        return Err(FetchError::new(&issuer, "no key for RS256 or ES256"));
    }
    Ok(KeySet {
        keys: keys.into(),
        fetched_at: Instant::now(),
    })
}
