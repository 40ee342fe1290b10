//! Which person a chat user is.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Chat, code_in};
use crate::console::submit;
use crate::support::unique;

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_user_who_is_not_linked_may_do_nothing() {
    let chat = Chat::start().await;
    let app = unique("acme");
    let job = ulid::Ulid::generate();
    for command in [
        "status".to_owned(),
        "approvals".to_owned(),
        format!("plan {app}"),
        format!("onboard {app}"),
        format!("rotate {app}"),
        format!("drift {app}"),
        format!("reject {job}"),
        format!("approve {job} 0123456789ab"),
    ] {
        chat.told("U9", &command, "not linked").await;
    }
    chat.press("U9", &format!("reject {job}"), "t-1").await;
    let sent = chat.platform.reply("not linked").await;
    assert_eq!(sent.body["response_type"], "ephemeral");
    assert_eq!(sent.authorization, "", "the URL gets no token");
    assert_eq!(chat.platform.sent().len(), 1);
    assert_eq!(chat.jobs().await, Vec::<Value>::new());
    // What is for everybody is answered at once, to the user alone.
    for (command, says) in [
        ("help", "onboard NAME"),
        ("", "onboard NAME"),
        ("unlink", "not linked"),
        ("dance", "no such command"),
        ("onboard", "onboard NAME"),
    ] {
        chat.told("U9", command, says).await;
    }
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_ties_a_chat_user_by_a_form_that_shows_it() {
    let chat = Chat::start().await;
    let answer = chat.command("U1", "link").await;
    let code = code_in(&answer);
    let path = format!("/console/chat?code={code}");
    assert!(
        answer.contains(&path) && answer.contains("ephemeral"),
        "{answer}"
    );
    let browser = chat.console.signed_in_as("o-1", "operators").await;
    let page = browser.get(&path).await;
    for shown in [
        "name of U1",
        "U1",
        "T1",
        "Slack",
        "o-1@example.com",
        "operator",
    ] {
        assert!(page.text.contains(shown), "{shown}: {}", page.text);
    }
    // To open the page ties nobody, and a later code replaces this one.
    chat.told("U1", "status", "not linked").await;
    let later = chat.code("U1").await;
    let replaced = submit(&browser, "/console/chat", &[("code", &code)]).await;
    assert_eq!(replaced.status, 404, "{}", replaced.text);
    let linked = submit(&browser, "/console/chat", &[("code", &later)]).await;
    assert_eq!(linked.location, "/console/chat?notice=linked");
    let again = submit(&browser, "/console/chat", &[("code", &later)]).await;
    assert_eq!(again.status, 404, "a code is used once");
    let page = browser.get("/console/chat").await;
    assert!(page.text.contains("U1") && page.text.contains("o-1@example.com"));
    let other = chat.console.signed_in_as("o-2", "operators").await;
    assert!(!other.get("/console/chat").await.text.contains("U1"));

    let audit = chat
        .server()
        .json("/v1/audit?action=chat_user_linked")
        .await;
    let entry = &audit["items"][0];
    assert_eq!(
        json!([
            entry["platform"],
            entry["team"],
            entry["user"],
            entry["identity"]["subject"]
        ]),
        json!(["slack", "T1", "U1", "o-1"])
    );
    assert!(!audit.to_string().contains(&later));

    // After ten minutes a code is none. A sign-in of long ago is not enough.
    let late = chat.code("U2").await;
    chat.console
        .setup
        .clock
        .advance(Duration::from_secs(6 * 60));
    let old = submit(&browser, "/console/chat", &[("code", &late)]).await;
    assert_eq!(old.status, 403, "{}", old.text);
    let page = browser.get(&format!("/console/chat?code={late}")).await;
    assert!(page.text.contains("Sign in again"), "{}", page.text);
    chat.console
        .setup
        .clock
        .advance(Duration::from_secs(5 * 60));
    let browser = chat.console.signed_in_as("o-1", "operators").await;
    let expired = submit(&browser, "/console/chat", &[("code", &late)]).await;
    assert_eq!(expired.status, 404, "{}", expired.text);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn role_and_scope_are_those_of_the_last_sign_in() {
    let chat = Chat::start().await;
    let (own, other) = (unique("acme"), unique("other"));
    chat.link("U1", "a-1", "viewers").await;
    chat.command("U1", &format!("onboard {own}")).await;
    chat.platform.reply("requires the role operator").await;

    // The next sign-in gives another role, and a scope.
    chat.console.signed_in_as("a-1", "acme").await;
    chat.command("U1", &format!("onboard {other}")).await;
    chat.platform.reply("outside your scope").await;
    assert_eq!(chat.jobs().await, Vec::<Value>::new());
    chat.command("U1", &format!("onboard {own}")).await;
    chat.platform.message("succeeded").await;
    let jobs = chat.jobs().await;
    let by = jobs[0]["requested_by"].as_str().unwrap();
    assert!(by.starts_with("oidc:a-1@example.com#"), "{by}");

    // What is outside the scope does not exist.
    chat.server().onboard(&json!({ "name": other })).await;
    for command in ["status", "rotate", "drift"] {
        let before = chat.platform.sent().len();
        chat.command("U1", &format!("{command} {other}")).await;
        while chat.platform.sent().len() == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let sent = chat.platform.sent();
        assert!(
            sent.last().unwrap().text().contains("No such app"),
            "{sent:#?}"
        );
    }

    // A week after the last sign-in, the person signs in again.
    chat.console
        .setup
        .clock
        .advance(Duration::from_secs(7 * 24 * 3600 + 60));
    chat.told("U1", "status", "Your last sign-in is too long ago")
        .await;
    chat.console.signed_in_as("a-1", "acme").await;
    chat.command("U1", "status").await;
    chat.platform.reply(&format!("onboard of {own}")).await;

    // Who is in no group any more is nobody in chat, too.
    let browser = crate::support::sign_in::Browser::new(&chat.server().url);
    chat.console
        .provider
        .person(json!({"sub": "a-1", "name": "a-1", "groups": ["none"]}));
    let callback = browser.authorize("/auth/login").await;
    assert_eq!(browser.get(&callback).await.status, 403);
    chat.told("U1", "status", "not linked").await;
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_ends_when_the_chat_user_the_person_or_an_admin_ends_it() {
    let chat = Chat::start().await;
    let browser = chat.link("U1", "o-1", "operators").await;
    let answer = chat.command("U1", "unlink").await;
    assert!(answer.contains("no longer linked"), "{answer}");
    chat.told("U1", "status", "not linked").await;

    let of_another = chat.console.signed_in_as("o-2", "operators").await;
    let admin = chat.console.signed_in_as("a-1", "admins").await;
    for ends in [&browser, &admin] {
        let code = chat.code("U1").await;
        chat.console.provider.person(json!({
            "sub": "o-1", "name": "o-1", "email": "o-1@example.com", "email_verified": true, "groups": ["operators"],
        }));
        let fresh = crate::support::sign_in::Browser::new(&chat.server().url);
        fresh.sign_in("/auth/login").await;
        let linked = submit(&fresh, "/console/chat", &[("code", &code)]).await;
        assert_eq!(linked.status, 303, "{}", linked.text);
        let page = ends.get("/console/chat").await;
        let action = page
            .text
            .split("action=\"")
            .find(|it| it.contains("/unlink\""));
        let action = action.unwrap().split('"').next().unwrap();
        assert_eq!(of_another.post(action).await.status, 404);
        let ended = ends.post(action).await;
        assert_eq!(ended.location, "/console/chat?notice=unlinked");
    }
    let audit = chat
        .server()
        .json("/v1/audit?action=chat_user_unlinked")
        .await;
    assert_eq!(audit["items"].as_array().unwrap().len(), 3, "{audit:#}");
    chat.stop().await;
}
