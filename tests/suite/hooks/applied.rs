//! Pushes: the file at the head of the default branch is applied, once, whatever becomes of the deliveries.

use serde_json::json;

use super::forge::{Forge, ID};
use super::*;

fn rules(forge: &Forge) -> String {
    let rule =
        "repository_ids = [\"7\"]\nevents = [\"pushed\", \"archived\"]\napps = [\"acme-shop*\"]\n";
    let github = "[hooks.github]\napi_url = \"URL\"\n[[hooks.github.rules]]\n";
    let gitlab = "[hooks.gitlab]\napi_url = \"URL\"\n[[hooks.gitlab.rules]]\n";
    format!("{github}{rule}{gitlab}{rule}").replace("URL", &forge.url)
}

fn manifest(tag: &str) -> String {
    format!(
        "app: acme-shop\nbuckets: []\nrepositories: []\naccess_key: false\ntags: {{Version: \"{tag}\"}}\n"
    )
}

/// The push of a commit, as GitHub tells of it.
fn push(id: &str, commit: &str) -> Sent {
    let repository = json!({"id": ID, "full_name": "acme/shop", "default_branch": "main", "owner": {"id": 9919}});
    let body = json!({
        "ref": "refs/heads/main", "after": commit, "repository": repository, "delivery": id,
        "commits": [{"id": commit, "added": [], "modified": ["slipway.yaml"], "removed": []}],
    });
    github("push", id, &body)
}

async fn version(server: &Running) -> Value {
    server.get("/v1/apps/acme-shop").await["spec"]["tags"]["Version"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_applied_and_one_that_is_late_changes_nothing() {
    let forge = Forge::start().await;
    let host = Host::new(&rules(&forge));
    let server = host.launch.serve().await;
    let first = forge.push(&manifest("1"));
    assert!(accept(&server, &push("p1", &first)).await);
    let onboarding = server.ended(&job(&server, "acme-shop", 1).await).await;
    assert_eq!(
        json!([
            onboarding["kind"],
            onboarding["state"],
            onboarding["requested_by"]
        ]),
        json!(["onboard", "succeeded", "github:acme/shop"])
    );
    assert!(
        forge
            .requests()
            .iter()
            .all(|path| path.starts_with("/repositories/7"))
    );
    // Two pushes, of which the later one is delivered first.
    let second = forge.push(&manifest("2"));
    let third = forge.push(&manifest("3"));
    assert!(accept(&server, &push("p3", &third)).await);
    let update = server.ended(&job(&server, "acme-shop", 2).await).await;
    assert_eq!(
        json!([update["kind"], update["state"]]),
        json!(["update", "succeeded"])
    );
    assert_eq!(version(&server).await, "3");
    assert!(accept(&server, &push("p2", &second)).await);
    logged(&host, &format!("Commit {third} was applied before."), 1).await;
    // A redelivery, by the same id or another one, and one whose file says the same.
    assert!(accept(&server, &push("p3", &third)).await);
    assert!(accept(&server, &push("p4", &third)).await);
    logged(&host, &format!("Commit {third} was applied before."), 2).await;
    let same = forge.push(&manifest("3").replace("Version", "# comment\n  Version"));
    assert!(accept(&server, &push("p5", &same)).await);
    logged(&host, "acme-shop: no changes.", 1).await;
    // The file goes. The app does not.
    let without = forge.push_without_file();
    assert!(accept(&server, &push("p6", &without)).await);
    logged(&host, &format!("Commit {without} has no slipway.yaml."), 1).await;
    assert_eq!(
        (
            jobs(&server, "acme-shop").await.len(),
            version(&server).await
        ),
        (2, json!("3"))
    );

    // GitHub tells that the repository is archived, which its API confirms.
    let archived = || {
        github(
            "repository",
            &fastrand::u64(..).to_string(),
            &repository_event("archived", ID, "shop"),
        )
    };
    assert!(accept(&server, &archived()).await);
    logged(&host, "is not archived any more", 1).await;
    forge.archive();
    assert!(accept(&server, &archived()).await);
    let removal = job(&server, "acme-shop", 3).await;
    assert_eq!(
        json!([removal["kind"], removal["state"]]),
        json!(["offboard", "awaiting_approval"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_the_head_again_is_applied_again() {
    let forge = Forge::start().await;
    let host = Host::new(&rules(&forge));
    let server = host.launch.serve().await;
    let first = forge.push(&manifest("1"));
    assert!(accept(&server, &push("p1", &first)).await);
    server.ended(&job(&server, "acme-shop", 1).await).await;
    let second = forge.push(&manifest("2"));
    assert!(accept(&server, &push("p2", &second)).await);
    server.ended(&job(&server, "acme-shop", 2).await).await;
    forge.reset(&first);
    assert!(accept(&server, &push("p3", &first)).await);
    server.ended(&job(&server, "acme-shop", 3).await).await;
    assert_eq!(version(&server).await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn gitlabs_push_is_applied() {
    let forge = Forge::start().await;
    let host = Host::new(&rules(&forge));
    let server = host.launch.serve().await;
    let commit = forge.push(&manifest("1"));
    let body = json!({
        "object_kind": "push", "ref": "refs/heads/main", "after": commit, "project_id": ID,
        "project": {"path_with_namespace": "acme/team/shop", "default_branch": "main"},
        "commits": [{"added": ["slipway.yaml"]}], "total_commits_count": 1,
    });
    let sent = standard("/hooks/gitlab", "g1", 0, &body);
    assert!(accept(&server, &sent).await && accept(&server, &sent).await);
    let job = server.ended(&job(&server, "acme-shop", 1).await).await;
    assert_eq!(
        json!([job["state"], job["requested_by"]]),
        json!(["succeeded", "gitlab:acme/team/shop"])
    );
    assert!(
        forge
            .requests()
            .iter()
            .all(|path| path.starts_with("/projects/7"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_reaches_beyond_the_rule_is_refused() {
    let forge = Forge::start().await;
    let host = Host::new(&rules(&forge));
    let server = host.launch.serve().await;
    for (number, (text, says)) in [
        (
            manifest("1").replace("acme-shop", "other"),
            "The app name other is outside your scope",
        ),
        (
            manifest("1") + "account: prod\n",
            "The account must be default",
        ),
        (manifest("1") + "bucket: []\n", "/bucket"),
        ("app: [".into(), "slipway.yaml at"),
        (
            "app: acme-shop\nbuckets: &none []\nrepositories: *none\n".into(),
            "YAML aliases are not taken",
        ),
        (String::new(), "has no app"),
    ]
    .into_iter()
    .enumerate()
    {
        let commit = forge.push(&text);
        assert!(accept(&server, &push(&format!("r{number}"), &commit)).await);
        logged(&host, says, 1).await;
    }
    assert_eq!(server.get("/v1/jobs").await["items"], json!([]));
    // What is right is applied after that.
    let commit = forge.push(&manifest("1"));
    assert!(accept(&server, &push("right", &commit)).await);
    job(&server, "acme-shop", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_fails_is_tried_again_also_by_the_next_process() {
    let forge = Forge::start().await;
    let host = Host::new(&rules(&forge));
    let server = host.launch.serve().await;
    let commit = forge.push(&manifest("1"));
    forge.fail(1);
    assert!(accept(&server, &push("f1", &commit)).await);
    server.ended(&job(&server, "acme-shop", 1).await).await;
    logged(&host, "the forge answers 500", 1).await;
    // The forge does not answer, and the process is killed while it waits.
    forge.silence(true);
    let asked = forge.requests().len();
    let commit = forge.push(&manifest("2"));
    assert!(accept(&server, &push("f2", &commit)).await);
    while forge.requests().len() == asked {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(server);
    forge.silence(false);
    let server = host.launch.serve().await;
    server.ended(&job(&server, "acme-shop", 2).await).await;
    assert_eq!(version(&server).await, "2");
}
