//! `POST /hooks/github`

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;

use super::Delivery;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::domain::hooks::event::Source;
use crate::domain::hooks::payload::of_github;
use crate::domain::hooks::signature::is_of_github;

const ID: &str = "x-github-delivery";

/// Receives a delivery of GitHub, signed with the secret of the settings.
pub async fn receive_github(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Result<Response, ApiError> {
    let is_on = service.settings.hooks.github.is_some();
    let secret = service.settings.github_webhook_secret.as_ref();
    let secret = secret.filter(|_| is_on).ok_or(ApiError::NotFound)?;
    let (delivery, unverified) = Delivery::read(request, &service).await?;
    let signature = delivery.header("x-hub-signature-256").unwrap_or_default();
    if !is_of_github(secret, signature, &delivery.body) {
        return Err(ApiError::BadSignature);
    }
    drop(unverified);
    let body = delivery.json()?;
    let event = of_github(delivery.header("x-github-event").unwrap_or_default(), &body);
    let id = (ID, delivery.header(ID));
    delivery.accept(&service, &Source::GitHub, id, event).await
}
