//! `POST /hooks/slack/interactions`: a button of a message in Slack
//! (<https://docs.slack.dev/reference/interaction-payloads/block_actions-payload>).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;

use crate::api::chat::incoming::{accept, acknowledged, request_key, signed_by_slack};
use crate::api::form::Form;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::domain::chat::{ChatUser, Command, Platform};
use crate::store::NewChatRequest;

/// What is read of an interaction.
#[derive(Deserialize)]
struct Interaction {
    #[serde(rename = "type")]
    kind: String,
    user: Named,
    team: Option<Named>,
    enterprise: Option<Named>,
    channel: Option<Named>,
    trigger_id: Option<String>,
    response_url: Option<String>,
    #[serde(default)]
    actions: Vec<ButtonPress>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

#[derive(Deserialize)]
struct ButtonPress {
    /// The command that the button stands for.
    value: Option<String>,
}

pub async fn slack_interaction(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Result<Response, ApiError> {
    let body = signed_by_slack(&service, request).await?;
    let form = Form::parse(&body)?;
    let payload = form.required("payload")?;
    let interaction: Interaction =
        serde_json::from_str(payload).map_err(|error| ApiError::InvalidJson(error.to_string()))?;
    // Other interactions are with links, which need nothing done.
    if let Some(new) = asked(interaction, &body) {
        accept(&service, new).await?;
    }
    Ok(acknowledged(Platform::Slack))
}

/// What a button asks for, if it is one that approves or rejects a plan.
fn asked(interaction: Interaction, body: &str) -> Option<NewChatRequest> {
    let platform = Platform::Slack;
    let command = interaction.actions.into_iter().next()?.value?;
    let is_decision = matches!(
        Command::parse(&command),
        Ok(Command::Approve(..) | Command::Reject(_))
    );
    if interaction.kind != "block_actions" || !is_decision {
        return None;
    }
    Some(NewChatRequest {
        key: request_key(platform, interaction.trigger_id.as_deref(), body),
        user: ChatUser {
            platform,
            team: interaction.team.or(interaction.enterprise)?.id,
            user: interaction.user.id,
        },
        channel: interaction.channel?.id,
        command,
        response_url: interaction.response_url,
    })
}
