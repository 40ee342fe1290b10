//! Whole lives of apps by the command line.

use serde_json::{Value, json};

use super::{Host, Person, assert_has};

#[tokio::test(flavor = "multi_thread")]
async fn an_app_lives_by_commands_alone() {
    let host = Host::new();
    let server = host.launch.serve().await;
    let admin = Person::admin(&server, &host.launch);
    let created = admin.run(&["app", "create", "acme", "--yes"]).await;
    let seen = created.exits(0);
    assert_has(
        &seen,
        &[
            "+ create user acme",
            "to create,",
            "succeeded",
            "slipway key claim acme AKIA",
        ],
    );
    let listed = admin.ok(&["app", "list"]).await;
    assert_has(&listed, &["NAME", "acme", "ready"]);
    assert_has(
        &admin.ok(&["app", "show", "acme"]).await,
        &["iam:user/acme", "s3:bucket/"],
    );
    let env = admin.ok(&["key", "claim", "acme"]).await;
    assert_has(&env, &["AWS_SECRET_ACCESS_KEY="]);
    assert_has(
        &admin.ok(&["key", "list", "acme"]).await,
        &["claimed", "active"],
    );
    let change = ["app", "change", "acme", "--media-access", "scoped", "--yes"];
    assert_has(
        &admin.run(&change).await.exits(0),
        &["+ create policy MediaManagement-acme"],
    );
    let again = admin.run(&change).await.exits(0);
    assert_has(&again, &["Nothing to change"]);
    assert_has(
        &admin.ok(&["app", "plan", "acme", "--exit-code"]).await,
        &["No changes"],
    );
    assert_has(
        &admin.ok(&["app", "drift", "acme", "--check"]).await,
        &["No changes"],
    );
    assert_has(
        &admin
            .ok(&["app", "export", "acme", "--format", "terraform"])
            .await,
        &["aws_iam_user"],
    );
    assert_has(
        &admin.ok(&["app", "history", "acme", "--limit", "3"]).await,
        &["job_ended"],
    );
    assert_has(
        &admin.ok(&["audit", "--action", "secret_claimed"]).await,
        &["acme"],
    );
    let removed = admin
        .run(&["app", "remove", "acme", "--yes"])
        .await
        .exits(0);
    assert_has(&removed, &["- delete user acme", "retained"]);
    assert_has(&admin.ok(&["app", "show", "acme"]).await, &["quarantined"]);
    admin.ok(&["app", "restore", "acme", "--yes"]).await;
    admin.ok(&["app", "repair", "acme", "--yes"]).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_rotated_and_the_rotation_undone() {
    let host = Host::new();
    let server = host.launch.serve().await;
    let admin = Person::admin(&server, &host.launch);
    admin.ok(&["app", "create", "acme", "--yes"]).await;
    admin.ok(&["key", "claim", "acme"]).await;
    let job = admin.json(&["key", "rotate", "acme", "--yes"]).await;
    let key = job["result"]["access_key_id"].as_str().unwrap();
    admin
        .ok(&["key", "claim", "acme", key, "--format", "json"])
        .await;
    let keys = admin.json(&["key", "list", "acme"]).await;
    assert!(keys["rotation"]["stage"].is_string(), "{keys:#}");
    assert_eq!(keys["items"].as_array().unwrap().len(), 2);
    admin.ok(&["key", "rollback", "acme", "--yes"]).await;
    admin.ok(&["key", "deactivate", "acme", key, "--yes"]).await;
    admin.ok(&["key", "activate", "acme", key, "--yes"]).await;
    admin.ok(&["key", "deactivate", "acme", key, "--yes"]).await;
    admin.ok(&["key", "delete", "acme", key, "--yes"]).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_that_of_the_api_and_yaml_the_same() {
    let host = Host::new();
    let server = host.launch.serve().await;
    let admin = Person::admin(&server, &host.launch);
    let job = admin.json(&["app", "create", "acme", "--yes"]).await;
    assert_eq!(
        (&job["state"], &job["kind"]),
        (&json!("succeeded"), &json!("onboard"))
    );
    let id = job["id"].as_str().unwrap();
    for (arguments, path) in [
        (&["app", "show", "acme"][..], "/v1/apps/acme".to_owned()),
        (&["job", "show", id][..], format!("/v1/jobs/{id}")),
    ] {
        let by_api = server.get(&path).await;
        assert_eq!(admin.json(arguments).await, by_api, "{arguments:?}");
        let yaml = admin.ok(&[arguments, &["--output", "yaml"]].concat()).await;
        assert_eq!(yaml_serde::from_str::<Value>(&yaml).unwrap(), by_api);
    }
    for (arguments, path) in [
        (&["app", "list"][..], "/v1/apps"),
        (&["job", "list"][..], "/v1/jobs"),
        (&["audit"][..], "/v1/audit"),
        (&["account", "list"][..], "/v1/accounts"),
        (&["token", "list"][..], "/v1/tokens"),
        (&["trust-rule", "list"][..], "/v1/trust-rules"),
    ] {
        assert_eq!(
            admin.json(arguments).await,
            server.get(path).await["items"],
            "{arguments:?}"
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_read_page_by_page() {
    let host = Host::new();
    let server = host.launch.serve().await;
    let admin = Person::admin(&server, &host.launch);
    for app in ["one", "two", "three"] {
        admin
            .ok(&["app", "create", app, "--yes", "--no-wait"])
            .await;
    }
    let some = admin
        .run(&["app", "list", "--limit", "2", "--output", "json"])
        .await;
    let names: Value = serde_json::from_str(&some.out).unwrap();
    assert_eq!(names.as_array().unwrap().len(), 2);
    assert_has(&some.err, &["There are more"]);
    let all = admin.json(&["app", "list", "--all"]).await;
    assert_eq!(all.as_array().unwrap().len(), 3);
    for job in admin.json(&["job", "list"]).await.as_array().unwrap() {
        admin
            .ok(&["job", "watch", job["id"].as_str().unwrap()])
            .await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_rules_tokens_and_policies() {
    let host = Host::new();
    let server = host.launch.serve().await;
    let admin = Person::admin(&server, &host.launch);
    let add = [
        "account",
        "add",
        "customer",
        "--account-id",
        "210987654321",
        "--role-arn",
        "arn:aws:iam::210987654321:role/slipway",
    ];
    assert_has(
        &admin.run(&add).await.exits(0),
        &["External ID", "slipway account bootstrap customer"],
    );
    assert_has(
        &admin.ok(&["account", "show", "customer"]).await,
        &["pending"],
    );
    assert_has(
        &admin
            .ok(&["account", "bootstrap", "customer", "--format", "aws-cli"])
            .await,
        &["aws iam create-role"],
    );
    let verified = admin.run(&["account", "verify", "customer"]).await.exits(3);
    assert_has(&verified, &["failed", "State: "]);
    admin.ok(&["account", "delete", "customer", "--yes"]).await;
    let images = "- tags: [develop]\n  age_days: 4\n- tags: [latest]\n  age_days: 4\n";
    admin.write("images.yaml", images);
    let simulated = [
        "lifecycle",
        "simulate",
        "--policy",
        "guide",
        "--images",
        "images.yaml",
        "--explain",
    ];
    assert_has(
        &admin.run(&simulated).await.exits(0),
        &["expires", "develop", "rule", "1 expire"],
    );
    let issue = [
        "token", "issue", "--name", "bot", "--role", "viewer", "--app", "acme-*",
    ];
    let token = admin.run(&issue).await;
    assert_eq!(token.code, 0, "{}", token.err);
    let bot = Person::new(&format!("http://{}", server.address), token.out.trim());
    bot.ok(&["app", "list"]).await;
    let tokens = admin.json(&["token", "list"]).await;
    let id = tokens[0]["id"].as_str().unwrap();
    admin.ok(&["token", "revoke", id, "--yes"]).await;
    assert_has(
        &bot.run(&["app", "list"]).await.exits(4),
        &["slipway login"],
    );
    admin.write(
        "rule.yaml",
        "name: shop\nissuer: https://token.actions.githubusercontent.com\naudience: https://slipway.example.com\nrole: operator\nclaims: {repository_id: '1', repository_owner_id: '2', ref: refs/heads/main}\nscope: {apps: [acme-*]}\n",
    );
    let rule = admin
        .json(&["trust-rule", "create", "--file", "rule.yaml"])
        .await;
    let id = rule["id"].as_str().unwrap();
    assert_has(
        &admin.ok(&["trust-rule", "show", id]).await,
        &["shop", "acme-*"],
    );
    admin.ok(&["trust-rule", "delete", id, "--yes"]).await;
    server.stop().await;
}
