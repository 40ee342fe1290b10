//! `POST /hooks/gitlab`

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;

use super::Delivery;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::clock::Timestamp;
use crate::config::Settings;
use crate::domain::hooks::event::Source;
use crate::domain::hooks::payload::of_gitlab;
use crate::domain::shared_secret::is_secret;

/// The same for all attempts to deliver.
const ID: &str = "idempotency-key";
const OLDER_ID: &str = "x-gitlab-event-uuid";

/// Receives a delivery of GitLab, with a signature by the signing token, or with the secret token of the settings.
pub async fn receive_gitlab(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Result<Response, ApiError> {
    let settings = &service.settings;
    let has_secret =
        settings.gitlab_signing_token.is_some() || settings.gitlab_webhook_token.is_some();
    if settings.hooks.gitlab.is_none() || !has_secret {
        return Err(ApiError::NotFound);
    }
    let (delivery, unverified) = Delivery::read(request, &service).await?;
    let id = verified_id(settings, &delivery, service.clock.now())?;
    drop(unverified);
    let event = of_gitlab(&delivery.json()?);
    delivery
        .accept(&service, &Source::GitLab, (ID, id), event)
        .await
}

/// The id of a delivery whose signature or token is valid. With a signing token, a signature is required.
fn verified_id<'d>(
    settings: &Settings,
    delivery: &'d Delivery,
    now: Timestamp,
) -> Result<Option<&'d str>, ApiError> {
    if let Some(secret) = &settings.gitlab_signing_token {
        let headers = delivery.standard_headers();
        return headers
            .filter(|headers| headers.are_of(secret, &delivery.body, now))
            .map(|headers| Some(headers.id))
            .ok_or(ApiError::BadSignature);
    }
    let token = delivery.header("x-gitlab-token").unwrap_or_default();
    let secret = settings.gitlab_webhook_token.as_ref();
    if !secret.is_some_and(|secret| is_secret(secret, token)) {
        return Err(ApiError::BadSignature);
    }
    Ok(delivery.header(ID).or_else(|| delivery.header(OLDER_ID)))
}
