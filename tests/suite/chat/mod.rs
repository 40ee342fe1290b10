//! Chat: commands and buttons of Slack, and commands of Mattermost, with a platform on loopback.

mod commands;
mod links;
mod mattermost;
mod platform;
mod settings;
mod signatures;
mod trouble;

use std::time::Duration;

use aws_lc_rs::hmac;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use slipway::domain::service_url::ServiceUrl;

use crate::aws::server::Setup;
use crate::console::{Console, submit};
use crate::support::server::Server;
use crate::support::sign_in::Browser;
use platform::ChatPlatform;

const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
const BOT_TOKEN: &str = "xoxb-the-bot-token";

/// A service, people who can sign in, and a chat platform.
struct Chat {
    console: Console,
    platform: ChatPlatform,
}

impl Chat {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let platform = ChatPlatform::start().await;
        let api = ServiceUrl::parse(&format!("{}/api", platform.url)).unwrap();
        let console = Console::with(|setup| {
            setup.settings.slack_signing_secret = Some(SECRET.to_owned().into());
            setup.settings.slack_bot_token = Some(BOT_TOKEN.to_owned().into());
            setup.settings.slack_url = api;
            change(setup);
        });
        Self {
            console: console.await,
            platform,
        }
    }

    fn server(&self) -> &Server {
        &self.console.server
    }

    fn now(&self) -> i64 {
        self.console.setup.clock.now().millis() / 1000
    }

    /// A request that Slack has signed now.
    fn signed(&self, path: &str, body: &str) -> RequestBuilder {
        let timestamp = self.now().to_string();
        let signature = signature(SECRET, &timestamp, body);
        self.raw(path, body, &timestamp, &signature)
    }

    fn raw(&self, path: &str, body: &str, timestamp: &str, signature: &str) -> RequestBuilder {
        self.server()
            .anonymous(Method::POST, path)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("x-slack-request-timestamp", timestamp)
            .header("x-slack-signature", signature)
            .body(body.to_owned())
    }

    /// The body of a slash command.
    fn body_of(&self, user: &str, text: &str, trigger: &str) -> String {
        let fields = [
            ("team_id", "T1"),
            ("user_id", user),
            ("user_name", &format!("name of {user}")),
            ("channel_id", "C1"),
            ("command", "/slipway"),
            ("text", text),
            ("trigger_id", trigger),
            ("response_url", &format!("{}/reply", self.platform.url)),
        ];
        form(&fields)
    }

    /// Sends a slash command, and returns what it is answered with at once.
    async fn command(&self, user: &str, text: &str) -> String {
        let trigger = ulid::Ulid::generate().to_string();
        self.command_again(user, text, &trigger).await
    }

    async fn command_again(&self, user: &str, text: &str, trigger: &str) -> String {
        let body = self.body_of(user, text, trigger);
        let response = self
            .signed("/hooks/slack/commands", &body)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        response.text().await.unwrap()
    }

    /// Sends a slash command that the user alone is answered at once.
    async fn told(&self, user: &str, text: &str, says: &str) {
        let answer: Value = serde_json::from_str(&self.command(user, text).await).unwrap();
        assert_eq!(answer["response_type"], "ephemeral");
        assert!(answer["text"].as_str().unwrap().contains(says), "{answer}");
    }

    /// Presses a button that stands for a command.
    async fn press(&self, user: &str, command: &str, trigger: &str) {
        let payload = json!({
            "type": "block_actions", "trigger_id": trigger, "user": {"id": user}, "team": {"id": "T1"},
            "channel": {"id": "C1"}, "response_url": format!("{}/reply", self.platform.url),
            "actions": [{"action_id": "x", "value": command}],
        });
        let body = form(&[("payload", &payload.to_string())]);
        let request = self.signed("/hooks/slack/interactions", &body);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.text().await.unwrap(), "");
    }

    /// The code that a chat user gets.
    async fn code(&self, user: &str) -> String {
        let answer = self.command(user, "link").await;
        code_in(&answer)
    }

    /// Ties a chat user to a person in this group, whose browser it returns.
    async fn link(&self, user: &str, subject: &str, group: &str) -> Browser {
        let code = self.code(user).await;
        let browser = self.console.signed_in_as(subject, group).await;
        let page = submit(&browser, "/console/chat", &[("code", &code)]).await;
        assert_eq!(
            page.location, "/console/chat?notice=linked",
            "{}",
            page.text
        );
        browser
    }

    async fn jobs(&self) -> Vec<Value> {
        let page = self.server().json("/v1/jobs").await;
        page["items"].as_array().unwrap().clone()
    }

    /// Waits until no job is active.
    async fn stop(self) {
        for job in self.jobs().await {
            let id = job["id"].as_str().unwrap();
            self.server().wait(id).await;
        }
        self.console.stop().await;
    }
}

fn code_in(answer: &str) -> String {
    let code = answer
        .split("code=")
        .nth(1)
        .unwrap_or_else(|| panic!("{answer}"));
    code.chars().take_while(char::is_ascii_hexdigit).collect()
}

fn signature(secret: &str, timestamp: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("v0:{timestamp}:{body}").as_bytes());
    format!("v0={}", hex::encode(tag.as_ref()))
}

fn form(fields: &[(&str, &str)]) -> String {
    let mut url = reqwest::Url::parse("http://x").unwrap();
    url.query_pairs_mut().extend_pairs(fields);
    url.query().unwrap().to_owned()
}

/// Longer than a request takes that the service has to answer at once.
const AT_ONCE: Duration = Duration::from_millis(1500);
