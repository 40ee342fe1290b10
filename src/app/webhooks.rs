//! Webhooks: created, changed, tested and deleted within the scope of the caller.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::Value;
use ulid::Ulid;
use utoipa::ToSchema;

use crate::app::error::UseCaseError;
use crate::app::service::Service;
use crate::app::tokens::require_within;
use crate::app::webhook_payload::WebhookPayload;
use crate::clock::Timestamp;
use crate::domain::caller::Caller;
use crate::domain::role::Role;
use crate::domain::validation::{FieldError, Fields};
use crate::domain::webhook::{
    DeliveryState, EventType, Webhook, WebhookChange, WebhookSpec, WebhookState,
};
use crate::domain::webhook_signature::new_secret;
use crate::store::{
    Delivery, DeliveryFilter, MAX_WEBHOOKS, Replay, SealedWebhookSecret, StoreError,
};

/// A webhook with its signing secret. It is shown only once.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookWithSecret {
    /// The webhook.
    #[serde(flatten)]
    pub webhook: Webhook,
    /// The secret that verifies the signatures of requests, for any library of Standard Webhooks.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=")]
    pub secret: String,
}

/// A delivery of an event to a webhook.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct WebhookDelivery {
    /// The ID of the event, which requests have as `webhook-id`. It is the same for all attempts.
    #[schema(value_type = String)]
    pub id: Ulid,
    /// What has become of it.
    pub state: DeliveryState,
    /// The number of attempts, since the last replay.
    pub attempts: u32,
    /// When the last attempt was made.
    pub last_attempt_at: Option<Timestamp>,
    /// The HTTP status of the last response.
    #[schema(example = 200)]
    pub response_status: Option<u16>,
    /// Why the last attempt failed.
    #[schema(example = "The receiver replied 503.")]
    pub error: Option<String>,
    /// How long the last attempt took, in milliseconds.
    pub duration_ms: Option<u64>,
    /// What is sent.
    pub payload: WebhookPayload,
}

impl From<Delivery> for WebhookDelivery {
    fn from(delivery: Delivery) -> Self {
        Self {
            id: delivery.event.id,
            state: delivery.state,
            attempts: delivery.attempts,
            last_attempt_at: delivery.last_attempt_at,
            response_status: delivery.response_status,
            error: delivery.error,
            duration_ms: delivery.duration_ms,
            payload: WebhookPayload::of(&delivery.event),
        }
    }
}

/// How many deliveries are made again.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Replayed {
    /// The number of deliveries that are pending again.
    #[schema(example = 12)]
    pub deliveries: u64,
}

/// Creates the webhook that `body` describes.
///
/// # Errors
/// When the body has invalid fields, or the webhook would be told more than the caller may see.
pub async fn create_webhook(
    service: &Service,
    caller: &Caller,
    body: &Value,
) -> Result<WebhookWithSecret, UseCaseError> {
    let allow_http = service.settings.webhook_allow_http;
    let spec = WebhookSpec::parse(body, allow_http).map_err(UseCaseError::Fields)?;
    require_address(service, &spec.url)?;
    require_within(caller, Role::Viewer, &spec.scope)?;
    if let Some(end) = caller.expires_at {
        return Err(UseCaseError::OutOfScope(format!(
            "Your token expires at {end}. A webhook that it creates would outlive it."
        )));
    }
    let (secret, sealed) = sealed_secret(service, Ulid::generate())?;
    let created = service
        .store
        .create_webhook(spec, sealed, &caller.name)
        .await?;
    let webhook = created.ok_or_else(|| {
        let most = format!("There are {MAX_WEBHOOKS} webhooks, the maximum. Delete one first.");
        UseCaseError::Fields(vec![FieldError::new("", most)])
    })?;
    Ok(with_secret(webhook, &secret))
}

/// The webhooks whose scope is within the caller's.
///
/// # Errors
/// When the database is not available.
pub async fn list_webhooks(
    service: &Service,
    caller: &Caller,
) -> Result<Vec<Webhook>, UseCaseError> {
    let mut webhooks = service.store.webhooks().await?;
    webhooks.retain(|webhook| caller.scope.covers(&webhook.spec.scope));
    Ok(webhooks)
}

/// The webhooks whose scope is within the caller's, each with its newest delivery.
///
/// # Errors
/// When the database is not available.
pub async fn list_with_last_delivery(
    service: &Service,
    caller: &Caller,
) -> Result<Vec<(Webhook, Option<Delivery>)>, UseCaseError> {
    let webhooks = list_webhooks(service, caller).await?.into_iter();
    let mut last = service.store.last_deliveries().await?;
    Ok(webhooks
        .map(|webhook| {
            let delivery = last.remove(&webhook.id);
            (webhook, delivery)
        })
        .collect())
}

/// The webhook by this id, if its scope is within the caller's.
///
/// # Errors
/// When there is none.
pub async fn get_webhook(
    service: &Service,
    caller: &Caller,
    id: Ulid,
) -> Result<Webhook, UseCaseError> {
    let webhook = service.store.webhook(id).await?;
    webhook
        .filter(|webhook| caller.scope.covers(&webhook.spec.scope))
        .ok_or_else(none)
}

/// Changes a webhook.
///
/// # Errors
/// When there is none, the body has invalid fields, or the webhook would be told more than the caller may see.
pub async fn update_webhook(
    service: &Service,
    caller: &Caller,
    id: Ulid,
    body: &Value,
) -> Result<Webhook, UseCaseError> {
    get_webhook(service, caller, id).await?;
    let allow_http = service.settings.webhook_allow_http;
    let change = WebhookChange::parse(body, allow_http).map_err(UseCaseError::Fields)?;
    if let Some(url) = &change.url {
        require_address(service, url)?;
    }
    if let Some(scope) = &change.scope {
        require_within(caller, Role::Viewer, scope)?;
    }
    let by = caller.name.clone();
    service
        .store
        .update_webhook(id, change, by)
        .await?
        .ok_or_else(none)
}

/// Deletes a webhook with its deliveries.
///
/// # Errors
/// When there is none.
pub async fn delete_webhook(
    service: &Service,
    caller: &Caller,
    id: Ulid,
) -> Result<(), UseCaseError> {
    get_webhook(service, caller, id).await?;
    if service
        .store
        .delete_webhook(id, caller.name.clone())
        .await?
    {
        Ok(())
    } else {
        Err(none())
    }
}

/// Replaces the signing secret. Until `overlap` is over, requests are signed with the previous one, too.
///
/// # Errors
/// When there is no such webhook.
pub async fn rotate_webhook_secret(
    service: &Service,
    caller: &Caller,
    id: Ulid,
    overlap: Duration,
) -> Result<WebhookWithSecret, UseCaseError> {
    get_webhook(service, caller, id).await?;
    let (secret, sealed) = sealed_secret(service, id)?;
    let rotated = service
        .store
        .rotate_webhook_secret(sealed, overlap, caller.name.clone())
        .await?;
    Ok(with_secret(rotated.ok_or_else(none)?, &secret))
}

/// Sends an event that tests the webhook, after those that wait for it.
///
/// # Errors
/// When there is no such webhook, or it is disabled.
pub async fn test_webhook(
    service: &Service,
    caller: &Caller,
    id: Ulid,
) -> Result<WebhookDelivery, UseCaseError> {
    require_active(&get_webhook(service, caller, id).await?)?;
    let event = service.store.test_webhook(id).await?;
    let pending = Delivery {
        event,
        state: DeliveryState::Pending,
        attempts: 0,
        last_attempt_at: None,
        response_status: None,
        error: None,
        duration_ms: None,
    };
    Ok(pending.into())
}

/// Makes deliveries again, with the ids that they had.
///
/// # Errors
/// When there is no such webhook or delivery, the webhook is disabled, or the body has invalid fields.
pub async fn replay_webhook(
    service: &Service,
    caller: &Caller,
    id: Ulid,
    body: &Value,
) -> Result<Replayed, UseCaseError> {
    let webhook = get_webhook(service, caller, id).await?;
    let replay = parse_replay(body, service.clock.now())?;
    require_active(&webhook)?;
    if let Replay::One(event) = replay
        && !service.store.has_delivery(id, event).await?
    {
        return Err(UseCaseError::NoSuch("delivery"));
    }
    let by = caller.name.clone();
    let host = webhook.spec.host();
    let deliveries = service
        .store
        .replay_deliveries(id, replay, host, by)
        .await?;
    Ok(Replayed { deliveries })
}

/// Deliveries of a webhook, the newest first.
///
/// # Errors
/// When there is no such webhook.
pub async fn list_deliveries(
    service: &Service,
    caller: &Caller,
    filter: &DeliveryFilter,
) -> Result<Vec<Delivery>, UseCaseError> {
    get_webhook(service, caller, filter.webhook).await?;
    Ok(service.store.deliveries(filter).await?)
}

fn none() -> UseCaseError {
    UseCaseError::NoSuch("webhook")
}

fn require_active(webhook: &Webhook) -> Result<(), UseCaseError> {
    match &webhook.disabled_reason {
        Some(reason) if webhook.state == WebhookState::Disabled => {
            Err(UseCaseError::WebhookDisabled(reason.clone()))
        }
        _ => Ok(()),
    }
}

/// Fails if the host of the URL is an address that may not be connected to. What a name leads to is checked at each
/// connection.
fn require_address(service: &Service, url: &str) -> Result<(), UseCaseError> {
    match service.webhook_connector.refused_literal(url) {
        None => Ok(()),
        Some(address) => {
            let why = format!(
                "{address} is not a public address. SLIPWAY_WEBHOOK_ALLOWED_CIDRS allows others"
            );
            Err(UseCaseError::Fields(vec![FieldError::new("/url", why)]))
        }
    }
}

fn sealed_secret(
    service: &Service,
    id: Ulid,
) -> Result<(SecretString, SealedWebhookSecret), UseCaseError> {
    let secret = new_secret().ok_or_else(|| {
        StoreError::Unavailable("the system's random number generator failed".into())
    })?;
    let sealed = SealedWebhookSecret::seal(&service.vault, id, &secret)?;
    Ok((secret, sealed))
}

fn with_secret(webhook: Webhook, secret: &SecretString) -> WebhookWithSecret {
    WebhookWithSecret {
        webhook,
        secret: secret.expose_secret().to_owned(),
    }
}

fn parse_replay(body: &Value, now: Timestamp) -> Result<Replay, UseCaseError> {
    let mut fields = Fields::of(body, "");
    let time = |text: &str| {
        text.parse::<Timestamp>()
            .map_err(|_| "must be an RFC 3339 time such as 2025-01-31T00:00:00Z")
    };
    let delivery = fields.parsed("delivery", |text| {
        Ulid::from_string(text).map_err(|_| "must be the id of a delivery")
    });
    let (since, until) = (fields.parsed("since", time), fields.parsed("until", time));
    let has = |name: &str| body.get(name).is_some();
    if has("delivery") == has("since") {
        fields.error("delivery", "give either `delivery`, or `since` for a range");
    } else if has("until") && !has("since") {
        fields.error("until", "needs `since`");
    }
    let errors = fields.finish();
    match (delivery, since) {
        (Some(delivery), _) if errors.is_empty() => Ok(Replay::One(delivery)),
        (None, Some(since)) if errors.is_empty() => {
            Ok(Replay::Between(since, until.unwrap_or(now)))
        }
        _ => Err(UseCaseError::Fields(errors)),
    }
}

/// Parses a type of event.
///
/// # Errors
/// When there is no such type.
pub fn parse_event_type(text: &str) -> Result<EventType, &'static str> {
    text.parse().map_err(|_| "is not a type of event")
}
