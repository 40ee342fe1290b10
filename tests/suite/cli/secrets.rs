//! Tokens and secrets: where they go, and where they are not.

use std::os::unix::fs::PermissionsExt as _;

use super::{Host, Person, assert_has};

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_goes_to_a_new_file_or_a_pipe_and_nowhere_else() {
    let host = Host::new();
    let server = host.launch.serve().await;
    let admin = Person::admin(&server, &host.launch);
    admin.ok(&["app", "create", "acme", "--yes"]).await;
    admin.write("taken", "mine");
    let claim = ["key", "claim", "acme", "--to", "taken"];
    assert_has(&admin.run(&claim).await.exits(2), &["not overwritten"]);
    assert_eq!(
        std::fs::read_to_string(admin.file("taken")).unwrap(),
        "mine"
    );
    let said = admin
        .run(&["key", "claim", "acme", "--to", "acme.env"])
        .await
        .exits(0);
    let mode = std::fs::metadata(admin.file("acme.env"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(admin.file("acme.env")).unwrap();
    let secret = text
        .lines()
        .find_map(|line| line.strip_prefix("AWS_SECRET_ACCESS_KEY="))
        .unwrap();
    assert!(!secret.is_empty() && !said.contains(secret));
    let again = admin
        .run(&["key", "claim", "acme", "--to", "again.env"])
        .await
        .exits(1);
    assert_has(&again, &["slipway key rotate acme"]);
    assert!(
        !admin.file("again.env").exists(),
        "no file without a secret"
    );
    let log = host.launch.log();
    assert!(!log.contains(secret) && !log.contains(&host.launch.admin_token));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_takes_a_secret_as_an_argument() {
    let nobody = Person::new("http://127.0.0.1:9", "");
    for command in ["app list", "login", "key claim", "token issue", "apply"] {
        let arguments: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let help = nobody.ok(&arguments).await;
        let secret_flag = help.lines().any(|line| {
            let line = line.trim_start();
            line.starts_with("--token ")
                || line.starts_with("--secret")
                || line.starts_with("--password")
        });
        assert!(!secret_flag, "{help}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_checked_saved_for_its_owner_and_sent_to_its_service_only() {
    let host = Host::new();
    let server = host.launch.serve().await;
    let url = format!("http://{}", server.address);
    let person = Person::new(&url, "").without("SLIPWAY_URL");
    let path = person.file(".config/slipway/login.json");
    assert_has(
        &person.run(&["app", "list"]).await.exits(2),
        &["slipway login"],
    );
    person
        .run_with_input(&["login", "--url", &url], "wrong\n")
        .await
        .exits(4);
    assert!(!path.exists(), "a token that does not work is not saved");
    let login = ["login", "--url", &url];
    let login = person.run_with_input(&login, &host.launch.admin_token);
    let said = login.await.exits(0);
    assert!(!said.contains(&host.launch.admin_token));
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    person.ok(&["app", "list"]).await;
    let other = person
        .run(&["app", "list", "--url", "http://127.0.0.1:9"])
        .await
        .exits(2);
    assert_has(&other, &["the saved token is for"]);
    person.write("wrong", "wrong");
    person
        .run(&["app", "list", "--token-file", "wrong"])
        .await
        .exits(4);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_has(
        &person.run(&["app", "list"]).await.exits(1),
        &["others can read", "chmod 600"],
    );
    person.ok(&["logout"]).await;
    assert!(!path.exists());
    server.stop().await;
}
