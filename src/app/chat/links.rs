//! Ties chat users to people.
//!
//! Invariants:
//! - A code is for one chat user, can be used once and within ten minutes, and is stored as a hash.
//! - Only a person who has just signed in links a chat user.
//! - A link is good for a time after the person's last sign-in, which also decides role and scope.

use std::time::Duration;

use ulid::Ulid;

use crate::app::error::UseCaseError;
use crate::app::service::Service;
use crate::app::sessions::require_recent_sign_in;
use crate::app::tokens::{random_hex, require_within};
use crate::clock::Timestamp;
use crate::domain::caller::Caller;
use crate::domain::chat::{ChatLink, ChatUser};
use crate::domain::role::Role;
use crate::domain::session::Session;
use crate::store::{ChatCode, StoreError, fingerprint};

/// How long a code can be used.
pub const CODE_LIFETIME: Duration = Duration::from_secs(10 * 60);
const MAX_USER_NAME: usize = 80;

/// Who a chat user is now.
pub enum Standing {
    /// A caller.
    Linked(Box<Caller>),
    /// The person has to sign in again first.
    Expired,
    /// Nobody.
    Unlinked,
}

/// Begins to link a chat user. Returns the URL by which the person does so.
///
/// # Errors
/// When nobody can sign in, or the database is not available.
pub async fn begin(
    service: &Service,
    user: ChatUser,
    user_name: &str,
) -> Result<String, UseCaseError> {
    let code = random_hex::<32>()?;
    let visible = user_name.chars().filter(|c| !c.is_control());
    let new = ChatCode {
        user,
        user_name: visible.take(MAX_USER_NAME).collect(),
        expires_at: service.clock.now().after(CODE_LIFETIME),
    };
    service.store.add_chat_code(hash(&code), new).await?;
    page_url(service, &format!("/console/chat?code={code}")).ok_or(UseCaseError::Defect)
}

/// The URL of a page of the console.
pub fn page_url(service: &Service, path: &str) -> Option<String> {
    let sign_in = service.sign_in.as_ref()?;
    Some(sign_in.public_url.join(path))
}

/// The stored hash of a code. Never that of a token or session.
fn hash(code: &str) -> String {
    fingerprint(&[b"chat code", code.as_bytes()])
}

/// Who wants to be linked by a code.
///
/// # Errors
/// When there is no such code, or it has expired.
pub async fn find_code(service: &Service, code: &str) -> Result<ChatCode, UseCaseError> {
    let found = service.store.chat_code(&hash(code)).await?;
    found.ok_or(UseCaseError::NoSuch("code"))
}

/// Ties the chat user of a code to the person who is signed in.
///
/// # Errors
/// When there is no such code, or the person did not sign in a moment ago.
pub async fn link(
    service: &Service,
    caller: &Caller,
    code: &str,
) -> Result<ChatLink, UseCaseError> {
    require_recent_sign_in(service, caller)?;
    let (Some(session), Some(identity)) = (&caller.session, &caller.identity) else {
        let why = "Only a person who has signed in can be linked to a chat user.";
        return Err(UseCaseError::OutOfScope(why.into()));
    };
    let now = service.clock.now();
    let person = Session {
        id: session.id,
        name: caller.name.clone(),
        identity: identity.clone(),
        role: caller.role,
        scope: caller.scope.clone(),
        created_at: now,
        authenticated_at: session.authenticated_at,
        used_at: now,
        expires_at: now,
    };
    let id = service.clock.new_id();
    let linked = service.store.link_chat_user(hash(code), id, person);
    linked.await?.ok_or(UseCaseError::NoSuch("code"))
}

/// The links that the caller may see: those of the same person, and for an admin those that he or she could grant.
///
/// # Errors
/// When the database is not available.
pub async fn list(service: &Service, caller: &Caller) -> Result<Vec<ChatLink>, StoreError> {
    if caller.role == Role::Admin {
        let mut links = service.store.chat_links(None).await?;
        links.retain(|link| {
            caller.person == Some(link.person())
                || require_within(caller, link.role, &link.scope).is_ok()
        });
        return Ok(links);
    }
    match &caller.person {
        Some(person) => service.store.chat_links(Some(person)).await,
        None => Ok(Vec::new()),
    }
}

/// Ends a link that the caller may see.
///
/// # Errors
/// When there is no such link.
pub async fn unlink(service: &Service, caller: &Caller, id: Ulid) -> Result<(), UseCaseError> {
    let links = list(service, caller).await?;
    let is_visible = links.iter().any(|link| link.id == id);
    if is_visible && service.store.unlink_chat_user(id, &caller.name).await? {
        Ok(())
    } else {
        Err(UseCaseError::NoSuch("link"))
    }
}

/// Ends the link of a chat user, who asks for it; `false` if there was none.
///
/// # Errors
/// When the database is not available.
pub async fn unlink_user(service: &Service, user: &ChatUser) -> Result<bool, StoreError> {
    match service.store.chat_link(user).await? {
        Some(link) => service.store.unlink_chat_user(link.id, &link.name).await,
        None => Ok(false),
    }
}

/// Until when a link is good.
pub fn expiry(service: &Service, link: &ChatLink) -> Timestamp {
    link.signed_in_at.after(service.settings.chat_link_lifetime)
}

/// Who a chat user is now.
///
/// # Errors
/// When the database is not available.
pub async fn standing(service: &Service, user: &ChatUser) -> Result<Standing, StoreError> {
    let issuer = service.sign_in.as_ref().map(|it| &it.settings.issuer);
    let link = service.store.chat_link(user).await?;
    let Some(link) = link.filter(|link| issuer == Some(&link.identity.issuer)) else {
        return Ok(Standing::Unlinked);
    };
    let expires_at = expiry(service, &link);
    if service.clock.now() < expires_at {
        Ok(Standing::Linked(Box::new(link.caller(expires_at))))
    } else {
        Ok(Standing::Expired)
    }
}
