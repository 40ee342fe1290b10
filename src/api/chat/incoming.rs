//! What requests of all platforms have in common.

use axum::Json;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use std::sync::Arc;

use crate::api::body::read;
use crate::api::form::Form;
use crate::api::problem::ApiError;
use crate::app::chat::links::{self, Standing};
use crate::app::chat::replies;
use crate::app::service::Service;
use crate::domain::chat::{ChatUser, Command, Platform};
use crate::domain::chat_signature::is_of_slack;
use crate::store::{NewChatRequest, fingerprint};

/// The text of a body that Slack has signed.
///
/// # Errors
/// When Slack is not configured, or the signature is not valid now.
pub async fn signed_by_slack(service: &Arc<Service>, request: Request) -> Result<String, ApiError> {
    let Some(secret) = &service.settings.slack_signing_secret else {
        return Err(ApiError::NoChat(Platform::Slack.name()));
    };
    let timestamp = header(request.headers(), "x-slack-request-timestamp");
    let signature = header(request.headers(), "x-slack-signature");
    let body = read(request, service).await?;
    if is_of_slack(secret, &timestamp, &signature, &body, service.clock.now()) {
        text(&body)
    } else {
        Err(refused(Platform::Slack))
    }
}

/// Counts and logs a request that does not prove where it comes from.
pub fn refused(platform: Platform) -> ApiError {
    metrics::counter!("slipway_chat_requests_total", "platform" => platform.to_string(), "outcome" => "refused")
        .increment(1);
    tracing::warn!(%platform, "a chat request without a valid signature was refused");
    ApiError::Signature
}

/// A header, empty if there is none, or more than one.
pub fn header(headers: &HeaderMap, name: &str) -> String {
    let mut values = headers.get_all(name).iter();
    let only = values.next().filter(|_| values.next().is_none());
    let text = only.and_then(|value| value.to_str().ok());
    text.unwrap_or_default().to_owned()
}

/// A body as text.
///
/// # Errors
/// When it is none.
pub fn text(body: &Bytes) -> Result<String, ApiError> {
    let text = std::str::from_utf8(body).map_err(|_| ApiError::UnreadableBody)?;
    Ok(text.to_owned())
}

/// Does what a slash command asks for if that takes no time, and records everything else.
///
/// # Errors
/// When the body lacks a field, or the database is not available.
pub async fn command(
    service: &Arc<Service>,
    platform: Platform,
    body: &str,
) -> Result<Response, ApiError> {
    let form = Form::parse(body)?;
    // In an organization, an app that is installed for all workspaces may be used outside of any.
    let team = form.get("team_id").or_else(|| form.get("enterprise_id"));
    let user = ChatUser {
        platform,
        team: team
            .map_or_else(|| form.required("team_id"), Ok)?
            .to_owned(),
        user: form.required("user_id")?.to_owned(),
    };
    let asked = form.get("text").unwrap_or_default();
    let parsed = match Command::parse(asked) {
        Ok(parsed) => parsed,
        Err(why) => return Ok(to_user(&replies::mistake(platform, &why))),
    };
    let reply = match parsed {
        Command::Help => replies::help(platform),
        Command::Link => {
            let name = form.get("user_name").unwrap_or(&user.user).to_owned();
            replies::link(platform, &links::begin(service, user, &name).await?)
        }
        Command::Unlink => replies::unlinked(platform, links::unlink_user(service, &user).await?),
        _ => {
            // Who is nobody takes no place among the requests that are worked on.
            if let Some(reply) = refusal(service, &user).await? {
                return Ok(to_user(&reply));
            }
            let new = NewChatRequest {
                key: request_key(platform, form.get("trigger_id"), body),
                user,
                channel: form.required("channel_id")?.to_owned(),
                command: asked.to_owned(),
                response_url: form.get("response_url").map(str::to_owned),
            };
            accept(service, new).await?;
            return Ok(acknowledged(platform));
        }
    };
    Ok(to_user(&reply))
}

/// What a chat user is told who may do nothing now.
async fn refusal(service: &Service, user: &ChatUser) -> Result<Option<String>, ApiError> {
    let platform = user.platform;
    Ok(match links::standing(service, user).await? {
        Standing::Linked(_) => None,
        Standing::Expired => Some(replies::link_expired(service, platform)),
        Standing::Unlinked => Some(replies::not_linked(platform)),
    })
}

/// Records a request, unless that was done before.
///
/// # Errors
/// When the database is not available.
pub async fn accept(service: &Service, new: NewChatRequest) -> Result<(), ApiError> {
    let platform = new.user.platform.to_string();
    let is_new = service.store.accept_chat_request(new).await?;
    let outcome = if is_new { "accepted" } else { "repeated" };
    metrics::counter!("slipway_chat_requests_total", "platform" => platform, "outcome" => outcome)
        .increment(1);
    Ok(())
}

/// What is the same for every delivery of a request: the platform's own id of it, or else the whole request.
pub fn request_key(platform: Platform, trigger: Option<&str>, body: &str) -> String {
    let kind = if trigger.is_some() { "trigger" } else { "body" };
    let parts = [kind, &platform.to_string(), trigger.unwrap_or(body)];
    fingerprint(&parts.map(str::as_bytes))
}

/// Says nothing yet.
pub fn acknowledged(platform: Platform) -> Response {
    match platform {
        Platform::Slack => StatusCode::OK.into_response(),
        // An empty body is an error there.
        Platform::Mattermost => Json(json!({})).into_response(),
    }
}

fn to_user(text: &str) -> Response {
    Json(json!({"response_type": "ephemeral", "text": text})).into_response()
}
