//! Exit codes, and what is said with them.

use serde_json::json;

use super::{Host, Person, assert_has};

#[tokio::test(flavor = "multi_thread")]
async fn in_a_pipe_nothing_is_changed_without_yes() {
    let host = Host::new();
    let server = host.launch.serve().await;
    let admin = Person::admin(&server, &host.launch);
    let refused = admin.run(&["app", "create", "acme"]).await.exits(2);
    assert_has(&refused, &["+ create user acme", "`--yes`"]);
    assert_eq!(admin.json(&["app", "list"]).await, json!([]));
    admin.ok(&["app", "create", "acme", "--yes"]).await;
    for command in [
        &["app", "change", "acme", "--media-access", "scoped"][..],
        &["app", "remove", "acme"],
        &["app", "repair", "acme"],
        &["app", "restore", "acme"],
        &["key", "rotate", "acme"],
        &["token", "revoke", "01M8HQNRTBXEKQT2SVRZH3CRN6"],
    ] {
        assert_has(&admin.run(command).await.exits(2), &["`--yes`"]);
    }
    assert_eq!(
        admin.json(&["job", "list"]).await.as_array().unwrap().len(),
        1
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_with_what_to_do() {
    let host = Host::new();
    let server = host.launch.serve().await;
    let admin = Person::admin(&server, &host.launch);
    admin.run(&["app", "creat"]).await.exits(2);
    let fields = [
        "app",
        "create",
        "no spaces",
        "--region",
        "moon",
        "--bucket",
        "A",
        "--yes",
    ];
    assert_has(
        &admin.run(&fields).await.exits(2),
        &[
            "Invalid fields",
            "/name: must be",
            "/region: must be",
            "/buckets/0/name: must be",
        ],
    );
    admin
        .ok(&["app", "create", "acme", "--yes", "--protected", "true"])
        .await;
    let exists = admin
        .run(&["app", "create", "acme", "--yes"])
        .await
        .exits(1);
    assert_has(&exists, &["App already exists", "slipway app change acme"]);
    let protected = admin
        .run(&["app", "remove", "acme", "--yes"])
        .await
        .exits(1);
    assert_has(&protected, &["slipway app change acme --protected false"]);
    admin
        .ok(&["app", "change", "acme", "--protected", "false", "--yes"])
        .await;
    let bucket = format!("acme-media-{}", super::ACCOUNT);
    let data = ["app", "remove", "acme", "--yes", "--delete-bucket", &bucket];
    assert_has(&admin.run(&data).await.exits(2), &["--confirm acme"]);
    admin.run(&["app", "show", "nobody"]).await.exits(1);
    let elsewhere = Person::new("http://127.0.0.1:9", "token");
    assert_has(
        &elsewhere.run(&["app", "list"]).await.exits(1),
        &["cannot reach"],
    );
    assert_has(
        &Person::new("nowhere", "token")
            .run(&["app", "list"])
            .await
            .exits(2),
        &["nowhere"],
    );
    let stranger = Person::new(&format!("http://{}", server.address), "wrong");
    assert_has(
        &stranger.run(&["app", "list"]).await.exits(4),
        &["slipway login"],
    );
    let viewer = ["token", "issue", "--name", "v", "--role", "viewer"];
    let viewer = admin.ok(&viewer).await;
    let viewer = Person::new(&format!("http://{}", server.address), viewer.trim());
    assert_has(
        &viewer
            .run(&["app", "repair", "acme", "--yes"])
            .await
            .exits(4),
        &["role operator"],
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_plan_and_a_plan_with_changes() {
    let host = Host::new();
    let server = host.launch.serve().await;
    let admin = Person::admin(&server, &host.launch);
    admin
        .run(&["app", "plan", "acme", "--exit-code"])
        .await
        .exits(5);
    admin.ok(&["app", "plan", "acme"]).await;
    let owner = host.aws.owner(super::ACCOUNT);
    owner
        .call("iam", "CreateUser", json!({"UserName": "acme"}))
        .unwrap();
    let blocked = admin
        .run(&["app", "plan", "acme", "--exit-code"])
        .await
        .exits(3);
    assert_has(&blocked, &["  ! ", "4 blocked"]);
    let refused = admin
        .run(&["app", "create", "acme", "--yes"])
        .await
        .exits(3);
    assert_has(&refused, &["blocked"]);
    assert_eq!(
        admin.json(&["app", "list"]).await,
        json!([]),
        "nothing was requested"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_waits_for_another_person() {
    let host = Host::new().settings("[approvals]\njob_kinds = [\"onboard\"]\n");
    let server = host.launch.serve().await;
    let admin = Person::admin(&server, &host.launch);
    let waits = admin
        .run(&["app", "create", "acme", "--yes", "--output", "json"])
        .await;
    assert_eq!(waits.code, 3, "{}", waits.err);
    assert_has(&waits.err, &["awaits approval", "slipway job approve"]);
    let job: serde_json::Value = serde_json::from_str(&waits.out).unwrap();
    let id = job["id"].as_str().unwrap();
    admin.run(&["job", "watch", id]).await.exits(3);
    let approve = ["job", "approve", id, "--yes"];
    assert_has(
        &admin.run(&approve).await.exits(4),
        &["+ create user acme", "Own request"],
    );
    // Who a token of an admin's own making belongs to is that admin: an administrator approves in an emergency.
    let alone = [
        &approve[..],
        &["--break-glass", "--comment", "Nobody else is there."],
    ]
    .concat();
    assert_has(
        &admin.run(&alone).await.exits(0),
        &["approved", "succeeded"],
    );
    let other = admin
        .run(&["app", "create", "other", "--yes", "--output", "json"])
        .await;
    let job: serde_json::Value = serde_json::from_str(&other.out).unwrap();
    let id = job["id"].as_str().unwrap();
    admin
        .ok(&["job", "reject", id, "--comment", "Not now."])
        .await;
    assert_has(
        &admin.run(&["job", "watch", id]).await.exits(1),
        &["Not now."],
    );
    server.stop().await;
}
