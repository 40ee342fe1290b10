//! Repeated and racing requests.

use std::collections::BTreeSet;

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;

use super::{Answer, DAY, as_bearer, ask, get, id, idle, keyed, light, post, post_empty};
use crate::support::unique;

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_and_body_replay_the_first_answer() {
    let setup = idle();
    let server = setup.start().await;
    let body = light(&unique("acme"));
    let first = keyed(&server, "/v1/apps", "key 1", &body).await;
    let job = first.expect(202);
    assert_eq!(first.header("idempotent-replayed"), "");
    keyed(&server, "/v1/apps", "key 2", &body)
        .await
        .problem(409, "app_exists");
    post_empty(&server, &format!("/v1/jobs/{}/cancel", id(&job)))
        .await
        .expect(202);
    let again = keyed(&server, "/v1/apps", "key 1", &body).await;
    assert_eq!(
        again.expect(202),
        job,
        "the first answer, whatever came of the job since"
    );
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(again.header("content-type"), "application/json");

    let other = keyed(&server, "/v1/apps", "key 1", &light(&unique("other"))).await;
    assert!(other.problem(422, "idempotency_key_reused")["remedy"].is_string());
    let operator = server.token("operator").await;
    let theirs = light(&unique("theirs"));
    let independent = ask(as_bearer(&server, &operator, Method::POST, "/v1/apps")
        .header("idempotency-key", "key 1")
        .json(&theirs))
    .await;
    assert_ne!(
        independent.expect(202)["id"],
        job["id"],
        "another caller's key is another key"
    );

    setup.clock.advance(DAY);
    let a_day_later = keyed(&server, "/v1/apps", "key 1", &body).await;
    assert_ne!(a_day_later.expect(202)["id"], job["id"]);
    assert_eq!(a_day_later.header("idempotent-replayed"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_one_route() {
    let setup = idle();
    let server = setup.start().await;
    let name = unique("acme");
    let onboarding = keyed(&server, "/v1/apps", "k", &light(&name))
        .await
        .expect(202);
    post_empty(&server, &format!("/v1/jobs/{}/cancel", id(&onboarding)))
        .await
        .expect(202);
    let path = format!("/v1/apps/{name}/repair");
    let repair = |key: &'static str| {
        ask(server
            .request(Method::POST, &path)
            .header("idempotency-key", key))
    };
    let first = repair("k").await.expect(202);
    assert_eq!(
        json!([first["kind"], first["id"] == onboarding["id"]]),
        json!(["repair", false])
    );
    let again = repair("k").await;
    assert_eq!(again.expect(202), first);
    assert_eq!(again.header("idempotent-replayed"), "true");
    repair("other").await.problem(409, "job_active");
}

/// A key that comes back with another query must neither answer for it nor be taken for a new request.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_another_query_is_another_request() {
    let setup = idle();
    let server = setup.start().await;
    let name = unique("acme");
    let (path, body) = (format!("/v1/apps/{name}"), light(&name));
    let send = async |method: Method, key: &str, path: &str| {
        ask(server
            .request(method, path)
            .header("idempotency-key", key)
            .json(&body))
        .await
    };
    let onboard =
        async |query: &str| send(Method::POST, "onboard", &format!("/v1/apps{query}")).await;
    let job = onboard("").await.expect(202);
    for query in ["?dry_run=true", "?accept_expiry=true"] {
        onboard(query).await.problem(422, "idempotency_key_reused");
    }
    assert_eq!(onboard("").await.expect(202), job);
    post_empty(&server, &format!("/v1/jobs/{}/cancel", id(&job)))
        .await
        .expect(202);

    let change = async |query: &str| send(Method::PUT, "change", &format!("{path}{query}")).await;
    let job = change("?remove=true&accept_expiry=true").await.expect(202);
    for query in [
        "",
        "?dry_run=true",
        "?remove=true",
        &format!("?remove=true&accept_expiry=true&confirm={name}"),
    ] {
        change(query).await.problem(422, "idempotency_key_reused");
    }
    assert_eq!(
        change("?accept_expiry=true&remove=true").await.expect(202),
        job,
        "the order of parameters says nothing"
    );
    post_empty(&server, &format!("/v1/jobs/{}/cancel", id(&job)))
        .await
        .expect(202);

    let remove = async |query: &str| {
        ask(server
            .request(Method::DELETE, &format!("{path}{query}"))
            .header("idempotency-key", "remove"))
        .await
    };
    remove("?dry_run=true").await.expect(200);
    let job = remove("").await.expect(202);
    for query in ["?dry_run=true", "?adopted=true"] {
        remove(query).await.problem(422, "idempotency_key_reused");
    }
    assert_eq!(remove("").await.expect(202), job);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_requests_at_once_with_one_key_are_one_job() {
    let setup = idle();
    let server = setup.start().await;
    let body = light(&unique("acme"));
    let answers = join_all((0..20).map(|_| keyed(&server, "/v1/apps", "k", &body))).await;
    let ids: BTreeSet<String> = answers
        .iter()
        .map(|answer| id(&answer.expect(202)).to_owned())
        .collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(
        answers
            .iter()
            .filter(|answer| answer.header("idempotent-replayed") == "true")
            .count(),
        19
    );
    assert_eq!(
        get(&server, "/v1/jobs").await.expect(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_requests_that_race_for_one_app_one_wins() {
    let setup = idle();
    let server = setup.start().await;
    let body = light(&unique("acme"));
    let (won, lost): (Vec<Answer>, Vec<Answer>) =
        join_all((0..10).map(|_| post(&server, "/v1/apps", &body)))
            .await
            .into_iter()
            .partition(|answer| answer.status == 202);
    assert_eq!((won.len(), lost.len()), (1, 9));
    for answer in lost {
        answer.problem(409, "app_exists");
    }
    assert_eq!(
        get(&server, "/v1/jobs").await.expect(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}
