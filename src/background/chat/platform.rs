//! Sends messages to chat platforms.
//!
//! Invariants:
//! - The addresses are those of the settings, or of the platform's own servers beside them.
//! - A message is never fetched or shown as a preview by the platform: links in it are not followed.

use std::time::Duration;

use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use hyper::{Method, Uri};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::app::chat::job_message::{DecisionButtons, JobMessage};
use crate::config::Settings;
use crate::domain::chat::Platform;
use crate::domain::service_url::ServiceUrl;
use crate::outbound::{FullReply, HttpClient, send};

/// The longest that a platform may take to respond.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The wait when a platform asks for one without saying how long.
const DEFAULT_PAUSE: Duration = Duration::from_secs(30);

/// Why something was not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendError {
    /// The platform asks to wait for so long.
    Busy(Duration),
    /// It may work later.
    Failed(String),
    /// It will not work.
    Refused(String),
}

/// Who a request is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Recipient {
    /// The API, which wants the bot token.
    Api,
    /// A URL that needs no token, and gets none.
    Url,
}

/// A chat platform, by the settings.
pub struct ChatPlatform<'a> {
    kind: Platform,
    /// The URL of its API or server.
    url: &'a ServiceUrl,
    bot_token: &'a SecretString,
    client: &'a HttpClient,
}

impl<'a> ChatPlatform<'a> {
    /// The platform, if it is configured.
    pub fn of(settings: &'a Settings, kind: Platform, client: &'a HttpClient) -> Option<Self> {
        let (url, bot_token) = match kind {
            Platform::Slack => (Some(&settings.slack_url), &settings.slack_bot_token),
            Platform::Mattermost => (
                settings.mattermost_url.as_ref(),
                &settings.mattermost_bot_token,
            ),
        };
        Some(Self {
            kind,
            url: url?,
            bot_token: bot_token.as_ref()?,
            client,
        })
    }

    /// Writes a message. Returns its name.
    ///
    /// # Errors
    /// When the platform does not take it.
    pub async fn write(&self, channel: &str, message: &JobMessage) -> Result<String, SendError> {
        match self.kind {
            Platform::Slack => {
                let mut body = of_slack(message);
                body["channel"] = json!(channel);
                let answer = self.slack("chat.postMessage", &body).await?;
                // A channel can be named in several ways. An update takes the one that is answered with.
                Ok(format!(
                    "{}/{}",
                    text(&answer, "channel")?,
                    text(&answer, "ts")?
                ))
            }
            Platform::Mattermost => {
                let body = json!({"channel_id": channel, "message": with_commands(message)});
                let answer = self.mattermost(Method::POST, "posts", &body).await?;
                text(&answer, "id")
            }
        }
    }

    /// Replaces what a message shows.
    ///
    /// # Errors
    /// When the platform does not take it.
    pub async fn update(&self, name: &str, message: &JobMessage) -> Result<(), SendError> {
        match self.kind {
            Platform::Slack => {
                let mut body = of_slack(message);
                let (channel, ts) = name.split_once('/').unwrap_or_default();
                body["channel"] = json!(channel);
                body["ts"] = json!(ts);
                self.slack("chat.update", &body).await.map(drop)
            }
            Platform::Mattermost => {
                let body = json!({"message": with_commands(message)});
                let path = format!("posts/{name}/patch");
                self.mattermost(Method::PUT, &path, &body).await.map(drop)
            }
        }
    }

    /// Replies to the user alone, at the URL that came with the request.
    ///
    /// # Errors
    /// When the platform does not take it.
    pub async fn reply(&self, url: &str, reply: &str) -> Result<(), SendError> {
        let is_beside = self.kind == Platform::Slack && self.url.has_beside("hooks", url);
        if !is_beside && !self.url.has_origin_of(url) {
            return Err(SendError::Refused("the URL is not the platform's".into()));
        }
        let body = json!({"response_type": "ephemeral", "replace_original": false, "text": reply});
        let answer = self.send(Method::POST, url, Recipient::Url, &body).await?;
        accepted(&answer)
    }

    async fn slack(&self, method: &str, body: &Value) -> Result<Value, SendError> {
        let url = self.url.join(method);
        let answer = self.send(Method::POST, &url, Recipient::Api, body).await?;
        accepted(&answer)?;
        let answer = json_of(&answer)?;
        match answer["error"].as_str() {
            None if answer["ok"] == true => Ok(answer),
            Some("ratelimited" | "rate_limited") => Err(SendError::Busy(DEFAULT_PAUSE)),
            // These are put right by the operator, or pass.
            Some(
                error @ ("internal_error"
                | "fatal_error"
                | "service_unavailable"
                | "request_timeout"
                | "invalid_auth"
                | "not_authed"
                | "token_revoked"
                | "token_expired"
                | "account_inactive"
                | "missing_scope"),
            ) => Err(SendError::Failed(error.to_owned())),
            error => Err(SendError::Refused(error.unwrap_or("no error").to_owned())),
        }
    }

    async fn mattermost(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Value, SendError> {
        let url = self.url.join(&format!("api/v4/{path}"));
        let answer = self.send(method, &url, Recipient::Api, body).await?;
        accepted(&answer)?;
        json_of(&answer)
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        to: Recipient,
        body: &Value,
    ) -> Result<FullReply, SendError> {
        let url: Uri = url
            .parse()
            .map_err(|_| SendError::Refused("the URL is invalid".into()))?;
        let json = "application/json; charset=utf-8".to_owned();
        let mut headers: Vec<(HeaderName, String)> = vec![(CONTENT_TYPE, json)];
        if to == Recipient::Api {
            let token = self.bot_token.expose_secret();
            headers.push((AUTHORIZATION, format!("Bearer {token}")));
        }
        let body = body.to_string().into_bytes().into();
        send(self.client, method, &url, headers, body, REQUEST_TIMEOUT)
            .await
            .map_err(|error| SendError::Failed(error.to_string()))
    }
}

/// Fails unless the status says that the request was accepted.
fn accepted(reply: &FullReply) -> Result<(), SendError> {
    let status = reply.head.status;
    match status {
        200..=299 => Ok(()),
        429 => {
            let seconds = reply.head.retry_after.as_deref();
            let pause = seconds.and_then(|seconds| seconds.trim().parse().ok());
            Err(SendError::Busy(
                pause.map_or(DEFAULT_PAUSE, Duration::from_secs),
            ))
        }
        // A token is put right by the operator.
        401 | 408 | 500..=599 => Err(SendError::Failed(format!("HTTP status {status}"))),
        _ => Err(SendError::Refused(format!("HTTP status {status}"))),
    }
}

fn json_of(reply: &FullReply) -> Result<Value, SendError> {
    serde_json::from_slice(&reply.body)
        .map_err(|_| SendError::Failed("the response is not JSON".into()))
}

fn text(answer: &Value, field: &str) -> Result<String, SendError> {
    let text = answer[field].as_str();
    text.map(str::to_owned)
        .ok_or_else(|| SendError::Failed(format!("the response has no {field}")))
}

/// A message of Slack: its text, and the buttons below it.
fn of_slack(message: &JobMessage) -> Value {
    let text = &message.text;
    let mut blocks = vec![
        json!({"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": true}}),
    ];
    if let Some(DecisionButtons { approve, reject }) = &message.decision {
        let button = |id: &str, label: &str, style: &str, value: &str| {
            json!({
                "type": "button", "action_id": id, "style": style, "value": value,
                "text": {"type": "plain_text", "text": label},
            })
        };
        blocks.push(json!({
            "type": "actions",
            "elements": [
                button("approve", "Approve", "primary", approve),
                button("reject", "Reject", "danger", reject),
            ],
        }));
    }
    json!({"text": text, "blocks": blocks, "unfurl_links": false, "unfurl_media": false})
}

/// A message of Mattermost, which signs no button: the commands stand below the plan.
fn with_commands(message: &JobMessage) -> String {
    match &message.decision {
        Some(DecisionButtons { reject, .. }) => {
            format!("{}\nTo reject it: `{reject}`", message.text)
        }
        None => message.text.clone(),
    }
}
