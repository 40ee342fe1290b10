//! Signs people in with the organisation's identity provider: authorization code flow with PKCE.
//!
//! Invariants:
//! - A sign-in ends in the browser that began it, within [`SIGN_IN_TIMEOUT`], and with the provider that it began with.
//! - A code is redeemed with a secret that only this service and, sealed, that browser hold.
//! - Each sign-in is a new session with a new id, whatever session the browser had before.
//! - Who a person is follows from the verified ID token alone.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::app::identity_provider::SignIn;
use crate::app::service::Service;
use crate::app::tokens::{VOUCHED_PREFIX, random_hex};
use crate::clock::Timestamp;
use crate::domain::caller::{CallerIdentity, Person};
use crate::domain::session::Session;
use crate::domain::sign_in::{RECENT, ReturnTo};
use crate::oidc::{Claims, FetchError, IdToken, RedeemError, VerifyError};
use crate::outbound::form;
use crate::store::{NewSession, StoreError, fingerprint};
use crate::vault::{SecretOwner, VaultError};

/// How long a sign-in may take.
pub const SIGN_IN_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// Where the provider sends browsers back to.
pub const CALLBACK_PATH: &str = "/auth/callback";
/// Where browsers go after they have signed out.
pub const SIGNED_OUT_PATH: &str = "/auth/signed-out";

/// Why somebody is not signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Sign-in is not configured.
    #[error("Sign-in is not configured.")]
    NotConfigured,
    /// The browser has no sign-in under way, or began it too long ago.
    #[error("no sign-in is under way in this browser, or it began too long ago")]
    NotUnderWay,
    /// The answer belongs to another sign-in.
    #[error("the state is not that of the sign-in of this browser")]
    State,
    /// The answer is of another provider, or does not say of which.
    #[error("the answer is not one of the issuer")]
    Issuer,
    /// The provider has not signed the person in.
    #[error("the identity provider answers {0}")]
    Denied(String),
    /// The provider does not accept the code.
    #[error("the code was not accepted: {0}")]
    Code(String),
    /// The ID token is not valid.
    #[error("the ID token was not accepted: {0}")]
    Token(String),
    /// A sign-in was asked for anew, and the provider does not say that it took place.
    #[error("the ID token has no recent auth_time")]
    NotRecent,
    /// The person is in no group that may do anything.
    #[error("{0} is in no group of the settings")]
    NoGroup(String),
    /// The provider does not answer.
    #[error("the identity provider does not answer: {0}")]
    Unavailable(FetchError),
    /// The database is not available.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state of the sign-in cannot be sealed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<FetchError> for SignInError {
    fn from(error: FetchError) -> Self {
        Self::Unavailable(error)
    }
}

impl From<RedeemError> for SignInError {
    fn from(error: RedeemError) -> Self {
        match error {
            RedeemError::Refused(why) => Self::Code(why),
            RedeemError::Unavailable(error) => Self::Unavailable(error),
        }
    }
}

/// A sign-in under way, as the browser keeps it.
#[derive(Serialize, Deserialize)]
struct UnderWay {
    state: String,
    nonce: String,
    verifier: String,
    return_to: String,
    fresh: bool,
    /// In milliseconds.
    expires_at: i64,
}

/// A sign-in that has begun.
pub struct Begun {
    /// Where to send the browser.
    pub url: String,
    /// What the browser has to keep meanwhile.
    pub cookie: String,
}

/// What the provider sent back by the browser.
#[derive(Debug, Clone, Copy, Default)]
pub struct Callback<'a> {
    /// The code.
    pub code: Option<&'a str>,
    /// The state.
    pub state: Option<&'a str>,
    /// The issuer (RFC 9207).
    pub issuer: Option<&'a str>,
    /// Why there is no code.
    pub error: Option<&'a str>,
}

/// A sign-in that has succeeded.
pub struct SignedIn {
    /// What the browser's cookie holds. Shown once.
    pub key: String,
    /// Where to send the browser.
    pub return_to: ReturnTo,
}

/// The sealed state of a sign-in belongs to no credential.
const OWNER: SecretOwner<'static> = SecretOwner {
    credential: ulid::Ulid::nil(),
    access_key_id: "a sign-in under way",
};

/// The stored hash of what a session's cookie holds. Never that of an API token.
pub fn session_hash(key: &str) -> String {
    fingerprint(&[b"session", key.as_bytes()])
}

/// Begins a sign-in. A `fresh` one has the person prove anew who they are.
///
/// # Errors
/// When sign-in is not configured, or the provider does not answer.
pub async fn begin(
    service: &Service,
    return_to: &ReturnTo,
    fresh: bool,
) -> Result<Begun, SignInError> {
    let sign_in = service.sign_in.as_ref().ok_or(SignInError::NotConfigured)?;
    let endpoints = sign_in.provider.endpoints().await?;
    let under_way = UnderWay {
        state: random_hex::<32>()?,
        nonce: random_hex::<32>()?,
        verifier: random_hex::<32>()?,
        return_to: return_to.as_str().into(),
        fresh,
        expires_at: service.clock.now().after(SIGN_IN_TIMEOUT).millis(),
    };
    let challenge = digest(&SHA256, under_way.verifier.as_bytes());
    let challenge = URL_SAFE_NO_PAD.encode(challenge);
    let redirect_uri = sign_in.public_url.join(CALLBACK_PATH);
    let mut fields = vec![
        ("response_type", "code"),
        ("client_id", sign_in.provider.client.id.as_str()),
        ("redirect_uri", &redirect_uri),
        ("scope", &sign_in.settings.scopes),
        ("state", &under_way.state),
        ("nonce", &under_way.nonce),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    if fresh {
        // Both say the same. Some providers send `auth_time` only when `max_age` is given.
        fields.extend([("prompt", "login"), ("max_age", "0")]);
    }
    let authorization = &endpoints.authorization;
    let separator = if authorization.contains('?') {
        '&'
    } else {
        '?'
    };
    Ok(Begun {
        url: format!("{authorization}{separator}{}", form(&fields)),
        cookie: seal(service, &under_way)?,
    })
}

fn seal(service: &Service, under_way: &UnderWay) -> Result<String, SignInError> {
    let text = serde_json::to_string(under_way).map_err(|_| VaultError::CannotSeal)?;
    let sealed = service.vault.seal(&text.into(), OWNER)?;
    let id = service.vault.id();
    Ok(format!("{id}.{}", URL_SAFE_NO_PAD.encode(sealed)))
}

fn open(service: &Service, cookie: &str) -> Option<UnderWay> {
    let (id, sealed) = cookie.split_once('.')?;
    let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
    let text = service.vault.open(id, &sealed, OWNER).ok()?;
    let under_way: UnderWay = serde_json::from_str(text.expose_secret()).ok()?;
    (service.clock.now().millis() < under_way.expires_at).then_some(under_way)
}

/// Completes a sign-in with what the provider sent back, and starts a session. The session of `earlier` ends.
///
/// # Errors
/// When the answer is not one to the sign-in of this browser, or the person may do nothing.
pub async fn complete(
    service: &Service,
    callback: Callback<'_>,
    cookie: Option<&str>,
    earlier: Option<String>,
) -> Result<SignedIn, SignInError> {
    let sign_in = service.sign_in.as_ref().ok_or(SignInError::NotConfigured)?;
    let under_way = cookie
        .and_then(|cookie| open(service, cookie))
        .ok_or(SignInError::NotUnderWay)?;
    let code = code_of(sign_in, callback, &under_way).await?;
    let redirect_uri = sign_in.public_url.join(CALLBACK_PATH);
    let redeemed = sign_in
        .provider
        .redeem(code, &under_way.verifier, &redirect_uri);
    let id_token = redeemed.await?;
    let claims = verify(service, sign_in, &id_token).await?;
    let nonce = claims.text("nonce").unwrap_or_default();
    verify_slices_are_equal(nonce.as_bytes(), under_way.nonce.as_bytes())
        .map_err(|_| SignInError::Token("its nonce is not that of the sign-in".into()))?;
    let now = service.clock.now();
    // A clock of the provider that is ahead does not make a sign-in last longer.
    let authenticated_at = claims.authenticated_at().map(|at| at.min(now));
    if under_way.fresh && !is_recent(authenticated_at, now) {
        return Err(SignInError::NotRecent);
    }
    let session = session_for(service, sign_in, &claims, authenticated_at).await?;
    let key = random_hex::<32>()?;
    service
        .store
        .start_session(NewSession {
            hash: session_hash(&key),
            session,
            replaces: earlier,
        })
        .await?;
    Ok(SignedIn {
        key,
        return_to: ReturnTo::parse(&under_way.return_to).unwrap_or_default(),
    })
}

/// The code that the provider answers with, if it is an answer to this sign-in.
async fn code_of<'a>(
    sign_in: &SignIn,
    callback: Callback<'a>,
    under_way: &UnderWay,
) -> Result<&'a str, SignInError> {
    let state = callback.state.unwrap_or_default();
    verify_slices_are_equal(state.as_bytes(), under_way.state.as_bytes())
        .map_err(|_| SignInError::State)?;
    // Another provider could pass its code off as one of this, or lead this service to redeem a code there (RFC 9207).
    let expects_issuer = sign_in.provider.endpoints().await?.sends_issuer;
    match callback.issuer {
        Some(issuer) if issuer == sign_in.provider.client.issuer => {}
        None if !expects_issuer => {}
        _ => return Err(SignInError::Issuer),
    }
    if let Some(error) = callback.error {
        return Err(SignInError::Denied(error.to_owned()));
    }
    callback
        .code
        .ok_or_else(|| SignInError::Denied("no code".into()))
}

/// The claims of the ID token, if it is one for this service (OpenID Connect Core 1.0, 3.1.3.7).
pub(super) async fn verify(
    service: &Service,
    sign_in: &SignIn,
    text: &str,
) -> Result<Claims, SignInError> {
    let refused = |why: &str| SignInError::Token(why.to_owned());
    let client = &sign_in.provider.client;
    let token = IdToken::parse(text).map_err(|error| refused(&error.to_string()))?;
    let now = service.clock.now();
    let verified = service.issuer_keys.verify(&client.issuer, token, now).await;
    let claims = verified.map_err(|error| match error {
        VerifyError::Unavailable => SignInError::Unavailable(FetchError::of_keys(&client.issuer)),
        error => refused(&error.to_string()),
    })?;
    if !claims.is_for(&client.id) {
        return Err(refused("it is for another client"));
    }
    let several = claims.get("aud").and_then(Value::as_array);
    match claims.get("azp") {
        Some(party) if party != client.id.as_str() => {
            return Err(refused("it was issued to another client"));
        }
        None if several.is_some_and(|audience| audience.len() > 1) => {
            return Err(refused("it does not say to which client it was issued"));
        }
        _ => {}
    }
    Ok(claims)
}

/// The session of whoever signs in. Who may do nothing by a sign-in may do nothing by chat.
pub(super) async fn session_for(
    service: &Service,
    sign_in: &SignIn,
    claims: &Claims,
    authenticated_at: Option<Timestamp>,
) -> Result<Session, SignInError> {
    let session = session_of(sign_in, claims, authenticated_at, service.clock.now());
    if let Err(SignInError::NoGroup(_)) = session {
        unlink(service, sign_in, claims).await?;
    }
    session
}

/// Ends the links of chat users to a person.
async fn unlink(service: &Service, sign_in: &SignIn, claims: &Claims) -> Result<(), StoreError> {
    let identity = identity(&sign_in.provider.client.issuer, claims);
    let name = caller_name(&identity, claims);
    let person = Person {
        issuer: identity.issuer,
        subject: identity.subject,
    };
    service.store.unlink_person(person, &name).await.map(drop)
}

/// What a person may do from now on, by the groups in the ID token.
fn session_of(
    sign_in: &SignIn,
    claims: &Claims,
    authenticated_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<Session, SignInError> {
    let settings = &sign_in.settings;
    let identity = identity(&sign_in.provider.client.issuer, claims);
    let name = caller_name(&identity, claims);
    let groups = groups(claims, &settings.groups_claim);
    let rule = settings
        .rule_for(&groups)
        .ok_or_else(|| SignInError::NoGroup(label(claims).to_owned()))?;
    Ok(Session {
        id: ulid::Ulid::generate(),
        name,
        identity,
        role: rule.role,
        scope: rule.scope.clone(),
        created_at: now,
        authenticated_at,
        used_at: now,
        expires_at: now.after(settings.session_lifetime),
    })
}

fn groups<'a>(claims: &'a Claims, name: &str) -> Vec<&'a str> {
    match claims.get(name) {
        Some(Value::String(group)) => vec![group],
        Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn identity(issuer: &str, claims: &Claims) -> CallerIdentity {
    let name = claims.text("name").unwrap_or_else(|| label(claims));
    CallerIdentity {
        issuer: issuer.to_owned(),
        subject: claims.text("sub").unwrap_or_default().to_owned(),
        name: Some(visible(name, 100, |_| true)),
        run_url: None,
    }
}

/// What people know the person by: an address that the provider has verified, or else a name.
fn label(claims: &Claims) -> &str {
    let is_verified = claims.get("email_verified") == Some(&Value::Bool(true));
    let address = claims.text("email").filter(|_| is_verified);
    let named = ["preferred_username", "name", "sub"];
    address
        .or_else(|| named.into_iter().find_map(|name| claims.text(name)))
        .unwrap_or_default()
}

/// The name of the caller: a label to read, and a digest by which it is one person's alone. A person can choose a label.
fn caller_name(identity: &CallerIdentity, claims: &Claims) -> String {
    let digest = fingerprint(&[identity.issuer.as_bytes(), identity.subject.as_bytes()]);
    let is_plain = |c: char| c.is_alphanumeric() || "@.+-_".contains(c);
    let label = visible(label(claims), 40, is_plain);
    let digest: String = digest.chars().take(10).collect();
    format!("{VOUCHED_PREFIX}{label}#{digest}")
}

fn visible(text: &str, most: usize, is_allowed: impl Fn(char) -> bool) -> String {
    let allowed = |c: char| {
        if c.is_control() || !is_allowed(c) {
            '_'
        } else {
            c
        }
    };
    text.chars().take(most).map(allowed).collect()
}

/// Whether the person proved just now who they are.
pub fn is_recent(authenticated_at: Option<Timestamp>, now: Timestamp) -> bool {
    authenticated_at.is_some_and(|at| now.since(at) < RECENT)
}

/// Where a browser goes to sign in anew, and then to come back to a path.
pub fn sign_in_again_path(return_to: &ReturnTo) -> String {
    let query = form(&[("return_to", return_to.as_str())]);
    format!("/auth/login?fresh=true&{query}")
}

/// Where people sign out of the provider, too (OpenID Connect RP-Initiated Logout 1.0). `None` if it has no such page.
pub async fn end_session_url(service: &Service) -> Option<String> {
    let sign_in = service.sign_in.as_ref()?;
    let endpoints = sign_in.provider.endpoints().await.ok()?;
    let page = endpoints.end_session.as_ref()?;
    let separator = if page.contains('?') { '&' } else { '?' };
    let back = sign_in.public_url.join(SIGNED_OUT_PATH);
    let query = form(&[
        ("client_id", &sign_in.provider.client.id),
        ("post_logout_redirect_uri", &back),
    ]);
    Some(format!("{page}{separator}{query}"))
}
