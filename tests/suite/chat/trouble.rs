//! Platforms that are slow, ask to wait, refuse, or are away while the service is started again.

use std::time::Duration;

use serde_json::Value;

use super::Chat;
use super::platform::Trouble;
use crate::support::unique;

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_is_busy_or_broken_gets_everything_in_the_end() {
    let chat = Chat::start().await;
    chat.link("U1", "ana", "operators").await;
    let began = tokio::time::Instant::now();
    chat.platform.trouble([
        Trouble::Busy(2),
        Trouble::Status(503),
        Trouble::Error("not_in_channel"),
    ]);
    // The third trouble is final for the message, so the user is told where to look.
    chat.command("U1", &format!("onboard {}", unique("acme")))
        .await;
    let told = chat.platform.reply("no message can be written").await;
    assert!(
        began.elapsed() >= Duration::from_secs(2),
        "Retry-After counts"
    );
    assert!(told.text().contains("/console/jobs/"), "{}", told.text());
    assert_eq!(chat.platform.written(), 0);

    // A reply waits, too, and the command is not done again meanwhile.
    chat.platform
        .trouble([Trouble::Busy(1), Trouble::Status(500)]);
    chat.command("U1", &format!("onboard {}", unique("acme")))
        .await;
    chat.platform.message("succeeded").await;
    assert_eq!(chat.jobs().await.len(), 2);
    chat.platform
        .trouble([Trouble::Busy(1), Trouble::Status(500)]);
    chat.command("U1", "status").await;
    chat.platform.reply("onboard of").await;
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_outlives_the_process() {
    let chat = Chat::start().await;
    chat.link("U1", "ana", "operators").await;
    // The platform takes nothing while this process lives.
    chat.platform.trouble(vec![Trouble::Status(503); 50]);
    chat.command("U1", &format!("onboard {}", unique("acme")))
        .await;
    let job = loop {
        match chat.jobs().await.first() {
            Some(job) => break job["id"].as_str().unwrap().to_owned(),
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    let ended: Value = chat.server().wait(&job).await;
    assert_eq!(ended["state"], "succeeded", "{ended:#}");
    let Chat { console, platform } = chat;
    console.server.stop().await;
    platform.clear();
    let server = console.setup.start().await;
    let message = platform.message("succeeded").await;
    assert!(
        message.text().contains("Claim its secret"),
        "{}",
        message.text()
    );
    assert_eq!(platform.written(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reply_goes_elsewhere() {
    let chat = Chat::start().await;
    chat.link("U1", "ana", "operators").await;
    let elsewhere = super::platform::ChatPlatform::start().await;
    let body = chat.body_of("U1", "status", "t-1").replace(
        &chat.platform.url.replace(':', "%3A").replace('/', "%2F"),
        &elsewhere.url,
    );
    let response = chat
        .signed("/hooks/slack/commands", &body)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    chat.command("U1", "status").await;
    chat.platform.reply("no job").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(elsewhere.sent().is_empty() && chat.platform.sent().len() == 1);
    chat.stop().await;
}
