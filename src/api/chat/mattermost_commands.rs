//! `POST /hooks/mattermost/commands`: a slash command in Mattermost
//! (<https://developers.mattermost.com/integrate/slash-commands/custom/>).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::response::Response;

use crate::api::body::read;
use crate::api::chat::incoming::{command, header, refused, text};
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::domain::chat::Platform;
use crate::domain::chat_signature::is_of_mattermost;

pub async fn mattermost_command(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Result<Response, ApiError> {
    let Some(token) = &service.settings.mattermost_token else {
        return Err(ApiError::NoChat(Platform::Mattermost.name()));
    };
    if !is_of_mattermost(token, &header(request.headers(), AUTHORIZATION.as_str())) {
        return Err(refused(Platform::Mattermost));
    }
    let body = text(&read(request, &service).await?)?;
    command(&service, Platform::Mattermost, &body).await
}
