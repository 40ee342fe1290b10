//! New and archived repositories: what they propose, and that a person decides.

use serde_json::json;

use super::*;

fn rules() -> String {
    let created = format!(
        "[[hooks.github.rules]]\nowner_id = \"9919\"\nevents = [\"created\"]\napps = [\"acme-*\"]\n{TEMPLATE}\n"
    );
    let archived = "[[hooks.standard.ci.rules]]\nrepository_ids = [\"7\"]\nevents = [\"archived\"]\napps = [\"acme-shop\"]\n";
    format!("[hooks.github]\n{created}[hooks.standard.ci]\nsecret_file = \"ci-secret\"\n{archived}")
}

fn archived(id: &str) -> Sent {
    let repository = json!({"id": "7", "full_name": "acme/acme-shop"});
    let body = json!({"type": "repository.archived", "data": {"repository": repository}, "id": id});
    standard("/hooks/standard/ci", id, 0, &body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_created_and_archived_proposes_and_a_person_approves() {
    let host = Host::new(&rules());
    let server = host.launch.serve().await;
    let created = github(
        "repository",
        "d1",
        &repository_event("created", 7, "acme-shop"),
    );
    assert!(accept(&server, &created).await);
    let onboarding = job(&server, "acme-shop", 1).await;
    assert_eq!(onboarding["state"], "awaiting_approval", "{onboarding:#}");
    assert_eq!(onboarding["requested_by"], "github:acme/acme-shop");
    let path = format!("/v1/jobs/{}/approval", onboarding["id"].as_str().unwrap());
    assert_eq!(
        server.get(&path).await["reasons"],
        json!(["repository_event"])
    );
    let audit = server.get("/v1/audit?action=job_requested").await;
    assert_eq!(audit["items"][0]["actor"], "github:acme/acme-shop");
    // It comes again, also under another id: GitHub signs the body alone.
    for repeated in [
        created.clone(),
        created.clone().header("x-github-delivery", "d2"),
    ] {
        assert!(
            accept(&server, &repeated).await,
            "answered as the first time"
        );
    }
    assert_eq!(approve(&server, &onboarding).await["state"], "succeeded");
    let log = host.launch.log();
    assert_eq!(
        (
            log.matches("delivery handled").count(),
            log.matches("delivery refused").count()
        ),
        (1, 0)
    );
    let app = server.get("/v1/apps/acme-shop").await;
    assert_eq!(
        app["spec"]["tags"],
        json!({"Team": "Shop"}),
        "by the template"
    );
    assert_eq!(app["account"], "default");

    assert!(accept(&server, &archived("a1")).await);
    let removal = job(&server, "acme-shop", 2).await;
    assert_eq!(
        json!([removal["kind"], removal["state"], removal["requested_by"]]),
        json!([
            "offboard",
            "awaiting_approval",
            "standard/ci:acme/acme-shop"
        ])
    );
    assert!(accept(&server, &archived("a1")).await);
    assert_eq!(approve(&server, &removal).await["state"], "succeeded");
    assert_eq!(jobs(&server, "acme-shop").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_chooses_nothing() {
    let host = Host::new(&rules());
    let server = host.launch.serve().await;
    // Of another owner, under the same name; another event; no repository of the rule.
    let mut foreign = repository_event("created", 8, "acme-other");
    foreign["repository"]["owner"]["id"] = json!(1);
    let mut nobody = repository_event("created", 8, "acme-other");
    nobody["repository"]
        .as_object_mut()
        .unwrap()
        .remove("owner");
    for (number, body) in [
        foreign,
        nobody,
        repository_event("archived", 7, "acme-shop"),
        repository_event("deleted", 7, "acme-shop"),
    ]
    .iter()
    .enumerate()
    {
        let sent = github("repository", &format!("i{number}"), body);
        assert!(!accept(&server, &sent).await, "{body}");
    }
    // Not within the apps of the rule, whatever else the payload says.
    let mut outside = repository_event("created", 9, "other");
    outside["name"] = json!("acme-shop");
    outside["account"] = json!("prod");
    outside["repository"]["name"] = json!("acme-shop");
    assert!(accept(&server, &github("repository", "o1", &outside)).await);
    logged(&host, "is outside your scope", 1).await;
    // A name that is taken stays what it is.
    let mut taken = repository_event("created", 10, "acme-shop");
    server.ended(&server.ask("acme-shop").await).await;
    taken["n"] = json!(1);
    assert!(accept(&server, &github("repository", "t1", &taken)).await);
    logged(&host, "The app acme-shop exists.", 1).await;
    assert_eq!(jobs(&server, "acme-shop").await.len(), 1);
    assert!(jobs(&server, "other").await.is_empty());
}
