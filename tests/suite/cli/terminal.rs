//! In a pseudo-terminal, as a person sees it.

use serde_json::json;

use super::{Host, Person, assert_has};

const GREEN: &str = "\u{1b}[32m";

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_asked_and_sees_the_steps() {
    let host = Host::new();
    let server = host.launch.serve().await;
    let admin = Person::admin(&server, &host.launch);
    let create = ["app", "create", "acme"];
    let no = admin
        .at_terminal(&[("[y/N]", "n\r")], &create)
        .await
        .exits(1);
    assert_has(&no, &[GREEN, "+ create user acme", "Nothing was changed"]);
    assert_eq!(admin.json(&["app", "list"]).await, json!([]));
    let yes = admin
        .at_terminal(&[("[y/N]", "y\r")], &create)
        .await
        .exits(0);
    assert_has(
        &yes,
        &[
            "✓",
            "iam:user/acme",
            "s3:bucket/acme-media",
            "Done: onboard of acme.",
        ],
    );
    let plain = admin.with("NO_COLOR", "1");
    let plan = plain
        .at_terminal(&[], &["app", "plan", "other"])
        .await
        .exits(0);
    assert!(
        plan.contains("+ create user other") && !plan.contains('\u{1b}'),
        "{plan:?}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_not_shown_on_a_terminal_unasked() {
    let host = Host::new();
    let server = host.launch.serve().await;
    let admin = Person::admin(&server, &host.launch);
    admin.ok(&["app", "create", "acme", "--yes"]).await;
    let refused = admin
        .at_terminal(&[], &["key", "claim", "acme"])
        .await
        .exits(2);
    assert_has(&refused, &["`--show`"]);
    let shown = admin
        .at_terminal(&[], &["key", "claim", "acme", "--show"])
        .await
        .exits(0);
    assert_has(&shown, &["AWS_SECRET_ACCESS_KEY="]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pasted_token_is_not_echoed() {
    let host = Host::new();
    let server = host.launch.serve().await;
    let url = format!("http://{}", server.address);
    let person = Person::new(&url, "");
    let paste = format!("{}\r", host.launch.admin_token);
    let steps = [("Token for", paste.as_str())];
    let shown = person.at_terminal(&steps, &["login"]).await.exits(0);
    assert!(!shown.contains(&host.launch.admin_token), "{shown}");
    person.ok(&["app", "list"]).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_leaves_the_job_and_says_how_to_follow_it() {
    let host = Host::slow();
    let server = host.launch.serve().await;
    let admin = Person::admin(&server, &host.launch);
    let create = ["app", "create", "acme", "--yes"];
    let left = admin
        .at_terminal(&[("iam:user/acme", "\u{3}")], &create)
        .await
        .exits(130);
    assert_has(
        &left,
        &["the job goes on without you", "slipway job watch "],
    );
    let id = left
        .rsplit("slipway job watch ")
        .next()
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap();
    assert_has(
        &admin.run(&["job", "watch", id]).await.exits(0),
        &["succeeded"],
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_is_deleted_when_the_name_is_typed() {
    let host = Host::new();
    let server = host.launch.serve().await;
    let admin = Person::admin(&server, &host.launch);
    admin.ok(&["app", "create", "acme", "--yes"]).await;
    let bucket = format!("acme-media-{}", super::ACCOUNT);
    let remove = ["app", "remove", "acme", "--yes", "--delete-bucket", &bucket];
    let steps = |name| [("type the app's name", name)];
    admin.at_terminal(&steps("other\r"), &remove).await.exits(1);
    assert_eq!(admin.json(&["app", "show", "acme"]).await["state"], "ready");
    admin.at_terminal(&steps("acme\r"), &remove).await.exits(0);
    assert_eq!(
        admin.json(&["app", "show", "acme"]).await["removal"]["buckets"],
        json!([bucket])
    );
    server.stop().await;
}
