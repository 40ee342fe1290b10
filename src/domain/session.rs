//! Sessions of people who are signed in.

use serde::Serialize;
use ulid::Ulid;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::domain::caller::{CallerIdentity, Person};
use crate::domain::role::Role;
use crate::domain::scope::Scope;

/// A session of a person who is signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Session {
    /// The ID of the session.
    #[schema(value_type = String)]
    pub id: Ulid,
    /// The name of the caller, as jobs and the audit show it.
    #[schema(example = "oidc:ana@example.com#5f1c0d6f0b")]
    pub name: String,
    /// The person, as the identity provider knows them.
    pub identity: CallerIdentity,
    /// What the person may do.
    pub role: Role,
    /// The apps and accounts that the role is for. Absent for all.
    #[serde(skip_serializing_if = "Scope::is_all")]
    #[schema(required = false)]
    pub scope: Scope,
    /// When the session began.
    pub created_at: Timestamp,
    /// When the person last proved to the identity provider who they are. Absent if it does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authenticated_at: Option<Timestamp>,
    /// When the session was last used, to within a minute.
    pub used_at: Timestamp,
    /// When the session ends, however much it is used.
    pub expires_at: Timestamp,
}

impl Session {
    /// Whose session it is.
    pub fn person(&self) -> Person {
        Person {
            issuer: self.identity.issuer.clone(),
            subject: self.identity.subject.clone(),
        }
    }
}
