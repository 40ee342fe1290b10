//! What people who are linked do in Slack.

use std::time::Duration;

use serde_json::{Value, json};
use slipway::domain::job_kind::JobKind;
use tokio::time::Instant;

use super::platform::{Sent, Trouble};
use super::{AT_ONCE, BOT_TOKEN, Chat};
use crate::console::submit;
use crate::support::unique;
use crate::support::wire::Fault;

#[tokio::test(flavor = "multi_thread")]
async fn an_onboarding_is_approved_by_a_second_person_and_ends_with_a_link_to_the_secret() {
    let chat = Chat::with(|setup| {
        setup.settings.approvals.job_kinds = vec![JobKind::Onboard];
    })
    .await;
    let app = unique("acme");
    let browser = chat.link("U1", "ana", "approvers").await;
    chat.link("U2", "bob", "approvers").await;
    chat.link("U3", "vic", "viewers").await;

    // Delivered twice, it is one job and one message.
    for _ in 0..2 {
        let text = format!("onboard {app}");
        assert_eq!(chat.command_again("U1", &text, "trigger-1").await, "");
    }
    let plan = chat.platform.message("awaiting approval").await;
    assert_eq!(plan.path, "/api/chat.postMessage");
    assert_eq!(plan.authorization, format!("Bearer {BOT_TOKEN}"));
    assert_eq!(
        (&plan.body["channel"], &plan.body["unfurl_links"]),
        (&json!("C1"), &json!(false))
    );
    for shown in [
        &format!("create user {app}"),
        "`+`",
        "create bucket",
        "oidc:ana@example.com#",
    ] {
        assert!(plan.text().contains(shown), "{shown}: {}", plan.text());
    }
    let job = chat.jobs().await[0].clone();
    let id = job["id"].as_str().unwrap();
    let approval = chat.server().json(&format!("/v1/jobs/{id}/approval")).await;
    let digest = approval["plan_digest"].as_str().unwrap();
    let buttons = [format!("approve {id} {digest}"), format!("reject {id}")];
    assert_eq!(plan.buttons(), buttons);

    // Neither who has asked, nor a viewer, nor somebody unknown, nor by another plan.
    for (user, command, says) in [
        ("U1", &buttons[0], "Own request"),
        ("U3", &buttons[0], "requires the role approver"),
        ("U3", &buttons[1], "requires the role approver"),
        ("U9", &buttons[1], "not linked"),
        (
            "U2",
            &format!("approve {id} {}", "0".repeat(64)),
            "Plan changed",
        ),
    ] {
        chat.press(user, command, &format!("{user} {command}"))
            .await;
        chat.platform.reply(says).await;
    }
    let waits = chat.server().json(&format!("/v1/jobs/{id}")).await;
    assert_eq!(waits["state"], "awaiting_approval");
    // Other interactions are acknowledged, and nothing is done.
    chat.press("U2", &format!("onboard {app}-2"), "t-2").await;

    for _ in 0..2 {
        chat.press("U2", &buttons[0], "trigger-2").await;
    }
    let done = chat.platform.message("succeeded").await;
    assert_eq!(done.path, "/api/chat.update");
    assert_eq!(
        (&done.body["channel"], &done.body["ts"]),
        (&json!("C1"), &json!("1700000000.000100"))
    );
    assert!(done.buttons().is_empty(), "{:#}", done.body);
    assert!(
        done.text().contains("approved by oidc:bob@example.com"),
        "{}",
        done.text()
    );
    let job = chat.server().wait(id).await;
    let key = job["result"]["access_key_id"].as_str().unwrap();
    let claim = format!("/console/apps/{app}/keys/{key}/claim");
    assert!(
        done.text()
            .contains(&format!("{}{claim}|", chat.server().url)),
        "{}",
        done.text()
    );
    assert_eq!((chat.platform.written(), chat.jobs().await.len()), (1, 1));
    // What was delivered again was not done again, and so not refused either.
    for refused in ["already exists", "does not await approval"] {
        assert!(!chat.platform.has_got(refused), "{refused}");
    }
    let audit = chat.server().json(&format!("/v1/audit?job={id}")).await;
    let by = |action: &str| {
        let entries = audit["items"].as_array().unwrap();
        let entry = entries.iter().find(|entry| entry["action"] == action);
        entry.unwrap()["identity"]["subject"].clone()
    };
    assert_eq!(
        json!([by("job_requested"), by("job_approved")]),
        json!(["ana", "bob"])
    );

    // The secret is claimed in the console. The platform has never seen it, nor what opens anything.
    let claimed = submit(&browser, &claim, &[]).await;
    let secret = claimed.text.split("AWS_SECRET_ACCESS_KEY=").nth(1).unwrap();
    let secret: String = secret.chars().take(40).collect();
    assert!(!secret.contains(['<', '\n']), "{secret}");
    for hidden in [secret.as_str(), super::SECRET, BOT_TOKEN] {
        assert!(!chat.platform.has_got(hidden));
    }
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_plan_loses_its_buttons() {
    let chat = Chat::with(|setup| {
        setup.settings.approvals.job_kinds = vec![JobKind::Onboard];
    })
    .await;
    chat.link("U1", "ana", "operators").await;
    chat.link("U2", "bob", "approvers").await;
    chat.command("U1", &format!("onboard {}", unique("acme")))
        .await;
    let plan = chat.platform.message("awaiting approval").await;
    chat.command("U2", "approvals").await;
    let listed = chat.platform.reply("approve ").await;
    let id = chat.jobs().await[0]["id"].as_str().unwrap().to_owned();
    assert!(listed.text().contains(&id), "{}", listed.text());
    chat.press("U2", &plan.buttons()[1], "t-1").await;
    let rejected = chat
        .platform
        .message("rejected by oidc:bob@example.com")
        .await;
    assert!(rejected.buttons().is_empty() && rejected.text().contains("canceled"));
    chat.press("U2", &plan.buttons()[0], "t-2").await;
    chat.platform.reply("does not await approval").await;
    chat.command("U2", "approvals").await;
    chat.platform.reply("No plan waits").await;
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_look_at_apps_and_rotate_keys() {
    let chat = Chat::start().await;
    let app = unique("acme");
    chat.link("U1", "ana", "operators").await;
    chat.link("U2", "vic", "viewers").await;
    chat.command("U2", &format!("plan {app}")).await;
    let plan = chat.platform.reply("An onboarding of").await;
    assert!(
        plan.text().contains(&format!("create user {app}")),
        "{}",
        plan.text()
    );
    chat.command("U2", "plan NOT/A/NAME").await;
    chat.platform.reply("/name").await;
    chat.command("U1", &format!("onboard {app}")).await;
    chat.platform.message("succeeded").await;
    chat.command("U1", &format!("onboard {app}")).await;
    chat.platform.reply("App already exists").await;
    chat.command("U2", &format!("plan {app}")).await;
    chat.platform.reply("would make 0 changes").await;
    chat.command("U2", &format!("status {app}")).await;
    chat.platform.reply("ready").await;
    chat.command("U2", &format!("drift {app}")).await;
    chat.platform.reply("has not been checked for drift").await;
    chat.command("U1", &format!("drift {app}")).await;
    chat.platform.reply("is as its spec says").await;
    chat.command("U2", &format!("rotate {app}")).await;
    chat.platform.reply("requires the role operator").await;
    chat.command("U1", &format!("rotate {app}")).await;
    let rotated = chat
        .platform
        .wait_for(|it| it.text().contains("rotate of") && it.text().contains("succeeded"))
        .await;
    assert!(
        rotated.text().contains("Claim its secret"),
        "{}",
        rotated.text()
    );
    assert_eq!(chat.platform.written(), 2);

    // A removal is shown first, and can be undone.
    chat.command("U2", &format!("remove {app}")).await;
    let confirm = format!("remove {app} confirm={app}");
    chat.platform.reply(&confirm).await;
    let roles = |it: &Sent| it.path == "/reply" && it.text().contains("requires the role operator");
    for command in [confirm.clone(), format!("restore {app}")] {
        let before = chat.platform.sent().into_iter().filter(roles).count();
        chat.command("U2", &command).await;
        while chat.platform.sent().into_iter().filter(roles).count() == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    assert_eq!(chat.jobs().await.len(), 2);
    for (command, kind) in [(confirm, "offboard"), (format!("restore {app}"), "restore")] {
        chat.command("U1", &command).await;
        let says = format!("{kind} of {app}");
        chat.platform
            .wait_for(|it| it.text().contains(&says) && it.text().contains("succeeded"))
            .await;
    }
    let kinds: Vec<Value> = chat
        .jobs()
        .await
        .iter()
        .map(|job| job["kind"].clone())
        .collect();
    assert_eq!(kinds, ["restore", "offboard", "rotate", "onboard"]);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_acknowledged_at_once_whatever_the_platform_and_aws_do() {
    let chat = Chat::start().await;
    chat.link("U1", "ana", "operators").await;
    chat.console.setup.aws.on_call(|_| Some(Fault::Delayed));
    let slow = Trouble::Slow(Duration::from_secs(5));
    chat.platform.trouble([slow.clone(), slow]);
    for command in ["plan", "plan", "onboard", "onboard", "onboard"] {
        let (app, began) = (unique("acme"), Instant::now());
        let answer = chat.command("U1", &format!("{command} {app}")).await;
        assert_eq!(answer, "");
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    }
    chat.platform.reply("An onboarding of").await;
    chat.console.setup.aws.on_call(|_| None);
    while chat.platform.written() < 3 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    chat.stop().await;
}
