//! Receives a delivery whose signature is valid: remembers it, with what follows from it.

use crate::app::error::UseCaseError;
use crate::app::service::Service;
use crate::domain::hooks::event::{RepositoryEvent, Source};
use crate::store::{NewHookDelivery, fingerprint};

/// Remembers a delivery. Returns whether anything follows from it. One that came before has an effect only if it
/// failed, and is answered as the first time.
///
/// # Errors
/// When the database is not available.
pub async fn receive(
    service: &Service,
    source: &Source,
    delivery_id: &str,
    body: &[u8],
    event: Option<RepositoryEvent>,
) -> Result<bool, UseCaseError> {
    let hooks = &service.settings.hooks;
    let event = event.filter(|event| hooks.rule_for(source, event).is_some());
    let delivery = NewHookDelivery {
        source: source.to_string(),
        delivery_id: delivery_id.to_owned(),
        body_digest: match source {
            // The signature does not cover the id, so that a body counts once, whatever id it comes with.
            Source::GitHub => fingerprint(&[body]),
            Source::GitLab | Source::Standard(_) => fingerprint(&[delivery_id.as_bytes(), body]),
        },
        event,
    };
    let follows = service.store.receive_hook_delivery(delivery).await?;
    let result = if follows { "accepted" } else { "ignored" };
    metrics::counter!("slipway_hooks_received_total", "source" => source.kind(), "result" => result)
        .increment(1);
    Ok(follows)
}
