//! The service's own endpoints, CORS and compression.

use reqwest::Method;
use serde_json::json;

use super::jobs::events_of;
use super::{PROBLEMS, ask, get, id, idle, light, post, post_empty};
use crate::openapi;
use crate::support::unique;

#[tokio::test(flavor = "multi_thread")]
async fn health_metrics_and_documentation_take_no_token() {
    let setup = idle();
    let server = setup.start().await;
    let open = |path: &'static str| ask(server.anonymous(Method::GET, path));
    assert_eq!(open("/healthz").await.text(), "ok\n");
    let ready = open("/readyz").await.expect(200);
    for part in ["database", "aws", "workers"] {
        assert_eq!(
            ready[part],
            json!({"ready": true, "reason": null}),
            "{part}"
        );
    }
    let metrics = open("/metrics").await;
    assert!(metrics.header("content-type").starts_with("text/plain"));
    assert!(
        metrics.text().contains("slipway_http_requests_total{"),
        "{}",
        metrics.text()
    );
    for series in [
        "slipway_active_jobs{state=\"queued\"}",
        "slipway_active_jobs{state=\"awaiting_approval\"}",
        "slipway_oldest_active_job_age_seconds{state=\"waiting\"}",
        "slipway_ready{component=\"database\"} 1",
        "slipway_apps{state=\"needs_attention\"}",
        "slipway_accounts{state=\"unreachable\"}",
        "slipway_access_keys_older{days=\"90\"}",
        "slipway_aws_rate_limit_calls_per_second{account=\"default\",service=\"iam\"}",
        "slipway_aws_throttles_total{account=\"default\",service=\"s3\"}",
        "slipway_database_read_seconds_count",
        "slipway_database_commit_seconds_bucket{outcome=\"success\",le=\"0.0005\"}",
    ] {
        assert!(
            metrics.text().contains(series),
            "{series} in {}",
            metrics.text()
        );
    }
    let document = open("/openapi.yaml").await;
    assert_eq!(
        (document.header("content-type"), document.text()),
        ("application/yaml", slipway::api::router::yaml().unwrap())
    );
    assert_eq!(
        open("/openapi.json").await.expect(200),
        *openapi::document()
    );
    let problems = open("/problems").await;
    assert!(
        problems.header("content-type").starts_with("text/markdown")
            && problems.text().contains(PROBLEMS)
    );
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let root = client.get(format!("{}/", server.url)).send().await.unwrap();
    assert_eq!(
        (root.status().as_u16(), &root.headers()["location"]),
        (307, &"/docs".parse().unwrap())
    );
    let page = open("/docs").await;
    assert!(
        page.status == 200 && page.text().contains("swagger"),
        "{}",
        page.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_says_who_it_is_in_aws() {
    let setup = idle();
    let server = setup.start().await;
    let identity = get(&server, "/v1/identity").await.expect(200);
    assert_eq!(
        json!([identity["account"], identity["region"]]),
        json!([setup.place.account, "us-west-2"])
    );
    let arn = identity["arn"].as_str().unwrap();
    assert!(
        arn.contains(&setup.place.account) && arn.contains("assumed-role/slipway"),
        "{arn}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_origins_that_are_set_may_call_and_no_others() {
    let mut setup = idle();
    setup.settings.cors_origins = "https://dash.example, https://ops.example".into();
    let server = setup.start().await;
    let preflight = |origin: &'static str, method: &'static str| {
        let request = server
            .anonymous(Method::OPTIONS, "/v1/apps")
            .header("origin", origin)
            .header("access-control-request-method", method);
        ask(request.header("access-control-request-headers", "authorization"))
    };
    for origin in ["https://dash.example", "https://ops.example"] {
        let answer = preflight(origin, "POST").await;
        assert_eq!(
            (answer.status, answer.header("access-control-allow-origin")),
            (200, origin)
        );
        assert!(
            answer
                .header("access-control-allow-methods")
                .contains("POST")
        );
        for header in [
            "authorization",
            "content-type",
            "idempotency-key",
            "x-request-id",
            "if-none-match",
            "last-event-id",
        ] {
            assert!(
                answer
                    .header("access-control-allow-headers")
                    .contains(header),
                "{header}"
            );
        }
        let answer = ask(server
            .request(Method::GET, "/v1/apps")
            .header("origin", origin))
        .await;
        assert_eq!(answer.header("access-control-allow-origin"), origin);
        for header in [
            "location",
            "etag",
            "retry-after",
            "x-request-id",
            "idempotent-replayed",
        ] {
            assert!(
                answer
                    .header("access-control-expose-headers")
                    .contains(header),
                "{header}"
            );
        }
    }
    assert_eq!(
        preflight("https://elsewhere.example", "POST")
            .await
            .header("access-control-allow-origin"),
        ""
    );

    let closed = idle();
    let server = closed.start().await;
    let answer = ask(server
        .request(Method::GET, "/v1/apps")
        .header("origin", "https://dash.example"))
    .await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (200, "")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_compressed_for_those_who_can_read_it_but_streams_are_not() {
    let setup = idle();
    let server = setup.start().await;
    let job = post(&server, "/v1/apps", &light(&unique("acme")))
        .await
        .expect(202);
    let path = format!("/v1/jobs/{}", id(&job));
    let zipped = ask(server
        .request(Method::GET, &path)
        .header("accept-encoding", "gzip"))
    .await;
    assert_eq!(
        (zipped.header("content-encoding"), &zipped.body[..2]),
        ("gzip", &[0x1f, 0x8b][..])
    );
    assert_eq!(get(&server, &path).await.header("content-encoding"), "");
    post_empty(&server, &format!("{path}/cancel"))
        .await
        .expect(202);
    let stream = ask(server
        .request(Method::GET, &format!("{path}/events"))
        .header("accept-encoding", "gzip"))
    .await;
    assert_eq!(stream.header("content-encoding"), "");
    assert!(!events_of(&stream.text()).is_empty());
}
