//! Signs people in at a terminal, which has no browser of its own: the device flow (RFC 8628).
//!
//! Invariants:
//! - The terminal talks to this service alone, which has the client's secret.
//! - The token allows what a session of the same person would, and lasts no longer. It is a sign-in for chat, too.

use std::time::Duration;

use crate::app::error::{GrantError, UseCaseError};
use crate::app::identity_provider::SignIn;
use crate::app::service::{Service, token_hash};
use crate::app::sign_in::{SignInError, session_for, verify};
use crate::app::token_exchange::Granted;
use crate::app::tokens::new_token;
use crate::oidc::{DeviceAuthorization, RedeemError};
use crate::store::NewTokenRow;

const NOT_CONFIGURED: UseCaseError = UseCaseError::NoSuch("sign-in at a terminal");

/// Begins a sign-in.
///
/// # Errors
/// When sign-in is not configured, or the provider has no device flow or does not answer.
pub async fn begin(service: &Service) -> Result<DeviceAuthorization, UseCaseError> {
    let sign_in = service.sign_in.as_ref().ok_or(NOT_CONFIGURED)?;
    let begun = sign_in.provider.authorize_device(&sign_in.settings.scopes);
    begun.await.map_err(refused)?.ok_or(NOT_CONFIGURED)
}

/// A token for the person who has signed in, and how long it is valid.
///
/// # Errors
/// When nobody has signed in yet, the person may do nothing, or the provider does not answer.
pub async fn complete(
    service: &Service,
    device_code: &str,
) -> Result<(Granted, Duration), UseCaseError> {
    let sign_in = service.sign_in.as_ref().ok_or(NOT_CONFIGURED)?;
    let redeemed = sign_in.provider.redeem_device(device_code).await;
    let id_token = redeemed.map_err(refused)?;
    let granted = grant(service, sign_in, &id_token).await?;
    Ok((granted, sign_in.settings.session_lifetime))
}

async fn grant(
    service: &Service,
    sign_in: &SignIn,
    id_token: &str,
) -> Result<Granted, UseCaseError> {
    let claims = verify(service, sign_in, id_token).await.map_err(denied)?;
    let session = session_for(service, sign_in, &claims, None).await;
    let session = session.map_err(denied)?;
    service.store.renew_chat_links(&session).await?;
    let token = new_token()?;
    let row = service
        .store
        .add_token(NewTokenRow {
            hash: token_hash(&token),
            created_by: session.name.clone(),
            person: Some(session.person()),
            name: session.name,
            role: session.role,
            scope: session.scope,
            identity: Some(session.identity),
            expires_at: Some(session.expires_at),
        })
        .await?;
    Ok(Granted { token, row })
}

/// What the provider's answer means to the terminal (RFC 8628, 3.5).
fn refused(error: RedeemError) -> UseCaseError {
    let refused = match error {
        RedeemError::Unavailable(error) => {
            tracing::warn!(%error, "the identity provider does not answer");
            GrantError::ProviderUnavailable
        }
        RedeemError::Refused(code) => match code.as_str() {
            "authorization_pending" => GrantError::Pending,
            "slow_down" => GrantError::SlowDown,
            "expired_token" | "invalid_grant" => GrantError::Expired,
            // The provider does not let this client use the device flow.
            "unauthorized_client" | "invalid_client" | "unsupported_grant_type" => {
                return NOT_CONFIGURED;
            }
            code => GrantError::Denied(format!("The identity provider answers {code}.")),
        },
    };
    refused.into()
}

fn denied(error: SignInError) -> UseCaseError {
    match error {
        SignInError::Unavailable(error) => refused(RedeemError::Unavailable(error)),
        SignInError::Store(error) => error.into(),
        error => {
            let text = error.to_string();
            let mut chars = text.chars();
            let first = chars.next().map(|c| c.to_uppercase().collect::<String>());
            GrantError::Denied(format!("{}{}.", first.unwrap_or_default(), chars.as_str())).into()
        }
    }
}
