//! The sessions of people who are signed in.

use std::time::Duration;

use ulid::Ulid;

use crate::app::error::UseCaseError;
use crate::app::service::Service;
use crate::app::sign_in::is_recent;
use crate::app::tokens::require_within;
use crate::domain::audit::SessionEnd;
use crate::domain::caller::Caller;
use crate::domain::role::Role;
use crate::domain::session::Session;
use crate::store::StoreError;

/// The sessions that the caller may see: those of the same person, and for an admin those that he or she could grant.
///
/// # Errors
/// When the database is not available.
pub async fn list_sessions(service: &Service, caller: &Caller) -> Result<Vec<Session>, StoreError> {
    let idle = idle_timeout(service);
    if caller.role == Role::Admin {
        let mut sessions = service.store.sessions(None, idle).await?;
        sessions.retain(|session| may_see(caller, session));
        return Ok(sessions);
    }
    match &caller.person {
        Some(person) => service.store.sessions(Some(person), idle).await,
        None => Ok(Vec::new()),
    }
}

/// Ends a session that the caller may see.
///
/// # Errors
/// When there is no such session.
pub async fn revoke_session(
    service: &Service,
    caller: &Caller,
    id: Ulid,
) -> Result<(), UseCaseError> {
    let sessions = list_sessions(service, caller).await?;
    let is_visible = sessions.iter().any(|session| session.id == id);
    let revoked = is_visible
        && service
            .store
            .end_session(id, &caller.name, SessionEnd::Revoked)
            .await?;
    if revoked {
        Ok(())
    } else {
        Err(UseCaseError::NoSuch("session"))
    }
}

fn may_see(caller: &Caller, session: &Session) -> bool {
    caller.person == Some(session.person())
        || require_within(caller, session.role, &session.scope).is_ok()
}

/// How long a session may be unused.
pub fn idle_timeout(service: &Service) -> Duration {
    let sign_in = service.sign_in.as_ref();
    sign_in.map_or(Duration::ZERO, |sign_in| sign_in.settings.idle_timeout)
}

/// Fails if the caller has a session and signed in longer ago than five minutes. Secrets are shown only to people who have
/// just proved who they are, so that an unattended browser or a stolen cookie is not enough.
///
/// # Errors
/// When the person has to sign in again.
pub fn require_recent_sign_in(service: &Service, caller: &Caller) -> Result<(), UseCaseError> {
    match &caller.session {
        Some(session) if !is_recent(session.authenticated_at, service.clock.now()) => {
            Err(UseCaseError::SignInAgain)
        }
        _ => Ok(()),
    }
}

/// Ends the session with this hash, if there is one.
///
/// # Errors
/// When the database is not available.
pub async fn sign_out(service: &Service, hash: &str) -> Result<(), StoreError> {
    if let Some(caller) = caller_by_session(service, hash).await?
        && let Some(session) = caller.session
    {
        service
            .store
            .end_session(session.id, &caller.name, SessionEnd::SignedOut)
            .await?;
    }
    Ok(())
}

/// The caller whose session has this hash. `None` if it has ended, or is of an identity provider that is not configured.
///
/// # Errors
/// When the database is not available.
pub async fn caller_by_session(
    service: &Service,
    hash: &str,
) -> Result<Option<Caller>, StoreError> {
    let Some(sign_in) = &service.sign_in else {
        return Ok(None);
    };
    let (issuer, idle) = (&sign_in.settings.issuer, sign_in.settings.idle_timeout);
    service
        .store
        .caller_by_session_hash(hash, issuer, idle)
        .await
}
