//! Requests of chat platforms.
//!
//! Invariants:
//! - Nothing of a body is read before its sender has proved to be the platform.
//! - A request is recorded before it is acknowledged, and worked on afterwards: no platform waits for AWS.
//! - What a request is answered with at once is for the chat user alone.

mod incoming;
mod mattermost_commands;
mod slack_commands;
mod slack_interactions;

use std::sync::Arc;

use axum::Router;
use axum::routing::post;

use crate::app::service::Service;

/// The routes.
pub fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/hooks/slack/commands", post(slack_commands::slack_command))
        .route(
            "/hooks/slack/interactions",
            post(slack_interactions::slack_interaction),
        )
        .route(
            "/hooks/mattermost/commands",
            post(mattermost_commands::mattermost_command),
        )
}
