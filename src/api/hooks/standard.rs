//! `POST /hooks/standard/{source}`

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;

use super::Delivery;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::domain::hooks::event::Source;
use crate::domain::hooks::payload::of_standard;

/// Receives a delivery of another source, signed as Standard Webhooks has it.
pub async fn receive_standard(
    State(service): State<Arc<Service>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let source = service.settings.hooks.standard.get(&name);
    let secret = source.and_then(|source| source.secret.as_ref());
    let secret = secret.ok_or(ApiError::NotFound)?;
    let (delivery, unverified) = Delivery::read(request, &service).await?;
    let headers = delivery
        .standard_headers()
        .filter(|headers| headers.are_of(secret, &delivery.body, service.clock.now()))
        .ok_or(ApiError::BadSignature)?;
    drop(unverified);
    let event = of_standard(&delivery.json()?);
    let id = ("webhook-id", Some(headers.id));
    delivery
        .accept(&service, &Source::Standard(name), id, event)
        .await
}
