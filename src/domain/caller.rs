//! Who sends a request, and who is behind it.

use serde::{Deserialize, Serialize};
use ulid::Ulid;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::domain::role::Role;
use crate::domain::scope::Scope;

/// The issuer of persons that an identity provider does not vouch for: the holders of plain tokens.
const OWN_ISSUER: &str = "slipway";

/// Who or what is behind a token or a session, as its identity provider says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CallerIdentity {
    /// The identity provider.
    #[schema(example = "https://token.actions.githubusercontent.com")]
    pub issuer: String,
    /// The subject, unique for the identity provider.
    #[schema(example = "repo:acme/shop:environment:production")]
    pub subject: String,
    /// What the identity provider calls the person. It is not unique, and can change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "Ana Example")]
    pub name: Option<String>,
    /// The run or job of the pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "https://github.com/acme/shop/actions/runs/1234567890")]
    pub run_url: Option<String>,
}

/// A person, for comparisons: two callers with the same person are the same, by whatever token they come.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Person {
    /// Who vouches for the subject.
    pub issuer: String,
    /// Unique for the issuer, and stable. Never an e-mail address.
    pub subject: String,
}

impl Person {
    /// The unknown holder of a token that nobody known created.
    pub fn holder_of(token: &str) -> Self {
        Self {
            issuer: OWN_ISSUER.into(),
            subject: token.into(),
        }
    }
}

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The id of the token or session: names need not be unique.
    pub id: String,
    /// The name, recorded as `requested_by`.
    pub name: String,
    /// What the caller may do.
    pub role: Role,
    /// Where.
    pub scope: Scope,
    /// Who or what is behind the token or session. `None` for a plain token.
    pub identity: Option<CallerIdentity>,
    /// The person: that of the sign-in or pipeline, or for a plain token that of its creator. A token that the bootstrap
    /// token created is a person of its own. `None` for the bootstrap token.
    pub person: Option<Person>,
    /// When the token expires. What it creates may not outlive it. `None` for a session: a person who is signed in may
    /// create tokens that last longer.
    pub expires_at: Option<Timestamp>,
    /// The session of a person who is signed in. `None` for a token.
    pub session: Option<CallerSession>,
    /// Whether every job that the caller requests waits for an approval.
    pub proposes: bool,
}

/// The session by which a person calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerSession {
    /// The id of the session.
    pub id: Ulid,
    /// When the person last proved to the identity provider who they are. `None` if it does not tell.
    pub authenticated_at: Option<Timestamp>,
}

impl Caller {
    /// The holder of the bootstrap token.
    pub fn bootstrap(name: &str) -> Self {
        Self {
            id: name.into(),
            name: name.into(),
            role: Role::Admin,
            scope: Scope::default(),
            identity: None,
            person: None,
            expires_at: None,
            session: None,
            proposes: false,
        }
    }
}
