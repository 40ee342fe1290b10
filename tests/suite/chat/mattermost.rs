//! Commands in Mattermost.

use reqwest::Method;
use serde_json::Value;
use slipway::domain::job_kind::JobKind;
use slipway::domain::service_url::ServiceUrl;

use super::platform::ChatPlatform;
use super::{code_in, form};
use crate::console::{Console, submit};
use crate::support::unique;

const TOKEN: &str = "the-token-of-the-command";

struct Mattermost {
    console: Console,
    platform: ChatPlatform,
}

impl Mattermost {
    async fn command(&self, user: &str, text: &str) -> Value {
        let trigger = ulid::Ulid::generate().to_string();
        let (status, answer) = self
            .ask(user, text, &trigger, &format!("Token {TOKEN}"))
            .await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    async fn ask(
        &self,
        user: &str,
        text: &str,
        trigger: &str,
        authorization: &str,
    ) -> (u16, Value) {
        let body = form(&[
            ("team_id", "t1"),
            ("user_id", user),
            ("user_name", user),
            ("channel_id", "c1"),
            ("text", text),
            ("trigger_id", trigger),
            ("response_url", &format!("{}/reply", self.platform.url)),
        ]);
        let request = self
            .console
            .server
            .anonymous(Method::POST, "/hooks/mattermost/commands")
            .header("authorization", authorization)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn link(&self, user: &str, subject: &str, group: &str) {
        let code = code_in(&self.command(user, "link").await.to_string());
        let browser = self.console.signed_in_as(subject, group).await;
        let page = submit(&browser, "/console/chat", &[("code", &code)]).await;
        assert_eq!(page.status, 303, "{}", page.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_onboarded_and_approved_by_commands() {
    let platform = ChatPlatform::start().await;
    let url = ServiceUrl::parse(&platform.url).unwrap();
    let console = Console::with(|setup| {
        setup.settings.mattermost_url = Some(url);
        setup.settings.mattermost_token = Some(TOKEN.to_owned().into());
        setup.settings.mattermost_bot_token = Some("the-bot".to_owned().into());
        setup.settings.approvals.job_kinds = vec![JobKind::Onboard];
    })
    .await;
    let chat = Mattermost { console, platform };
    for wrong in ["Token other", "Token ", "", &format!("Bearer {TOKEN}")] {
        let (status, problem) = chat.ask("u1", "help", "1", wrong).await;
        assert_eq!((status, &problem["code"]), (401, &"unauthorized".into()));
    }
    chat.link("u1", "ana", "operators").await;
    chat.link("u2", "bob", "approvers").await;
    let app = unique("acme");
    for _ in 0..2 {
        let authorization = format!("Token {TOKEN}");
        let answer = chat
            .ask("u1", &format!("onboard {app}"), "t-1", &authorization)
            .await;
        assert_eq!(answer, (200, serde_json::json!({})));
    }
    let plan = chat.platform.message("awaiting approval").await;
    assert_eq!(
        (plan.path.as_str(), plan.authorization.as_str()),
        ("/api/v4/posts", "Bearer the-bot")
    );
    assert_eq!(plan.body["channel_id"], "c1");
    let command = plan
        .text()
        .split('`')
        .find(|it| it.starts_with("approve "))
        .unwrap();
    chat.command("u1", command).await;
    chat.platform.reply("requires the role approver").await;
    chat.command("u2", command).await;
    let done = chat.platform.message("succeeded").await;
    assert_eq!(done.path, "/api/v4/posts/post1/patch");
    assert!(
        done.text().contains("[Claim its secret]("),
        "{}",
        done.text()
    );
    assert!(!done.text().contains("To reject it"), "{}", done.text());
    let Value::Array(jobs) = chat.console.server.json("/v1/jobs").await["items"].take() else {
        panic!("no jobs");
    };
    assert_eq!((jobs.len(), chat.platform.written()), (1, 1));
    chat.console.stop().await;
}
