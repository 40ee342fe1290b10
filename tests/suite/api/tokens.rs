//! API tokens.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::json;

use super::{as_bearer, ask, get, id, idle, light, post, strings};
use crate::support::unique;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_once_and_ends_when_it_is_revoked() {
    let setup = idle();
    let server = setup.start().await;
    let answer = post(
        &server,
        "/v1/tokens",
        &json!({"name": "deploy-bot", "role": "operator"}),
    )
    .await;
    let made = answer.expect(201);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(
        json!([made["name"], made["role"], made["created_by"]]),
        json!(["deploy-bot", "operator", "admin"])
    );
    let token = made["token"].as_str().unwrap();
    assert!(token.len() >= 40, "{token}");
    let job =
        ask(as_bearer(&server, token, Method::POST, "/v1/apps").json(&light(&unique("acme"))))
            .await
            .expect(202);
    assert_eq!(job["requested_by"], "deploy-bot");

    let list = get(&server, "/v1/tokens").await;
    assert!(!list.text().contains(token), "{}", list.text());
    let mut row = made.clone();
    row.as_object_mut().unwrap().remove("token");
    assert_eq!(list.expect(200)["items"], json!([row]));

    let path = format!("/v1/tokens/{}", id(&made));
    let revoked = ask(server.request(Method::DELETE, &path)).await;
    assert_eq!((revoked.status, revoked.body.len()), (204, 0));
    ask(as_bearer(&server, token, Method::GET, "/v1/apps"))
        .await
        .problem(401, "unauthorized");
    ask(server.request(Method::DELETE, &path))
        .await
        .problem(404, "not_found");
    assert_eq!(
        get(&server, "/v1/tokens").await.expect(200)["items"],
        json!([])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_one_name_are_two_callers() {
    let setup = idle();
    let server = setup.start().await;
    let mut jobs = BTreeSet::new();
    for token in [
        server.token("operator").await,
        server.token("operator").await,
    ] {
        let request =
            as_bearer(&server, &token, Method::POST, "/v1/apps").header("idempotency-key", "k");
        jobs.insert(id(&ask(request.json(&light(&unique("acme")))).await.expect(202)).to_owned());
    }
    assert_eq!(jobs.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_takes_a_name_and_a_role_that_there_is() {
    let setup = idle();
    let server = setup.start().await;
    for (body, pointers) in [
        (json!({}), &["/name", "/role"][..]),
        (
            json!({"name": "", "role": "root", "x": 1}),
            &["/name", "/role", "/x"],
        ),
        (json!({"name": "  ", "role": "Viewer"}), &["/name", "/role"]),
        (json!({"name": "a\nb", "role": null}), &["/name", "/role"]),
        (
            json!({"name": "x".repeat(65), "role": "viewer"}),
            &["/name"],
        ),
        (json!([]), &[""]),
    ] {
        let problem = post(&server, "/v1/tokens", &body)
            .await
            .problem(422, "invalid_fields");
        assert_eq!(strings(&problem["errors"], "pointer"), pointers, "{body}");
    }
    assert_eq!(
        get(&server, "/v1/tokens").await.expect(200)["items"],
        json!([])
    );
}
