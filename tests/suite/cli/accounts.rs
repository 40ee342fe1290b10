//! The set-up of an account by the command line.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::{Host, Person, assert_has};

const SETUP: &str = "
alias: the-customer
groups:
  - name: Developers
    policies: [ReadOnlyAccess]
people:
  - email: ana@example.com
    groups: [Developers]
password_policy:
  minimum_length: 14
";

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_set_up_for_people() {
    let host = Host::new();
    let server = host.launch.serve().await;
    let admin = Person::admin(&server, &host.launch);
    admin.write("setup.yaml", SETUP);
    let apply = "account setup apply default -f setup.yaml --yes";
    let apply: Vec<&str> = apply.split(' ').collect();

    let plan = "account setup plan default -f setup.yaml --exit-code";
    let plan: Vec<&str> = plan.split(' ').collect();
    let seen = admin.run(&plan).await.exits(5);
    assert_has(&seen, &["account default", "+ create user ana@example.com"]);
    let unset = admin.run(&["account", "setup", "show", "default"]).await;
    unset.exits(1);

    let seen = admin.run(&apply).await.exits(0);
    let claim = "slipway account setup claim default ana@example.com";
    assert_has(&seen, &["Done:", "of account default", claim]);
    let shown = admin.ok(&["account", "setup", "show", "default"]).await;
    assert_has(
        &shown,
        &["the-customer", "Developers", "ReadOnlyAccess", claim],
    );
    assert_has(&admin.run(&apply).await.exits(0), &["Nothing to change"]);
    admin.run(&plan).await.exits(0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_password_goes_to_a_file_and_a_set_up_is_looked_at_and_repaired() {
    let host = Host::new();
    let server = host.launch.serve().await;
    let admin = Person::admin(&server, &host.launch);
    admin.write("setup.yaml", SETUP);
    admin
        .ok(&[
            "account",
            "setup",
            "apply",
            "default",
            "-f",
            "setup.yaml",
            "--yes",
        ])
        .await;
    let claim = ["account", "setup", "claim", "default", "ana@example.com"];
    let to_file = [&claim[..], &["--to", "ana.json"]].concat();
    assert_has(&admin.run(&to_file).await.exits(0), &["ana.json"]);
    let file = admin.file("ana.json");
    let mode = file.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let claimed: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(claimed["password"].as_str().unwrap().len(), 32);
    admin.run(&claim).await.exits(1);

    for (arguments, has) in [
        ("drift default --check --exit-code", "No changes"),
        ("repair default --yes", ""),
        ("export default --format terraform", "aws_iam_group"),
        ("history default", "job_ended"),
    ] {
        let arguments = arguments.split(' ');
        let arguments: Vec<&str> = ["account", "setup"].into_iter().chain(arguments).collect();
        assert_has(&admin.run(&arguments).await.exits(0), &[has]);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_an_app_is_named() {
    let host = Host::new();
    let server = host.launch.serve().await;
    let admin = Person::admin(&server, &host.launch);
    admin
        .run(&["app", "open", "acme", "--print"])
        .await
        .exits(1);
    admin.ok(&["app", "create", "acme", "--yes"]).await;
    let url = admin.ok(&["app", "open", "acme", "--print"]).await;
    assert_eq!(
        url,
        format!("http://{}/console/apps/acme\n", server.address)
    );
    server.stop().await;
}
