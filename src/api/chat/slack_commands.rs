//! `POST /hooks/slack/commands`: a slash command in Slack
//! (<https://docs.slack.dev/interactivity/implementing-slash-commands>).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;

use crate::api::chat::incoming::{acknowledged, command, signed_by_slack};
use crate::api::form::Form;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::domain::chat::Platform;

pub async fn slack_command(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Result<Response, ApiError> {
    let body = signed_by_slack(&service, request).await?;
    // Slack asks from time to time whether the certificate is valid.
    if Form::parse(&body)?.get("ssl_check").is_some() {
        return Ok(acknowledged(Platform::Slack));
    }
    command(&service, Platform::Slack, &body).await
}
