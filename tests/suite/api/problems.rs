//! Problem documents: errors of the path, the method, the body and the database.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection};

use super::{NO_SUCH_ID, as_bearer, ask, get, idle, light, post};
use crate::support::unique;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_404() {
    let setup = idle();
    let server = setup.start().await;
    let name = unique("acme");
    post(&server, "/v1/apps", &light(&name)).await.expect(202);
    let key_of_nothing = format!("/v1/apps/{name}/credentials/AKIANOBODY/claim");
    let not_ascii = "/v1/apps/%FF";
    for (method, path) in [
        (Method::GET, "/nowhere"),
        (Method::GET, "/v1/nowhere"),
        (Method::GET, "/v1/apps/"),
        (Method::GET, "/docs/nowhere"),
        (Method::GET, "/v1/apps/nobody"),
        (Method::GET, "/v1/apps/no%20name"),
        (Method::GET, "/v1/apps/..%2F..%2Fapps"),
        (Method::GET, not_ascii),
        (Method::GET, "/v1/apps/nobody/credentials"),
        (Method::POST, "/v1/apps/nobody/plan"),
        (Method::POST, "/v1/apps/nobody/repair"),
        (Method::POST, key_of_nothing.as_str()),
        (Method::POST, "/v1/apps/nobody/credentials/%FF/claim"),
        (Method::GET, "/v1/jobs/malformed"),
        (Method::GET, "/v1/jobs/malformed/events"),
        (Method::POST, "/v1/jobs/malformed/cancel"),
        (Method::POST, "/v1/jobs/malformed/retry"),
        (Method::DELETE, "/v1/tokens/malformed"),
    ] {
        ask(server.request(method, path))
            .await
            .problem(404, "not_found");
    }
    for (method, path) in [
        ("GET", ""),
        ("GET", "/events"),
        ("POST", "/cancel"),
        ("POST", "/retry"),
    ] {
        let path = format!("/v1/jobs/{NO_SUCH_ID}{path}");
        ask(server.request(method.parse().unwrap(), &path))
            .await
            .problem(404, "not_found");
    }
    ask(server.request(Method::DELETE, &format!("/v1/tokens/{NO_SUCH_ID}")))
        .await
        .problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_an_address_does_not_take_is_405_and_the_others_are_named() {
    let setup = idle();
    let server = setup.start().await;
    for (method, path, allowed) in [
        (Method::DELETE, "/v1/apps", "GET,HEAD,POST"),
        (Method::POST, "/v1/jobs", "GET,HEAD"),
        (Method::GET, "/v1/apps/nobody/repair", "POST"),
        (Method::PATCH, "/v1/tokens/x", "DELETE"),
        (Method::POST, "/healthz", "GET,HEAD"),
    ] {
        let answer = ask(server.request(method, path)).await;
        answer.problem(405, "method_not_allowed");
        let methods = |text: &str| {
            text.split(',')
                .map(|method| method.trim().to_owned())
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(methods(answer.header("allow")), methods(allowed), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_json_is_400_and_one_of_another_type_415() {
    let setup = idle();
    let server = setup.start().await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let send = |path: &str, kind: &str, body: Vec<u8>| {
        ask(server
            .request(Method::POST, path)
            .header("content-type", kind)
            .body(body))
    };
    for path in ["/v1/apps", "/v1/tokens"] {
        for body in [
            &b""[..],
            b"{",
            b"{\"name\": \"acme\"} x",
            b"{\"name\": \"acme\",}",
            b"name=acme",
            b"{\"name\": 1e999}",
            b"{\"name\": \"\xff\xfe\"}",
            b"{\"name\": \"\\ud800\"}",
            b"{\"name\": \"a\nb\"}",
            deep.as_bytes(),
        ] {
            send(path, "application/json", body.to_vec())
                .await
                .problem(400, "invalid_json");
        }
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonp",
            "",
        ] {
            send(path, kind, b"{\"name\": \"acme\"}".to_vec())
                .await
                .problem(415, "unsupported_media_type");
        }
        for kind in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/merge-patch+json",
        ] {
            send(path, kind, b"{}".to_vec())
                .await
                .problem(422, "invalid_fields");
        }
    }
    assert_eq!(
        get(&server, "/v1/jobs").await.expect(200)["items"],
        json!([])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_64_kib_is_read_and_one_byte_more_is_413() {
    let setup = idle();
    let server = setup.start().await;
    let padded = |length: usize| format!("{{}}{}", " ".repeat(length - 2));
    for path in ["/v1/apps", "/v1/tokens"] {
        let send = |body: reqwest::Body| {
            ask(server
                .request(Method::POST, path)
                .header("content-type", "application/json")
                .body(body))
        };
        send(padded(64 * 1024).into())
            .await
            .problem(422, "invalid_fields");
        send(padded(64 * 1024 + 1).into())
            .await
            .problem(413, "too_large");
        let chunks = [padded(64 * 1024), " ".to_owned()].map(Ok::<_, std::io::Error>);
        send(reqwest::Body::wrap_stream(futures::stream::iter(chunks)))
            .await
            .problem(413, "too_large");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_is_echoed_or_made() {
    let setup = idle();
    let server = setup.start().await;
    let with = |id: String| {
        ask(server
            .request(Method::GET, "/v1/apps")
            .header("x-request-id", id))
    };
    assert_eq!(
        with("trace-1234".to_owned()).await.header("x-request-id"),
        "trace-1234"
    );
    for unfit in [String::new(), "two words".to_owned(), "x".repeat(129)] {
        let made = with(unfit.clone()).await.header("x-request-id").to_owned();
        assert!(!made.is_empty() && made != unfit);
    }
    let ids = [
        get(&server, "/healthz").await,
        get(&server, "/healthz").await,
    ]
    .map(|answer| answer.header("x-request-id").to_owned());
    assert!(!ids[0].is_empty() && ids[0] != ids[1], "{ids:?}");
    let problem = ask(server
        .anonymous(Method::GET, "/nowhere")
        .header("x-request-id", "mine"))
    .await;
    assert_eq!(problem.header("x-request-id"), "mine");
}

/// Another process that holds the database's write lock for longer than the service waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_database_is_503_and_accepts_nothing() {
    let setup = idle();
    let server = setup.start().await;
    let body = light(&unique("acme"));
    let mut other: SqliteConnection = SqliteConnectOptions::new()
        .filename(setup.database())
        .connect()
        .await
        .unwrap();
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();
    let readiness = ask(server.anonymous(Method::GET, "/readyz"));
    let (readiness, refused) = tokio::join!(readiness, post(&server, "/v1/apps", &body));
    let readiness = readiness.expect(503);
    assert_eq!(
        json!([
            readiness["ready"],
            readiness["database"]["ready"],
            readiness["aws"]["ready"]
        ]),
        json!([false, false, true])
    );
    assert!(readiness["database"]["reason"].is_string(), "{readiness}");
    let problem = refused.problem(503, "database_unavailable");
    assert_eq!(problem["retryable"], true);
    assert!(!refused.header("retry-after").is_empty());
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    assert_eq!(
        get(&server, "/v1/apps").await.expect(200)["items"],
        json!([])
    );
    post(&server, "/v1/apps", &body).await.expect(202);
    assert_eq!(
        ask(server.anonymous(Method::GET, "/readyz"))
            .await
            .expect(200)["ready"],
        true
    );
}

/// A table that is gone stands for every statement that fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_database_is_503_for_reads_too() {
    let setup = idle();
    let server = setup.start().await;
    let mut other: SqliteConnection = SqliteConnectOptions::new()
        .filename(setup.database())
        .connect()
        .await
        .unwrap();
    for table in ["apps", "jobs", "tokens"] {
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "ALTER TABLE {table} RENAME TO {table}_gone"
        )))
        .execute(&mut other)
        .await
        .unwrap();
    }
    for path in [
        "/v1/apps",
        "/v1/apps/nobody",
        "/v1/apps/nobody/credentials",
        "/v1/jobs",
        &format!("/v1/jobs/{NO_SUCH_ID}"),
        "/v1/tokens",
    ] {
        let answer = get(&server, path).await;
        let problem = answer.problem(503, "database_unavailable");
        assert!(!answer.text().contains("no such table"), "{problem}");
    }
    ask(as_bearer(
        &server,
        "some-other-token",
        Method::GET,
        "/v1/identity",
    ))
    .await
    .problem(503, "database_unavailable");
}
