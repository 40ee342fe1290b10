//! An issuer of ID tokens with real keys, over HTTP on loopback.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub enum Key {
    Rsa(Box<RsaKeyPair>),
    Ec(Box<EcdsaKeyPair>),
}

impl Key {
    pub fn rsa() -> Self {
        Self::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()))
    }

    pub fn ec() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self::Ec(Box::new(pair))
    }

    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec(_) => "ES256",
        }
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(
                    &RSA_PKCS1_SHA256,
                    &SystemRandom::new(),
                    message,
                    &mut signature,
                )
                .unwrap();
                signature
            }
            Self::Ec(pair) => pair
                .sign(&SystemRandom::new(), message)
                .unwrap()
                .as_ref()
                .to_vec(),
        }
    }

    /// The JSON web key.
    pub fn public(&self, id: &str) -> Value {
        match self {
            Self::Rsa(pair) => {
                let (n, e) = integers(pair.public_key().as_ref());
                json!({"kty": "RSA", "kid": id, "use": "sig", "alg": "RS256", "n": encoded(n), "e": encoded(e)})
            }
            Self::Ec(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": id, "x": encoded(&point[1..33]), "y": encoded(&point[33..])})
            }
        }
    }

    /// The public key as it is published, in PKCS #1 for RSA.
    pub fn public_bytes(&self) -> Vec<u8> {
        match self {
            Self::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Self::Ec(pair) => pair.public_key().as_ref().to_vec(),
        }
    }
}

/// The modulus and the exponent in an RSAPublicKey (RFC 8017, A.1.1).
fn integers(der: &[u8]) -> (&[u8], &[u8]) {
    fn value(der: &[u8]) -> (&[u8], &[u8]) {
        let (length, header) = match der[1] {
            short @ 0..=127 => (usize::from(short), 2),
            0x81 => (usize::from(der[2]), 3),
            _ => (usize::from(der[2]) << 8 | usize::from(der[3]), 4),
        };
        der[header..].split_at(length)
    }
    let (sequence, _) = value(der);
    let (n, rest) = value(sequence);
    let (e, _) = value(rest);
    (n.strip_prefix(&[0]).unwrap_or(n), e)
}

pub fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token with this header and these claims, signed by `sign`.
pub fn token(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let signed = format!(
        "{}.{}",
        encoded(header.to_string()),
        encoded(claims.to_string())
    );
    let signature = sign(signed.as_bytes());
    format!("{signed}.{}", encoded(signature))
}

struct Published {
    issuer: String,
    jwks: Mutex<Value>,
    broken: Mutex<Option<Duration>>,
    fetches: AtomicUsize,
}

/// A running issuer.
pub struct Issuer {
    pub url: String,
    pub key: Key,
    published: Arc<Published>,
    /// Ends with the issuer.
    _server: JoinSet<()>,
}

impl Issuer {
    /// An issuer that publishes the key as `k1`.
    pub async fn start(key: Key) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let published = Arc::new(Published {
            issuer: url.clone(),
            jwks: Mutex::new(json!({"keys": [key.public("k1")]})),
            broken: Mutex::default(),
            fetches: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route("/keys", get(keys))
            .with_state(published.clone());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            key,
            published,
            _server: server,
        }
    }

    pub fn publish(&self, jwks: Value) {
        *self.published.jwks.lock().unwrap() = jwks;
    }

    /// Lets each fetch of the keys fail with 500, after a time.
    pub fn break_down(&self, after: Option<Duration>) {
        *self.published.broken.lock().unwrap() = after;
    }

    /// How often the keys were fetched.
    pub fn fetches(&self) -> usize {
        self.published.fetches.load(Ordering::SeqCst)
    }

    /// A token with these claims over the usual ones, by the issuer's key.
    pub fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": self.key.algorithm(), "kid": "k1", "typ": "JWT"});
        token(&header, &self.claims(claims), |signed| {
            self.key.sign(signed)
        })
    }

    pub fn claims(&self, over: &Value) -> Value {
        let now = now();
        let mut claims = json!({
            "iss": self.url, "aud": "slipway", "sub": "repo:acme/shop:environment:production", "jti": crate::support::unique("jti"),
            "iat": now, "nbf": now, "exp": now + 300, "repository": "acme/shop", "repository_id": "77", "environment": "production",
            "ref": "refs/heads/main", "event_name": "push", "run_id": "4711", "actor_id": "12",
        });
        for (name, value) in over.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        claims
    }
}

pub fn now() -> i64 {
    slipway::clock::Clock::default().now().millis() / 1000
}

async fn configuration(State(published): State<Arc<Published>>) -> Json<Value> {
    let issuer = &published.issuer;
    Json(json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")}))
}

async fn keys(State(published): State<Arc<Published>>) -> Result<Json<Value>, StatusCode> {
    published.fetches.fetch_add(1, Ordering::SeqCst);
    let broken = *published.broken.lock().unwrap();
    if let Some(after) = broken {
        tokio::time::sleep(after).await;
        return Err(StatusCode::INTERNAL_SERVER_ERROR);
    }
    Ok(Json(published.jwks.lock().unwrap().clone()))
}
